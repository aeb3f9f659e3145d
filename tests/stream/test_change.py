"""Where a change began, and from what to what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream import change
from stream.places import Places
from stream.space import Space

if TYPE_CHECKING:
    from tests.conftest import Shop


def test_the_change_is_where_the_kind_of_items_changes(shop: Shop) -> None:
    places, rng = Places(shop.space), np.random.default_rng(0)
    tail = [*rng.choice(shop.kind("garden"), 20), *rng.choice(shop.kind("toy"), 7)]
    changed = change.found([places.find(str(item_id)) for item_id in tail])
    assert changed.events == 7
    assert (changed.before, changed.since) == (
        {"Garden Thing": 1.0, "Toy Thing": 0.0},
        {"Toy Thing": 1.0, "Garden Thing": 0.0},
    )
    assert (changed.risen, changed.fallen) == (("Toy Thing",), ("Garden Thing",))
    assert len(changed.blamed) == change.NAMED
    assert all(tail[at].startswith("toy") for at in changed.blamed)


def test_what_has_no_place_is_left_out_and_counted(shop: Shop) -> None:
    places = Places(shop.space)
    tail = ["unknown", *shop.kind("garden")[:10], *shop.kind("toy")[:4], "unknown", shop.kind("toy")[4]]
    changed = change.found([places.find(item_id) for item_id in tail])
    assert changed.events == 6
    assert {tail[at] for at in changed.blamed} <= set(shop.kind("toy"))


def test_shares_are_of_events_and_the_largest_stand_first(shop: Shop) -> None:
    places = Places(shop.space)
    tail = [*shop.kind("garden")[:9], shop.kind("kitchen")[0], *shop.kind("toy")[:3], shop.kind("kitchen")[1]]
    changed = change.found([places.find(item_id) for item_id in tail])
    assert changed.before == {"Garden Thing": 1.0, "Kitchen Thing": 0.0, "Toy Thing": 0.0}
    assert changed.since == {"Toy Thing": 0.6, "Kitchen Thing": 0.4, "Garden Thing": 0.0}


def test_a_change_long_ago_is_not_what_an_alarm_is_about() -> None:
    vectors = np.repeat(np.eye(2, dtype=np.float32), [10, 40], axis=0)
    assert change.began(vectors) == change.LONGEST
    assert change.began(vectors[:25]) == 15


@pytest.mark.parametrize("n", [0, 1, 5])
def test_of_few_events_nothing_is_told(shop: Shop, n: int) -> None:
    places = Places(shop.space)
    assert change.found([places.find(item_id) for item_id in shop.ids[:n]]) == change.Change()
    assert change.found([None] * n) == change.Change()


def test_a_space_without_segments_has_no_shares() -> None:
    places = Places(Space.random(4, 0))
    for n, vector in enumerate(np.repeat(np.eye(4, dtype=np.float32)[:2], 3, axis=0)):
        places.put(str(n), vector)
    changed = change.found([places.find(str(n)) for n in range(6)])
    assert (changed.events, changed.before, changed.risen) == (3, {}, ())
