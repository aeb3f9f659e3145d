"""The gate: error rates on seeded streams, and every way a verdict can fall."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from stream.errors import StateError
from stream.gate import FEWEST_BLOCKS, Call, Evidence, PairedBlocks, SequentialTest, judge
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
    unrelated = 20 * ((1.0 - 0.4) ** 2 + (3 * (0.2 - 0.4)) ** 2)  # between people there is nothing
    assert numbers["gain_error"] == pytest.approx(math.sqrt(unrelated) / 80)
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


def test_the_error_is_between_people_where_they_hang_together() -> None:
    users = np.repeat(np.arange(40), 5)
    gain = np.where(users % 2 == 0, 0.3, 0.1)  # a person's five blocks are alike
    ones = np.ones(200)
    pairs = PairedBlocks(users, ones.astype(np.int64), gain, ones, ones, ones > 2)
    between = 40 * (5 * 0.1) ** 2 * 40 / 39  # unrelated blocks: 200 x .1^2
    assert judge(pairs, GATE, 0).numbers["gain_error"] == pytest.approx(math.sqrt(between) / 200)


NUMBERS = {"blocks": 40.0, "events": 80.0, "gain": 0.05, "gain_error": 0.1, "gain_lower": -0.1, "mrr": 0.2,
           "mrr_change": -0.01}  # fmt: skip


def test_evidence_is_what_a_verdict_tells() -> None:
    found = Evidence.of(NUMBERS | {"reason": "log-rank gain 0.0500, lower bound -0.1000"})
    assert (found.blocks, found.weight, found.total) == (40, 80.0, 4.0)
    assert found.variance == pytest.approx(8.0**2)
    assert found.rr_total == pytest.approx(-0.002 * 80)


@pytest.mark.parametrize(
    "numbers", [{}, {k: v for k, v in NUMBERS.items() if k != "gain_error"}, NUMBERS | {"gain_lower": 0.01}]
)
def test_no_evidence_where_nothing_is_told_or_reciprocal_rank_was_in_question(numbers: dict[str, float]) -> None:
    assert Evidence.of(numbers) == Evidence()


def shadowed(seed: int, gain: float, limit: int = 1000, before: Evidence | None = None) -> SequentialTest:
    """Blocks of 400 people, each with a gain of their own."""
    rng = np.random.default_rng(seed)
    test = SequentialTest(0.95, limit, before or Evidence())
    people = rng.integers(400, size=limit)
    own = rng.normal(0, 0.3, 400)[people]
    for difference, weight, person in zip(rng.normal(gain, 1.0, limit), rng.geometric(0.5, limit), people, strict=True):
        test.update(float(difference + own[test.blocks]), float(weight), group=int(person))
        if test.verdict != "undecided":
            break
    return test


def test_looking_after_every_block_keeps_the_error_rate() -> None:
    found = Counter(shadowed(seed, 0.0).verdict for seed in range(200))
    assert found["promoted"] <= 14  # 5 % and two standard errors
    assert found["promoted"] + found["refused"] == 200  # at the limit the question is given up


def test_gate_and_shadow_together_keep_both_error_rates() -> None:
    """No difference at all: a twentieth at once, a twentieth of what goes on in shadow from there."""
    found = Counter[Call]()
    for seed in range(150):
        verdict = judge(simulated(seed, 0.0), GATE, seed)
        call = verdict.verdict
        if call == "undecided":
            call = shadowed(seed, 0.0, before=Evidence.of(verdict.numbers)).verdict
        found[call] += 1
    assert found["promoted"] <= 20  # 10 % and one standard error


def test_a_shadow_finds_a_real_difference_early() -> None:
    better = [shadowed(seed, 0.4) for seed in range(20)]
    assert all(test.verdict == "promoted" and test.blocks < 500 for test in better)
    assert all(shadowed(seed, -0.4).blocks < 500 for seed in range(20))


def test_what_the_hold_out_has_shown_counts() -> None:
    """A gain of .07, which a thousand blocks prove in half of the cases; a hold-out that saw it too helps."""
    before = Evidence(blocks=1_000, weight=2_000.0, total=140.0, variance=1_000 * 6 * 1.09)  # a weight squared is 6
    alone = sum(shadowed(seed, 0.07).verdict == "promoted" for seed in range(40))
    on = [shadowed(seed, 0.07, before=before) for seed in range(40)]
    assert alone <= 24
    assert sum(test.verdict == "promoted" for test in on) >= 30
    assert max(test.blocks for test in on) <= 1_000  # the limit is of arriving blocks


def test_bounds_are_arithmetic() -> None:
    before = Evidence(blocks=140, weight=200.0, total=10.0, variance=3.0, rr_total=0.4)
    test = SequentialTest(0.95, 860, before)
    for number in range(60):
        test.update(0.2 if number % 2 else 0.4, 1.0, -0.02, group=number)
    assert test.mean == pytest.approx((10 + 60 * 0.3) / 260)
    assert test.rr_change == pytest.approx((0.4 - 1.2) / 260)
    arrived = 60 * 0.1**2 * 60 / 59
    width = 1.959964 * math.sqrt((3.0 + arrived) * 1_000 / 200) / 260  # 200 blocks of at most 1,000
    assert test.bounds == pytest.approx((test.mean - width, test.mean + width))


def test_nothing_is_decided_before_enough_blocks_arrived() -> None:
    test = SequentialTest(0.95, 1_000, Evidence(blocks=5_000, weight=5_000.0, total=500.0, variance=50.0))
    for number in range(FEWEST_BLOCKS - 1):
        test.update(0.1, 1.0, group=number)
    assert (test.bounds, test.verdict) == ((-math.inf, math.inf), "undecided")
    test.update(0.1, 1.0)
    assert (test.blocks, test.verdict) == (50, "promoted")


def test_a_shadow_is_not_promoted_while_its_rank_is_lower() -> None:
    test = SequentialTest(confidence=0.95, limit=300)
    rng = np.random.default_rng(0)
    for number, difference in enumerate(rng.normal(1.0, 1.0, 200)):
        test.update(float(difference), 1.0, rr_difference=-0.003, group=number)
    assert test.bounds[0] > 0
    before = test.verdict
    test.update(1.0, 1.0, rr_difference=+0.5)
    assert (before, test.verdict) == ("undecided", "promoted")


def test_a_rank_that_was_lower_in_the_hold_out_counts_too() -> None:
    before = Evidence(blocks=100, weight=100.0, total=0.0, variance=1.0, rr_total=-1.0)
    test = SequentialTest(0.95, 1_000, before)
    for number in range(200):
        test.update(1.0, 1.0, 0.002, group=number)
    assert test.bounds[0] > 0
    assert test.rr_change == pytest.approx((-1 + 0.4) / 300)  # exactly the margin, or rounding below it
    test.update(1.0, 1.0, 0.002)
    assert test.verdict == "promoted"


def test_a_sequential_test_survives_its_numbers() -> None:
    before = Evidence(blocks=30, weight=45.0, total=-0.5, variance=20.0, rr_total=0.1)
    for test in (shadowed(0, 0.1, limit=300, before=before), SequentialTest(confidence=0.9, limit=10)):
        again = SequentialTest.of(test.numbers())
        assert again.numbers() == test.numbers()
        assert (again.before, again.bounds, again.verdict) == (test.before, test.bounds, test.verdict)
    assert again.bounds == (-math.inf, math.inf)


@pytest.mark.parametrize("numbers", [[], [0.0] * 9, [0.95, 10, 0, 0, 7, *[0.0] * 137]])
def test_other_numbers_are_refused(numbers: list[float]) -> None:
    with pytest.raises(StateError, match="a sequential test must be 142 numbers, the fifth -1, 0 or 1, got "):
        SequentialTest.of(numbers)
