"""The event log: JSON lines of interactions and items, plain or gzip.

One line is one JSON object as it stands on the topics `interactions` and `items` (docs/topics.md has the schemas).
A line with a `user_id` or an `event_id` is an interaction, any other one an item; so one file may hold both, in any
order. Interactions stand in the order in which they are to arrive; empty lines are skipped. A name that ends in
`.gz` is read and written through gzip.

::

    {"item_id": "mug", "title": "Red mug", "categories": ["kitchen"]}
    {"event_id": "e1", "user_id": "ann", "item_id": "mug", "event": "purchase", "at": "2011-09-01T08:00:00Z"}
    {"event_id": "e2", "user_id": "ann", "event": "search", "text": "a lamp to read by", "at": "2011-09-01T08:05:00Z"}
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import msgspec
from msgspec import UNSET, Struct

from stream.errors import BadRecord, LogError
from stream.events import Interaction, Item, decode, encode

Message = TypeVar("Message", Interaction, Item)


class _Kind(Struct):
    """The two fields that tell an interaction from an item."""

    user_id: Any = UNSET
    event_id: Any = UNSET


_kinds = msgspec.json.Decoder(_Kind)


@dataclass(frozen=True, slots=True)
class Interactions:
    """The interactions of a log, read from the start again on every iteration; nothing is kept in memory.

    >>> import tempfile
    >>> log = Path(tempfile.mkdtemp()) / "log.jsonl.gz"
    >>> write(log, [Item(item_id="mug"), Interaction(event_id="e1", user_id="ann", item_id="mug", at=60_000)])
    2
    >>> [event.user_id for event in Interactions(log)], [item.item_id for item in read_items(log)]
    (['ann'], ['mug'])
    """

    path: Path

    def __iter__(self) -> Iterator[Interaction]:
        return read_interactions(self.path)


def read_interactions(path: Path) -> Iterator[Interaction]:
    """Read the interactions of a log, in the order of its lines; lines that are items are passed over.

    Raises:
        LogError: the file cannot be read, or a line is no interaction; names file, line, field, rule and value.
    """
    return _read(path, Interaction)


def read_items(path: Path) -> Iterator[Item]:
    """Read the items of a log, in the order of its lines; lines that are interactions are passed over.

    Raises:
        LogError: the file cannot be read, or a line is no item; names file, line, field, rule and value.
    """
    return _read(path, Item)


def write(path: Path, messages: Iterable[Struct | bytes]) -> int:
    """Write a log, replacing a file that is there; returns the number of lines.

    `bytes` are taken as JSON that is already encoded. The gzip header carries no time and no name: equal messages
    give equal files.

    Raises:
        LogError: the file cannot be written.
    """
    lines = 0
    with _opened(path, "wb") as file:
        for message in messages:
            file.write(message if isinstance(message, bytes) else encode(message))
            file.write(b"\n")
            lines += 1
    return lines


def _read(path: Path, kind: type[Message]) -> Iterator[Message]:
    with _opened(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                if _kind(line) is kind:
                    yield decode(kind, line)
            except BadRecord as error:
                raise LogError(f"{path}, line {number}: {error}") from None


def _kind(line: bytes) -> type[Struct]:
    """Interaction or Item."""
    try:
        probe = _kinds.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a ValidationError is a DecodeError, too
        shown = line.decode("utf-8", "replace").rstrip("\n")
        raise BadRecord("value", f"a JSON object ({error})", shown) from None
    return Item if probe.user_id is UNSET and probe.event_id is UNSET else Interaction


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[IO[bytes]]:
    """Open a log; errors of the file system and of gzip name the file."""
    try:
        with path.open(mode) as raw:
            if not path.name.endswith(".gz"):
                yield raw
            elif mode == "rb":
                yield io.BufferedReader(gzip.GzipFile(fileobj=raw, mode="rb"), buffer_size=1 << 20)
            else:
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
                    yield cast(IO[bytes], packed)
    except EOFError:
        raise LogError(f"{path} must be a whole gzip file, it ends too early") from None
    except OSError as error:  # gzip.BadGzipFile among them
        raise LogError(f"{path} cannot be {'read' if mode == 'rb' else 'written'}: {error}") from None
