"""Plays a catalogue and interactions into the topics, at the pace of event time or as fast as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from threading import Event

from stream import topics
from stream.bus import Bus
from stream.events import Interaction, Item, encode
from stream.records import Output

BATCH = 500  # records per send, at most
PAUSE_S = 0.05  # between two looks at the lag or the clock
LAG_EVERY = 2_000  # records between two looks at the lag


@dataclass(slots=True)
class Progress:
    """How far a production has come."""

    items: int = 0
    interactions: int = 0
    at_s: float = 0.0  # event time of the newest interaction sent
    waiting: bool = False  # consumers are too far behind


@dataclass(slots=True)
class Pace:
    """When events are due: `speed` seconds of event time pass in one second of wall time; 0: at once.

    `monotonic` and `sleep` are given for tests. Late events (older than one before them) are due at once.

    >>> pace = Pace(speed=60.0, monotonic=lambda: 100.0)
    >>> pace.due_in_s(0.0), pace.due_in_s(120.0)  # the first event starts the clock
    (0.0, 2.0)
    """

    speed: float = 0.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    _started: tuple[float, float] | None = field(default=None, init=False)  # wall and event time of the first event

    def due_in_s(self, at_s: float) -> float:
        """Wall seconds until an event of time `at_s` is due."""
        if self.speed <= 0:
            return 0.0
        now_s = self.monotonic()
        if self._started is None:
            self._started = (now_s, at_s)
        wall_s, event_s = self._started
        return max(0.0, wall_s + (at_s - event_s) / self.speed - now_s)


@dataclass(slots=True)
class Backpressure:
    """Holds a producer back while consumers are more than `limit` records behind; `lag` is costly, so seldom asked."""

    lag: Callable[[], int] | None = None
    limit: int = 20_000

    def too_far(self) -> bool:
        """Are the consumers too far behind now."""
        return self.lag is not None and self.lag() > self.limit


def produce(
    bus: Bus,
    items: Iterable[Item],
    interactions: Iterable[Interaction],
    *,
    pace: Pace | None = None,
    stop: Event | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    between: Callable[[], object] | None = None,
    pressure: Backpressure | None = None,
) -> Progress:
    """Send `items`, call `between` (to wait until they are embedded, say), then send `interactions`.

    Keys are the item's and the user's id, so that one user's events keep their order. Returns when all is sent, or
    soon after `stop` is set.

    >>> from stream.bus import MemoryBus
    >>> bus = MemoryBus()
    >>> event = Interaction(event_id="e1", user_id="ann", item_id="mug", at=60_000)
    >>> produce(bus, [Item(item_id="mug")], [event])
    Progress(items=1, interactions=1, at_s=60.0, waiting=False)
    >>> next(bus.read("interactions")).key
    b'ann'
    """
    pace, stop, pressure = pace or Pace(), stop or Event(), pressure or Backpressure()
    tell = on_progress or (lambda _: None)
    progress = Progress()
    for batch in _batches(_item_outputs(items, stop), BATCH):
        bus.send(batch)
        progress.items += len(batch)
        tell(progress)
    if between is not None and not stop.is_set():
        between()
    asked = -LAG_EVERY  # interactions sent when the lag was last asked for
    for events in _due(interactions, pace, stop):
        if progress.interactions - asked >= LAG_EVERY:
            asked = progress.interactions
            _hold(pressure, progress, pace, stop, tell)
        if stop.is_set():
            break
        bus.send([Output(topics.INTERACTIONS, e.user_id.encode(), encode(e)) for e in events])
        progress.interactions += len(events)
        progress.at_s = max(progress.at_s, events[-1].at_s)
        tell(progress)
    return progress


def _item_outputs(items: Iterable[Item], stop: Event) -> Iterator[Output]:
    for item in items:
        if stop.is_set():
            return
        yield Output(topics.ITEMS, item.item_id.encode(), encode(item))


def _batches(outputs: Iterable[Output], size: int) -> Iterator[list[Output]]:
    batch: list[Output] = []
    for output in outputs:
        batch.append(output)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _due(interactions: Iterable[Interaction], pace: Pace, stop: Event) -> Iterator[list[Interaction]]:
    """Runs of events that are due: what is due is given before the wait for what is not."""
    batch: list[Interaction] = []
    for event in interactions:
        while (wait_s := pace.due_in_s(event.at_s)) > 0 and not stop.is_set():
            if batch:
                yield batch
                batch = []
            else:
                pace.sleep(min(wait_s, PAUSE_S))
        if stop.is_set():
            return
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _hold(
    pressure: Backpressure, progress: Progress, pace: Pace, stop: Event, tell: Callable[[Progress], object]
) -> None:
    """Wait while the consumers are too far behind."""
    while not stop.is_set() and pressure.too_far():
        progress.waiting = True
        tell(progress)
        pace.sleep(PAUSE_S)
    progress.waiting = False
