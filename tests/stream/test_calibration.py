"""Weights from people beside others, and thresholds from the null: nobody drifts."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.calibration import NOTHING, Part, alarms, calibrated, learned, null, shuffled, threshold, trace
from stream.drift import LEAST, WINDOW, Detector, Weights
from stream.settings import Drift, Users

if TYPE_CHECKING:
    from tests.conftest import Shop

TAIL = 50


def crowd(people: int, seed: int = 1, events: int = 200) -> Part:
    """People who each like one of five directions, four in five times."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 5, 300)
    vectors = (0.5 * rng.standard_normal((300, 64)) / 8).astype(np.float32)
    vectors[np.arange(300), kinds] += 0.5
    vectors[np.arange(300), 32 + kinds] += 0.5
    histories = []
    for person in range(people):
        liked = rng.choice(np.flatnonzero(kinds == person % 5), events)
        items = np.where(rng.random(events) < 0.8, liked, rng.integers(0, 300, events))
        histories.append((items, np.arange(float(events))))
    return Part(histories, vectors - vectors.mean(0))


def test_shuffling_keeps_the_items_and_the_blocks() -> None:
    items, times = np.arange(9), np.array([0.0, 0, 0, 1, 1, 2, 3, 3, 3])
    mixed = shuffled(items, times, np.random.default_rng(5)).tolist()
    assert sorted(mixed) == list(range(9))
    assert mixed != list(range(9))
    text = ",".join(map(str, mixed))
    assert all(block in text for block in ("0,1,2", "3,4", "6,7,8"))
    assert len(shuffled(items[:0], times[:0], np.random.default_rng(0))) == 0


def test_what_is_like_a_person_speaks_against_another() -> None:
    weights = learned([crowd(40)], seed=0)
    assert weights.text < 0
    assert weights.together < 0
    assert 0.1 < weights.usual < 0.45
    assert learned([crowd(40)], seed=0) == weights


def test_where_nothing_is_taken_twice_repeats_say_nothing() -> None:
    whole = crowd(40)
    once = [(np.unique(items), np.arange(float(len(np.unique(items))))) for items, _ in whole.people]
    assert learned([Part(once, whole.vectors)], seed=0).repeat == 0.0


def test_of_few_people_nothing_is_learned() -> None:
    assert learned([crowd(1), crowd(1)], seed=0) == NOTHING


def test_a_trace_is_what_the_detector_sees() -> None:
    part = crowd(3)
    weights = learned([crowd(40)], seed=0)
    items, _ = part.people[0]
    seen = trace(items[:80], part.vectors, weights, TAIL)
    assert len(seen) == 80 - (WINDOW + LEAST - 1)
    for i in (WINDOW + LEAST - 1, 40, 79):
        tail = items[max(0, i - TAIL + 1) : i + 1]
        statistic = seen[i - (WINDOW + LEAST - 1)]
        for factor, flags in ((0.999, True), (1.001, False)):
            found = Detector(weights, statistic * factor).look([str(x) for x in tail], part.vectors[tail])
            assert (found is not None) == flags
    assert len(trace(items[: WINDOW + LEAST - 1], part.vectors, weights, TAIL)) == 0
    assert len(trace(items, part.vectors, weights, tail=WINDOW)) == 0  # such a tail holds nothing to compare with


def test_a_swap_of_people_raises_the_statistic() -> None:
    part = crowd(10)
    weights = learned([crowd(40)], seed=0)
    swapped = np.concatenate([part.people[0][0][:100], part.people[1][0][100:]])
    seen = trace(swapped, part.vectors, weights, TAIL)
    at = 100 - (WINDOW + LEAST - 1)
    assert seen[at + WINDOW - 1] > 2 * seen[:at].max()


def test_alarms_rest() -> None:
    up = np.array([0.0, 4.0, 4.0, 4.0, 4.0])
    assert [alarms(up, 3.0, rest) for rest in (0, 1, 2, 9)] == [4, 2, 2, 1]
    assert alarms(up, 4.0, 0) == 0


@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_the_promised_rate_holds_on_people_it_has_not_seen(rate: float) -> None:
    parts, fresh = [crowd(150, seed=1), crowd(150, seed=1)], crowd(400, seed=1)
    weights = learned(parts, seed=0)
    found = threshold(list(null(parts, weights, TAIL, 0)), rest=20, false_alarms_per_1000=rate)
    unseen = Part(fresh.people[150:], fresh.vectors)
    traces = list(null([unseen], weights, TAIL, 1, 50_000))
    raised = sum(alarms(seen, found, 20) for seen in traces)
    assert 0.6 * rate < 1000 * raised / sum(map(len, traces)) < 1.6 * rate


def test_where_little_was_seen_the_detector_stays_off(shop: Shop) -> None:
    part = Part(shop.histories[:5], shop.space.popular)
    weights = Weights(0.0, -2.0, -2.0, -1.0, 0.4)
    assert threshold(list(null([part], weights, TAIL, 0)), rest=20, false_alarms_per_1000=1.0) == inf
    assert threshold([], rest=20, false_alarms_per_1000=1.0) == inf


def test_lists_react_at_a_lower_threshold_than_alarms_are_raised() -> None:
    weights = learned([crowd(40)], seed=0)
    found = calibrated([crowd(100)], weights, Users(), Drift(), seed=0)
    assert 0.0 < found.reacts < found.threshold < inf
    rarer = calibrated([crowd(100)], weights, Users(), Drift(false_reactions_per_1000=0.5), seed=0)
    assert rarer.reacts == rarer.threshold == found.threshold  # what raises an alarm is reacted to
    few = calibrated([crowd(20)], weights, Users(), Drift(false_alarms_per_1000=0.1), seed=0)
    assert few.reacts < few.threshold == inf
    assert not calibrated([crowd(100)], NOTHING, Users(), Drift(), seed=0).on
