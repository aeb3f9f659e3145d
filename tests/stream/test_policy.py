"""When training pays."""

from __future__ import annotations

from math import inf, log
from typing import Any, Literal

import pytest

from stream import policy
from stream.evidence import AlarmShare, Population, Reading
from stream.settings import Settings, Trigger, load
from stream.worth import Worth


def weighed(
    settings: Settings, new_events: int, share: AlarmShare | None = None, unknown: float = 0.0, interval: int = 0
) -> Any:
    share = share or AlarmShare(1_000, 0.001)
    counts = policy.Counts(new_events, 20_000, new_events, interval)
    return policy.weigh(settings, Population(50_000), share, unknown, counts, Worth.of([], settings, 0.0))


@pytest.mark.parametrize(
    ("name", "trigger", "threshold"), [("clock", "clock", 700.0), ("continuous", "continuous", 50.0)]
)
def test_policies_that_count_events(name: Literal["clock", "continuous"], trigger: str, threshold: float) -> None:
    rules = Settings(trigger=Trigger(policy=name, clock_events=700, min_new_events=50))
    assert weighed(rules, 49) == [Reading(trigger, 49.0, threshold, False)]
    assert weighed(rules, 700) == [Reading(trigger, 700.0, threshold, True)]


def test_never_looks_at_nothing() -> None:
    assert weighed(Settings(trigger=Trigger(policy="never")), 10**9) == []


def test_drift_takes_what_promises_most_of_what_is_worth_it() -> None:
    rules, share = load(trigger={"step_worth": 1.0}), AlarmShare(1_000, 0.001)
    assert policy.strongest(weighed(rules, 5_000)) is None  # .1 * log(1.25) * 5,000 = 112 nats, for 600 steps
    aged = policy.strongest(weighed(rules, 13_000))
    assert aged is not None
    assert (aged.trigger, round(aged.gain)) == ("staleness", 651)
    share.add(1_000, 20)  # 20 * .019 = .38 of the events are of people who have just turned, at .4 nats
    assert policy.strongest(weighed(rules, 3_900, share)) is None
    users = policy.strongest(weighed(rules, 4_500, share))
    assert users is not None
    assert (users.trigger, round(users.gain), users.now < users.threshold) == ("users", 684, True)
    sudden = policy.strongest(weighed(rules, 100, share, interval=4_500))
    assert sudden is not None
    assert (sudden.trigger, sudden.gain) == ("users", users.gain)  # it will be there as long as the last one was
    assert policy.strongest(weighed(rules, 5_000, interval=20_000)) is None  # but a young model is not old
    new = policy.strongest(weighed(rules, 8_000, share, unknown=0.6))
    assert new is not None
    assert new.trigger == "new-items"
    assert new.gain == pytest.approx(0.3 * 0.6 * 8_000)


def test_a_stale_model_is_trained_whatever_that_is_worth() -> None:
    rules = load(trigger={"max_staleness_events": 100})
    assert policy.strongest(weighed(rules, 99)) is None
    stale = policy.strongest(weighed(rules, 100))
    assert stale is not None
    assert (stale.trigger, stale.threshold) == ("staleness", 100.0)


def test_evidence_that_is_not_there_is_worth_nothing() -> None:
    found = weighed(load(trigger={"step_worth": 0.0, "unknown_share": 0.2}), 1_000, unknown=0.1)
    assert [reading.trigger for reading in found if reading.crossed] == ["staleness"]


@pytest.mark.parametrize(
    ("reason", "new_events", "since_s", "outstanding", "expected"),
    [
        ("staleness", 100, inf, False, ""),
        ("staleness", 99, inf, False, "min_new_events"),
        ("population", 99, inf, False, ""),
        ("segment", 99, 59.0, False, "cool_down_s"),
        ("users", 100, 59.0, False, "cool_down_s"),
        ("users", 100, 60.0, False, ""),
        ("population", 99, 0.0, True, "outstanding"),
    ],
)
def test_what_holds_a_training_back(
    reason: str, new_events: int, since_s: float, outstanding: bool, expected: str
) -> None:
    trigger = Trigger(min_new_events=100, cool_down_s=60.0)
    assert policy.obstacle(trigger, reason, new_events, since_s, outstanding) == expected


def test_a_clock_is_held_back_by_its_own_count_only() -> None:
    assert policy.obstacle(Trigger(policy="clock", clock_events=10, min_new_events=100), "clock", 10, inf, False) == ""


def test_age_is_that_of_what_is_live_not_of_the_last_training() -> None:
    rules, share = load(trigger={"step_worth": 1.0}), AlarmShare(1_000, 0.001)

    def age(unlearned: int) -> Reading:
        counts = policy.Counts(3_000, 20_000 - unlearned, unlearned)
        found = policy.weigh(rules, Population(50_000), share, 0.0, counts, Worth.of([], rules, 0.0))
        return next(reading for reading in found if reading.trigger == "staleness")

    assert age(10_000).size == pytest.approx(log(2))  # 10,000 that it knows, as many that it does not
    assert age(10_000).gain == pytest.approx(0.1 * log(2) * 3_000)
    assert age(3_000).size == pytest.approx(log(20 / 17))
