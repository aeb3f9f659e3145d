"""Signals and detectors of one person's drift."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest

from stream.drift import (
    DELTA,
    Detectors,
    load_numbers,
    page_hinkley,
    rank_signal,
    shift_signal,
    to_numbers,
)

ORDER = np.array([[1.0], [0.9], [0.5], [0.5], [0.1], [0.0]], np.float32)
ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (0, 0.5 / 4),  # peers 0 to 3: none is better, itself is a tie
        (3, (1 + 2 * 0.5) / 4),  # peers 1 to 4: .9 is better; .5 twice, a tie
        (5, 3.5 / 4),  # peers 2 to 5
    ],
)
def test_rank_among_the_peers(position: int, expected: float) -> None:
    assert rank_signal(ORDER, position, 4, ORDER[position], ONE) == expected


def test_an_item_that_came_later_is_ranked_among_the_least_popular() -> None:
    assert rank_signal(ORDER, len(ORDER), 4, np.array([0.3], np.float32), ONE) == 2 / 4


def test_without_taste_all_peers_tie() -> None:
    assert rank_signal(ORDER, 2, 4, ORDER[2], np.zeros(1, np.float32)) == 0.5


def test_shift_is_one_minus_the_cosine() -> None:
    one, other = np.array([1, 0], np.float32), np.array([1, 1], np.float32)
    assert shift_signal(one, one * 5) == 0.0
    assert shift_signal(one, other) == pytest.approx(1 - 1 / sqrt(2), abs=1e-6)
    assert shift_signal(one, -one) == 1.0  # not 2
    assert shift_signal(one, one * 0) == 0.0


def test_the_statistic_is_arithmetic() -> None:
    detector = page_hinkley(3.0)
    for x in (0.2, 0.8):
        detector.update(x)  # type: ignore[no-untyped-call]
    n, mean, total, lowest = to_numbers(detector)
    assert n == 2
    assert mean == pytest.approx(0.5)
    assert lowest == pytest.approx(0.2 - 0.2 - DELTA)
    assert total == pytest.approx((1 - 1e-4) * lowest + 0.8 - 0.5 - DELTA)


def test_the_round_trip_is_exact_at_every_step() -> None:
    rng = np.random.default_rng(3)
    signal = [*rng.normal(0.3, 0.2, 200), *rng.normal(0.7, 0.2, 100)]
    whole, parts = page_hinkley(3.0), page_hinkley(3.0)
    for i, x in enumerate(signal):
        whole.update(x)  # type: ignore[no-untyped-call]
        parts.update(x)  # type: ignore[no-untyped-call]
        assert whole.drift_detected == parts.drift_detected
        if whole.drift_detected:
            assert i == 207
            break
        numbers = to_numbers(parts)
        parts = page_hinkley(3.0)
        load_numbers(parts, numbers)
        assert to_numbers(whole) == numbers
    else:
        pytest.fail("the shift must be found")


def test_two_people_share_detectors_without_touching() -> None:
    rng = np.random.default_rng(0)
    calm, moved = rng.uniform(0, 0.6, 200), np.concatenate([rng.uniform(0, 0.6, 100), rng.uniform(0.4, 1.0, 100)])
    together, alone = Detectors({"rank": 3.0}), Detectors({"rank": 3.0})
    a: list[float] = []
    b: list[float] = []
    c: list[float] = []
    mixed = [(together.update(a, (x, 0.0)), together.update(b, (y, 0.0)))[1] for x, y in zip(calm, moved, strict=True)]
    single = [alone.update(c, (y, 0.0)) for y in moved]
    assert mixed == single
    assert b == c


def test_the_shift_signal_flags_too_and_says_so() -> None:
    detectors, numbers = Detectors({"rank": inf, "shift": 2.0}), list[float]()
    found = [detectors.update(numbers, (0.5, 0.1 if i < 40 else 0.9)) for i in range(60)]
    first = next(f for f in found if f)
    assert (first.signal, first.threshold) == ("shift", 2.0)
    assert 2.0 < first.evidence < 2.8  # the last step added at most .8


def test_detectors_without_thresholds_are_off() -> None:
    assert not Detectors({}).on
    assert Detectors({"rank": 3.0}).on
