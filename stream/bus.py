"""What a consumer needs of a broker, and a broker in memory that gives it.

Two buses exist: `MemoryBus` here, for replay and tests, and `stream.kafka_bus.KafkaBus`, the one door to Kafka.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stream.records import Output, Record
from stream.topics import TOPICS


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll brought.

    `assigned` is None while the assignment stands. A tuple of partition numbers means that the consumer group has
    dealt the partitions anew (also at the start): the handler must be rebuilt and restored before `records` is
    read; `records` is then empty.
    """

    records: Sequence[Record] = ()
    assigned: tuple[int, ...] | None = None


class Session(Protocol):
    """One consumer's membership in a group, with its transactions."""

    def poll(self, timeout_s: float) -> Batch:
        """Wait for records or a new assignment, at most `timeout_s`."""
        ...

    def commit(self, outputs: Iterable[Output]) -> None:
        """Write `outputs` and the offsets of every record polled since the last commit, in one transaction."""
        ...

    def abort(self) -> None:
        """Give back what was polled since the last commit: it will be polled again."""
        ...

    def keep_alive(self) -> None:
        """Keep the group membership during long work; polls nothing."""
        ...

    def lags(self) -> dict[tuple[str, int], int]:
        """(topic, partition) of the inputs → records between the position and the end."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class Bus(Protocol):
    """A broker, seen from Meander. Topic names are those of `stream.topics`; prefixes are the bus's own affair."""

    def open(self, group: str, inputs: Sequence[str], broadcasts: Sequence[str]) -> Session:
        """Join `group` for `inputs`; read all partitions of `broadcasts` from their beginning, uncommitted."""
        ...

    def read(self, topic: str, spans: Mapping[int, tuple[int, int]] | None = None) -> Iterator[Record]:
        """Records committed so far, partition by partition; `spans` limits to [start, stop) offsets of partitions."""
        ...

    def ends(self, topic: str) -> dict[int, int]:
        """Partition → offset that the next record will get."""
        ...

    def send(self, outputs: Iterable[Output]) -> None:
        """Write records outside of any transaction, and wait until they are there."""
        ...


@dataclass(slots=True)
class MemoryBus:
    """A broker in one process's memory, for replay and tests.

    Compacted topics keep just the newest record of a key once `compact` is called, as a broker's cleaner would.

    >>> bus = MemoryBus(partitions=1)
    >>> bus.send([Output("interactions", b"ann", b"1"), Output("interactions", b"bob", b"2")])
    >>> session = bus.open("g", ["interactions"], [])
    >>> session.poll(0.0).assigned
    (0,)
    >>> [r.where for r in session.poll(0.0).records]
    ['interactions[0]@0', 'interactions[0]@1']
    """

    partitions: int = 1
    max_poll_records: int = 500
    logs: dict[tuple[str, int], list[Record]] = field(default_factory=lambda: defaultdict(list))
    bases: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))  # records dropped in front
    committed: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def width(self, topic: str) -> int:
        """How many partitions `topic` has."""
        row = TOPICS.get(topic)
        return row.partitions(self.partitions) if row else 1

    def open(self, group: str, inputs: Sequence[str], broadcasts: Sequence[str]) -> MemorySession:
        """Join `group`, alone: every partition is assigned to this session."""
        return MemorySession(self, group, tuple(inputs), tuple(broadcasts))

    def read(self, topic: str, spans: Mapping[int, tuple[int, int]] | None = None) -> Iterator[Record]:
        """Records there are now, partition by partition."""
        for partition in range(self.width(topic)):
            log = self.logs[topic, partition]
            if spans is None:
                yield from tuple(log)
            elif partition in spans:
                start, stop = spans[partition]
                yield from self._between(topic, partition, start, stop)

    def ends(self, topic: str) -> dict[int, int]:
        """Partition → offset of the next record."""
        return {p: self._end(topic, p) for p in range(self.width(topic))}

    def send(self, outputs: Iterable[Output]) -> None:
        """Append records."""
        for out in outputs:
            partition = (
                out.partition if out.partition is not None else zlib.crc32(out.key or b"") % self.width(out.topic)
            )
            log = self.logs[out.topic, partition]
            offset = self._end(out.topic, partition)
            log.append(Record(out.topic, partition, offset, out.key, out.value, out.timestamp_ms or 0))

    def compact(self, topic: str) -> None:
        """Drop all records of `topic` but the newest of each key (and its tombstone, too)."""
        for partition in range(self.width(topic)):
            log = self.logs[topic, partition]
            if not log:
                continue
            newest = {record.key: record for record in log}
            kept = [r for r in log if newest[r.key] is r and r.value is not None]
            self.bases[topic, partition] = self._end(topic, partition)  # kept records carry their own offsets
            log[:] = kept

    def trim(self, topic: str, partition: int, before: int) -> None:
        """Drop records of a topic with offsets below `before`, as retention would."""
        log = self.logs[topic, partition]
        self.bases[topic, partition] = max(self.bases[topic, partition], self._end(topic, partition))
        log[:] = [r for r in log if r.offset >= before]

    def _end(self, topic: str, partition: int) -> int:
        log = self.logs[topic, partition]
        return max(log[-1].offset + 1 if log else 0, self.bases[topic, partition])

    def _between(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Record]:
        log = self.logs[topic, partition]
        low = _first_at(log, start)
        for i in range(low, len(log)):
            if log[i].offset >= stop:
                return
            yield log[i]


class MemorySession:
    """A session on a `MemoryBus`: broadcasts first, then inputs in the order of their names."""

    def __init__(self, bus: MemoryBus, group: str, inputs: tuple[str, ...], broadcasts: tuple[str, ...]) -> None:
        self._bus, self._group, self._inputs, self._broadcasts = bus, group, inputs, broadcasts
        self._at: dict[tuple[str, int], int] | None = None

    def poll(self, timeout_s: float) -> Batch:  # noqa: ARG002
        """Return at once, at most `max_poll_records` records; the first call (and that after `abort`) assigns."""
        bus = self._bus
        if self._at is None:
            self._at = {(t, p): 0 for t in self._broadcasts for p in range(bus.width(t))}
            for topic in self._inputs:
                for p in range(bus.width(topic)):
                    self._at[topic, p] = bus.committed.get((self._group, topic, p), 0)
            widths = [bus.width(t) for t in self._inputs] or [1]
            return Batch(assigned=tuple(range(max(widths))))
        out: list[Record] = []
        for topic, partition in self._at:
            room = bus.max_poll_records - len(out)
            if room <= 0:
                break
            log = bus.logs[topic, partition]
            low = _first_at(log, self._at[topic, partition])
            chunk = log[low : low + room]
            if chunk:
                out += chunk
                self._at[topic, partition] = chunk[-1].offset + 1
        return Batch(records=out)

    def commit(self, outputs: Iterable[Output]) -> None:
        """Append outputs and remember the positions."""
        self._bus.send(tuple(outputs))  # all of them exist before the first is written
        for (topic, partition), offset in (self._at or {}).items():
            if topic in self._inputs:
                self._bus.committed[self._group, topic, partition] = offset

    def abort(self) -> None:
        """Forget the positions: the next poll assigns anew, from the committed offsets."""
        self._at = None

    def keep_alive(self) -> None:
        """Nothing to do here: there is no group to fall out of."""

    def lags(self) -> dict[tuple[str, int], int]:
        """(topic, partition) of the inputs → records between the position and the end."""
        ends = {topic: self._bus.ends(topic) for topic in self._inputs}
        return {(t, p): ends[t][p] - at for (t, p), at in (self._at or {}).items() if t in ends}

    def close(self) -> None:
        """Leave; committed offsets stay."""
        self._at = None


def _first_at(log: Sequence[Record], offset: int) -> int:
    """Index of the first record at or after `offset`."""
    if not log or log[-1].offset < offset:
        return len(log)
    low, high = 0, len(log) - 1
    guess = offset - log[0].offset  # dense logs need no search
    if 0 <= guess < len(log) and log[guess].offset == offset:
        return guess
    while low < high:
        middle = (low + high) // 2
        if log[middle].offset < offset:
            low = middle + 1
        else:
            high = middle
    return low
