"""People's histories as a training sees them: single events, merged into columns."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One interaction out of a log or a history tail."""

    user_id: str
    item_id: str
    at_s: float
    block: str  # group, or user's events of one timestamp: predicted together
    weight: float = 1.0  # of its event type
    drifted: bool = False  # the user's interests had just moved


def merged(events: Iterable[LoggedEvent], *, repeats: bool = True) -> list[LoggedEvent]:
    """Events in order of time, each (user, item, second) once; without `repeats`, each (user, item) once.

    Of equal times the order they came in stands. What is met first stays: put the richer source in front.

    >>> again = LoggedEvent("ann", "mug", 60.0, "b1")
    >>> log = merged([again, LoggedEvent("ann", "mug", 0.0, "b0"), again])
    >>> [e.at_s for e in log], len(merged(log, repeats=False))
    ([0.0, 60.0], 1)
    """
    once: dict[tuple[str, str, int], LoggedEvent] = {}
    for event in events:
        once.setdefault((event.user_id, event.item_id, int(event.at_s)), event)
    ordered = sorted(once.values(), key=lambda e: e.at_s)
    if repeats:
        return ordered
    first: dict[tuple[str, str], LoggedEvent] = {}
    for event in ordered:
        first.setdefault((event.user_id, event.item_id), event)
    return list(first.values())


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """Histories of u people with e events in all, as columns: person after person, oldest event first.

    >>> ann, bob = LoggedEvent("ann", "mug", 0.0, "b0"), LoggedEvent("bob", "cup", 1.0, "b1")
    >>> log = [ann, bob, LoggedEvent("ann", "cup", 2.0, "b2")]
    >>> histories = Histories.of(log, ["cup", "mug"], fresh_from_s=1.0)
    >>> histories.starts.tolist(), histories.items.tolist(), histories.fresh.tolist()
    ([0, 2, 3], [1, 0, 0], [False, True, True])
    """

    starts: NDArray[np.int64]  # (u + 1,): person i has the events starts[i] to starts[i + 1]
    items: NDArray[np.int64]  # (e,): rows of the catalogue
    times_s: NDArray[np.float64]  # (e,)
    fresh: NDArray[np.bool_]  # (e,): in the newest window, as against replay

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def of(
        cls,
        log: Sequence[LoggedEvent],
        item_ids: Sequence[str],
        *,
        fresh_from_s: float,
        of_people: Container[str] | None = None,
    ) -> Histories:
        """Columns of a time-ordered log; other items are left out.

        Events at or after `fresh_from_s` are new: everybody's, or those of some people alone.
        """
        row = {item: i for i, item in enumerate(item_ids)}
        people: dict[str, list[LoggedEvent]] = {}
        for event in log:
            if event.item_id in row:
                people.setdefault(event.user_id, []).append(event)
        lengths = [len(events) for events in people.values()]
        flat = [event for events in people.values() for event in events]
        times_s = np.array([event.at_s for event in flat], np.float64)
        theirs = np.array([of_people is None or event.user_id in of_people for event in flat], bool)
        return cls(
            starts=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
            items=np.array([row[event.item_id] for event in flat], np.int64),
            times_s=times_s,
            fresh=(times_s >= fresh_from_s) & theirs,
        )
