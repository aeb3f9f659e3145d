"""One trial of `meander tune`: a slice of a log, replayed under other settings.

A trial is judged by NDCG without a cut: the mean of 1 / log2(rank + 2) over all tested events, ranks from 0, an item
that was no candidate counting nothing. It moves with every event where a hit rate moves with a few, and unlike
log-loss it does not reward scores that are better scaled but rank alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from math import log2

import numpy as np
from numpy.typing import NDArray

from consumers.encoder import Encoder
from consumers.replay import replay
from stream import events
from stream.errors import LogError
from stream.events import Interaction, Item
from stream.settings import Settings

Floats = NDArray[np.float32]
Report = Callable[[int, float], None]  # number of the report from 1, mean gain so far

EVENTS = 20_000  # of a slice: a trial of a minute or two
WARM_UP = 0.2  # share of the slice that is learned before testing begins
REPORTS = 20  # of a trial, at most


@dataclass(frozen=True, slots=True)
class Slices:
    """The beginning of a log: what is tuned on, and the events after it, for which nothing is tuned."""

    name: str
    items: Sequence[Item]
    interactions: Sequence[Interaction]  # of both slices
    events: int  # of the first

    @classmethod
    def of(cls, name: str, items: Sequence[Item], interactions: Iterable[Interaction], events: int | None) -> Slices:
        """Cut a log; without `events` the slice is `EVENTS`, or half of a shorter log.

        Raises:
            LogError: the log is empty.
        """
        both = list(islice(interactions, 2 * (events or EVENTS)))
        if not both:
            raise LogError("interactions must hold at least one record, got none")
        return cls(name, items, both, min(events or len(both) // 2, len(both)) or 1)

    def digest(self) -> str:
        """Of all that a trial reads."""
        seen = sha256()
        for message in (*self.items, *self.interactions):
            seen.update(events.encode(message) + b"\n")
        return seen.hexdigest()[:16]

    def trial(self, settings: Settings, encoder: Encoder, report: Report | None = None) -> Outcome:
        """Replay the first slice.

        Raises:
            Exception: what `report` raises; it ends the trial.
        """
        outcome = Outcome(report, every=max(self.events // REPORTS, 1))
        replay(self.name, self.items, self.interactions[: self.events], settings,
               encoder=encoder, warm_up_share=WARM_UP, on_tested=outcome.add)  # fmt: skip
        return outcome

    def later(self, settings: Settings, encoder: Encoder) -> Outcome:
        """Replay both slices, and test the second."""
        outcome = Outcome()
        before = sum(event.item_id is not None for event in self.interactions[: self.events])
        replay(self.name, self.items, self.interactions, settings,
               encoder=encoder, warm_up_events=before, on_tested=outcome.add)  # fmt: skip
        return outcome


@dataclass(slots=True)
class Outcome:
    """Sums over tested events, by person in order of their first one.

    >>> outcome = Outcome()
    >>> outcome.add("ann", 0); outcome.add("bob", None); outcome.add("ann", 14)
    >>> outcome.mean(), outcome.sums()
    (0.41666..., [[2, 1], [1.25, 0.0], [1.0, 0.0], [1, 0]])
    """

    report: Report | None = None
    every: int = 1  # tested events between two reports
    tested: int = 0
    total: float = 0.0
    people: dict[str, list[float]] = field(default_factory=dict)  # events, ndcg, ndcg_10, hits

    def add(self, user_id: str, rank: int | None) -> None:
        """Count one tested event."""
        gain = 0.0 if rank is None else 1 / log2(rank + 2)
        hit = rank is not None and rank < 10
        sums = self.people.setdefault(user_id, [0, 0.0, 0.0, 0])
        for place, value in enumerate((1, gain, gain * hit, int(hit))):
            sums[place] += value
        self.tested += 1
        self.total += gain
        if self.report and self.tested % self.every == 0:
            self.report(self.tested // self.every, self.mean())

    def mean(self) -> float:
        """NDCG without a cut."""
        return self.total / max(self.tested, 1)

    def sums(self) -> list[list[float]]:
        """Four columns: events, NDCG, NDCG@10 and hits, by person."""
        return [list(column) for column in zip(*self.people.values(), strict=True)] or [[0], [0.0], [0.0], [0]]


class Remembering:
    """An encoder that keeps every vector it has made, for many replays of the same texts.

    >>> from stream.text import TextEncoder
    >>> encoder = Remembering(TextEncoder.tiny(dim=8))
    >>> bool((encoder.encode(["mug", "cup"])[1] == encoder.encode(["cup"])[0]).all())
    True
    """

    def __init__(self, encoder: Encoder) -> None:
        self.dim, self._encoder = encoder.dim, encoder
        self._vectors: dict[str, Floats] = {}

    def encode(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, dim)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encoder.encode(new), strict=True))
        return np.array([self._vectors[text] for text in texts], np.float32).reshape(len(texts), self.dim)
