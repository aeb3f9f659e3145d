"""The broker in memory: sessions, transactions, retention, compaction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream.bus import Bus, MemoryBus, MemorySession, Session
from stream.records import Output, Record

CLICKS, STATES, VERSIONS = "interactions", "user-states", "model-versions"


def filled(n: int, partitions: int = 1, max_poll_records: int = 500) -> MemoryBus:
    """`n` clicks, dealt round robin over the partitions; the value is the click's number."""
    bus = MemoryBus(partitions=partitions, max_poll_records=max_poll_records)
    bus.send(Output(CLICKS, f"user{i}".encode(), str(i).encode(), i % partitions) for i in range(n))
    return bus


def assigned(bus: MemoryBus, group: str = "g", broadcasts: tuple[str, ...] = ()) -> MemorySession:
    session = bus.open(group, [CLICKS], broadcasts)
    assert session.poll(0.0).assigned == tuple(range(bus.partitions))
    return session


def values(records: object) -> list[bytes | None]:
    return [record.value for record in records]  # type: ignore[attr-defined]


def test_it_is_a_bus() -> None:
    bus: Bus = MemoryBus()
    session: Session = bus.open("g", [CLICKS], [])
    session.keep_alive()
    assert session.poll(0.0).assigned == (0,)
    session.close()


def test_offsets_grow_by_one_and_ends_are_next() -> None:
    bus = filled(5, partitions=2)
    assert bus.ends(CLICKS) == {0: 3, 1: 2}
    assert bus.ends(VERSIONS) == {0: 0}
    assert [r.where for r in bus.read(CLICKS)] == [
        f"interactions[{p}]@{o}" for p, o in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    ]


def test_a_key_always_goes_to_one_partition() -> None:
    bus = MemoryBus(partitions=4)
    bus.send(Output(CLICKS, f"user{i % 20}".encode(), b"") for i in range(200))
    homes = {(r.key, r.partition) for r in bus.read(CLICKS)}
    assert len(homes) == 20
    assert len({partition for _, partition in homes}) == 4


def test_read_takes_spans() -> None:
    bus = filled(10, partitions=2)
    assert values(bus.read(CLICKS, {0: (1, 3)})) == [b"2", b"4"]
    assert values(bus.read(CLICKS, {0: (4, 99), 1: (0, 1)})) == [b"8", b"1"]
    assert values(bus.read(CLICKS, {1: (3, 3)})) == []


@pytest.mark.parametrize("size", [1, 3, 500])
def test_polls_bring_everything_once_in_order(size: int) -> None:
    session = assigned(filled(10, max_poll_records=size))
    got: list[bytes | None] = []
    while batch := session.poll(0.0).records:
        assert len(batch) <= size
        got += values(batch)
        session.commit([])
    assert got == [str(i).encode() for i in range(10)]


def test_broadcasts_come_first_and_from_the_beginning_each_time() -> None:
    bus = filled(1)
    bus.send([Output(VERSIONS, b"v1", b"one")])
    for _ in range(2):
        session = assigned(bus, broadcasts=(VERSIONS,))
        assert session.poll(0.0).records[0].where == "model-versions[0]@0"
        session.commit([])
    assert bus.committed == {("g", CLICKS, 0): 1}


def test_groups_have_positions_of_their_own() -> None:
    bus = filled(2)
    first, second = assigned(bus, "a"), assigned(bus, "b")
    first.poll(0.0)
    first.commit([])
    assert len(second.poll(0.0).records) == 2
    assert first.poll(0.0).records == []


def test_abort_gives_back_what_was_polled_since_the_commit() -> None:
    bus = filled(4, max_poll_records=2)
    session = assigned(bus)
    session.poll(0.0)
    session.commit([Output(STATES, b"ann", b"kept")])
    session.poll(0.0)
    session.abort()
    assert session.poll(0.0).assigned == (0,)  # the handler must be rebuilt
    assert values(session.poll(0.0).records) == [b"2", b"3"]
    assert values(bus.read(STATES)) == [b"kept"]


def test_a_successor_goes_on_where_the_commit_was() -> None:
    bus = filled(4, max_poll_records=3)
    session = assigned(bus)
    session.poll(0.0)
    session.commit([])
    session.poll(0.0)
    session.close()
    assert values(assigned(bus).poll(0.0).records) == [b"3"]


def test_outputs_that_cannot_be_made_leave_no_trace() -> None:
    def broken() -> Iterator[Output]:
        yield Output(STATES, b"ann", b"half")
        raise ZeroDivisionError

    bus = filled(1)
    session = assigned(bus)
    session.poll(0.0)
    with pytest.raises(ZeroDivisionError):
        session.commit(broken())
    assert bus.ends(STATES) == {0: 0}
    assert bus.committed == {}


def test_compaction_keeps_the_newest_of_a_key_and_no_tombstone() -> None:
    bus = MemoryBus()
    for key, value in [(b"ann", b"1"), (b"bob", b"2"), (b"ann", b"3"), (b"bob", None)]:
        bus.send([Output(STATES, key, value)])
    for _ in range(2):  # compacting twice is compacting once
        bus.compact(STATES)
        assert list(bus.read(STATES)) == [Record(STATES, 0, 2, b"ann", b"3")]
        assert bus.ends(STATES) == {0: 4}
    bus.send([Output(STATES, b"cid", b"4")])
    assert [r.offset for r in bus.read(STATES)] == [2, 4]
    assert values(bus.read(STATES, {0: (3, 5)})) == [b"4"]


def test_compaction_of_nothing_but_tombstones_keeps_the_end() -> None:
    bus = MemoryBus()
    bus.send([Output(STATES, b"ann", b"1"), Output(STATES, b"ann", None)])
    bus.compact(STATES)
    assert list(bus.read(STATES)) == []
    assert bus.ends(STATES) == {0: 2}


def test_a_position_in_a_compacted_gap_moves_to_the_next_record() -> None:
    bus = MemoryBus()
    bus.send(Output(STATES, b"ann", str(i).encode()) for i in range(10))
    session = bus.open("g", [STATES], [])
    session.poll(0.0)
    bus.compact(STATES)
    assert values(session.poll(0.0).records) == [b"9"]


def test_retention_drops_the_oldest() -> None:
    bus = filled(6)
    session = assigned(bus)
    bus.trim(CLICKS, 0, before=4)
    assert bus.ends(CLICKS) == {0: 6}
    assert values(session.poll(0.0).records) == [b"4", b"5"]
    bus.trim(CLICKS, 0, before=99)
    bus.send([Output(CLICKS, b"ann", b"new")])
    assert [r.offset for r in bus.read(CLICKS)] == [6]
