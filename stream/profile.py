"""One person's state, and how an interaction is folded into it.

The state is `stream.messages.UserState`, changed in place; between runs of events it lives as the bytes of its own
changelog record (`pack`), so a restart cannot make a difference. Vectors and mass are as of `last_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from math import exp2

import numpy as np
from numpy.typing import NDArray

from stream.decay import Decay
from stream.decay import fold as faded
from stream.drift import REFERENCE, WINDOW, Detector, Found
from stream.messages import UserState, as_vector, decode, encode
from stream.places import Place, Places
from stream.settings import Settings
from stream.space import DIM, Space

Floats = NDArray[np.float32]

SEGMENTS = 4  # of whose mass a state keeps account: for people to read
HASH_BYTES = 6  # of an event id: among 16 of them, one event in 2 * 10**13 is taken for a duplicate
EMPTY = bytes(4 * DIM)


@dataclass(frozen=True, slots=True)
class Rules:
    """What folding takes from the settings and from a space."""

    space: Space
    slow: Decay
    fast: Decay
    detector: Detector
    tail: int
    repeats: bool
    recent_ids: int
    reaction_events: int

    @classmethod
    def of(cls, settings: Settings, space: Space) -> Rules:
        """The rules in `space`."""
        users, drift = settings.users, settings.drift
        slow, fast = space.decays(users)
        return cls(
            space, slow, fast, space.detector(drift), users.tail, settings.scoring.repeats, users.recent_ids,
            drift.reaction_events,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """An interaction, as far as a state is concerned."""

    event_id: str
    item_id: str  # "" with a weight of 0, if it is about none
    at_s: float
    weight: float  # 0: no interest in the item; it is counted, no more
    offset: int


def newcomer(user_id: str, at_s: float) -> UserState:
    """The state of someone of whom nothing is known, at their first event."""
    return UserState(user_id, 0, at_s, at_s, "", EMPTY, EMPTY, {}, [], [], [], [], [], -1, "", [])


def pack(state: UserState) -> bytes:
    """The state as its record; whole numbers go as such, which makes it smaller."""
    state.detector = [_short(number) for number in state.detector]
    state.drift = [_short(number) for number in state.drift]
    state.since_s, state.last_s = _short(state.since_s), _short(state.last_s)
    state.changed_s = _short(state.changed_s)
    return encode(state)


def unpack(data: bytes | None) -> UserState:
    """The state of `pack`, without what was new in it.

    Raises:
        BadRecord: damaged, or of another format.
    """
    return settled(decode(UserState, data))


def settled(state: UserState) -> UserState:
    """The same state, in which nothing is new."""
    state.fresh, state.said = [], ""
    return state


def remembered(state: UserState, event_id: str) -> bool:
    """Whether the event is among the recent ones of the state: a duplicate."""
    held = state.recent[0] if state.recent else b""
    digest = _hash(event_id)
    at = held.find(digest)
    while at > 0 and at % HASH_BYTES:
        at = held.find(digest, at + 1)
    return at >= 0


def remember(state: UserState, event_id: str, most: int) -> None:
    """Add the event to the recent ones, of which `most` are kept."""
    if most:
        held = (state.recent[0] if state.recent else b"") + _hash(event_id)
        state.recent = [held[-most * HASH_BYTES :]]


def fold(state: UserState, event: Event, places: Places, rules: Rules) -> Found | None:
    """Fold one interaction, not a duplicate, into a state that is in the rules' space; return a new alarm.

    Whatever the event, it is counted, and time moves on. With a weight, its item enters the tail; with a place, the
    vectors and the mass too, and the detector looks at the tail. Where repeats do not count, an item of the tail is
    only counted.
    """
    state.seq += 1
    state.through = max(state.through, event.offset)
    state.since_s = min(state.since_s, event.at_s)
    remember(state, event.event_id, rules.recent_ids)
    counts = event.weight > 0 and (rules.repeats or event.item_id not in state.tail_items)
    if counts:
        state.tail_items.append(event.item_id)
        state.tail_gaps_s.append(int(event.at_s) - sum(state.tail_gaps_s))
        surplus = len(state.tail_items) - rules.tail
        if surplus > 0:
            state.tail_gaps_s[surplus] += sum(state.tail_gaps_s[:surplus])
            del state.tail_items[:surplus], state.tail_gaps_s[:surplus]
        if state.detector:
            state.detector = [state.detector[0] + 1] if state.detector[0] + 1 < rules.tail else []
    place = places.find(event.item_id) if counts else None
    if place is None:
        age(state, event.at_s, rules)
        return None
    _interest(state, place, event.at_s, event.weight, rules)
    return _watched(state, places, event.at_s, rules)


def fold_text(state: UserState, vector: Floats, at_s: float, rules: Rules) -> None:
    """Fold what a person wrote, as a vector in the rules' space; detectors do not see it."""
    _blend(state, vector, at_s, 1.0, rules)
    state.since_s, state.last_s = min(state.since_s, at_s), max(state.last_s, at_s)


def age(state: UserState, at_s: float, rules: Rules) -> None:
    """Move a state on to `at_s`, if that is later, without an arrival."""
    if at_s <= state.last_s:
        return
    slow, fast = (exp2((state.last_s - at_s) / decay.half_life_s) for decay in (rules.slow, rules.fast))
    state.slow = (as_vector(state.slow) * np.float32(slow)).tobytes()
    state.fast = (as_vector(state.fast) * np.float32(fast)).tobytes()
    state.mass = {name: mass * slow for name, mass in state.mass.items()}
    state.last_s = at_s


def rebuild(state: UserState, places: Places, rules: Rules) -> None:
    """Take a state into the rules' space: vectors and mass are made anew from the tail, in which nothing has changed.

    Weights of the tail's events are not known any more: all count 1.
    """
    last_s = state.last_s
    state.space, state.slow, state.fast = rules.space.name, EMPTY, EMPTY
    state.mass, state.detector, state.drift = {}, [], []
    times_s = state.tail_s
    if times_s:
        state.last_s = times_s[0]
    for item_id, at_s in zip(state.tail_items, times_s, strict=True):
        place = places.find(item_id)
        if place is not None:
            _interest(state, place, at_s, 1.0, rules)
    age(state, last_s, rules)
    state.last_s = last_s


def seen(state: UserState) -> list[str]:
    """Items that the detector looks at: the newest of the tail, as far as nothing has changed in it."""
    kept = min(int(state.detector[0]), WINDOW + REFERENCE) if state.detector else WINDOW + REFERENCE
    return state.tail_items[-kept:]


def _interest(state: UserState, place: Place, at_s: float, weight: float, rules: Rules) -> None:
    """Vectors and mass."""
    _blend(state, place.vector, at_s, weight, rules)
    _gain(state, place.segment, at_s, weight, rules)
    state.last_s = max(state.last_s, at_s)


def _watched(state: UserState, places: Places, at_s: float, rules: Rules) -> Found | None:
    """The detector, unless it rests after an alarm; after one, what is new is what later things are held against."""
    if state.drift:
        state.drift = [state.drift[0] - 1, state.drift[1]] if state.drift[0] > 1 else []
        return None
    if not rules.detector.on:
        return None
    items, vectors = places.gather(seen(state))
    found = rules.detector.look(items, vectors - rules.space.centre)
    if found is not None and found.alarm:
        state.detector = [WINDOW]
        state.drift = [rules.reaction_events, at_s] if rules.reaction_events else []
    return found


def _blend(state: UserState, vector: Floats, at_s: float, weight: float, rules: Rules) -> None:
    """Fold a vector into both states."""
    kept, fresh = rules.slow.factors(state.last_s, at_s)
    state.slow = faded(as_vector(state.slow), vector, kept, fresh * weight).tobytes()
    kept, fresh = rules.fast.factors(state.last_s, at_s)
    state.fast = faded(as_vector(state.fast), vector, kept, fresh * weight).tobytes()


def _gain(state: UserState, segment: str, at_s: float, weight: float, rules: Rules) -> None:
    """Decay the mass of all segments, add to that of one, keep the largest `SEGMENTS`."""
    if not segment:
        return
    kept, fresh = rules.slow.factors(state.last_s, at_s)
    mass = {name: held * kept for name, held in state.mass.items()}
    mass[segment] = mass.get(segment, 0.0) + weight * fresh
    if len(mass) > SEGMENTS:
        del mass[min((name for name in mass if name != segment), key=lambda name: (mass[name], name))]
    state.mass = mass


def _hash(event_id: str) -> bytes:
    return blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


def _short(number: float) -> float:
    return int(number) if float(number).is_integer() else number
