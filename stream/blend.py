"""The online blend: features of all candidates, z-scored, combined by a few weights that learn from each block.

Letters in shapes: F features, N items of the catalogue. The score of an item is the weighted sum of its z-scored
features, so the contributions are exact explanations. The weights follow the gradient of the softmax
cross-entropy of what was consumed, by Adagrad (Duchi, Hazan, Singer 2011).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

FEATURES = (
    "recent popularity",
    "seasonal popularity",
    "all-time popularity",
    "bought together, recent",
    "bought together",
    "bought next",
    "language model",
    "interests",
    "interests of late",
    "bought before",
    "time since bought",
)
POPULARITY, MODEL, SLOW, FAST = 0, 6, 7, 8


def standardise(features: Doubles, candidates: Mask) -> Doubles:
    """Z-score each row of `features` (F, N) by its mean and deviation over the candidates (N,).

    A row that is constant over the candidates becomes zero.

    >>> standardise(np.array([[1.0, 3.0, 9.0]]), np.array([True, True, False])).round(3).tolist()
    [[-1.0, 1.0, 7.0]]
    """
    share = candidates / max(int(candidates.sum()), 1)  # (N,), sums to 1
    centred = features - (features @ share)[:, None]
    deviation = np.sqrt((centred * centred) @ share)[:, None]
    flat = deviation < 1e-9
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, deviation))


def log_sum_exp(scores: Doubles) -> float:
    """log of the sum of exp, without overflow.

    >>> round(log_sum_exp(np.array([1000.0, 1000.0])) - 1000.0, 4)
    0.6931
    """
    top = float(scores.max())
    return top + float(np.log(np.exp(scores - top).sum()))


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a blend expects of a choice among candidates, before it is seen."""

    z: Doubles  # (F, N)
    scores: Doubles  # (N,)
    total: float  # log-sum-exp of the candidates' scores
    mean: Doubles  # (F,): expected features

    def loss(self, item: int) -> float:
        """Log-loss (nats) of the choice `item`."""
        return self.total - float(self.scores[item])

    def gradient(self, item: int) -> Doubles:
        """Gradient (F,) of the log-likelihood of the choice `item`."""
        out: Doubles = self.z[:, item] - self.mean
        return out


@dataclass(slots=True)
class Blend:
    """The weights of one partition.

    >>> blend = Blend(learning_rate=0.05)
    >>> z = np.zeros((len(FEATURES), 2)); z[0] = [1.0, -1.0]
    >>> blend.learn(blend.expect(z, np.array([True, True])).gradient(0))
    >>> bool(blend.weights[0] > 0.3)
    True
    """

    learning_rate: float
    weights: Doubles = field(default_factory=lambda: np.full(len(FEATURES), 0.3))  # (F,)
    squares: Doubles = field(default_factory=lambda: np.full(len(FEATURES), 1e-2))  # (F,), Adagrad's sums

    def scores(self, z: Doubles) -> Doubles:
        """Scores (N,) of z-scored features (F, N)."""
        out: Doubles = self.weights @ z
        return out

    def expect(self, z: Doubles, candidates: Mask) -> Expectation:
        """Softmax over the candidates (N,) of z-scored features (F, N)."""
        scores = self.scores(z)
        total = log_sum_exp(scores[candidates])
        share = np.where(candidates, np.exp(np.minimum(scores - total, 0.0)), 0.0)  # (N,), sums to 1
        return Expectation(z, scores, total, z @ share)

    def learn(self, gradient: Doubles) -> None:
        """One step of Adagrad along the mean gradient (F,) of a block."""
        self.squares = self.squares + gradient**2
        self.weights = self.weights + self.learning_rate * gradient / np.sqrt(self.squares)
