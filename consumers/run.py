"""One consumer as a process: builds its handler, joins its group, serves its metrics, runs the loop, leaves."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

import psutil
import structlog

from consumers.http import HttpServer
from consumers.loop import run
from consumers.roles import Role, role
from consumers.watch import Watch
from stream import logs
from stream.errors import BrokerError, MeanderError
from stream.kafka_bus import KafkaBus
from stream.settings import Settings, masked

T = TypeVar("T")

START_PATIENCE = 6  # attempts to reach the broker at the start, 1, 2, 4 … s apart


def run_role(name: str, settings: Settings) -> int:
    """Run one of `consumers.roles.NAMES` until SIGTERM or SIGINT; return the exit code: 0, or 1 after an error."""
    logs.configure()
    log = structlog.get_logger().bind(consumer=name)
    log.info("starts", settings=masked(settings))
    stop = threading.Event()
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(stopped_by_signals(stop))
            bus = KafkaBus(settings.kafka)
            stack.callback(bus.close)
            serve(role(name, settings, bus), settings, bus, stop)
    except MeanderError as error:
        log.error("stops", reason=str(error), error=type(error).__name__)
        return 1
    log.info("stopped")
    return 0


def serve(part: Role, settings: Settings, bus: KafkaBus, stop: threading.Event) -> None:
    """Run a role's loop with its HTTP server until `stop` is set, then leave the group."""
    watch = Watch(part.name)
    with contextlib.ExitStack() as stack:
        stack.callback(_end_children, frozenset(psutil.Process().children()))
        server = stack.enter_context(HttpServer(settings.http, watch.metrics.registry, watch.ready.is_set))
        structlog.get_logger().info("listens", consumer=part.name, address=server.address)
        topics = part.kind.inputs, part.kind.broadcasts
        session = patiently(lambda: bus.open(part.name, *topics, whole=part.whole), stop, watch)
        if session is not None:
            stack.callback(session.close)
            run(part.build, session, bus, stop, watch, slow=part.slow)


def patiently(call: Callable[[], T], stop: threading.Event, watch: Watch) -> T | None:
    """Call until it succeeds, with pauses that double from 1 s; None if `stop` was set meanwhile.

    Raises:
        BrokerError: not retriable, or that of the sixth attempt.
    """
    for attempt in range(START_PATIENCE):
        try:
            return call()
        except BrokerError as error:
            if not error.retriable or attempt == START_PATIENCE - 1:
                raise
            watch.waits(error, 2.0**attempt)
            if stop.wait(2.0**attempt):
                break
    return None


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM and SIGINT set `stop`; the handlers before are put back at the end."""

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_children(others: frozenset[psutil.Process]) -> None:
    """Kill what this process has started meanwhile and not ended: a training that was given up."""
    for child in set(psutil.Process().children()) - others:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
