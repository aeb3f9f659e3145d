"""Drift of one person's interests: two graded signals, and a river detector on each.

Hits and misses carry too little. Graded signals work: `rank`, where the consumed item stands among items as popular
as itself under the *slow* state, and `shift`, how far the fast state has moved away from the slow one. Both lie in
[0, 1] and rise when interests move. Letters: N items of the drift space, D = 64 dimensions, P peers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from river import drift

Floats = NDArray[np.float32]

SIGNALS = ("rank", "shift")
DETECTOR = "page_hinkley"
MIN_INSTANCES = 20
DELTA = 0.05  # a rise of the mean below this is not looked for
_FRESH = (0, 0.0, 0.0, inf)  # n, mean, sum of deviations, its minimum
NUMBERS = len(_FRESH)  # per detector


def rank_signal(popular: Floats, position: int, peers: int, vector: Floats, slow: Floats) -> float:
    """Share of popularity-matched items that the slow state prefers to the consumed one; ties count half.

    0: it is what the person likes best among its peers. 1: the contrary. Without any taste, uniform.

    Args:
        popular: drift vectors of the space's items, the most popular first (N, D).
        position: of the consumed item in that order; N or more for an item that is not in it.
        peers: P; the rows around `position` are the peers, fewer than P only where N is smaller.
        vector: of the consumed item (D,).
        slow: the slow state before this event (D,).

    >>> popular = np.array([[1.0], [0.5], [0.2], [0.1]], np.float32)
    >>> rank_signal(popular, 1, 4, popular[1], np.array([2.0], np.float32))  # one is preferred, one is itself
    0.375
    """
    low = max(0, min(position - peers // 2, len(popular) - peers))
    scores = popular[low : low + peers] @ slow  # (P,)
    at = position - low
    own = scores[at] if at < len(scores) else vector @ slow
    better = np.count_nonzero(scores > own)
    return float((better + 0.5 * np.count_nonzero(scores == own)) / len(scores))


def shift_signal(fast: Floats, slow: Floats) -> float:
    """1 - cos(fast, slow), at most 1; 0 where either is still empty.

    >>> shift_signal(np.array([0, 2], np.float32), np.array([3, 3], np.float32)).__round__(4)
    0.2929
    """
    scale = sqrt(float(fast @ fast) * float(slow @ slow))
    return min(1.0, max(0.0, 1.0 - float(fast @ slow) / scale)) if scale > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector flagged."""

    signal: str
    evidence: float  # the test statistic
    threshold: float


def page_hinkley(threshold: float) -> drift.PageHinkley:
    """The detector of each signal: Page, *Continuous inspection schemes*, Biometrika 41, 1954; upwards only."""
    return drift.PageHinkley(min_instances=MIN_INSTANCES, delta=DELTA, threshold=threshold, mode="up")


def to_numbers(detector: drift.PageHinkley) -> list[float]:
    """The state of an upward detector that has not flagged: n, mean, sum of deviations, its minimum."""
    held = vars(detector)
    mean = held["_x_mean"]
    return [int(mean.n), mean.get(), held["_sum_increase"], held["_min_increase"]]


def load_numbers(detector: drift.PageHinkley, numbers: Sequence[float]) -> None:
    """Put the state of `to_numbers` into a detector; every later decision is that of the original.

    >>> one, other = page_hinkley(3.0), page_hinkley(3.0)
    >>> for x in (0.1, 0.7, 0.4): one.update(x)
    >>> load_numbers(other, to_numbers(one))
    >>> one.update(0.9); other.update(0.9)
    >>> to_numbers(one) == to_numbers(other)
    True
    """
    n, mean, total, lowest = numbers
    held = vars(detector)
    vars(held["_x_mean"]).update(n=n, _mean=mean)
    held.update(_sum_increase=total, _min_increase=lowest, _drift_detected=False)


class Detectors:
    """The detectors of `SIGNALS`; people's states pass through it as numbers, one after the other.

    >>> detectors = Detectors({"rank": 3.0, "shift": inf})
    >>> numbers: list[float] = []
    >>> flags = [detectors.update(numbers, (x, 0.0)) for x in [0.2] * 30 + [0.9] * 10]
    >>> next((i, found.signal) for i, found in enumerate(flags) if found)
    (35, 'rank')
    """

    def __init__(self, thresholds: Mapping[str, float]) -> None:
        self.thresholds = {name: thresholds.get(name, inf) for name in SIGNALS}
        self.on = any(threshold < inf for threshold in self.thresholds.values())  # whether any of them can flag
        self._detectors = [page_hinkley(self.thresholds[name]) for name in SIGNALS]

    def update(self, numbers: list[float], values: Sequence[float]) -> Found | None:
        """Feed one value per signal; `numbers` (of any earlier call, or empty) is brought up to date in place."""
        found = None
        held = numbers or [*_FRESH] * len(SIGNALS)
        after: list[float] = []
        for i, (name, detector) in enumerate(zip(SIGNALS, self._detectors, strict=True)):
            load_numbers(detector, held[i * NUMBERS : (i + 1) * NUMBERS])
            detector.update(values[i])  # type: ignore[no-untyped-call]
            after += to_numbers(detector)
            if found is None and detector.drift_detected:
                found = Found(name, after[-2] - after[-1], self.thresholds[name])
        numbers[:] = after
        return found
