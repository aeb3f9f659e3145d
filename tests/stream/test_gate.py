"""The gate: error rates on seeded streams, and every way a verdict can fall."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from stream.errors import StateError
from stream.gate import Call, PairedBlocks, SequentialTest, judge
from stream.settings import Gate

GATE = Gate(bootstrap=400)


def simulated(seed: int, gain: float, people: int = 120, rr_change: float = 0.0) -> PairedBlocks:
    """Blocks of people who differ: a heavy-tailed number of blocks each, and a gain of their own."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(people), rng.geometric(0.1, people))
    k = len(users)
    own = rng.normal(0, 0.1, people)[users]
    rank = rng.beta(0.2, 2.0, k)
    return PairedBlocks(
        users=users,
        n=rng.geometric(0.5, k),
        gain=gain + own + rng.normal(0, 0.5, k),
        live_rr=rank,
        candidate_rr=np.clip(rank * (1 + rr_change) + rng.normal(0, 0.01, k), 0, 1),
        drifted=rng.random(k) < 0.1,
    )


def verdicts(gain: float, runs: int) -> Counter[Call]:
    return Counter(judge(simulated(seed, gain), GATE, seed).verdict for seed in range(runs))


def test_no_difference_is_promoted_in_at_most_five_of_a_hundred() -> None:
    found = verdicts(0.0, 200)
    assert found["promoted"] <= 10
    assert found["refused"] <= 14
    assert found["undecided"] >= 176


def test_a_real_improvement_is_promoted_and_a_real_loss_refused() -> None:
    assert verdicts(0.12, 40) == {"promoted": 40}
    assert verdicts(-0.12, 40) == {"refused": 40}


def test_numbers_are_arithmetic() -> None:
    users = np.repeat(np.arange(20), 2)  # each person: one block of 1 event and one of 3
    n = np.tile([1, 3], 20)
    pairs = PairedBlocks(users, n, np.tile([1.0, 0.2], 20), np.full(40, 0.10), np.full(40, 0.11), np.zeros(40, bool))
    numbers = judge(pairs, GATE, 0).numbers
    assert (numbers["events"], numbers["blocks"], numbers["people"]) == (80, 40, 20)
    assert numbers["gain"] == pytest.approx((1 * 1.0 + 3 * 0.2) / 4)
    assert numbers["gain_lower"] == pytest.approx(0.4)  # all people are alike: resampling changes nothing
    assert numbers["mrr"] == pytest.approx(0.10)
    assert numbers["mrr_change"] == pytest.approx(0.1)


def test_the_same_seed_gives_the_same_verdict() -> None:
    pairs = simulated(3, 0.02)
    assert judge(pairs, GATE, 5) == judge(pairs, GATE, 5)


def test_a_fall_in_reciprocal_rank_is_refused() -> None:
    found = judge(simulated(0, 0.2, rr_change=-0.3), GATE, 0)
    assert found.verdict == "refused"
    assert found.reason.startswith("reciprocal rank falls overall: change at most -")


def test_a_fall_among_those_who_did_not_drift_is_refused() -> None:
    pairs = simulated(0, 0.2)
    drifted = np.arange(len(pairs)) % 2 == 0
    candidate = np.where(drifted, pairs.live_rr * 1.5, pairs.live_rr * 0.7)
    found = judge(
        PairedBlocks(pairs.users, pairs.n, pairs.gain, pairs.live_rr, candidate, drifted),
        GATE,
        0,
    )
    assert found.verdict == "refused"
    assert "among people who did not drift: change at most -30.0%" in found.reason


def test_better_loss_with_a_slightly_lower_rank_stays_open() -> None:
    pairs = simulated(0, 0.2)
    rng = np.random.default_rng(0)
    noisy = pairs.live_rr * (0.97 + rng.choice([-0.5, 0.5], len(pairs)))
    found = judge(
        PairedBlocks(pairs.users, pairs.n, pairs.gain, pairs.live_rr, noisy, pairs.drifted & False),
        GATE,
        0,
    )
    assert found.verdict == "undecided"
    assert found.reason.startswith("log rank is better, but reciprocal rank ")


@pytest.mark.parametrize("people", [0, 1, 19])
def test_too_few_people_stay_open(people: int) -> None:
    k = people * 100
    ones = np.ones(k)
    pairs = PairedBlocks(np.arange(k) % max(people, 1), ones.astype(np.int64), ones, ones, ones, ones > 2)
    found = judge(pairs, GATE, 0)
    assert found.verdict == "undecided"
    assert found.record()["reason"] == f"only {people} people in the hold-out, fewer than 20"


def shadowed(seed: int, gain: float, limit: int = 1000) -> SequentialTest:
    rng = np.random.default_rng(seed)
    test = SequentialTest(confidence=0.95, limit=limit)
    for difference, weight in zip(rng.normal(gain, 1.0, limit), rng.geometric(0.5, limit), strict=True):
        test.update(float(difference), float(weight))
    return test


def test_looking_after_every_block_keeps_the_error_rate() -> None:
    found = Counter(shadowed(seed, 0.0).verdict for seed in range(100))
    assert found["promoted"] <= 5
    assert found["promoted"] + found["refused"] == 100  # at the limit the question is given up


def test_a_shadow_finds_a_real_difference_early() -> None:
    better = [shadowed(seed, 0.4) for seed in range(20)]
    assert all(test.verdict == "promoted" and test.blocks < 500 for test in better)
    assert all(shadowed(seed, -0.4).blocks < 500 for seed in range(20))


def test_a_shadow_is_not_promoted_while_its_rank_is_lower() -> None:
    test = SequentialTest(confidence=0.95, limit=300)
    rng = np.random.default_rng(0)
    for difference in rng.normal(1.0, 1.0, 200):
        test.update(float(difference), 1.0, rr_difference=-0.003)
    assert test.bounds[0] > 0
    before = test.verdict
    test.update(1.0, 1.0, rr_difference=+0.5)
    assert (before, test.verdict) == ("undecided", "promoted")


def test_a_sequential_test_survives_its_numbers() -> None:
    test = shadowed(0, 0.1, limit=300)
    again = SequentialTest.of(test.numbers())
    assert again == test
    fresh = SequentialTest(confidence=0.9, limit=10)
    assert fresh.bounds == (-math.inf, math.inf)
    assert SequentialTest.of(fresh.numbers()) == fresh


@pytest.mark.parametrize("numbers", [[], [0.0] * 8, [0.95, 10, 0, 0, 0, 0, 0, 0, 7]])
def test_other_numbers_are_refused(numbers: list[float]) -> None:
    with pytest.raises(StateError, match="a sequential test must be nine numbers"):
        SequentialTest.of(numbers)
