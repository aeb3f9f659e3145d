"""What a training may learn from, read off the topics: people with a live state, their tails, and the newest window.

Erasure holds here: an event counts only if its person has a live state, and it is not older than that state's life.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream import topics
from stream.baskets import Took
from stream.bus import Bus
from stream.errors import BadRecord, StateError
from stream.events import Interaction, Item
from stream.events import decode as read
from stream.history import LoggedEvent, merged
from stream.item_text import Wording
from stream.messages import AdaptedVector, ItemVector, TrainingJob, UserState, as_vector, decode
from stream.settings import Settings, Users

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """The data of one training job."""

    log: list[LoggedEvent]  # in order of time
    items: dict[str, ItemVector]  # the catalogue, by item id
    past: list[Took]  # over a longer past, in no order; without repeats the first of each person and item alone
    people: int  # with a live state
    window: int  # interactions read from the window that count
    concerned: frozenset[str] | None = None  # people of the job's segment; None: everybody

    @property
    def base_dim(self) -> int:
        """Width of the text vectors; 1 while there is none."""
        return next((len(item.vector) // 4 for item in self.items.values() if item.vector), 1)

    def vectors(self, item_ids: list[str]) -> Floats:
        """Text vectors (n, base_dim) of items; zeros where there is none."""
        out = np.zeros((len(item_ids), self.base_dim), np.float32)
        for row, item_id in zip(out, item_ids, strict=True):
            item = self.items.get(item_id)
            if item is not None and len(item.vector) == 4 * self.base_dim:
                row[:] = as_vector(item.vector)
        return out


def gather(bus: Bus, settings: Settings, job: TrainingJob) -> Gathered:
    """Read the data of `job`: up to its horizon in offsets, and up to its time.

    The log of a warm-up is every interaction; that of a refresh the newest `training.window_events`, and the tails of
    all people. What people have is taken from the newest `training.history_events`.

    Raises:
        StateError: a state or a vector on the topics cannot be read.
    """
    states = {s.user_id: s for s in _states(bus)}
    window, past = [], list[Took]()
    seen: set[tuple[str, str]] = set()
    names: dict[str, str] = {}  # so that equal strings are kept once

    def take(event: LoggedEvent, *, again: bool) -> None:
        pair = names.setdefault(event.user_id, event.user_id), names.setdefault(event.item_id, event.item_id)
        if again or pair not in seen:
            past.append(Took(*pair, event.at_s, names.setdefault(event.block, event.block)))
            seen.add(pair)

    for event, is_in_window in _interactions(bus, settings, job):
        if event.user_id in states and event.at_s >= states[event.user_id].since_s:
            take(event, again=settings.scoring.repeats)
            if is_in_window:
                window.append(event)
    tails = [event for state in states.values() for event in _tail(state, job.at_s)]
    for event in tails:
        take(event, again=False)
    log = [
        _marked(event, states[event.user_id]) for event in merged([*window, *tails], repeats=settings.scoring.repeats)
    ]
    concerned = frozenset(u for u, s in states.items() if s.segment == job.segment) if job.segment else None
    return Gathered(log, _items(bus), past, len(states), len(window), concerned)


def worded(bus: Bus, settings: Settings, base_dim: int) -> Wording:
    """What the encoder reads of the catalogue, off the topic `items`."""
    items: dict[str, Item] = {}
    for record in bus.read(topics.ITEMS):
        if record.value is None:
            items.pop((record.key or b"").decode("utf-8", "replace"), None)
            continue
        try:
            item = read(Item, record.value)
        except BadRecord:
            continue  # the encoder has parked it
        items[item.item_id] = item
    return Wording.of(list(items.values()), settings.seed, base_dim)


def newer_vectors(bus: Bus, adapter: str) -> dict[str, Floats]:
    """Vectors under an adapter that were written after its version, by item id.

    Raises:
        StateError: one cannot be read.
    """
    out: dict[str, Floats] = {}
    for record in bus.read(topics.ADAPTED_VECTORS):
        item_id, _, under = (record.key or b"").decode("utf-8", "replace").rpartition("\x00")
        if under != adapter:
            continue
        if record.value is None:
            out.pop(item_id, None)
            continue
        try:
            out[item_id] = as_vector(decode(AdaptedVector, record.value).vector)
        except BadRecord as error:
            raise StateError(f"{record.where} cannot be read: {error}") from None
    return out


def spans(job: TrainingJob, window_events: int) -> dict[int, tuple[int, int]]:
    """Offsets [start, stop) of the interactions that a job reads, by partition.

    >>> refresh = TrainingJob("j1", 60.0, "refresh", "clock", {}, {0: 5_000, 1: 90}, {0: 4_900, 1: 80}, "v1", 0)
    >>> spans(refresh, window_events=2_000)
    {0: (4000, 5000), 1: (0, 90)}
    """
    if job.kind == "warm-up":
        return {partition: (0, stop) for partition, stop in job.horizon.items()}
    each = -(-window_events // max(len(job.horizon), 1))
    return {partition: (max(stop - each, 0), stop) for partition, stop in job.horizon.items()}


def _states(bus: Bus) -> list[UserState]:
    """The newest state of every person who has one."""
    newest: dict[tuple[int, bytes], bytes] = {}
    for record in bus.read(topics.USER_STATES):
        at = (record.partition, record.key or b"")
        if record.value is None:
            newest.pop(at, None)
        else:
            newest[at] = record.value
    try:
        return [decode(UserState, value) for value in newest.values()]
    except BadRecord as error:
        raise StateError(f"{topics.USER_STATES} holds a record that cannot be read: {error}") from None


def _items(bus: Bus) -> dict[str, ItemVector]:
    items: dict[str, ItemVector] = {}
    for record in bus.read(topics.ITEM_VECTORS):
        if record.value is None:
            items.pop((record.key or b"").decode("utf-8", "replace"), None)
        else:
            try:
                item = decode(ItemVector, record.value)
            except BadRecord as error:
                raise StateError(f"{record.where} cannot be read: {error}") from None
            items[item.item_id] = item
    return items


def _interactions(bus: Bus, settings: Settings, job: TrainingJob) -> Iterator[tuple[LoggedEvent, bool]]:
    """Those of the longer past, and whether each is in the window."""
    training = settings.training
    window = spans(job, training.window_events)
    for record in bus.read(topics.INTERACTIONS, spans(job, max(training.window_events, training.history_events))):
        try:
            event = read(Interaction, record.value)
        except BadRecord:
            continue  # interest has parked it
        if event.item_id is None:
            continue  # about no item: nothing to predict
        weight = weight_of(event.event, settings.users)
        if weight > 0 and event.at_s <= job.at_s:
            said = LoggedEvent(event.user_id, event.item_id, event.at_s, event.block, weight)
            yield said, record.offset >= window[record.partition][0]


def weight_of(event: str, users: Users) -> float:
    """Weight of an event type; 0: it says nothing about the item."""
    weights: Mapping[str, float] = users.weights
    return weights.get(event, users.default_weight)


def _tail(state: UserState, until_s: float) -> Iterator[LoggedEvent]:
    for item_id, at_s in zip(state.tail_items, state.tail_s, strict=True):
        if at_s <= until_s:
            yield LoggedEvent(state.user_id, item_id, at_s, f"@{at_s!r}")


def _marked(event: LoggedEvent, state: UserState) -> LoggedEvent:
    """The event, noted as drifted if it came after an alarm to which the person's state still reacts."""
    if not state.drift or event.at_s < state.drift[1]:
        return event
    return LoggedEvent(event.user_id, event.item_id, event.at_s, event.block, event.weight, drifted=True)
