"""When training pays."""

from __future__ import annotations

from math import inf
from typing import Literal

import pytest

from stream import policy
from stream.evidence import AlarmShare, Population, Reading
from stream.settings import Trigger


@pytest.mark.parametrize(
    ("name", "trigger", "threshold"), [("clock", "clock", 700.0), ("continuous", "continuous", 50.0)]
)
def test_policies_that_count_events(name: Literal["clock", "continuous"], trigger: str, threshold: float) -> None:
    rules = Trigger(policy=name, clock_events=700, min_new_events=50)
    share = AlarmShare(1_000, 0.001)
    assert policy.weigh(rules, Population(0.002), share, 49) == [Reading(trigger, 49.0, threshold, False)]
    assert policy.weigh(rules, Population(0.002), share, 700) == [Reading(trigger, 700.0, threshold, True)]


def test_never_looks_at_nothing() -> None:
    assert policy.weigh(Trigger(policy="never"), Population(0.002), AlarmShare(1_000, 0.001), 10**9) == []


def test_drift_takes_the_first_that_crossed() -> None:
    rules, share, population = Trigger(max_staleness_events=100), AlarmShare(1_000, 0.001), Population(0.002)
    assert policy.strongest(policy.weigh(rules, population, share, 99)) is None
    stale = policy.strongest(policy.weigh(rules, population, share, 100))
    assert stale == Reading("staleness", 100.0, 100.0, True)
    share.add(1_000, 12)
    users = policy.strongest(policy.weigh(rules, population, share, 100))
    assert users is not None
    assert (users.trigger, users.now < users.threshold) == ("users", True)
    population.risen = True
    first = policy.strongest(policy.weigh(rules, population, share, 100))
    assert first is not None
    assert first.trigger == "population"


@pytest.mark.parametrize(
    ("new_events", "since_s", "outstanding", "expected"),
    [
        (100, inf, False, ""),
        (99, inf, False, "min_new_events"),
        (100, 59.0, False, "cool_down_s"),
        (100, 60.0, False, ""),
        (99, 0.0, True, "outstanding"),
    ],
)
def test_what_holds_a_training_back(new_events: int, since_s: float, outstanding: bool, expected: str) -> None:
    assert policy.obstacle(Trigger(min_new_events=100, cool_down_s=60.0), new_events, since_s, outstanding) == expected


def test_a_clock_is_held_back_by_its_own_count_only() -> None:
    assert policy.obstacle(Trigger(policy="clock", clock_events=10, min_new_events=100), 10, inf, False) == ""


def test_drift_waits_for_a_share_of_the_log() -> None:
    trigger = Trigger(min_new_events=10, min_new_share=0.1)
    assert policy.obstacle(trigger, 99, inf, False, events=1_099) == "min_new_share"
    assert policy.obstacle(trigger, 100, inf, False, events=1_100) == ""
    continuous = Trigger(policy="continuous", min_new_events=10, min_new_share=0.1)
    assert policy.obstacle(continuous, 10, inf, False, events=1_100) == ""
