"""Sums over groups of people: their arithmetic, what few people say, and what is written down."""

from __future__ import annotations

import numpy as np
import pytest

from stream.clusters import GROUPS, NUMBERS, Clusters, group_of
from stream.errors import StateError


def test_numbers_are_arithmetic() -> None:
    sums = Clusters()
    for gain, weight, group in ((0.5, 2.0, 3), (-0.25, 4.0, 3), (1.0, 1.0, 70)):  # 70 is group 6
        sums.update(gain, weight, group)
    assert (sums.blocks, sums.total, sums.weight) == (3, 1.0, 7.0)
    assert sums.mean == pytest.approx(1 / 7)
    alone = 2**2 * (0.5 - 1 / 7) ** 2 + 4**2 * (0.25 + 1 / 7) ** 2 + (1 - 1 / 7) ** 2
    between = ((0 - 6 / 7) ** 2 + (1 - 1 / 7) ** 2) * 2 / 1  # two groups: weights 6 and 1, gains 0 and 1
    assert alone > between
    assert sums.variance == pytest.approx(alone)


def test_blocks_of_one_person_count_as_one() -> None:
    apart, together = Clusters(), Clusters()
    for number in range(60):
        apart.update(0.4 if number % 2 else 0.2, 1.0, number)
        together.update(0.4 if number % 2 else 0.2, 1.0, number % 2)
    assert apart.variance == pytest.approx(60 * 0.1**2 * 60 / 59)
    assert together.variance == pytest.approx(2 * (30 * 0.1) ** 2 * 2 / 1)


def test_nothing_has_no_mean_and_no_variance() -> None:
    assert (Clusters().mean, Clusters().total, Clusters().variance) == (0.0, 0.0, 0.0)


def test_sums_survive_their_numbers() -> None:
    rng, one = np.random.default_rng(0), Clusters()
    for number in range(100):
        one.update(float(rng.normal()), float(rng.geometric(0.5)), number)
    again = Clusters.of(one.numbers())
    assert again.numbers() == one.numbers()
    assert (again.mean, again.variance) == (one.mean, one.variance)
    assert len(one.numbers()) == NUMBERS
    with pytest.raises(StateError, match="sums over groups of people must be 132 numbers, got 5"):
        Clusters.of([0.0] * 5)


def test_groups_are_spread() -> None:
    counts = np.bincount([group_of(f"u{n}") for n in range(6_400)], minlength=GROUPS)
    assert len(counts) == GROUPS
    assert counts.min() > 60
    assert counts.max() < 140
