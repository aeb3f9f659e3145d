"""A batch of records and a handler: what the loop, replay and tests have in common."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from stream import events
from stream.bus import Bus, Session
from stream.errors import BadRecord, BrokerError, MeanderError, StateError
from stream.records import Handler, Output, Record
from stream.topics import DEAD_LETTERS

KEEP_ALIVE_RECORDS = 20_000  # restored between two signs of life
KEPT_BYTES = 500_000  # of a parked record: a letter must fit into a record itself

Call = Callable[[Handler, Record], list[Output]]


class Stopped(MeanderError):  # noqa: N818 - it is no error: the loop was told to stop
    """A long `on_record` was given up because the loop shall stop; its record will be polled again."""


class Observer(Protocol):
    """Who is told what happens to a batch: a `consumers.watch.Watch`, or a `Stage`."""

    def decided(self, handler: Handler, where: str) -> None:
        """The handler has put something into its journal; drain it."""
        ...

    def parked(self, where: str, field: str, reason: str) -> None:
        """A malformed record goes to dead-letters."""
        ...


def restored(handler: Handler, bus: Bus, partitions: Sequence[int], session: Session) -> int:
    """Give a fresh handler the changelogs of its partitions, oldest first; return how many records that were.

    Raises:
        StateError: one of them cannot be read.
    """
    count = 0
    for topic in handler.changelogs:
        ends = bus.ends(topic)
        for record in bus.read(topic, {p: (0, ends[p]) for p in partitions if p in ends}):
            try:
                handler.restore(record)
            except BadRecord as error:
                raise StateError(f"{record.where} cannot be restored: {error}") from None
            count += 1
            if count % KEEP_ALIVE_RECORDS == 0:
                session.keep_alive()
    return count


def at_once(handler: Handler, record: Record) -> list[Output]:
    """Handle a record in this thread."""
    return list(handler.on_record(record))


def attended(stop: threading.Event, sign_of_life: Callable[[Handler], None]) -> Call:
    """Handle records in a thread of their own, calling `sign_of_life` every 200 ms meanwhile.

    The call raises `Stopped` when `stop` is set before the record is through.
    """

    def call(handler: Handler, record: Record) -> list[Output]:
        work = _Work(handler, record)
        work.start()
        while work.is_alive():
            work.join(0.2)
            with contextlib.suppress(BrokerError):  # the commit will tell whether the membership is lost
                sign_of_life(handler)
            if stop.is_set() and work.is_alive():
                raise Stopped(f"{record.where} was given up")
        return work.result()

    return call


def handled(
    name: str,
    handler: Handler,
    records: Sequence[Record],
    observer: Observer,
    call: Call = at_once,
) -> list[Output]:
    """Handle a batch, park what is malformed (2), take the snapshot (3); return all outputs."""
    outputs: list[Output] = []
    for record in records:
        try:
            outputs += call(handler, record)  # 2
        except BadRecord as error:
            outputs.append(dead_letter(name, record, error))
            observer.parked(record.where, error.field, str(error))
        except Exception as error:
            error.add_note(f"while {name} handled {record.where}")
            raise
        if handler.journal:
            observer.decided(handler, record.where)
    outputs += handler.snapshot()  # 3
    if handler.journal:
        observer.decided(handler, records[-1].where)
    return outputs


def dead_letter(consumer: str, record: Record, error: BadRecord) -> Output:
    """The letter about a malformed record; of a very long one, the first 500,000 bytes."""
    reason, value = str(error), record.value
    if value is not None and len(value) > KEPT_BYTES:
        reason, value = f"{reason} (first {KEPT_BYTES} of {len(value)} bytes kept)", value[:KEPT_BYTES]
    letter = events.DeadLetter(
        where=record.where, consumer=consumer, reason=reason, field=error.field, key=record.key, value=value
    )
    return Output(DEAD_LETTERS, record.where.encode(), events.encode(letter))


class _Work(threading.Thread):
    """One call of `on_record`; it dies with the process."""

    def __init__(self, handler: Handler, record: Record) -> None:
        super().__init__(name=record.where, daemon=True)
        self._handler, self._record = handler, record
        self._outputs: list[Output] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._outputs = list(self._handler.on_record(self._record))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is taken
            self._error = error

    def result(self) -> list[Output]:
        """What `on_record` returned or raised."""
        if self._error is not None:
            raise self._error
        return self._outputs
