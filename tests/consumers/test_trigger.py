"""The trigger: when it trains, what holds it back, how shadows end."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from consumers.trigger import KEY, TriggerHandler
from stream import messages, metrics
from stream.errors import BadRecord, StateError
from stream.messages import BlockLoss, DriftAlarm, ModelHealth, ModelVersion, Ruling, TrainingJob
from stream.records import Output, Record
from stream.settings import Settings, load

EACH = 100  # interactions per health record
WARM_UP = 500


def settings(partitions: int = 1, **trigger: object) -> Settings:
    small = {"warm_up_events": WARM_UP, "min_new_events": 300, "max_staleness_events": 100_000, "step_worth": 100.0}
    # a refresh of as many epochs as the first training is thought to take its steps
    return load(
        trigger=small | trigger, training={"epochs": 12}, kafka={"partitions": partitions}, gate={"shadow_blocks": 400}
    )


def health(
    n: int,
    partition: int = 0,
    at_s: float | None = None,
    live: str = "v1",
    blocks: Sequence[BlockLoss] = (),
    shadow: str = "",
    unknown: int = 0,
) -> Record:
    """The n-th (from 1) health record of a partition: n * EACH interactions seen."""
    seen = n * EACH
    said = ModelHealth(
        partition, n * 1_000.0 if at_s is None else at_s, seen - 1, seen, 5, 0, 0, 0.0, 0, 0, 0, live, shadow,
        list(blocks), 0, unknown,
    )  # fmt: skip
    return Record("model-health", partition, n - 1, b"%d" % partition, messages.encode(said))


def block(loss: float, **more: Any) -> BlockLoss:
    return BlockLoss(0.0, 1, float(7.0 + loss), 7.0, 7.0, **more)


def alarm(offset: int, at_s: float, partition: int = 0) -> Record:
    said = DriftAlarm("ann", at_s, "user", "rank", "page_hinkley", 4.0, 3.0, 30, [], [], offset)
    return Record("drift-alarms", partition, offset, b"ann", messages.encode(said))


def version(
    name: str = "v1",
    job: str = "j1",
    verdict: str = "promoted",
    parent: str = "",
    live_at_s: float = 0.0,
    gate: dict[str, float | str] | None = None,
) -> Record:
    made = ModelVersion(
        name, verdict, parent, 0.0, live_at_s, {0: WARM_UP}, job, "warm-up", {}, name, "", "", 600, 1.0, 1,
        gate or {}, 0.0,
    )  # fmt: skip
    return Record("model-versions", 0, 0, name.encode(), messages.encode(made))


def drive(made: TriggerHandler, records: Iterable[Record]) -> list[Output]:
    return [out for record in records for out in made.on_record(record)]


def jobs(outputs: Iterable[Output]) -> list[TrainingJob]:
    return [messages.decode(TrainingJob, o.value) for o in outputs if o.topic == "training-jobs"]


def warm(made: TriggerHandler) -> TriggerHandler:
    """Past the warm-up: v1 is live, 500 events are seen."""
    issued = jobs(drive(made, [health(n, live="") for n in range(1, 6)]))
    assert [job.kind for job in issued] == ["warm-up"]
    drive(made, [version()])
    made.journal.clear()
    return made


@pytest.mark.parametrize("policy", ["drift", "clock", "continuous", "never"])
def test_the_warm_up_is_trained_whatever_the_policy(policy: str) -> None:
    made = TriggerHandler(settings(policy=policy))
    assert drive(made, [health(n, live="") for n in range(1, 5)]) == []
    (job,) = jobs(drive(made, [health(5, live="")]))
    assert (job.job_id, job.at_s, job.kind, job.trigger, job.parent) == ("j1", 5_000.0, "warm-up", "warm-up", "")
    assert (job.horizon, job.since) == ({0: 500}, {})
    assert job.evidence == {"warm-up": 500.0, "warm-up_threshold": 500.0}
    assert drive(made, [health(n, live="") for n in range(6, 40)]) == []  # outstanding
    assert made.journal[0] | {"event": "training-decided", "job": "j1", "trigger": "warm-up"} == made.journal[0]
    metrics.check(made.figures())


def test_a_warm_up_that_made_no_model_is_tried_again() -> None:
    made = TriggerHandler(settings())
    drive(made, [health(n, live="") for n in range(1, 6)])
    drive(made, [version(verdict="refused")])
    (again,) = jobs(drive(made, [health(n, live="") for n in range(6, 9)]))
    assert (again.job_id, again.kind, again.horizon, again.since) == ("j2", "warm-up", {0: 800}, {0: 500})


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ({"policy": "clock", "clock_events": 1_000}, [(15, "clock"), (25, "clock")]),
        ({"policy": "continuous"}, [(8, "continuous"), (11, "continuous"), (14, "continuous")]),
        ({"policy": "drift", "max_staleness_events": 1_200}, [(17, "staleness"), (29, "staleness")]),
        ({"policy": "continuous", "cool_down_s": 5_000.0}, [(10, "continuous"), (15, "continuous")]),
        ({"policy": "never"}, []),
    ],
)
def test_policies_that_count(trigger: dict[str, object], expected: list[tuple[int, str]]) -> None:
    made, found = warm(TriggerHandler(settings(**trigger))), []  # type: ignore[arg-type]
    for n in range(6, 30):
        for job in jobs(drive(made, [health(n)])):
            found.append((n, job.trigger))
            drive(made, [version(f"v{len(found) + 1}", job.job_id, "refused", "v1")])
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_a_job_continues_the_one_before() -> None:
    made = warm(TriggerHandler(settings(policy="continuous", go_live_delay_s=0.0)))
    (job,) = jobs(drive(made, [health(n) for n in range(6, 9)]))
    assert (job.parent, job.kind, job.since, job.horizon) == ("v1", "refresh", {0: 500}, {0: 800})
    drive(made, [version("v2", "j2", parent="v1", live_at_s=20_000.0)])
    assert jobs(drive(made, [health(n) for n in range(9, 20)])) == []  # not in force before 20,000 s
    (after,) = jobs(drive(made, [health(20, at_s=20_000.0)]))
    assert (after.parent, after.job_id, after.since) == ("v2", "j3", {0: 800})
    assert len({job.seed, after.seed}) == 2


def losses(level: float, rng: np.random.Generator, **more: Any) -> list[BlockLoss]:
    return [block(level + x, group=k, **more) for k, x in enumerate(rng.normal(0, 0.5, 20))]


def test_a_rise_of_the_loss_triggers_once() -> None:
    made, rng = warm(TriggerHandler(settings(step_worth=0.03))), np.random.default_rng(0)
    drive(made, refreshed(12, "staleness", "refused"))  # age alone has never been worth it
    out: list[Output] = []
    for n in range(6, 24):
        out += drive(made, [health(n, blocks=losses(-1.0 if n < 20 else 2.0, rng))])
    (job,) = jobs(out)
    assert (job.trigger, job.horizon, job.segment, job.text) == ("population", {0: 2_200}, "", False)
    assert job.evidence["population"] == job.evidence["size"] == pytest.approx(3.0, abs=0.7)
    since = job.evidence["gain"] / (0.2 * job.evidence["size"])  # nats per nat, and as many events as it has been there
    assert since == pytest.approx(60, abs=21)  # 20 are tested per record
    assert job.evidence["price"] == pytest.approx(18.0)  # 600 steps
    assert made.figures()["alarms_total", "population", "page_hinkley"] == 1
    (line,) = [line for line in made.journal if line["event"] == "population-drift"]
    assert line["before"] == pytest.approx(6.0, abs=0.1)


def refreshed(n: int, trigger: str, verdict: str, gain: float = 0.0) -> list[Record]:
    """`n` earlier refreshes, of 600 steps each."""
    made = [
        ModelVersion(
            f"v{k}", verdict, "v1", 0.0, 0.0, {0: WARM_UP}, f"x{k}", trigger, {"size": 0.5}, "", "", "", 600, 20.0, 1,
            {"gain": gain}, 0.0,
        )
        for k in range(2, 2 + n)
    ]  # fmt: skip
    return [Record("model-versions", 0, 0, v.version.encode(), messages.encode(v)) for v in made]


def test_a_rise_in_a_segment_asks_for_that_segment() -> None:
    made, rng = warm(TriggerHandler(settings(step_worth=0.01))), np.random.default_rng(0)
    drive(made, refreshed(40, "staleness", "refused"))
    out: list[Output] = []
    for n in range(6, 60):
        toys = losses(0.0 if n < 35 else 2.0, rng, segment="Toys")[:4]
        rest = losses(0.0 if n < 35 else -0.5, rng, segment="Garden")[:16]
        out += drive(made, [health(n, blocks=[*toys, *rest])])
    (job,) = jobs(out)
    assert (job.trigger, job.segment, job.text, job.horizon) == ("segment", "Toys", False, {0: 4_500})
    assert job.evidence["size"] == pytest.approx(job.evidence["segment"] * 160 / 799)  # the last is open yet
    assert job.began_s == 0.0  # the blocks of these tests have no time
    assert {line["segment"] for line in made.journal if line["event"] == "segment-drift"} == {"Toys"}


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        ([], 25),
        (refreshed(1, "staleness", "refused"), 32),  # in vain: not so soon again
        (refreshed(3, "staleness", "refused"), 50),
        (refreshed(1, "staleness", "promoted", 0.2), 17),  # it gained much: sooner
        (refreshed(1, "population", "promoted", 0.2), 25),  # says nothing about age
        (refreshed(1, "staleness", "undecided", 0.2), 32),  # without a model to be had: nothing gained
    ],
)
def test_what_refreshes_gained_moves_the_next(past: list[Record], expected: int) -> None:
    made = warm(TriggerHandler(settings(step_worth=0.5)))
    drive(made, past)
    issued = [n for n in range(6, 80) if jobs(drive(made, [health(n)]))]
    assert issued == [expected]


@pytest.mark.parametrize("level", [-3.0, 1.0])
def test_a_swap_neither_hides_a_rise_nor_is_one(level: float) -> None:
    made, rng = warm(TriggerHandler(settings())), np.random.default_rng(0)
    drive(made, [health(n, blocks=losses(-1.0, rng)) for n in range(6, 40)])
    drive(made, [health(n, live="v2", blocks=losses(level, rng)) for n in range(40, 99)])
    assert made.figures()["alarms_total", "population", "page_hinkley"] == (level > -1.0)


def timed(loss: float, at_s: float, rng: np.random.Generator) -> list[BlockLoss]:
    """Blocks of one health record, within the second before it."""
    return [msgspec.structs.replace(one, at_s=at_s - 1.0) for one in losses(loss, rng)]


def test_a_rise_is_answered_again_when_what_came_since_has_doubled_and_the_log_begins_anew() -> None:
    made, rng = warm(TriggerHandler(settings(step_worth=0.03))), np.random.default_rng(0)
    drive(made, refreshed(12, "staleness", "refused"))
    issued: list[TrainingJob] = []
    for n in range(6, 90):
        out = jobs(drive(made, [health(n, blocks=timed(-1.0 if n < 40 else 2.0, n * 1_000.0, rng))]))
        issued += out
        drive(made, [version(f"v{job.job_id[1:]}", job.job_id, "refused", "v1") for job in out])
    rises = [job for job in issued if job.trigger == "population"]
    assert len(rises) == 3
    assert {job.changed_s for job in issued if job.at_s < rises[0].at_s} <= {0.0}
    assert {job.changed_s for job in issued if job.at_s >= rises[0].at_s} == {rises[0].began_s}
    assert rises[0].began_s == pytest.approx(39_000.0, abs=2_000.0)
    since = [job.at_s - 40_000.0 for job in rises]
    assert since[0] <= 4_000.0
    assert [later >= 2 * sooner - 2_000.0 for sooner, later in itertools.pairwise(since)] == [True, True]
    seen = made._state
    assert seen.changed_events == rises[0].horizon[0]
    counts = made._counts(messages.decode(ModelVersion, version().value))
    assert (counts.learned, counts.unlearned) == (300, 89 * EACH - seen.changed_events)  # it knows nothing of since


@pytest.mark.parametrize(("at_s", "stands"), [(0.0, False), (35_000.0, True)])
def test_what_a_fallen_version_did_is_no_change_of_the_world(at_s: float, stands: bool) -> None:
    made, rng = second(TriggerHandler(settings(step_worth=0.01))), np.random.default_rng(1)
    n, out = 6, list[Output]()
    for n in range(6, 40):
        out += drive(made, [health(n, live="v2", blocks=timed(-1.0 if n < 30 else 2.0, n * 1_000.0, rng))])
        drive(made, [version(f"v{10 + int(job.job_id[1:])}", job.job_id, "refused", "v2") for job in jobs(out)])
    changed = made._state.changed_s, made._state.changed_events
    assert 20_000.0 < changed[0] < 31_000.0
    fallen = version("v2", "forced", parent="v1")
    known = msgspec.structs.replace(messages.decode(ModelVersion, fallen.value), at_s=at_s)
    drive(made, [replace(fallen, value=messages.encode(known))])
    while not rulings(out):
        n += 1
        out += drive(made, [health(n, live="v2", blocks=compared(rng, 0.2))])
    assert (made._state.changed_s, made._state.changed_events) == (changed if stands else (0.0, 0))


def test_an_unusual_share_of_alarms_triggers() -> None:
    made = warm(TriggerHandler(settings(alarm_window_events=1_000, alarm_p_value=1e-4, step_worth=0.1)))
    calm = [alarm(n, n * 1_000.0 - 500.0) for n in range(6, 10)]  # one in a hundred events, where .1 is expected
    out = drive(made, calm[:1] + [health(n) for n in range(6, 9)])
    assert out == []
    (job,) = jobs(drive(made, [*(alarm(900 + k, 8_500.0 + k) for k in range(40)), health(9)]))
    assert (job.trigger, job.at_s) == ("users", 9_000.0)
    assert job.evidence["users"] < job.evidence["users_threshold"] == 1e-4
    drive(made, [version("v2", "j2", "refused", "v1")])
    assert made.on_record(health(10)) == []
    assert made.figures()["evidence", "users"] > 0.1  # the same alarms do not count again


def test_items_that_the_model_does_not_know_ask_for_the_text_too() -> None:
    made = warm(TriggerHandler(settings(step_worth=0.1)))
    (job,) = jobs(drive(made, [health(n, unknown=60 * (n - 5)) for n in range(6, 13)]))
    assert (job.trigger, job.text, job.horizon) == ("new-items", True, {0: 1_200})
    assert job.evidence["new-items"] == pytest.approx(0.6)


def test_alarms_wait_for_the_health_of_the_model() -> None:
    records = [health(n) for n in range(6, 13)]
    many = [alarm(900 + k, 9_500.0 + k) for k in range(40)]
    found = []
    for order in ([*many, *records], [*records[:4], *many, *records[4:]]):
        made = warm(TriggerHandler(settings(alarm_window_events=1_000, step_worth=0.1)))
        found.append([(job.trigger, job.at_s) for job in jobs(drive(made, order))])
    assert found == [[("users", 10_000.0)], [("users", 10_000.0)]]


def test_what_holds_a_training_back_is_journaled_once() -> None:
    made = warm(TriggerHandler(settings(alarm_window_events=1_000, min_new_events=1_000, step_worth=0.0)))
    alarms = [alarm(900 + k, 5_500.0 + k) for k in range(9)]
    assert drive(made, [*alarms, *(health(n) for n in range(6, 10))]) == []
    (line,) = [line for line in made.journal if line["event"] == "training-held-back"]
    assert (line["trigger"], line["because"], line["new_events"]) == ("users", "min_new_events", 100)
    assert line["users_threshold"] == 1e-4
    assert "staleness" in line


def test_what_is_not_worth_it_yet_is_journaled_now_and_then() -> None:
    made = warm(TriggerHandler(settings()))
    drive(made, [health(n) for n in range(6, 15)])
    lines = [line for line in made.journal if line["event"] == "not-worth-it-yet"]
    assert [line["new_events"] for line in lines] == [300, 600, 900]
    assert lines[0] | {"population": 0.0, "users": 1.0, "staleness": 300.0, "price": 60_000.0} == lines[0]
    assert made.figures()["evidence", "staleness"] == 900.0


def test_a_job_without_an_outcome_is_given_up() -> None:
    made = TriggerHandler(settings(policy="continuous", max_staleness_events=1_000))
    drive(made, [health(n, live="") for n in range(1, 6)])
    assert jobs(drive(made, [health(n, live="") for n in range(6, 15)])) == []
    (again,) = jobs(drive(made, [health(15, live="")]))
    assert (again.job_id, again.at_s) == ("j2", 15_000.0)
    assert [line["job"] for line in made.journal if line["event"] == "training-given-up"] == ["j1"]


# shadows


def shadowed(rng: np.random.Generator, gain: float, n: int = 20) -> list[BlockLoss]:
    return [block(0.5, shadow=float(x), shadow_mrr=0.01, group=k) for k, x in enumerate(rng.normal(gain, 0.3, n))]


@pytest.mark.parametrize(("gain", "verdict"), [(0.2, "promoted"), (-0.2, "refused"), (0.0, "refused")])
def test_a_shadow_ends_with_a_ruling(gain: float, verdict: str) -> None:
    made, rng = warm(TriggerHandler(settings())), np.random.default_rng(1)
    drive(made, [version("v2", "j2", "undecided", "v1")])
    out: list[Output] = []
    for n in range(6, 40):
        out += drive(made, [health(n, blocks=shadowed(rng, gain), shadow="v2")])
    (ruled,) = out
    assert (ruled.topic, ruled.key, ruled.partition) == ("model-versions", b"v2/shadow", 0)
    ruling = messages.decode_version(ruled.value)
    assert isinstance(ruling, Ruling)
    assert (ruling.version, ruling.ruling, ruling.live_at_s) == ("v2", verdict, ruling.at_s)
    assert ruling.numbers["gain"] == pytest.approx(gain, abs=0.1)
    assert ruling.numbers["blocks"] <= 400
    assert ruling.numbers["mrr_change"] == pytest.approx(0.01)
    assert made.figures()["rulings_total", verdict] == 1
    ended = [line for line in made.journal if line["event"] == "shadow-ended"]
    assert [(line["version"], line["ruling"]) for line in ended] == [("v2", verdict)]


# a hold-out of 300 blocks, one event each, whose gains scatter by .3 about .03: open, but not far from better
HELD_OUT: dict[str, float | str] = {
    "blocks": 300.0, "events": 300.0, "people": 100.0, "gain": 0.03, "gain_error": 0.3 / 300**0.5,
    "gain_lower": -0.001, "gain_upper": 0.06, "mrr": 0.1, "mrr_change": 0.02, "reason": "open",
}  # fmt: skip


def ended(gate: dict[str, float | str], parent: str = "v1") -> Ruling:
    """How a shadow ends whose every health record has 20 blocks of different people with a gain of .03 each."""
    made, rng = warm(TriggerHandler(settings())), np.random.default_rng(4)
    drive(made, [version("v2", "j2", "undecided", parent, gate=gate)])
    for n in range(6, 40):
        blocks = [
            block(0.5, shadow=0.03 + float(x), shadow_mrr=-0.001, group=20 * n + k)
            for k, x in enumerate(rng.choice([-0.3, 0.3], 20))
        ]
        if out := drive(made, [health(n, blocks=blocks, shadow="v2")]):
            ruling = messages.decode_version(out[0].value)
            assert isinstance(ruling, Ruling)
            return ruling
    raise AssertionError("no ruling")


def test_a_shadow_goes_on_from_the_hold_out() -> None:
    alone, on = ended({}), ended(HELD_OUT)
    assert (alone.numbers["blocks_before"], on.numbers["blocks_before"]) == (0, 300)
    assert on.reason.endswith(f" over {on.numbers['blocks']:.0f} blocks in shadow and 300 held out")
    arrived = on.numbers["blocks"]
    assert on.numbers["mrr_change"] == pytest.approx((300 * 0.1 * 0.02 - 0.001 * arrived) / (300 + arrived))
    assert on.numbers["gain"] * (300 + arrived) - 300 * 0.03 == pytest.approx(0.03 * arrived, abs=0.3 * 30)
    assert on.numbers["gain_upper"] - on.numbers["gain"] == pytest.approx(
        1.96 * 0.3 * (300 + 400) ** 0.5 / (300 + arrived), rel=0.15
    )


@pytest.mark.parametrize(
    ("gate", "parent"),
    [
        ({k: v for k, v in HELD_OUT.items() if k != "gain_error"}, "v1"),  # of an earlier tuner
        (HELD_OUT | {"gain_lower": 0.001}, "v1"),  # reciprocal rank is in question, not the gain
        (HELD_OUT, "v0"),  # judged against another version than serves
    ],
)
def test_a_shadow_without_evidence_starts_from_nothing(gate: dict[str, float | str], parent: str) -> None:
    assert ended(gate, parent) == ended({}, parent)


def test_only_blocks_of_the_candidate_count() -> None:
    made, rng = warm(TriggerHandler(settings())), np.random.default_rng(1)
    drive(made, [version("v2", "j2", "undecided", "v1")])
    others = [health(n, blocks=shadowed(rng, 0.5), shadow="v9") for n in range(6, 40)]
    assert drive(made, others) == []
    assert drive(made, [health(n, blocks=[block(0.5)] * 20, shadow="v2") for n in range(40, 70)]) == []


# rollback


def compared(rng: np.random.Generator, gain: float, n: int = 20) -> list[BlockLoss]:
    """Blocks with the parent's gain over the live version."""
    return [block(0.5, parent=float(x), group=int(rng.integers(64))) for x in rng.normal(gain, 0.3, n)]


def second(made: TriggerHandler) -> TriggerHandler:
    """Past the warm-up, and v2, a child of v1, is live."""
    drive(warm(made), [version("v2", "forced", parent="v1")])
    return made


def rulings(outputs: Iterable[Output]) -> list[Ruling]:
    made = [messages.decode_version(o.value) for o in outputs if o.topic == "model-versions"]
    return [ruling for ruling in made if isinstance(ruling, Ruling)]


def test_a_version_that_is_worse_than_its_parent_is_rolled_back() -> None:
    made, rng = second(TriggerHandler(settings(policy="never"))), np.random.default_rng(1)
    out: list[Output] = []
    for n in range(6, 40):
        out += drive(made, [health(n, live="v2", blocks=compared(rng, 0.2))])
        if out:
            break
    (ruling,) = rulings(out)
    assert (out[0].key, out[0].partition) == (b"v2/rollback", 0)
    assert (ruling.version, ruling.ruling, ruling.at_s, ruling.live_at_s) == ("v2", "rollback", 8_000.0, 8_000.0)
    assert ruling.reason.startswith("its parent v1 is better by 0.")
    assert 0 < ruling.numbers["gain_lower"] < ruling.numbers["gain"] == pytest.approx(0.2, abs=0.1)
    assert made.figures()["rulings_total", "rollback"] == 1
    assert [line["to"] for line in made.journal if line["event"] == "rolled-back"] == ["v1"]
    late = [health(n, live="v2", blocks=compared(rng, 0.2)) for n in range(9, 30)]  # of a scorer that has not swapped
    assert drive(made, late) == []


@pytest.mark.parametrize(
    ("gate", "gain", "live", "parent"),
    [
        ({"rollback": False}, 0.2, "v2", "v1"),
        ({}, -0.2, "v2", "v1"),
        ({}, 0.2, "v1", "v1"),  # health of the version before: its parent is another one
        ({}, 0.2, "v2", ""),
    ],
)
def test_what_is_no_reason_to_roll_back(gate: dict[str, Any], gain: float, live: str, parent: str) -> None:
    given = settings(policy="never")
    given = given.model_copy(update={"gate": given.gate.model_copy(update=gate)})
    made, rng = warm(TriggerHandler(given)), np.random.default_rng(1)
    drive(made, [version("v2", "j2", parent=parent)])
    assert drive(made, [health(n, live=live, blocks=compared(rng, gain)) for n in range(6, 40)]) == []


def test_a_training_on_from_what_was_rolled_back_is_given_up() -> None:
    made, rng = second(TriggerHandler(settings(policy="continuous"))), np.random.default_rng(1)
    (job,) = jobs(drive(made, [health(n, live="v2") for n in range(6, 9)]))
    assert job.parent == "v2"
    out: list[Output] = []
    n = 9
    while not rulings(out):
        out += drive(made, [health(n, live="v2", blocks=compared(rng, 0.2))])
        n += 1
    given_up = [line for line in made.journal if line["event"] == "training-given-up"]
    assert [(line["job"], line["parent"]) for line in given_up] == [(job.job_id, "v2")]
    drive(made, [version("v3", job.job_id, parent="v2")])  # it comes late, and cannot go live
    (after,) = jobs([*out, *drive(made, [health(k, live="v1") for k in range(n, n + 4)])])
    assert (after.parent, after.kind) == ("v1", "refresh")


def test_a_rollback_waits_for_its_time_and_nothing_goes_on_from_what_fell() -> None:
    made, rng = second(TriggerHandler(settings(policy="continuous", go_live_delay_s=5_000.0))), np.random.default_rng(1)
    out = drive(made, [health(n, live="v2", blocks=compared(rng, 0.2)) for n in range(6, 12)])
    (ruling,) = rulings(out)
    assert ruling.live_at_s == ruling.at_s + 5_000.0 == 13_000.0
    (job,) = jobs(drive(made, [health(n, live="v2", blocks=compared(rng, 0.2)) for n in range(12, 15)]))
    assert (job.parent, job.at_s) == ("v1", 13_000.0)


def test_a_rollback_clears_the_evidence_against_the_version() -> None:
    made, rng = second(TriggerHandler(settings(min_new_events=50_000))), np.random.default_rng(1)
    for n in range(6, 30):
        drive(made, [health(n, live="v2", blocks=losses(-1.0 if n < 18 else 0.5, rng))])
    assert made.figures()["evidence", "population"] > 0.2
    n, out = 30, list[Output]()
    while not rulings(out):
        out += drive(made, [health(n, live="v2", blocks=compared(rng, 0.2))])
        n += 1
    assert made.figures()["evidence", "population"] == 0.0


# partitions, restarts, rubbish


def test_partitions_are_merged_by_event_time() -> None:
    first = [health(n, 0, at_s=n * 1_000.0) for n in range(1, 9)]
    second = [health(n, 1, at_s=n * 1_000.0 + 500.0) for n in range(1, 9)]
    found = []
    mixed = [record for pair in zip(first, second, strict=True) for record in pair]
    for order in (mixed, [*first, *second], [*second, *first]):
        made = TriggerHandler(settings(partitions=2))
        found.append([(job.at_s, job.horizon) for job in jobs(drive(made, order))])
    assert found == [[(3_000.0, {0: 300, 1: 200})]] * 3


def test_a_silent_partition_is_not_waited_for_for_ever() -> None:
    made = TriggerHandler(settings(partitions=2))
    (job,) = jobs(drive(made, [health(n) for n in range(1, 23)]))
    assert job.horizon == {0: 500}
    assert jobs(drive(TriggerHandler(settings(partitions=2)), [health(n) for n in range(1, 21)])) == []


def story() -> list[Record]:
    rng = np.random.default_rng(2)
    out = [health(n, live="") for n in range(1, 6)] + [version()]
    for n in range(6, 40):
        level = -1.0 if n < 25 else 0.0
        out += [alarm(n * 100 + k, n * 1_000.0 - 900 + 7 * k) for k in range(int(rng.integers(0, 3)))]
        blocks = [block(level + x, segment="Toys" if x > 0 else "Garden") for x in rng.normal(0, 0.5, 20)]
        out.append(health(n, blocks=blocks, unknown=3 * n))
    out.append(version("v2", "j2", "undecided", "v1", gate=HELD_OUT))
    out += [health(n, blocks=shadowed(rng, 0.1), shadow="v2") for n in range(40, 80)]
    out += [health(n, live="v2", blocks=compared(rng, 0.15)) for n in range(80, 100)]
    return out


@pytest.mark.parametrize("every", [1, 3, 17])
def test_restarts_change_no_decision(every: int) -> None:
    given = settings(alarm_window_events=1_000, alarm_p_value=1e-3, step_worth=0.05)
    records = story()
    whole = TriggerHandler(given)
    expected = drive(whole, records)
    assert len(expected) >= 3
    assert [ruling.ruling for ruling in rulings(expected)] == ["promoted", "rollback"]  # of v2
    made, out, known = TriggerHandler(given), list[Output](), list[Record]()
    for start in range(0, len(records), every):
        batch = records[start : start + every]
        out += drive(made, batch)
        known += [record for record in batch if record.topic == "model-versions"]
        kept = list(made.snapshot())
        assert [(o.topic, o.key, o.partition) for o in kept] in ([("trigger-states", KEY, 0)], [])
        if kept:
            saved = kept[0].value
        made = TriggerHandler(given)
        made.restore(Record("trigger-states", 0, start, KEY, saved))
        ruled = [Record("model-versions", 0, 0, o.key, o.value) for o in out if o.topic == "model-versions"]
        assert drive(made, [*known, *ruled]) == []
    assert out == expected
    counted = [handler.figures()["jobs_total", "warm-up"] for handler in (whole, made)]
    assert counted == [1, 0]  # what a predecessor has counted is not counted again


def test_records_read_again_count_once() -> None:
    twice = [record for record in story() for _ in range(2)]
    given = settings(alarm_window_events=1_000, alarm_p_value=1e-3, step_worth=0.05)
    assert drive(TriggerHandler(given), twice) == drive(TriggerHandler(given), story())


def test_its_state_is_small_and_written_only_when_something_came_in() -> None:
    made, rng = warm(TriggerHandler(settings())), np.random.default_rng(0)
    for n in range(6, 400):
        drive(made, [health(n, blocks=[block(x) for x in rng.normal(-1, 0.5, 20)])])
    (kept,) = made.snapshot()
    assert kept.value is not None
    assert len(kept.value) < 40_000
    assert list(made.snapshot()) == []


def test_rubbish_is_refused() -> None:
    made = TriggerHandler(settings())
    for topic in (*made.inputs, *made.broadcasts):
        with pytest.raises(BadRecord):
            made.on_record(Record(topic, 0, 0, b"x", b"\xff"))
    with pytest.raises(StateError, match=r"trigger-states\[0\]@3 must be a trigger state"):
        made.restore(Record("trigger-states", 0, 3, KEY, b"\x93"))
    assert list(made.snapshot()) == []
    assert list(made.forget("ann")) == []
