"""The loop on a MemoryBus, with faults as data."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from consumers import loop
from consumers.loop import Loop, Stage, run
from consumers.watch import Watch
from stream.bus import Batch, MemoryBus, Session
from stream.errors import BrokerError, StateError
from stream.events import DeadLetter, decode
from stream.records import Output

USERS = (b"ann", b"bob", b"ann", b"eve", b"ann", b"bob", b"ann")


class Faulty:
    """A session that fails its commits as scripted: None works, an exception is raised instead of committing."""

    def __init__(self, session: Session, script: Sequence[Exception | None], stop: threading.Event) -> None:
        self._session, self._script, self._stop = session, list(script), stop
        self.aborts = self.signs = 0

    def poll(self, timeout_s: float) -> Batch:
        batch = self._session.poll(timeout_s)
        if batch.assigned is None and not batch.records:
            self._stop.set()  # nothing is left to do
        return batch

    def commit(self, outputs: Iterable[Output]) -> None:
        fault = self._script.pop(0) if self._script else None
        if fault is not None:
            raise fault
        self._session.commit(outputs)

    def abort(self) -> None:
        self.aborts += 1
        self._session.abort()

    def keep_alive(self) -> None:
        self.signs += 1

    def lags(self) -> dict[tuple[str, int], int]:
        return self._session.lags()

    def close(self) -> None:
        self._session.close()


def gone() -> BrokerError:
    return BrokerError("the broker is away", retriable=True)


def a_bus(values: Iterable[bytes] = (), max_poll_records: int = 2) -> MemoryBus:
    bus = MemoryBus(max_poll_records=max_poll_records)
    bus.send(Output("interactions", user, b"x") for user in USERS)
    bus.send(Output("interactions", b"ann", value) for value in values)
    return bus


def run_counting(counting: Any, bus: MemoryBus, script: Sequence[Exception | None] = (), **options: Any) -> Watch:
    stop, watch = threading.Event(), Watch("counting")
    session = Faulty(bus.open("counting", counting.inputs, counting.broadcasts), script, stop)
    run(counting, session, bus, stop, watch, **options)
    return watch


def told(bus: MemoryBus, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    return [(record.key, record.value) for record in bus.read(topic)]


def value(watch: Watch, name: str, **labels: str) -> float | None:
    return watch.metrics.registry.get_sample_value(f"meander_{name}", labels)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FIRST_PAUSE_S", 0.001)


@pytest.mark.parametrize(
    "script",
    [
        [gone()],
        [None, gone()],
        [None, gone(), gone(), None, gone()],
        [gone() for _ in range(9)],
    ],
)
def test_aborted_batches_leave_no_trace(counting: Any, script: list[Exception | None]) -> None:
    undisturbed, disturbed = a_bus(), a_bus()
    run_counting(counting, undisturbed)
    watch = run_counting(counting, disturbed, script)
    assert told(disturbed, "recommendations") == told(undisturbed, "recommendations")
    assert told(disturbed, "user-states") == told(undisturbed, "user-states")
    assert dict(told(disturbed, "user-states")) == {b"ann": b"4", b"bob": b"2", b"eve": b"1"}
    aborted = sum(fault is not None for fault in script)
    assert value(watch, "batches_total", result="aborted") == aborted
    assert value(watch, "batches_total", result="committed") == 4  # 7 records, 2 at a time
    assert value(watch, "restores_total") == 1 + aborted


def test_after_a_while_without_a_batch_through_the_error_is_told(counting: Any) -> None:
    with pytest.raises(BrokerError, match="the broker is away"):
        run_counting(counting, a_bus(), [gone() for _ in range(50)], patience_s=0.05)


def test_an_error_that_no_retry_helps_against_ends_the_loop(counting: Any) -> None:
    with pytest.raises(BrokerError, match="fenced"):
        run_counting(counting, a_bus(), [BrokerError("fenced")])


def test_a_restart_goes_on_where_the_last_one_ended(counting: Any) -> None:
    bus = a_bus()
    first = Loop(counting, bus.open("counting", counting.inputs, counting.broadcasts), bus, Watch("counting"))
    assert [first.step() for _ in range(3)] == [0, 2, 2]  # assigned, two batches, then it is gone
    run_counting(counting, bus)
    assert told(bus, "recommendations") == [
        (b"ann", b"1"), (b"bob", b"1"), (b"ann", b"2"), (b"eve", b"1"), (b"ann", b"3"), (b"bob", b"2"), (b"ann", b"4"),
    ]  # fmt: skip


def test_malformed_records_are_parked_and_processing_goes_on(counting: Any) -> None:
    bus = a_bus([b"poison", b"x", b"poison"])
    watch = run_counting(counting, bus)
    letters = [decode(DeadLetter, record.value) for record in bus.read("dead-letters")]
    assert [(letter.where, letter.field, letter.value) for letter in letters] == [
        ("interactions[0]@7", "value", b"poison"),
        ("interactions[0]@9", "value", b"poison"),
    ]
    assert letters[0].reason == "value must be wholesome, got 'poison'"
    assert letters[0].consumer == "counting"
    assert [record.key for record in bus.read("dead-letters")] == [b"interactions[0]@7", b"interactions[0]@9"]
    assert dict(told(bus, "user-states"))[b"ann"] == b"5"
    assert value(watch, "parked_total", topic="interactions", field="value") == 2
    assert value(watch, "records_total", topic="interactions") == 10


def test_a_very_long_malformed_record_is_cut_to_fit() -> None:
    from consumers.batch import KEPT_BYTES, dead_letter
    from stream.errors import BadRecord
    from stream.records import Record

    record = Record("interactions", 0, 0, b"ann", bytes(900_000))
    letter = decode(DeadLetter, dead_letter("c", record, BadRecord("value", "JSON", "…")).value)
    assert len(letter.value or b"") == KEPT_BYTES
    assert letter.reason.endswith("(first 500000 of 900000 bytes kept)")


def test_a_changelog_that_cannot_be_read_ends_the_loop(counting: Any) -> None:
    bus = a_bus()
    bus.send([Output("user-states", b"ann", b"many")])
    with pytest.raises(StateError, match=r"user-states\[0\]@0 cannot be restored: value must be a count, got b'many'"):
        run_counting(counting, bus)


def test_a_bug_in_a_handler_names_the_record(counting: Any) -> None:
    class Buggy(counting):  # type: ignore[misc] # loaded from a file
        def on_record(self, record: Any) -> list[Output]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        run_counting(Buggy, a_bus())
    assert caught.value.__notes__ == ["while counting handled interactions[0]@0"]


def test_outputs_before_the_fault_in_a_record_are_dropped(counting: Any) -> None:
    from stream.errors import BadRecord

    class Halfway(counting):  # type: ignore[misc] # loaded from a file
        def on_record(self, record: Any) -> Iterable[Output]:
            yield Output("recommendations", b"half", b"1")
            raise BadRecord("at", "late enough to hurt", 0)

    bus = a_bus()
    run_counting(Halfway, bus)
    assert told(bus, "recommendations") == []
    assert len(told(bus, "dead-letters")) == len(USERS)


def test_an_unknown_figure_is_an_error(counting: Any) -> None:
    class Odd(counting):  # type: ignore[misc] # loaded from a file
        def figures(self) -> dict[tuple[str, ...], float]:
            return {("userz",): 1.0}

    with pytest.raises(ValueError, match="got 'userz'"):
        run_counting(Odd, a_bus())


def test_figures_and_lags_are_served(counting: Any) -> None:
    watch = Watch("counting", now_s=iter(range(10_000)).__next__)
    bus = a_bus()
    one = Loop(counting, bus.open("counting", counting.inputs, counting.broadcasts), bus, watch)
    assert not watch.ready.is_set()
    one.step()
    assert watch.ready.is_set()
    one.step()
    assert value(watch, "lag_records", topic="interactions", partition="0") == 5
    assert value(watch, "users") == 2
    assert value(watch, "commit_seconds_count") == 1


def test_a_slow_handler_keeps_its_membership_and_its_order(counting: Any) -> None:
    bus, stop, watch = a_bus(), threading.Event(), Watch("counting")
    session = Faulty(bus.open("counting", counting.inputs, counting.broadcasts), [], stop)
    run(lambda: counting(pause_s=0.05), session, bus, stop, watch, slow=True)
    assert dict(told(bus, "user-states")) == {b"ann": b"4", b"bob": b"2", b"eve": b"1"}
    assert session.signs >= len(USERS)


def test_a_slow_record_is_given_up_when_told_to_stop(counting: Any) -> None:
    bus, stop = a_bus(), threading.Event()
    session = bus.open("counting", counting.inputs, counting.broadcasts)
    threading.Timer(0.2, stop.set).start()
    began_s = time.monotonic()
    run(lambda: counting(pause_s=2.0), session, bus, stop, Watch("counting"), slow=True)
    assert time.monotonic() - began_s < 1.5
    assert bus.committed == {}


def test_a_fault_in_a_slow_handler_is_parked_too(counting: Any) -> None:
    bus = a_bus([b"poison"])
    run_counting(counting, bus, slow=True)
    assert len(told(bus, "dead-letters")) == 1


@pytest.mark.parametrize("size", [1, 3, 500])
def test_a_stage_steps_through_whatever_is_there(counting: Any, size: int) -> None:
    bus = a_bus([b"poison"], max_poll_records=size)
    stage = Stage("counting", counting(), bus)
    while stage.step():
        pass
    assert [pair[1] for pair in told(bus, "recommendations")] == [b"1", b"1", b"2", b"1", b"3", b"2", b"4"]
    assert stage.drain_journal() == [{"where": "interactions[0]@4", "event": "third", "user": "ann"}]
    assert stage.drain_journal() == []
    again = Stage("counting", counting(), bus)
    assert (again.step(), again.handler.counts) == (0, {b"ann": 4, b"bob": 2, b"eve": 1})  # type: ignore[attr-defined]
