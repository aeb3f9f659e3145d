"""Automatic rollback's bound: wrong decisions, power, people who weigh much, and what is written down."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream.clusters import group_of
from stream.errors import StateError
from stream.rollback import FEWEST_BLOCKS, Watch

CONFIDENCE = 0.99


def decided(seed: int, gain: float, blocks: int, own: float = 0.0, visit: int = 1) -> int:
    """Blocks after which the parent is better, 0: never; `visit` blocks of one person follow each other."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(0, own, 400)
    watch = Watch("v2")
    while watch.blocks < blocks:
        person = int(rng.integers(400))
        for _ in range(visit):
            watch.update(
                float(gain + taste[person] + rng.standard_t(4) / 2), int(rng.geometric(0.1)), group_of(str(person))
            )
        if watch.lower(CONFIDENCE) > 0:
            return watch.blocks
    return 0


def test_a_parent_that_is_as_good_is_not_gone_back_to() -> None:
    wrong = [decided(seed, 0.0, 600) for seed in range(60)]
    assert sum(map(bool, wrong)) == 0


def test_people_who_differ_make_no_wrong_decisions() -> None:
    wrong = [decided(seed, 0.0, 600, own=0.5, visit=6) for seed in range(60)]
    assert sum(map(bool, wrong)) <= 1


def test_a_better_parent_is_found() -> None:
    found = [decided(seed, 0.3, 600) for seed in range(20)]
    assert all(FEWEST_BLOCKS <= blocks < 300 for blocks in found)
    assert [decided(seed, -0.3, 300) for seed in range(5)] == [0] * 5


def test_numbers_are_arithmetic() -> None:
    watch = Watch("v2")
    for person in range(60):
        watch.update(0.2 if person % 2 else 0.4, n=4, group=person)  # 2 x .3 on average, and always the same
    assert watch.mean == pytest.approx(0.3)
    assert watch.blocks == 60
    alone = 60 * (2 * 0.1) ** 2  # weight 2, deviation .1
    assert watch.sums.variance == pytest.approx(alone * 60 / 59)
    assert watch.lower(0.99) < watch.lower(0.9) < watch.mean


def test_one_persons_blocks_count_as_one() -> None:
    """The same gains, once of sixty people, once of two: two people say little."""
    many, two = Watch("v2"), Watch("v2")
    for number in range(240):
        gain = 0.5 if number % 4 == 0 else 0.05
        many.update(gain, 1, number // 4)
        two.update(gain, 1, int(number % 4 == 0))
    assert many.mean == pytest.approx(two.mean)
    assert many.lower(CONFIDENCE) > 0 > two.lower(CONFIDENCE)


def test_what_says_nothing_is_left_out() -> None:
    watch = Watch("v2")
    watch.update(math.nan, 3, 0)
    watch.update(1.0, 0, 0)
    assert (watch.blocks, watch.mean, watch.lower(CONFIDENCE)) == (0, 0.0, -math.inf)


def test_a_watch_survives_its_numbers() -> None:
    rng, one = np.random.default_rng(0), Watch("v2")
    for k in range(100):
        one.update(float(rng.normal()), k % 7, k)
    other = Watch.of("v2", one.numbers())
    assert other.numbers() == one.numbers()
    for watch in (one, other):
        watch.update(0.25, 3, 5)
    assert other.lower(CONFIDENCE) == one.lower(CONFIDENCE)
    assert Watch.of("v3", []).numbers() == Watch().numbers()
    with pytest.raises(StateError, match="sums over groups of people must be 132 numbers, got 5"):
        Watch.of("v2", [0.0] * 5)
