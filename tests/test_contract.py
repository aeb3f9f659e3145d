"""One contract over everything that holds state: round trip, purity, bounded memory.

A new handler joins by a `Case` in `CASES`; a new stateful class of the core by a `Kept` in `KEPT`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec import msgpack

from consumers.interest import InterestHandler
from consumers.trigger import TriggerHandler
from stream import events, messages, metrics, profile
from stream.evidence import AlarmShare
from stream.gate import Evidence, SequentialTest
from stream.messages import BlockLoss, DriftAlarm, ItemVector, ModelHealth, ModelVersion, as_bytes
from stream.records import Handler, Output, Record
from stream.rises import Rise, Season
from stream.settings import Settings, load
from stream.topics import TOPICS

if TYPE_CHECKING:
    from tests.conftest import Shop


@dataclass(frozen=True)
class Case:
    """A handler, what it reads, and what its state may weigh."""

    name: str
    make: Callable[[], Handler]
    before: Sequence[Record]  # broadcasts, read at every start
    records: Sequence[Record]
    state_bytes: int  # of the compacted changelog after `records`, at most
    person: str  # someone among the records


def people(shop: Shop) -> list[Record]:
    """Interactions of six people on two partitions; three of them change their taste."""
    rng, kinds, out = np.random.default_rng(5), [shop.kind(k) for k in ("garden", "toy")], []
    for n in range(900):
        person = int(rng.integers(6))
        item = str(rng.choice(kinds[(person + (n > 450 and person < 3)) % 2]))
        said = events.Interaction(
            event_id=f"e{n}", user_id=f"u{person}", at=n // 3 * 60_000, item_id=item if n % 20 else None,
            user={} if n % 20 else {"age": f"{n % 7}0s"},
        )  # fmt: skip
        out.append(Record("interactions", person % 2, n, f"u{person}".encode(), events.encode(said)))
    return out


def interest(shop: Shop) -> Case:
    made = ModelVersion(
        "v1", "promoted", "", 0.0, 0.0, {}, "j1", "warm-up", {}, "v1", "", shop.space.name, 1, 1.0, 1, {}, 0.0
    )
    before = [
        Record("item-vectors", 0, n, item_id.encode(),
               messages.encode(ItemVector(item_id, as_bytes(base), "", "", [], True, 0.0)))
        for n, (item_id, base) in enumerate(zip(shop.ids, shop.base, strict=True))
    ]  # fmt: skip
    before.append(Record("model-versions", 0, 0, b"v1", messages.encode(made)))
    make = lambda: InterestHandler(Settings(), lambda _: shop.space)  # noqa: E731
    return Case("interest", make, before, people(shop), state_bytes=6 * 1_536, person="u2")


def trigger(_: Shop) -> Case:
    rng, out = np.random.default_rng(6), []
    made = ModelVersion("v1", "promoted", "", 0.0, 0.0, {}, "j1", "warm-up", {}, "v1", "", "", 1, 1.0, 1, {}, 0.0)
    for n in range(1, 400):
        drawn = rng.normal(6.0 + (n % 100 > 50), 0.5, 20)
        losses = [BlockLoss(0.0, 1, 7.0, float(x), 7.0, group=k) for k, x in enumerate(drawn)]
        said = ModelHealth(0, 60.0 * n, n * 100 - 1, n * 100, 5, 0, 0, 0.0, 0, 0, 0, "v1", "", losses, 0)
        if n % 3 == 0:
            alarm = DriftAlarm("u2", 60.0 * n, "user", "rank", "page_hinkley", 4.0, 3.0, 30, [], [], n)
            out.append(Record("drift-alarms", 0, n, b"u2", messages.encode(alarm)))
        out.append(Record("model-health", 0, n, b"0", messages.encode(said)))
    rules = load(trigger={"warm_up_events": 500, "min_new_events": 300, "alarm_window_events": 1_000})
    before = [Record("model-versions", 0, 0, b"v1", messages.encode(made))]
    return Case("trigger", lambda: TriggerHandler(rules), before, out, state_bytes=40_000, person="u2")


CASES: list[Callable[[Shop], Case]] = [interest, trigger]


@pytest.fixture(params=CASES, ids=lambda build: build.__name__)
def case(request: pytest.FixtureRequest, shop: Shop) -> Case:
    built: Case = request.param(shop)
    return built


def started(case: Case, changelog: Iterable[Output] = ()) -> Handler:
    """A fresh handler, brought to where the loop hands it its first batch."""
    made = case.make()
    for offset, o in enumerate(changelog):
        made.restore(Record(o.topic, o.partition or 0, offset, o.key, o.value))
    for record in case.before:
        list(made.on_record(record))
    return made


def run(made: Handler, records: Iterable[Record]) -> list[Output]:
    out = [o for record in records for o in made.on_record(record)]
    return out + list(made.snapshot())


def compacted(made: Handler, outputs: Iterable[Output]) -> list[Output]:
    """The newest of each key of the changelogs."""
    newest: dict[tuple[str, int | None, bytes | None], Output] = {}
    for o in outputs:
        if o.topic in made.changelogs:
            newest.pop((o.topic, o.partition, o.key), None)
            newest[o.topic, o.partition, o.key] = o
    return [o for o in newest.values() if o.value is not None]


def test_it_names_topics_of_the_table_and_writes_where_it_is_told(case: Case) -> None:
    made = started(case)
    assert {*made.inputs, *made.broadcasts, *made.changelogs} <= set(TOPICS)
    assert {record.topic for record in case.records} <= set(made.inputs)
    for record in case.records:
        for o in made.on_record(record):
            assert o.topic in TOPICS
            assert o.partition is not None
            if TOPICS[o.topic].partitioned:
                assert o.partition == record.partition or o.topic in made.changelogs
    assert {o.topic for o in made.snapshot()} <= set(made.changelogs)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_restored_handler_goes_on_as_the_original(case: Case, share: float) -> None:
    cut = int(share * len(case.records))
    original = started(case)
    first = run(original, case.records[:cut])
    restored = started(case, compacted(original, first))
    assert run(restored, case.records[cut:]) == run(original, case.records[cut:])


def test_restoring_everything_ever_written_is_as_good_as_the_newest(case: Case) -> None:
    original = started(case)
    cut = len(case.records) // 2
    written = [o for record in case.records[:cut] for o in run(original, [record]) if o.topic in original.changelogs]
    newest, whole = started(case, compacted(original, written)), started(case, written)
    assert run(newest, case.records[cut:]) == run(whole, case.records[cut:])


def test_handlers_share_nothing(case: Case) -> None:
    alone = run(started(case), case.records)
    one, other = started(case), started(case)
    mixed = [(list(one.on_record(r)), list(other.on_record(r))) for r in case.records]
    assert [o for pair in mixed for o in pair[0]] + list(one.snapshot()) == alone
    assert [o for pair in mixed for o in pair[1]] + list(other.snapshot()) == alone


def test_a_snapshot_is_not_repeated(case: Case) -> None:
    made = started(case)
    run(made, case.records)
    assert list(made.snapshot()) == []


def test_state_is_bounded_and_figures_are_known(case: Case) -> None:
    made = started(case)
    kept = compacted(made, run(made, case.records))
    assert 0 < sum(len(state) for state in weighed(made, kept)) <= case.state_bytes
    metrics.check(made.figures())
    assert all(isinstance(line.get("event"), str) for line in made.journal)


def weighed(made: Handler, kept: list[Output]) -> list[bytes]:
    """Changelog records; user-states without `fresh`, which they carry for the scorer."""
    values = [o.value or b"" for o in kept]
    return [profile.pack(profile.unpack(v)) for v in values] if isinstance(made, InterestHandler) else values


def test_who_is_forgotten_is_gone(case: Case) -> None:
    made = started(case)
    run(made, case.records)
    tombstones = list(made.forget(case.person))
    assert all(o.value is None for o in tombstones)
    assert list(made.forget(case.person)) == []
    left = compacted(made, run(made, []))
    assert all(case.person.encode() not in (o.value or b"") for o in left)


# classes of the core


@dataclass(frozen=True)
class Kept:
    """A stateful class: how it is made, fed, written down and taken back."""

    name: str
    make: Callable[[], Any]
    feed: Callable[[Any, float], object]  # returns what it answers
    save: Callable[[Any], Any]
    load: Callable[[Any], Any]
    most: int  # numbers in the saved state, at most


KEPT = [
    Kept("rise", Rise, lambda r, x: (r.update(x, 60.0 * x, 5.0), r.statistic), lambda r: r.numbers(), Rise.of, 17),
    Kept("season", Season, lambda s, x: (s.learn(1e6 * x, x), s.usual(6e5)), lambda s: s.numbers(), Season.of, 59),
    Kept("share", lambda: AlarmShare(1_000, 0.001), lambda s, x: (s.add(100, int(x > 0.9)), s.p_value),
         lambda s: [list(s.buckets), s.usual_events, s.usual_alarms],
         lambda kept: AlarmShare(1_000, 0.001, type(AlarmShare(1, 0.1).buckets)(kept[0]), sum(e for e, _ in kept[0]),
                                 sum(a for _, a in kept[0]), *kept[1:]), 10),
    Kept("sequential test", lambda: SequentialTest(0.95, 10**6, Evidence(9, 9.5, -1.5, 2.0, 0.1)),
         lambda t, x: (t.update(x - 0.5, 1.0, x, int(99 * x)), t.bounds),
         lambda t: t.numbers(), SequentialTest.of, 142),
]  # fmt: skip


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
@pytest.mark.parametrize("cut", [0, 1, 32, 700])
def test_written_down_and_taken_back_it_answers_alike(kept: Kept, cut: int) -> None:
    rng = np.random.default_rng(8)
    stream = [float(np.float32(x)) for x in np.clip(rng.normal(0.4, 0.2, 900), 0, 1)]
    whole, part = kept.make(), kept.make()
    expected = [kept.feed(whole, x) for x in stream]
    first = [kept.feed(part, x) for x in stream[:cut]]
    back = kept.load(msgpack.decode(msgpack.encode(kept.save(part))))
    assert first + [kept.feed(back, x) for x in stream[cut:]] == expected
    assert len(kept.save(back)) <= kept.most
