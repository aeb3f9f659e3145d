"""The ablation of the blend: beside a replay without a trace in it, and by the product's own rules."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks.ablation import ALL, GROUPS, Notes, ablate, figures, variants
from benchmarks.protocol import Log
from benchmarks.quality import Recorder, check
from consumers.replay import replay
from producers.synthetic import Plan, World
from stream.blend import FACTS, FEATURES
from stream.settings import load
from stream.text import TextEncoder

MADE = World(Plan(users=20, items=60, events=500, days=60, seed=3))


def played() -> dict[str, Any]:
    settings = load(
        model={"dim": 16, "layers": 1, "heads": 2, "context": 20},
        training={"warm_up_epochs": 1, "epochs": 1, "max_steps": 10, "batch_size": 16},
        trigger={"policy": "never"},
    )
    result = replay("made", list(MADE.items), list(MADE.interactions()), settings, encoder=TextEncoder.tiny())
    return {key: result[key] for key in ("tested", "hit_rate_10", "ndcg_10", "blend_weights")}


@pytest.fixture(scope="module")
def noted() -> Iterator[tuple[Notes, Recorder, dict[str, Any]]]:
    """Notes of a replay with all candidates kept, its ranks and its result."""
    with tempfile.TemporaryFile() as file:
        notes, recorder = Notes(file), Recorder()
        with notes.taking(), recorder.recording():
            result = played()
        yield notes, recorder, result


def test_notes_leave_no_trace_in_a_replay(noted: tuple[Notes, Recorder, dict[str, Any]]) -> None:
    assert noted[2] == played()


def test_all_features_are_the_product(noted: tuple[Notes, Recorder, dict[str, Any]]) -> None:
    notes, recorder, result = noted
    variant = variants(notes, ())[ALL]
    for step, z in notes.played():
        if step.kept:
            variant.test(step, z)
        else:
            variant.learn(step)
    weights = [[result["blend_weights"][fact][feature] for feature in FEATURES] for fact in FACTS]
    still_open = {step.key for step in notes.steps if step.kept} & variant.open.keys()
    assert len(still_open) <= 20  # of each user the newest block may not be learned
    np.testing.assert_allclose(variant.blend.weights, weights, atol=2e-3)
    alike = [one == other for one, other in zip(variant.ranks, recorder.ranks, strict=True)]
    assert np.mean(alike) > 0.97  # half precision makes some of them equal


def test_a_feature_left_out_neither_speaks_nor_learns(noted: tuple[Notes, Recorder, dict[str, Any]]) -> None:
    notes, recorder, result = noted
    log = Log.of(list(MADE.interactions()), repeats=True)
    check(recorder.events, recorder.ranks, log)
    ranks = ablate(notes)
    out = figures(log, notes, ranks, recorder.ranks)
    assert out["product"]["hit_rate_10"] == result["hit_rate_10"]
    assert out["kept_share"] == 1.0
    assert "popular among people alike" in out["unused"]  # nobody has attributes in this log
    assert {"facts", "group: popularity", "language model"} <= out["without"].keys()
    assert out["without"]["group: popularity"]["minus_all"]["hit_rate_10_ci95"][0] <= 0
    for name, one in out["without"].items():
        if name != ALL:
            difference = one["hit_rate_10"] - out["without"][ALL]["hit_rate_10"]
            assert one["minus_all"]["hit_rate_10"] == pytest.approx(difference, abs=2e-5)


def test_what_is_not_kept_is_a_miss_for_all() -> None:
    with tempfile.TemporaryFile() as file:
        notes = Notes(file, keep=12)
        with notes.taking():
            played()
        ranks = ablate(notes)
    outside = [row for step in notes.steps for row, place in zip(step.rows, step.places, strict=True) if place < 0]
    assert outside
    assert all(found[row] is None for found in ranks.values() for row in outside)


def test_every_feature_is_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(FEATURES)
