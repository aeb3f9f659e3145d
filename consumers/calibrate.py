"""`meander calibrate`: the drift detector's threshold for a log, from the null of people it was not fitted with.

The beginning of the log, as long as the warm-up, fits the drift space as the first training does. Everybody's history,
shuffled, then tells how high the statistic rises while nobody drifts. The seasons after the warm-up can be calmer or
wilder than it; this is how a threshold follows them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from stream.calibration import EXPECTED, NOTHING, Part, alarms, null, threshold, trace
from stream.errors import LogError
from stream.events import Interaction, Item
from stream.item_text import Wording
from stream.settings import Settings
from stream.space import Space

Floats = NDArray[np.float32]
Person = tuple[
    NDArray[np.int64], NDArray[np.float64], int
]  # rows of the catalogue, event times, of which in the warm-up
Encode = Callable[[list[str]], Floats]

ROUNDS = 20  # how often a person may be shuffled


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """A log's people, and the drift space fitted on its beginning."""

    ids: list[str]
    base: Floats  # (N, base dim)
    people: list[Person]
    space: Space

    @classmethod
    def of(
        cls,
        items: Sequence[Item],
        interactions: Iterable[Interaction],
        settings: Settings,
        warm_up: float,
        encode: Encode,
    ) -> Crowd:
        """Read a log, and fit the space on its first `warm_up` interactions, or on that share of them if below 1.

        Raises:
            LogError: nobody did anything in the warm-up, or there are less than two items.
        """
        wording = Wording.of(items, settings.seed, 1)
        row = {item: i for i, item in enumerate(wording.item_ids)}
        events = [event for event in interactions if event.item_id in row]
        people = _people(events, row, int(warm_up if warm_up >= 1 else warm_up * len(events)), settings.scoring.repeats)
        warm = [(rows[:n], times[:n]) for rows, times, n in people if n]
        if not warm or len(row) < 2:
            raise LogError(f"a log to calibrate with must hold interactions with two items or more, got {len(events)}")
        words = {item.item_id: " ".join((item.title, *item.categories)).lower() for item in items}
        base = encode(wording.texts)
        space = Space.fit(
            wording.item_ids,
            base,
            [words[item] for item in wording.item_ids],
            [rows for rows, _ in warm],
            [times for _, times in warm],
            np.bincount(np.concatenate([rows for rows, _ in warm]), minlength=len(row)),
            settings.seed,
            users=settings.users,
            drift=settings.drift,
        )
        return cls(wording.item_ids, base, people, space)

    def part(self) -> Part:
        """Everybody's whole history, and the vectors that the detector sees."""
        return Part([(rows, times) for rows, times, _ in self.people], self.vectors() - self.space.centre)

    def vectors(self) -> Floats:
        """Of the whole catalogue in the drift space (N, D)."""
        return self.space.vectors(self.ids, self.base)


def calibrate(
    name: str,
    items: Sequence[Item],
    interactions: Iterable[Interaction],
    settings: Settings,
    per: float,
    encode: Encode,
) -> dict[str, Any]:
    """The threshold at which one alarm in `per` events is false; progress goes to stderr.

    Raises:
        LogError: the log is too short to know.
    """
    console, began_s = Console(stderr=True, soft_wrap=True), time.monotonic()
    console.print(f"{name}: fitting the drift space on the first {settings.trigger.warm_up_events:,} interactions")
    crowd = Crowd.of(items, interactions, settings, settings.trigger.warm_up_events, encode)
    if crowd.space.weights == NOTHING:
        raise LogError(
            f"the first {settings.trigger.warm_up_events:,} interactions must hold more people to learn from"
        )
    part, weights, tail = crowd.part(), crowd.space.weights, settings.users.tail
    wanted = ceil(1.5 * EXPECTED * per)
    made = null([part], weights, tail, settings.seed, wanted, ROUNDS)
    traces = list(track(made, "shuffled people", console=console, show_speed=False, transient=True))
    seen = sum(map(len, traces))
    found = threshold(traces, settings.drift.reaction_events, 1000 / per)
    if not isfinite(found):
        raise LogError(f"false alarms per {per:,.0f} events need a null of {EXPECTED * per:,.0f} events, got {seen:,}")
    own = [trace(rows, part.vectors, weights, tail) for rows, _ in part.people]
    result = {
        "dataset": name,
        "false_alarms_per": per,
        "threshold": round(found, 4),
        "threshold_of_the_warm_up": round(crowd.space.threshold, 4) if isfinite(crowd.space.threshold) else None,
        "null_events": seen,
        "alarms_per_1000_in_the_order_of_the_log": _rate(own, found, settings.drift.reaction_events),
        "seconds": round(time.monotonic() - began_s, 1),
    }
    console.print(
        f"threshold {result['threshold']} from {seen:,} events without drift; in the order of the log "
        f"{result['alarms_per_1000_in_the_order_of_the_log']} alarms per 1,000 events; {result['seconds']} s"
    )
    return result | {"toml": toml(found, per)}


def toml(threshold: float, per: float) -> str:
    """The piece of meander.toml.

    >>> print(toml(2.50659, 50_000), end="")
    [drift]
    false_alarms_per_1000 = 0.02
    threshold = 2.5066
    """
    return f"[drift]\nfalse_alarms_per_1000 = {1000 / per:g}\nthreshold = {threshold:.4f}\n"


def _rate(traces: Sequence[NDArray[np.float64]], threshold: float, rest: int) -> float:
    events = sum(map(len, traces))
    return round(1000 * sum(alarms(trace, threshold, rest) for trace in traces) / max(1, events), 3)


def _people(events: Sequence[Interaction], row: dict[str, int], cut: int, repeats: bool) -> list[Person]:
    """Histories in order of arrival; where repeats do not count, the first interaction with each item."""
    taken: dict[str, dict[tuple[int, int], tuple[float, bool]]] = defaultdict(dict)
    for n, event in enumerate(events):
        item = row[event.item_id or ""]
        taken[event.user_id].setdefault((item, n if repeats else 0), (event.at_s, n < cut))
    return [
        (
            np.array([item for item, _ in held], np.int64),
            np.array([at_s for at_s, _ in held.values()]),
            sum(warm for _, warm in held.values()),
        )
        for held in taken.values()
    ]
