"""Which alarms are told of, and whom a training concerns."""

from __future__ import annotations

from msgspec.structs import replace

from consumers import alarms
from stream.messages import DriftAlarm, TrainingJob

ALARM = DriftAlarm("ann", 100.0, "user", "rank", "page_hinkley", 4.5, 3.0, 40, ["Garden"], ["Toys"], 7, 60.0, 12,
                   {"Toys": 1.0, "Garden": 0.0}, {"Garden": 1.0, "Toys": 0.0}, ["spade", "rake", "spade"])  # fmt: skip
JOB = TrainingJob("j2", 200.0, "refresh", "users", {}, {0: 9}, {}, "v1", 1)


def test_things_are_blamed_once_and_by_their_titles() -> None:
    assert alarms.blamed(ALARM, {"spade": "Red spade"}) == ["Red spade", "rake"]


def test_the_strongest_stand_first() -> None:
    weak, strong = replace(ALARM, user_id="bob", evidence=3.1), replace(ALARM, user_id="eve", evidence=9.0)
    told = alarms.rows([weak, ALARM, strong], {}, most=2)
    assert [row["user"] for row in told] == ["eve", "ann"]
    assert told[1] == {
        "user": "ann", "at": "1970-01-01T00:01:40.000Z", "began": "1970-01-01T00:01:00.000Z", "scope": "user",
        "says": alarms.sentence(ALARM, {}), "signal": "rank", "detector": "page_hinkley", "evidence": 4.5,
        "threshold": 3.0, "interaction": 40, "since": 12,
    }  # fmt: skip


def test_of_a_training_those_are_named_whose_alarms_stand_behind_it() -> None:
    raised = [
        ALARM,
        replace(ALARM, evidence=6.0),
        replace(ALARM, user_id="late", at_s=201.0),
        replace(ALARM, user_id="early", at_s=49.0),
        replace(ALARM, user_id="cook", risen=["Kitchen"], fallen=[], before={}, since={}, evidence=3.0),
    ]
    everybody = alarms.concerned(raised, replace(JOB, began_s=50.0))
    assert [(one["user"], one["times_threshold"]) for one in everybody] == [("ann", 2.0), ("cook", 1.0)]
    assert [one["user"] for one in alarms.concerned(raised, replace(JOB, trigger="segment", segment="Kitchen"))] == [
        "cook"
    ]
    assert alarms.concerned(raised, replace(JOB, trigger="clock")) == []
    assert alarms.concerned(raised, None) == []
