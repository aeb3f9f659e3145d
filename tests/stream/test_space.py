"""The frozen drift space."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from stream.calibration import NOTHING
from stream.errors import StoreError
from stream.settings import Drift, Users
from stream.space import DIM, FACTS, TENSORS, TEXT_DIM, Space

if TYPE_CHECKING:
    from tests.conftest import Shop


def fitted(shop: Shop, seed: int = 1) -> Space:
    items, times = [i for i, _ in shop.histories], [t for _, t in shop.histories]
    return Space.fit(shop.ids, shop.base, shop.words, items, times, shop.counts, seed)


def test_the_same_input_gives_the_same_space(shop: Shop) -> None:
    one, other = fitted(shop), fitted(shop)
    assert one.name == other.name
    assert one.name.startswith("s")
    assert_array_equal(one.popular, other.popular)
    assert one.name != shop.space.name  # whose threshold is another


def test_items_are_ordered_by_popularity(shop: Shop) -> None:
    counts = dict(zip(shop.ids, shop.counts.tolist(), strict=True))
    ordered = [counts[item_id] for item_id in shop.space.items]
    assert ordered == sorted(ordered, reverse=True)
    assert [shop.space.position[item_id] for item_id in shop.space.items] == list(range(60))


def test_fitted_items_keep_their_vectors_and_new_ones_have_no_part_from_co_occurrence(shop: Shop) -> None:
    other_text = shop.base[[1]]  # of a toy
    known, new = shop.space.vectors(["garden00"], other_text)[0], shop.space.vectors(["toy99"], other_text)[0]
    assert_array_equal(known, shop.space.popular[shop.space.position["garden00"]])
    assert_allclose(np.linalg.norm([known, new], axis=1), 1.0, atol=1e-6)
    assert not new[TEXT_DIM:].any()
    assert shop.space.segments[shop.space.segment_of(new[None])[0]] == "Toy Thing"


def test_segments_are_named_by_their_words(shop: Shop) -> None:
    assert sorted(shop.space.segments) == ["Garden Thing", "Kitchen Thing", "Toy Thing"]
    member = shop.space.segment_of(shop.space.popular)
    for item_id, segment in zip(shop.space.items, member, strict=True):
        assert shop.space.segments[segment].split()[0].lower() == item_id[:-2]


def test_half_lives_that_are_set_overrule_those_of_the_warm_up(shop: Shop) -> None:
    slow, fast = shop.space.decays(Users(half_life_s=5.0))
    assert (slow.half_life_s, fast.half_life_s) == (5.0, 3_600.0)  # its pauses are of one hour
    assert (slow.half_life_events, fast.half_life_events) == (70.0, 5.0)


def test_it_survives_the_disk(shop: Shop, tmp_path: Path) -> None:
    shop.space.save(tmp_path)
    back = Space.load(tmp_path)
    assert back.name == shop.space.name
    assert (back.threshold, back.weights) == (shop.space.threshold, shop.space.weights)
    assert back.half_lives == shop.space.half_lives
    assert_array_equal(back.vectors(["new"], shop.base[:1]), shop.space.vectors(["new"], shop.base[:1]))


@pytest.mark.parametrize("name", [TENSORS, FACTS])
def test_a_missing_or_torn_file_is_refused(shop: Shop, tmp_path: Path, name: str) -> None:
    shop.space.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="must hold a drift space"):
        Space.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(StoreError, match="must hold a drift space"):
        Space.load(tmp_path)


def test_changed_content_is_refused(shop: Shop, tmp_path: Path) -> None:
    shop.space.save(tmp_path)
    facts = json.loads((tmp_path / FACTS).read_text())
    facts["threshold"] = 9.0
    (tmp_path / FACTS).write_text(json.dumps(facts))
    with pytest.raises(StoreError, match=f"must hold the drift space '{shop.space.name}', its content is 's"):
        Space.load(tmp_path)


def test_another_format_is_refused(shop: Shop, tmp_path: Path) -> None:
    shop.space.save(tmp_path)
    facts = json.loads((tmp_path / FACTS).read_text()) | {"format": 1}
    (tmp_path / FACTS).write_text(json.dumps(facts))
    with pytest.raises(StoreError, match="must have format 3, got 1"):
        Space.load(tmp_path)


def test_a_random_space_is_seeded_and_has_no_detectors() -> None:
    space = Space.random(32, seed=3)
    assert space.name == Space.random(32, seed=3).name != Space.random(32, seed=4).name
    assert (space.threshold, space.segments, space.name[0]) == (inf, (), "r")
    texts = space.texts(np.eye(32, dtype=np.float32))
    assert texts.shape == (32, DIM)
    assert abs(np.triu(texts @ texts.T, 1)).mean() < 0.2  # what was orthogonal nearly is
    with pytest.raises(ValueError, match="space must have segments"):
        space.segment_of(texts)


def test_columns_of_other_lengths_are_refused(shop: Shop) -> None:
    items, times = [i for i, _ in shop.histories], [t for _, t in shop.histories]
    with pytest.raises(ValueError, match=r"words must have one row per item \(60\), got 2"):
        Space.fit(shop.ids, shop.base, shop.words[:2], items, times, shop.counts, 0)
    with pytest.raises(ValueError, match="times must have the shape of events, got 89 and 90 people"):
        Space.fit(shop.ids, shop.base, shop.words, items, times[1:], shop.counts, 0)
    with pytest.raises(ValueError, match="item_ids must hold at least two items, got 1"):
        Space.fit(shop.ids[:1], shop.base[:1], shop.words[:1], [], [], shop.counts[:1], 0)


def test_a_later_past_calibrates_the_detector_anew(shop: Shop) -> None:
    rng = np.random.default_rng(3)
    vectors = shop.space.vectors(shop.ids, shop.base)
    people = [(rng.permutation(items), times) for items, times in shop.histories * 4]
    found = shop.space.detector_of(people, vectors, Users(), Drift(), seed=0)
    assert found.weights == shop.space.weights
    assert 0.0 < found.reacts < found.threshold < inf
    unable = replace(shop.space, weights=NOTHING)
    assert unable.detector_of(people, vectors, Users(), Drift(), seed=0).weights.together < 0  # learned at last
    assert not shop.space.detector_of(people[:3], vectors, Users(), Drift(), seed=0).on
