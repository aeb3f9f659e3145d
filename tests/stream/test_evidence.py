"""Aggregated evidence."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from stream.evidence import KEPT, AlarmShare, Population, Reading, numbers, poisson_tail, readings


def test_the_poisson_tail_is_a_sum() -> None:
    assert poisson_tail(0, 3.0) == 1.0
    assert poisson_tail(2, 3.0) == pytest.approx(1 - exp(-3) * (1 + 3))
    assert poisson_tail(5, 3.0) == pytest.approx(1 - exp(-3) * (1 + 3 + 9 / 2 + 27 / 6 + 81 / 24))
    assert poisson_tail(1, 0.0) == 0.0
    assert 0 < poisson_tail(1_000, 5.0) < 1e-300 or poisson_tail(1_000, 5.0) == 0.0
    assert poisson_tail(4_900, 5_000.0) == pytest.approx(0.92, abs=0.01)


def test_the_window_lets_go_of_what_it_does_not_need() -> None:
    share = AlarmShare(window=500, per_event=0.01)
    for alarms in (9, 0, 1, 2):
        share.add(200, alarms)
    assert (share.events, share.alarms) == (600, 3)  # 400 would be too few
    assert share.p_value == poisson_tail(3, 6.0)
    share.clear()
    assert (share.events, share.alarms, share.p_value) == (0, 0, 1.0)


def losses(*levels: float, n: int = 1_000, seed: int = 0) -> list[float]:
    rng = np.random.default_rng(seed)
    return [float(x) for level in levels for x in rng.normal(level, 1.0, n)]


def test_a_rise_is_found_and_a_fall_is_not() -> None:
    up, down = Population(0.002), Population(0.002)
    assert [i for i, x in enumerate(losses(-1.0, 0.0)) if up.update(x)] == [1055]
    assert not [i for i, x in enumerate(losses(0.0, -1.0)) if down.update(x)]
    assert (up.rises, up.risen, down.rises, down.risen) == (1, True, 0, False)
    assert up.before == pytest.approx(-1.0, abs=0.1)
    assert up.after == pytest.approx(0.0, abs=0.4)
    up.settle()
    assert (up.rises, up.risen) == (1, False)


def test_written_down_at_any_moment_it_goes_on_alike() -> None:
    stream = losses(-1.0, -0.5, -1.0, -0.2, n=2_500)
    whole = Population(0.002)
    expected = [whole.update(x) for x in stream]
    assert sum(expected) >= 2
    for cut in (1, 31, 32, 2_600, 2 * KEPT - 1, 2 * KEPT, 5_001, 9_999):
        first = Population(0.002)
        for x in stream[:cut]:
            first.update(x)
        second = Population(
            0.002, first.version, list(first.values), first.rises, first.risen, first.before, first.after
        )
        assert [second.update(x) for x in stream[cut:]] == expected[cut:]
        assert (second, second.mean) == (whole, whole.mean)


def test_memory_is_bounded() -> None:
    calm = Population(0.002)
    for x in losses(0.0, n=3 * KEPT):
        calm.update(x)
        assert len(calm.values) < 2 * KEPT


def test_another_version_starts_anew() -> None:
    population = Population(0.002)
    population.watch("v1")
    for x in losses(-1.0, 0.0):
        population.update(x)
    population.watch("v1")
    assert population.risen
    population.watch("v2")
    assert (population.risen, population.values, population.rises, population.mean) == (False, [], 1, 0.0)
    assert not any(population.update(x) for x in losses(3.0))


def test_readings_tell_now_and_threshold() -> None:
    population, share = Population(0.002), AlarmShare(1_000, 0.001)
    population.before, population.after, population.risen = -1.0, -0.25, True
    found = readings(population, share, 1e-4, 300, 200)
    assert found == [
        Reading("population", 0.75, 0.0, True),
        Reading("users", 1.0, 1e-4, False),
        Reading("staleness", 300.0, 200.0, True),
    ]
    assert numbers(found)["users_threshold"] == 1e-4
    population.settle()
    assert readings(population, share, 1e-4, 300, 200)[0] == Reading("population", 0.0, 0.0, False)
