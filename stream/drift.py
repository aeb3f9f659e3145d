"""Drift of one person's interests: do the newest things look like another person's? A river detector answers.

The newest `WINDOW` items of a person's tail are held against the `REFERENCE` before them, so that nothing new is part
of what it is compared with. Each gives a signal in [0, 1]: how probable it is, beside what the person took before, that
somebody else took it. Weights learned in the warm-up say so (`stream.calibration`): the classifier's odds estimate a
likelihood ratio (Sugiyama, Suzuki & Kanamori, *Density ratio estimation in machine learning*, 2012), whose sum is what
Page, *Continuous inspection schemes*, Biometrika 41, 1954, watches. The sum is taken over the window alone (Lai,
*Sequential changepoint detection in quality control*, JRSS B 57, 1995): what was long ago cannot weigh, and there is no
state beside the tail. Letters: D = 64 dimensions of the drift space, its first T = 32 of text; W window, R reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from math import inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from river import drift

from stream.errors import BadRecord
from stream.whitening import DIM as TEXT_DIM

Floats = NDArray[np.floating]
Doubles = NDArray[np.float64]

SIGNAL = "likelihood"
DETECTOR = "page_hinkley"
WINDOW = 10  # newest items that are looked at
REFERENCE = 40  # items before them that they are held against
LEAST = 10  # of these, before anything is said
KNOWN = 1_000_000  # how often the usual signal counts in the detector's mean: it is known, not learned from ten events


@dataclass(frozen=True, slots=True)
class Weights:
    """What makes an item look like another person's: a logistic regression on `features`.

    Attributes:
        bias, text, together, repeat: log odds; all but the first are multiplied with a feature.
        usual: the mean signal of people's own items.

    >>> Weights(0.0, -2.0, -2.0, -1.0, 0.45).signals(np.array([[0.5, 0.5, 1.0], [0.0, 0.0, 0.0]])).round(3)
    array([0.047, 0.5  ])
    """

    bias: float
    text: float
    together: float
    repeat: float
    usual: float

    def signals(self, features: Floats) -> Doubles:
        """Probabilities (...) that items with these features (..., 3) are another person's."""
        odds = self.bias + features @ np.array([self.text, self.together, self.repeat])
        return np.asarray(1.0 / (1.0 + np.exp(-odds)), np.float64)


def features(window: Floats, mean: Floats, repeated: NDArray[np.bool_]) -> Doubles:
    """What is known of items beside what a person took before (..., W, 3): alike in text, taken together, taken before.

    The first two are the projections on the direction of the reference, in either half of the drift space.

    Args:
        window: vectors of the items, less the space's centre (..., W, D).
        mean: of the reference, less the centre (..., D).
        repeated: whether the reference has the item (..., W).
    """
    parts = []
    for half in (slice(None, TEXT_DIM), slice(TEXT_DIM, None)):
        direction = mean[..., half]
        length = np.sqrt((direction * direction).sum(-1, keepdims=True))
        parts.append((window[..., half] @ direction[..., None])[..., 0] / np.maximum(length, 1e-6))
    return np.stack([*parts, repeated], axis=-1).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector flagged."""

    signal: str
    evidence: float  # the test statistic
    threshold: float
    alarm: bool = True  # False: enough for lists to react to, no more


def page_hinkley(
    threshold: float, usual: float, *, delta: float = 0.0, known: int = KNOWN, sums: tuple[float, float] = (0.0, 0.0)
) -> drift.PageHinkley:
    """A river detector of values above the usual one, as it begins or goes on.

    Args:
        threshold: that the statistic must reach.
        usual: the mean of values without a rise.
        delta: a rise below this is not looked for.
        known: how often the usual value counts in the detector's mean.
        sums: the sum so far, and its minimum; see `sums_of`.
    """
    detector = drift.PageHinkley(min_instances=1, delta=delta, threshold=threshold, alpha=1.0, mode="up")
    held = vars(detector)
    vars(held["_x_mean"]).update(n=known, _mean=usual)
    held.update(_sum_increase=sums[0], _min_increase=sums[1])
    return detector


def sums_of(detector: drift.PageHinkley) -> tuple[float, float]:
    """The detector's sum so far, and its minimum; their difference is its statistic."""
    held = vars(detector)
    return held["_sum_increase"], held["_min_increase"]


class Detector:
    """Looks at people's newest items, one person after the other; holds nothing of any of them.

    Two thresholds: that of alarms, and a lower one from which on lists react. A reaction that was wrong takes itself
    back, and one that is right is worth most in the first events, so it may be wrong more often than an alarm.

    >>> detector = Detector(Weights(0.0, -2.0, -2.0, -1.0, 0.45), threshold=2.0)
    >>> detector.flagged([0.3] * 7 + [0.9] * 3), detector.flagged([0.3] * 4 + [0.9] * 6).evidence.__round__(2)
    (None, 2.25)
    >>> Detector(Weights(0.0, -2.0, -2.0, -1.0, 0.45), 2.0, reacts=1.0).flagged([0.3] * 7 + [0.9] * 3).alarm
    False
    """

    def __init__(self, weights: Weights, threshold: float = inf, reacts: float = inf) -> None:
        self.weights, self.threshold, self.reacts = weights, threshold, min(reacts, threshold)
        self.on = self.reacts < inf

    def with_alarms_at(self, told: float | Literal["auto"]) -> Detector:
        """The same detector with the settings' threshold for alarms; "auto": with its own."""
        return self if told == "auto" else Detector(self.weights, told, self.reacts)

    def limits(self) -> dict[str, float]:
        """The thresholds that are not infinite, by name."""
        both = {"threshold": self.threshold, "reacts": self.reacts}
        return {name: limit for name, limit in both.items() if limit < inf}

    def numbers(self) -> list[float]:
        """Weights and thresholds, for a version's record."""
        return [*astuple(self.weights), self.threshold, self.reacts]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Detector:
        """Take back what `numbers` gave.

        Raises:
            BadRecord: these are not seven numbers.
        """
        if len(numbers) != 7:
            raise BadRecord("detector", "seven numbers: five weights and two thresholds", list(numbers))
        return cls(Weights(*numbers[:5]), *numbers[5:])

    def look(self, items: Sequence[str], vectors: Floats) -> Found | None:
        """Flag items that do not fit to those before them.

        Args:
            items: of one person, the oldest first (n); nothing is said of less than `WINDOW + LEAST`.
            vectors: of these, less the space's centre (n, D).
        """
        return self.flagged(self.signals(items, vectors)) if len(items) >= WINDOW + LEAST else None

    def signals(self, items: Sequence[str], vectors: Floats) -> list[float]:
        """Signals of the newest `WINDOW` items beside those before them."""
        before = set(items[:-WINDOW])
        repeated = np.array([item in before for item in items[-WINDOW:]])
        mean = vectors[:-WINDOW].sum(0) / np.float32(len(vectors) - WINDOW)
        values: list[float] = self.weights.signals(features(vectors[-WINDOW:], mean, repeated)).tolist()
        return values

    def flagged(self, values: Sequence[float]) -> Found | None:
        """What a detector that begins with the first of these signals finds."""
        usual = self.weights.usual
        if sum(value - usual for value in values if value > usual) <= self.reacts:
            return None  # no part of them sums to more
        return self._over(values, self.threshold, alarm=True) or self._over(values, self.reacts, alarm=False)

    def _over(self, values: Sequence[float], threshold: float, *, alarm: bool) -> Found | None:
        detector = page_hinkley(threshold, self.weights.usual)
        for value in values:
            detector.update(value)  # type: ignore[no-untyped-call]
            if detector.drift_detected:
                total, lowest = sums_of(detector)
                return Found(SIGNAL, total - lowest, threshold, alarm)
        return None


def evidence(values: Doubles, usual: float) -> Doubles:
    """The highest statistic that a detector reaches over signals (..., W), without a threshold: (...).

    >>> evidence(np.array([[0.65, 0.25, 0.65, 0.65]]), 0.45).round(2)
    array([0.4])
    """
    sums = np.concatenate([np.zeros_like(values[..., :1]), np.cumsum(values - usual, -1)], axis=-1)
    return np.asarray((sums - np.minimum.accumulate(sums, -1)).max(-1), np.float64)
