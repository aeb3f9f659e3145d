"""Thresholds from the null: nobody drifts."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.calibration import alarms, calibrate, shuffled, signals_of
from stream.decay import Decay
from stream.drift import page_hinkley

if TYPE_CHECKING:
    from tests.conftest import Shop

SLOW, FAST = Decay(half_life_events=70.0), Decay(half_life_events=5.0)


def test_shuffling_keeps_the_items_and_the_blocks() -> None:
    items, times = np.arange(9), np.array([0.0, 0, 0, 1, 1, 2, 3, 3, 3])
    mixed = shuffled(items, times, np.random.default_rng(5)).tolist()
    assert sorted(mixed) == list(range(9))
    assert mixed != list(range(9))
    text = ",".join(map(str, mixed))
    assert all(block in text for block in ("0,1,2", "3,4", "6,7,8"))
    assert len(shuffled(items[:0], times[:0], np.random.default_rng(0))) == 0


def test_alarms_rest_and_start_anew() -> None:
    calm, up = [0.1] * 40, [0.9] * 100
    first = alarms([*calm, *up], 3.0, rest=20)
    detector = page_hinkley(3.0)
    expected = 0
    while not detector.drift_detected:
        detector.update([*calm, *up][expected])  # type: ignore[no-untyped-call]
        expected += 1
    assert first == [expected - 1]  # after it the new level is the usual one
    assert alarms([*calm, *up, *calm, *up], 3.0, rest=20)[0] == expected - 1


def test_the_first_event_has_no_signals(shop: Shop) -> None:
    items, times = shop.histories[0]
    assert signals_of(items, times, shop.space.popular, SLOW, FAST, 20).shape == (59, 2)
    assert signals_of(items[:1], times[:1], shop.space.popular, SLOW, FAST, 20).shape == (0, 2)


def test_a_swap_of_people_raises_both_signals(shop: Shop) -> None:
    rows = [shop.space.position[i] for i in shop.kind("garden")], [shop.space.position[i] for i in shop.kind("toy")]
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.choice(rows[0], 60), rng.choice(rows[1], 20)])
    signals = signals_of(items, np.arange(80.0), shop.space.popular, SLOW, FAST, 40)
    before, after = signals[20:59].mean(0), signals[59:].mean(0)
    assert (after - before > 0.2).all()


@pytest.mark.parametrize("rate", [2.0, 10.0])
def test_the_promised_rate_holds_on_the_null(rate: float) -> None:
    rng = np.random.default_rng(1)
    popular = rng.standard_normal((300, 16)).astype(np.float32)
    popular /= np.linalg.norm(popular, axis=1, keepdims=True)
    histories = [(rng.integers(0, 300, 200), np.arange(200.0)) for _ in range(150)]
    found = calibrate(histories[:75], popular, SLOW, FAST, peers=50, false_alarms_per_1000=rate, rest=20, seed=0)
    fresh = [signals_of(i, t, popular, SLOW, FAST, 50) for i, t in histories[75:]]  # people it has not seen
    mature = sum(len(s) - 20 for s in fresh)
    raised = sum(
        len(alarms(s[:, k].tolist(), found[name], 20)) for s in fresh for k, name in enumerate(("rank", "shift"))
    )
    assert 0.3 * rate < 1000 * raised / mature < 2 * rate


def test_where_little_was_seen_the_detectors_stay_off(shop: Shop) -> None:
    thresholds = calibrate(
        shop.histories[:5], shop.space.popular, SLOW, FAST, peers=20, false_alarms_per_1000=1.0, rest=20, seed=0
    )
    assert thresholds == {"rank": inf, "shift": inf}
