"""Folding interactions into one person's state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from stream import profile
from stream.decay import Decay
from stream.drift import WINDOW, Detector, Found
from stream.errors import BadRecord
from stream.messages import UserState, as_vector
from stream.places import Places
from stream.profile import Event, Rules
from stream.settings import load
from stream.space import Space

if TYPE_CHECKING:
    from tests.conftest import Shop

SLOW, FAST = Decay(half_life_s=100.0, half_life_events=10.0), Decay(half_life_s=10.0, half_life_events=1.0)


def rules(shop: Shop, **changes: object) -> Rules:
    return replace(Rules.of(load(), shop.space), **({"slow": SLOW, "fast": FAST} | changes))  # type: ignore[arg-type]


def event(n: int, item_id: str, at_s: float | None = None, weight: float = 1.0) -> Event:
    return Event(f"e{n}", item_id, float(n) if at_s is None else at_s, weight, n)


def fold_all(shop: Shop, given: Rules, items: list[str]) -> tuple[UserState, list[tuple[int, Found]]]:
    places, state = Places(shop.space), profile.newcomer("ann", 0.0)
    state.space = shop.space.name
    found = []
    for n, item_id in enumerate(items):
        alarm = profile.fold(state, event(n, item_id), places, given)
        if alarm:
            found.append((n, alarm))
    return state, found


def test_vectors_are_sums_that_fade(shop: Shop) -> None:
    state, _ = fold_all(shop, rules(shop), ["garden00", "toy01"])
    garden, toy = (shop.space.popular[shop.space.position[i]] for i in ("garden00", "toy01"))
    assert_allclose(as_vector(state.slow), garden * 2 ** -(1 / 100 + 1 / 10) + toy, rtol=1e-6)
    assert_allclose(as_vector(state.fast), garden * 2 ** -(1 / 10 + 1) + toy, rtol=1e-6)
    assert state.mass == {"Garden Thing": pytest.approx(2 ** -(1 / 100 + 1 / 10)), "Toy Thing": 1.0}
    assert (state.seq, state.last_s, state.through) == (2, 1.0, 1)


def test_a_late_event_is_decayed_by_its_age_and_moves_nothing_back(shop: Shop) -> None:
    places, state = Places(shop.space), profile.newcomer("ann", 100.0)
    profile.fold(state, event(0, "garden00", 100.0), places, rules(shop))
    profile.fold(state, event(1, "toy01", 0.0), places, rules(shop))
    garden, toy = (shop.space.popular[shop.space.position[i]] for i in ("garden00", "toy01"))
    assert_allclose(as_vector(state.slow), garden * 2 ** -(1 / 10) + toy / 2, rtol=1e-6)
    assert (state.last_s, state.since_s) == (100.0, 0.0)
    assert state.tail_items == ["garden00", "toy01"]


def test_weights_scale_and_zero_is_no_interest(shop: Shop) -> None:
    places, state = Places(shop.space), profile.newcomer("ann", 0.0)
    profile.fold(state, event(0, "garden00", weight=3.0), places, rules(shop))
    profile.fold(state, event(10, "toy01", weight=0.0), places, rules(shop))
    garden = shop.space.popular[shop.space.position["garden00"]]
    assert_allclose(as_vector(state.slow), 3 * garden * 2**-0.1, rtol=1e-6)  # time moved on, no arrival
    assert (state.seq, state.tail_items, state.last_s) == (2, ["garden00"], 10.0)
    assert state.mass == {"Garden Thing": pytest.approx(3 * 2**-0.1)}


def test_an_item_without_a_vector_enters_the_tail_alone(shop: Shop) -> None:
    state = profile.newcomer("ann", 0.0)
    assert profile.fold(state, event(0, "unknown"), Places(shop.space), rules(shop)) is None
    assert (state.seq, state.tail_items, state.slow, state.mass) == (1, ["unknown"], profile.EMPTY, {})


def test_the_tail_is_bounded(shop: Shop) -> None:
    items = [f"garden{i:02d}" for i in range(0, 60, 3)]
    state, _ = fold_all(shop, rules(shop, tail=3), items)
    assert state.tail_items == items[-3:]
    assert state.tail_s == [17.0, 18.0, 19.0]


@pytest.mark.parametrize(("repeats", "tail"), [(True, ["toy01", "toy04", "toy01"]), (False, ["toy01", "toy04"])])
def test_repeats_count_or_not(shop: Shop, repeats: bool, tail: list[str]) -> None:
    state, _ = fold_all(shop, rules(shop, repeats=repeats), ["toy01", "toy04", "toy01"])
    assert (state.tail_items, state.seq) == (tail, 3)
    two, _ = fold_all(shop, rules(shop), ["toy01", "toy04"])
    assert (as_vector(state.slow).sum() == pytest.approx(as_vector(two.slow).sum() * 2**-0.01, rel=1e-6)) != repeats


def test_duplicates_are_known_by_recent_ids(shop: Shop) -> None:
    state = profile.newcomer("ann", 0.0)
    for n in range(5):
        assert not profile.remembered(state, f"e{n}")
        profile.remember(state, f"e{n}", 3)
    assert [profile.remembered(state, f"e{n}") for n in range(5)] == [False, False, True, True, True]
    assert [len(blob) for blob in state.recent] == [3 * profile.HASH_BYTES]
    profile.remember(state, "e5", 0)  # none is to be remembered
    assert not profile.remembered(state, "e5")


def test_a_hash_across_two_hashes_is_no_match() -> None:
    state = profile.newcomer("ann", 0.0)
    digest = profile._hash("x")
    state.recent = [b"\0" * 3 + digest + b"\0" * 3]
    assert not profile.remembered(state, "x")
    state.recent = [b"\0" * 3 + digest + b"\0" * 3 + digest]
    assert profile.remembered(state, "x")


def drifting(shop: Shop, reaction: int) -> tuple[Rules, list[str]]:
    garden, toy = shop.kind("garden"), shop.kind("toy")
    rng = np.random.default_rng(0)
    items = [*rng.choice(garden, 60).tolist(), *rng.choice(toy, 60).tolist()]
    own = Rules.of(load(), shop.space)
    return replace(own, reaction_events=reaction, detector=Detector(own.space.weights, 3.0)), items


def test_a_change_of_taste_raises_one_alarm_at_a_known_event(shop: Shop) -> None:
    given, items = drifting(shop, reaction=20)
    state, found = fold_all(shop, given, items)
    assert [n for n, _ in found] == [65]
    assert found[0][1].evidence > found[0][1].threshold == 3.0
    assert state.drift == []


def test_after_an_alarm_the_detector_rests_and_then_watches_what_is_new(shop: Shop) -> None:
    given, items = drifting(shop, reaction=20)
    at_alarm, _ = fold_all(shop, given, items[:66])
    assert (at_alarm.drift, at_alarm.detector) == ([20, 65.0], [WINDOW])
    during, _ = fold_all(shop, given, items[:85])
    assert (during.drift, during.detector) == ([1, 65.0], [29])
    after, _ = fold_all(shop, given, items[:86])
    assert (after.drift, after.detector) == ([], [30])
    assert profile.seen(after) == items[56:86]  # those that raised the alarm are what later ones are held against
    later, _ = fold_all(shop, given, items[:87])
    assert later.detector == [31]
    last, _ = fold_all(shop, given, items[:106])
    assert (last.detector, profile.seen(last)) == ([], items[56:106])  # all of the tail is new


def test_an_alarm_leaves_the_vectors_as_they_are(shop: Shop) -> None:
    given, items = drifting(shop, reaction=20)
    alarmed, found = fold_all(shop, given, items)
    calm, none = fold_all(shop, replace(given, detector=Detector(given.space.weights)), items)
    assert (len(found), none) == (1, [])
    assert (alarmed.slow, alarmed.fast, alarmed.mass) == (calm.slow, calm.fast, calm.mass)


def test_without_a_rest_it_goes_on_at_once(shop: Shop) -> None:
    given, items = drifting(shop, reaction=0)
    state, found = fold_all(shop, given, items[:66])
    assert [n for n, _ in found] == [65]
    assert (state.drift, state.detector) == ([], [WINDOW])


def test_what_is_packed_comes_back_and_packs_alike(shop: Shop) -> None:
    given, items = drifting(shop, reaction=20)
    state, _ = fold_all(shop, given, items[:40])
    packed = profile.pack(state)
    assert profile.pack(profile.unpack(packed)) == packed
    with pytest.raises(BadRecord, match="a UserState in msgpack"):
        profile.unpack(packed[:-1])


def test_going_through_bytes_at_every_event_changes_nothing(shop: Shop) -> None:
    given, items = drifting(shop, reaction=20)
    places, state, found = Places(shop.space), profile.newcomer("ann", 0.0), []
    state.space = shop.space.name
    for n, item_id in enumerate(items):
        state = profile.unpack(profile.pack(state))
        if profile.fold(state, event(n, item_id), places, given):
            found.append(n)
    whole, alarms = fold_all(shop, given, items)
    assert profile.pack(state) == profile.pack(whole)
    assert found == [n for n, _ in alarms]


def test_a_full_state_is_small(shop: Shop) -> None:
    given = Rules.of(load(), shop.space)
    places, state = Places(shop.space), profile.newcomer("12345678", 0.0)
    state.space, state.block = shop.space.name, "12345678"
    names = [f"{n:08d}" for n in range(200)]
    for n, name in enumerate(names):
        places.put(name, shop.base[n % 60])
        profile.fold(state, Event(f"{n}", name, 1.3e9 + n * 90_000.123, 1.0, 400_000 + n), places, given)
    state.mass = {f"Christmas Tree {i}": 123.456 for i in range(profile.SEGMENTS)}
    assert len(state.tail_items) == 50
    state.detector = [49.0]
    assert len(profile.pack(state)) <= 1_536


def test_rebuilding_from_the_tail_gives_the_same_vectors(shop: Shop) -> None:
    given, items = drifting(shop, reaction=20)
    state, _ = fold_all(shop, given, items[:30])
    slow, fast, mass = state.slow, state.fast, dict(state.mass)
    state.space = "old"
    profile.rebuild(state, Places(shop.space), given)
    assert (state.space, state.slow, state.fast, state.mass) == (shop.space.name, slow, fast, mass)
    assert state.detector == []  # all of the tail is of one taste


def test_rebuilding_raises_no_alarm_and_leaves_time_alone(shop: Shop) -> None:
    given, items = drifting(shop, reaction=20)
    places, nowhere = Places(shop.space), Places(Space.random(16, 0))
    state = profile.newcomer("ann", 0.0)
    for n, item_id in enumerate(items[35:85]):  # 25 of one kind, 25 of another
        profile.fold(state, event(n, item_id), nowhere, given)
    profile.fold(state, event(60, "garden00", weight=0.0), nowhere, given)
    profile.rebuild(state, places, given)
    assert (state.drift, state.last_s, state.seq) == ([], 60.0, 51)


def test_texts_move_the_vectors_and_nothing_else(shop: Shop) -> None:
    state, _ = fold_all(shop, rules(shop), ["garden00"])
    vector = shop.space.texts(shop.base[[1]])[0]
    profile.fold_text(state, vector, 10.0, rules(shop))
    garden = shop.space.popular[shop.space.position["garden00"]]
    assert_allclose(as_vector(state.fast), garden * 2 ** -(10 / 10 + 1) + vector, rtol=1e-5, atol=1e-7)
    assert (state.seq, state.tail_items, state.last_s) == (1, ["garden00"], 10.0)


def test_the_smallest_segment_gives_way(shop: Shop) -> None:
    state = profile.newcomer("ann", 0.0)
    state.mass = {"a": 4.0, "b": 1.0, "c": 3.0, "d": 2.0}
    profile.fold(state, event(0, "toy01", 0.0), Places(shop.space), rules(shop, slow=Decay()))
    assert state.mass == {"a": 4.0, "c": 3.0, "d": 2.0, "Toy Thing": 1.0}


def test_in_a_random_space_there_are_no_detectors_and_no_segments() -> None:
    space = Space.random(16, 0)
    places, given, state = Places(space), Rules.of(load(), space), profile.newcomer("ann", 0.0)
    places.put("mug", np.ones(16, np.float32))
    for n in range(3):
        assert profile.fold(state, event(n, "mug"), places, given) is None
    assert (state.detector, state.mass) == ([], {})
    assert_array_equal(as_vector(state.slow) != 0, np.ones(64, bool))
