"""The loop that every consumer runs, and its single step for replay and tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from consumers.batch import Stopped, at_once, attended, handled, restored
from consumers.watch import Watch
from stream.bus import Bus, Session
from stream.errors import BrokerError
from stream.records import Handler

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


def run(
    build: Callable[[], Handler],
    session: Session,
    bus: Bus,
    stop: threading.Event,
    watch: Watch,
    *,
    slow: bool = False,
    poll_s: float = 0.5,
    patience_s: float = 60.0,
) -> None:
    """Poll, handle, commit; repeat until `stop` is set. Then finish the batch, and return.

    1. Poll. When the group has dealt the partitions anew, build a fresh handler and restore it from the changelogs of
       the assigned partitions; the session returns broadcasts, whole, before any input.
    2. Handle each record in order; a malformed one is parked: it goes to dead-letters, and processing goes on.
    3. Take a snapshot of what changed.
    4. Write the outputs of 2 and 3 and the offsets of 1 in one transaction.

    A crash before the end of 4 leaves no trace that a read_committed reader can see, and the batch is polled again.
    So is one that a retriable `BrokerError` interrupts, after a pause that doubles up to 15 s.

    With `slow`, `on_record` runs in a thread of its own, while this one keeps the membership; `stop` gives it up.

    Raises:
        BrokerError: not retriable, or retried for `patience_s` without a batch getting through.
        StateError: a changelog record cannot be restored.
    """
    loop = Loop(build, session, bus, watch, stop if slow else None)
    failures, broken, since_s = 0, False, 0.0
    while not stop.is_set():
        try:
            if broken:
                loop.give_back()
            broken = False
            failures = 0 if loop.step(poll_s) else failures
        except Stopped:
            return
        except BrokerError as error:
            since_s = since_s if failures else watch.now_s()
            if not error.retriable or watch.now_s() - since_s > patience_s:
                raise
            pause_s = min(FIRST_PAUSE_S * 2**failures, LONGEST_PAUSE_S)
            failures, broken = failures + 1, True
            watch.waits(error, pause_s)
            stop.wait(pause_s)


@dataclass(slots=True)
class Loop:
    """A handler on a session, one step at a time; the numbers are those of `run`.

    `stop` is given for a slow handler only.
    """

    build: Callable[[], Handler]
    session: Session
    bus: Bus
    watch: Watch
    stop: threading.Event | None = None
    handler: Handler | None = None

    def step(self, timeout_s: float = 0.0) -> int:
        """Poll once and deal with what came; return how many records were handled."""
        batch = self.session.poll(timeout_s)  # 1
        if batch.assigned is not None:
            self.handler = self._restored(batch.assigned)  # 1
        if self.handler is None:
            return 0  # the group is still dealing
        if batch.records:
            started_s = self.watch.now_s()
            call = at_once if self.stop is None else attended(self.stop, self._sign_of_life)
            outputs = handled(self.watch.name, self.handler, batch.records, self.watch, call)  # 2 and 3
            with self.watch.committing():
                self.session.commit(outputs)  # 4
            self.watch.committed(batch.records, outputs, started_s)
        self.watch.show(self.handler, self.session.lags)
        return len(batch.records)

    def give_back(self) -> None:
        """Forget what was handled since the last commit: the next poll assigns, and the handler is built anew."""
        self.handler = None
        self.session.abort()

    def _restored(self, partitions: tuple[int, ...]) -> Handler:
        handler, started_s = self.build(), self.watch.now_s()
        count = restored(handler, self.bus, partitions, self.session)
        self.watch.restored(partitions, count, self.watch.now_s() - started_s)
        return handler

    def _sign_of_life(self, handler: Handler) -> None:
        """To the group and to the metrics, while a record is handled in another thread."""
        self.session.keep_alive()
        self.watch.show(handler, self.session.lags)


@dataclass(slots=True)
class Stage:
    """One handler on a bus, alone in its group and without a watch: what replay drives, step by step.

    >>> from stream.bus import MemoryBus
    >>> from stream.records import Output
    >>> class Echo:
    ...     inputs, broadcasts, changelogs, journal = ("interactions",), (), (), []
    ...     figures = forget = restore = lambda self, *_: {}
    ...     on_record = lambda self, record: [Output("recommendations", record.key, record.value, record.partition)]
    ...     snapshot = lambda self: []
    >>> bus = MemoryBus()
    >>> bus.send([Output("interactions", b"ann", b"1")])
    >>> stage = Stage("echo", Echo(), bus)
    >>> stage.step(), stage.step(), [record.where for record in bus.read("recommendations")]
    (1, 0, ['recommendations[0]@0'])
    """

    name: str
    handler: Handler
    bus: Bus
    session: Session = field(init=False)
    journal: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = self.bus.open(self.name, self.handler.inputs, self.handler.broadcasts)
        restored(self.handler, self.bus, self.session.poll(0.0).assigned or (), self.session)  # 1

    def step(self) -> int:
        """Handle what is there, at most one poll's worth; return how many records that was."""
        records = self.session.poll(0.0).records  # 1
        if records:
            self.session.commit(handled(self.name, self.handler, records, self))  # 2, 3 and 4
        return len(records)

    def drain_journal(self) -> list[dict[str, object]]:
        """Decisions since the last call, each with the record (`where`) that led to it."""
        entries, self.journal = self.journal, []
        return entries

    def decided(self, handler: Handler, where: str) -> None:
        """Take over the handler's journal."""
        self.journal += [{"where": where} | entry for entry in handler.journal]
        handler.journal.clear()

    def parked(self, where: str, field: str, reason: str) -> None:
        """Nothing to do: the dead letter says it all."""
