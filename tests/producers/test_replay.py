from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event

from producers.replay import BATCH, LAG_EVERY, Backpressure, Pace, Progress, produce
from stream.bus import MemoryBus
from stream.events import Interaction, Item, decode

ITEMS = [Item(item_id=f"i{n}") for n in range(3)]


def events(count: int, step_s: float = 1.0) -> list[Interaction]:
    return [
        Interaction(event_id=f"e{n}", user_id=f"u{n % 7}", item_id="i0", at=n * step_s * 1000) for n in range(count)
    ]


@dataclass
class Wall:
    """A clock that only sleeping moves."""

    now_s: float = 1000.0
    naps: list[float] = field(default_factory=list)

    def read(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now_s += seconds


def test_items_first_then_interactions_keyed_by_user() -> None:
    bus, order = MemoryBus(partitions=3), []
    progress = produce(
        bus, ITEMS, events(1200), between=lambda: order.append((sum(bus.ends("items").values()), bus.ends("x")))
    )
    assert order == [(3, {0: 0})]
    assert (progress.items, progress.interactions, progress.at_s) == (3, 1200, 1199.0)
    sent = [decode(Interaction, r.value) for r in bus.read("interactions")]
    assert sorted(sent, key=lambda e: e.at_s) == events(1200)
    for partition in range(3):
        of_partition = bus.read("interactions", {partition: (0, 10_000)})
        by_user: dict[str, list[float]] = {}
        for record in of_partition:
            event = decode(Interaction, record.value)
            assert record.key == event.user_id.encode()
            by_user.setdefault(event.user_id, []).append(event.at_s)
        assert all(times == sorted(times) for times in by_user.values())


def test_pace_follows_event_time() -> None:
    wall = Wall()
    bus, seen = MemoryBus(), []
    pace = Pace(speed=10.0, monotonic=wall.read, sleep=wall.sleep)
    produce(bus, [], events(21), pace=pace, on_progress=lambda p: seen.append((round(wall.now_s, 3), p.at_s)))
    assert wall.now_s >= 1002.0  # 20 s of event time at speed 10
    assert wall.now_s < 1002.2
    for now_s, at_s in seen:  # never sent before it is due
        assert at_s <= (now_s - 1000.0) * 10.0 + 1e-6


def test_a_late_event_is_sent_at_once() -> None:
    wall = Wall()
    log = [events(11)[n] for n in (0, 10, 3)]
    produce(MemoryBus(), [], log, pace=Pace(1.0, wall.read, wall.sleep))
    assert 10.0 <= wall.now_s - 1000.0 < 10.1


def test_without_speed_nothing_sleeps() -> None:
    wall = Wall()
    produce(MemoryBus(), ITEMS, events(5), pace=Pace(0.0, wall.read, wall.sleep))
    assert wall.naps == []


def test_holds_back_while_consumers_are_behind() -> None:
    wall, bus = Wall(), MemoryBus()
    lags = [0, 50, 50, 0, 0, 0]
    asked: list[int] = []
    waits: list[bool] = []

    def lag() -> int:
        asked.append(sum(bus.ends("interactions").values()))
        return lags.pop(0)

    produce(
        bus,
        [],
        events(2 * LAG_EVERY + BATCH),
        pace=Pace(0.0, wall.read, wall.sleep),
        pressure=Backpressure(lag, limit=10),
        on_progress=lambda p: waits.append(p.waiting),
    )
    assert asked == [0, 2000, 2000, 2000, 4000]  # 50 behind, twice, at 2,000
    assert len(wall.naps) == 2
    assert waits.count(True) == 2


def test_stops_between_sends() -> None:
    stop, bus = Event(), MemoryBus()

    def after_two(progress: Progress) -> None:
        if progress.interactions >= 2 * BATCH:
            stop.set()

    progress = produce(bus, ITEMS, events(10 * BATCH), stop=stop, on_progress=after_two)
    assert progress.interactions == 2 * BATCH
    assert bus.ends("interactions") == {0: 2 * BATCH}


def test_stop_ends_a_wait_for_the_next_event() -> None:
    stop, wall = Event(), Wall()

    def sleep(seconds: float) -> None:
        wall.sleep(seconds)
        stop.set()

    progress = produce(MemoryBus(), [], events(3, 3600.0), pace=Pace(1.0, wall.read, sleep), stop=stop)
    assert progress.interactions == 1
    assert len(wall.naps) == 1


def test_stop_before_the_start_sends_nothing() -> None:
    stop, bus = Event(), MemoryBus()
    stop.set()
    assert produce(bus, ITEMS, events(3), stop=stop) == Progress()
    assert bus.ends("items") == {0: 0}
