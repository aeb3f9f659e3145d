"""Decay: two half-lives that multiply, lazily."""

from __future__ import annotations

from itertools import permutations
from math import inf

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from stream.decay import Decay, DecayedSum, auto_half_lives, fold


def test_the_half_lives_multiply() -> None:
    decay = Decay(half_life_s=10.0, half_life_events=2.0)
    assert decay.factors(0.0, 30.0) == (1 / 8 * 2**-0.5, 1.0)


def test_nothing_is_kept_before_the_first_event() -> None:
    assert Decay(10.0, 2.0).factors(-inf, 5.0) == (0.0, 1.0)


def test_infinite_half_lives_keep_everything() -> None:
    assert Decay().factors(0.0, 1e9) == (1.0, 1.0)


def test_the_order_of_arrival_does_not_matter_for_the_time_half_life() -> None:
    totals = set()
    for order in permutations((0.0, 60.0, 120.0)):
        total = DecayedSum(Decay(half_life_s=60.0))
        for at_s in order:
            total.add(1.0, at_s)
        totals.add((total.value, total.newest_s))
    assert totals == {(1 + 1 / 2 + 1 / 4, 120.0)}


def test_the_count_half_life_counts_arrivals_late_ones_too() -> None:
    total = DecayedSum(Decay(half_life_s=60.0, half_life_events=1.0))
    total.add(8.0, 60.0)
    total.add(1.0, 0.0)  # 8 halves by the arrival, 1 by its age
    assert total.value == 8 / 2 + 1 / 2
    assert total.at(120.0) == 4.5 / 2


def test_vectors_are_rounded_to_float32_after_every_event() -> None:
    vector = np.array([1 / 3, 1.0], np.float32)
    held = fold(fold(np.zeros(2, np.float32), vector, 0.0, 1.0), vector, 0.7, 0.3)
    assert held.dtype == np.float32
    third = np.float32(1 / 3)
    assert_array_equal(held, [third * np.float32(0.7) + third * np.float32(0.3), np.float32(0.7) + np.float32(0.3)])


@pytest.mark.parametrize("field", ["half_life_s", "half_life_events"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_half_life_must_be_positive(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} must be above 0, got {value!r}"):
        Decay(**{field: value})


def test_auto_takes_the_median_pause_and_ten_times_that() -> None:
    visits = [0.0, 10.0, 7_200.0, 7_210.0, 21_610.0]  # pauses of 7,190 and 14,400 s
    assert auto_half_lives([visits, [5.0]]) == (10 * (7_190 + 14_400) / 2, (7_190 + 14_400) / 2)


def test_auto_is_an_hour_at_least_and_three_days_where_nobody_paused() -> None:
    assert auto_half_lives([[0.0, 1_800.0]]) == (36_000.0, 3_600.0)
    assert auto_half_lives([[0.0, 1.0], []]) == (30 * 86_400.0, 3 * 86_400.0)
    assert auto_half_lives([]) == (30 * 86_400.0, 3 * 86_400.0)
