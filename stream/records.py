"""What goes over a topic: a record that was read, an output to be written, and the contract of a handler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was read.

    >>> Record("interactions", 2, 17, b"ann", b"{}").where
    'interactions[2]@17'
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None  # None is a tombstone
    timestamp_ms: int = 0  # wall time of the append; domain code takes event time from the value instead
    # (of user-states: that of the newest interaction in it)

    @property
    def where(self) -> str:
        """`topic[partition]@offset`, as logs and dead letters name a record."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Since(NamedTuple):
    """What a record answers: the times of the newest interaction in it, from which its delay is measured."""

    event_s: float  # event time
    arrived_ms: int  # wall time of the append to interactions; 0: not known


@dataclass(frozen=True, slots=True)
class Output:
    """One record to be written.

    `partition` is the input's partition number for everything that must stay aligned with it; None lets the
    bus choose by the key's hash. With `timestamp_ms` the record carries that wall time instead of the time at which it
    is written, so that a delay can be measured over several processes.
    """

    topic: str
    key: bytes | None
    value: bytes | None  # None writes a tombstone
    partition: int | None = None
    timestamp_ms: int | None = None
    since: Since | None = None  # measured when the record is committed; it is not written


class Handler(Protocol):
    """What a consumer does, without a clock, a broker or a logger; four verbs.

    Order of calls, for every new assignment of partitions, on a *fresh* handler:

    1. `restore(record)` for every record of `changelogs` in the assigned partitions, oldest first;
    2. `on_record(record)` for every record of `broadcasts`, all partitions, from the beginning to the end
       that was seen at the start;
    3. then, batch by batch: `on_record(record)` for each record in order (records of `broadcasts` among
       them as they arrive), and one `snapshot()` at the end of the batch. Outputs of both, with the
       offsets of `inputs`, are committed in one transaction.

    `on_record` raises `stream.errors.BadRecord` for a malformed record and leaves the state as it was. Where
    batches begin and end changes no state, no alarm and no list that stands when a group closes.
    """

    inputs: ClassVar[tuple[str, ...]]  # partitioned over the consumer group; offsets are committed
    broadcasts: ClassVar[tuple[str, ...]]  # every instance reads all of it; never committed
    changelogs: ClassVar[tuple[str, ...]]  # written by snapshot (or on_record), read back by restore
    journal: list[dict[str, object]]  # decisions worth a log line; the loop drains it after each record

    def figures(self) -> Mapping[tuple[str, ...], float]:
        """Cumulative counters and gauges for Prometheus, by metric name and label values; see `stream.metrics`."""
        ...

    def on_record(self, record: Record) -> Iterable[Output]:
        """Fold one record into the state; return what is to be written because of it."""
        ...

    def snapshot(self) -> Iterable[Output]:
        """Return what changed since the last call, as changelog records."""
        ...

    def restore(self, record: Record) -> None:
        """Take back one changelog record; raises `stream.errors.StateError` if it cannot be read."""
        ...

    def forget(self, user_id: str) -> Iterable[Output]:
        """Drop everything held about a person; return the tombstones."""
        ...
