"""Dumps topics to a log file: interactions and items as they are, so that the log can be played again."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from producers import log
from stream import events, messages, topics
from stream.bus import Bus
from stream.errors import BadRecord, TopicError
from stream.events import Interaction, Item
from stream.messages import ModelVersion, Ruling
from stream.records import Record

OUTSIDE = (events.Interaction, events.Item, events.Erasure, events.Recommendation, events.DeadLetter)


@dataclass(slots=True)
class Recorded:
    """What was written, and what was left out."""

    lines: int = 0
    malformed: int = 0  # records that break their schema: no log could be read back with them
    tombstones: int = 0


def record(bus: Bus, names: Sequence[str], path: Path) -> Recorded:
    """Write the records that `names` (of `stream.topics`) hold now to `path`, one topic after the other.

    Interactions of several partitions are merged by event time, each partition's order kept. Of items, the newest
    record of each is written. Topics of Meander's own are written as JSON for people to read, vectors in base64.

    Raises:
        TopicError: no topic of Meander's, or a changelog that only its writer can read.
        LogError: the file cannot be written.
    """
    for name in names:
        row = topics.TOPICS.get(name)
        if row is None or row.schema is None:
            known = ", ".join(t.name for t in topics.TOPICS.values() if t.schema is not None)
            raise TopicError(f"topic must be one of {known}, got {name!r}")
    recorded = Recorded()
    recorded.lines = log.write(path, (line for name in names for line in _lines(bus, name, recorded)))
    return recorded


def _lines(bus: Bus, name: str, recorded: Recorded) -> Iterator[bytes]:
    if name == topics.INTERACTIONS:
        parts = [_interactions(bus, partition, end, recorded) for partition, end in sorted(bus.ends(name).items())]
        for _, line in heapq.merge(*parts, key=lambda pair: pair[0]):
            yield line
        return
    kept = _newest(bus, name) if name == topics.ITEMS else bus.read(name)
    for read in kept:
        if read.value is None:
            recorded.tombstones += 1
            continue
        try:
            yield _json(name, read)
        except BadRecord:
            recorded.malformed += 1


def _interactions(bus: Bus, partition: int, end: int, recorded: Recorded) -> Iterator[tuple[float, bytes]]:
    """Event time and line of a partition's records, in their order."""
    for read in bus.read(topics.INTERACTIONS, {partition: (0, end)}):
        try:
            event = events.decode(Interaction, read.value)
        except BadRecord:
            recorded.malformed += 1
            continue
        yield event.at_s, events.encode(event)


def _newest(bus: Bus, name: str) -> Iterator[Record]:
    """The newest record of each key, in the order of the topic."""
    last = {read.key: (read.partition, read.offset) for read in bus.read(name)}
    return (read for read in bus.read(name) if last.get(read.key) == (read.partition, read.offset))


def _json(name: str, read: Record) -> bytes:
    """One record as JSON.

    Raises:
        BadRecord: it breaks its schema.
    """
    kind = topics.TOPICS[name].schema
    if name == topics.ITEMS:
        return events.encode(events.decode(Item, read.value))
    if kind is None:
        raise TopicError(f"topic {name!r} has no schema")
    if kind in OUTSIDE:
        return events.encode(events.decode(kind, read.value))
    content: ModelVersion | Ruling | Any
    content = messages.decode_version(read.value) if kind is ModelVersion else messages.decode(kind, read.value)
    return msgspec.json.encode(msgspec.structs.asdict(content))
