"""Exponential forgetting with two half-lives that multiply: event time, and number of arrivals.

Wall time alone fails on bursts (most of a person's events lie seconds apart), a count alone on long pauses. So what
is held when an event arrives is multiplied by::

    kept  = 2 ** -(event time passed / half_life_s) * 2 ** -(1 / half_life_events)
    fresh = 2 ** -(how late the event is / half_life_s)

and the event enters with `weight * fresh`. For the time half-life the order of arrival does not matter, since late
events are pre-decayed; the count half-life counts arrivals. Decay is lazy: nothing happens between events. Vectors
are rounded to float32 after *every* event, so how events were batched cannot change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp2, inf

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

HOUR_S = 3_600.0
PAUSE_S = 1_800.0  # a gap at least this long separates two visits
VISITS_KEPT = 10.0  # slow half-life in pauses
DEFAULT_FAST_S = 3 * 86_400.0  # where no pause was seen


@dataclass(frozen=True, slots=True)
class Decay:
    """A pair of half-lives; either may be infinite.

    >>> Decay(half_life_s=60.0, half_life_events=1.0).factors(last_s=0.0, at_s=60.0)  # kept 1/2 * 1/2
    (0.25, 1.0)
    >>> Decay(half_life_s=60.0).factors(last_s=120.0, at_s=0.0)  # two minutes late: 1/2 * 1/2
    (1.0, 0.25)
    """

    half_life_s: float = inf
    half_life_events: float = inf

    def __post_init__(self) -> None:
        for name in ("half_life_s", "half_life_events"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)!r}")

    def factors(self, last_s: float, at_s: float) -> tuple[float, float]:
        """What to multiply the held value, and the arriving event, with.

        Args:
            last_s: event time of the newest event held; -inf before the first.
            at_s: event time of the arriving one.
        """
        arrivals = exp2(-1.0 / self.half_life_events)
        if at_s >= last_s:
            return exp2((last_s - at_s) / self.half_life_s) * arrivals if last_s != -inf else 0.0, 1.0
        return arrivals, exp2((at_s - last_s) / self.half_life_s)


def fold(held: Floats, vector: Floats, kept: float, fresh: float) -> Floats:
    """`held * kept + vector * fresh`, rounded to float32.

    >>> fold(np.array([4, 0], np.float32), np.array([0, 1], np.float32), 0.5, 1.0)
    array([2., 1.], dtype=float32)
    """
    return held * np.float32(kept) + vector * np.float32(fresh)


@dataclass(slots=True)
class DecayedSum:
    """A sum in which contributions fade.

    >>> interest = DecayedSum(Decay(half_life_s=60.0))
    >>> for at_s in (0.0, 60.0, 0.0):  # the third click arrives one minute late
    ...     interest.add(1.0, at_s)
    >>> interest.value, interest.newest_s
    (2.0, 60.0)
    """

    decay: Decay
    value: float = 0.0  # as of newest_s
    newest_s: float = -inf  # event time of the newest contribution

    def add(self, weight: float, at_s: float) -> None:
        """Fold in `weight` at event time `at_s`."""
        kept, fresh = self.decay.factors(self.newest_s, at_s)
        self.value = self.value * kept + weight * fresh
        self.newest_s = max(self.newest_s, at_s)

    def at(self, now_s: float) -> float:
        """The value as of `now_s`, which is not earlier than `newest_s`."""
        return self.value * exp2((self.newest_s - now_s) / self.decay.half_life_s) if self.value else 0.0


def auto_half_lives(times: Iterable[Sequence[float] | NDArray[np.float64]]) -> tuple[float, float]:
    """Event-time half-lives (slow, fast), in seconds, from what people's pauses look like.

    Gaps below half an hour lie within a visit, where the count half-life does the forgetting. Of the others, the
    pauses between visits, `fast` is the median: after a usual pause, what the last visit left has halved, and a few
    new events outweigh it. `slow` is ten times that, so it remembers about ten visits. Both are an hour at least.
    Where nobody ever paused, `fast` is three days.

    Args:
        times: per person, event times in ascending order.

    >>> day_s = 86_400.0
    >>> auto_half_lives([[0.0, 5.0, day_s, day_s + 5.0, 2 * day_s]])  # pauses of just under a day
    (863950.0, 86395.0)
    """
    gaps = [np.diff(np.asarray(t, np.float64)) for t in times if len(t) > 1]
    pauses = np.concatenate([g[g >= PAUSE_S] for g in gaps]) if gaps else np.empty(0)
    fast = max(float(np.median(pauses)), HOUR_S) if len(pauses) else DEFAULT_FAST_S
    return VISITS_KEPT * fast, fast
