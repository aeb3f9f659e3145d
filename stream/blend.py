"""The online blend: z-scored features of all candidates, with weights that fit the person and learn from each block.

Letters in shapes: F features, C facts about a person, N items of the catalogue. A feature's weight is linear in the
facts: what a newcomer and a wholesaler want is told by different features. The score of an item is the weighted sum of
its z-scored features, so the contributions are exact explanations.

The weights follow the pairwise logistic likelihood (Bradley & Terry 1952; for rankings of items Rendle et al., "BPR",
2009) of what was taken over the `HARD` best candidates that were not: how thousands of items that nobody would list
compare with each other teaches nothing about the first ten places. What is taken together does not compete, as it would
in a softmax. They do so by an Online Newton Step (Hazan, Agarwal, Kale 2007), which has no rate to be tuned: features
that say nearly the same do not slow each other down, and those that are seldom asked learn as fast as others. For the
gradient g of a block, with older blocks fading:

    A = .9995 A + g g' + .0005 prior I;  weights = weights + inverse(A) g        # A begins as prior I
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

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
    "bought by like people",
    "popular among people alike",
    "bought by like people, recent",
    "bought afterwards",
    "bought lately by like people",
    "share of visits",
    "due again",
    "often bought again",
    "popular at this stage",
)
POPULARITY, MODEL, SLOW, FAST, ALIKE, PEERS, STAGE = 0, 6, 7, 8, 12, 15, 19
REPEATS = [9, 10, 16, 17, 18]  # of what a person has
LINEAR = [11, 13, 14]  # in the order of stream.linear.Placed.scores
OF_VERSION = [MODEL, *LINEAR]  # what a version's models say
FACTS = (  # see stream.ranker.facts
    "always", "length of history", "items owned", "time since the last visit", "share taken again"
)  # fmt: skip
HARD = 100  # candidates that teach
FADE = 0.9995  # of what older blocks taught, per block
KEPT = 0.1  # of what was taught before the world changed
FIRST = 0.1  # weight of every feature before anything is known


def standardise(features: Doubles, candidates: Mask) -> Doubles:
    """Z-score each row of `features` (F, N), in place, by its mean and deviation over the candidates (N,).

    A row that is constant over the candidates becomes zero.

    >>> standardise(np.array([[1.0, 3.0, 9.0]]), np.array([True, True, False])).round(3).tolist()
    [[-1.0, 1.0, 7.0]]
    """
    share = candidates / max(int(candidates.sum()), 1)  # (N,), sums to 1
    features -= (features @ share)[:, None]
    deviation = np.sqrt(np.einsum("fn,fn,n->f", features, features, share))
    flat = deviation < 1e-9
    features /= np.where(flat, 1.0, deviation)[:, None]
    features[flat] = 0.0
    return features


def with_version(z: Doubles, logits: NDArray[np.float32] | None, linear: Doubles | None, candidates: Mask) -> Doubles:
    """A copy of z-scored features (F, N) with what another version's models say, raw (N,) and (3, N), in it.

    None stands for a model that has nothing to say.
    """
    out = z.copy()
    out[OF_VERSION] = of_version(logits, linear, candidates)
    return out


def of_version(logits: NDArray[np.float32] | None, linear: Doubles | None, candidates: Mask) -> Doubles:
    """The z-scored features `OF_VERSION` (4, N) of what a version's models say, raw (N,) and (3, N)."""
    raw = np.zeros((len(OF_VERSION), len(candidates)))
    if logits is not None:
        raw[0] = logits
    if linear is not None:
        raw[1:] = linear
    return standardise(raw, candidates)


def log_sum_exp(scores: Doubles) -> float:
    """log of the sum of exp, without overflow.

    >>> round(log_sum_exp(np.array([1000.0, 1000.0])) - 1000.0, 4)
    0.6931
    """
    top = float(scores.max())
    return top + float(np.log(np.exp(scores - top).sum()))


def best_of(scores: Doubles, candidates: Mask) -> Ints:
    """Ordinals of the `HARD` best candidates (N,) by their scores (N,), ascending; more where the last ones tie."""
    inside = scores[candidates]
    n = len(inside)
    least = float(np.partition(inside, n - HARD)[n - HARD]) if n > HARD else -np.inf
    return np.flatnonzero(candidates & (scores >= least))


def _place_of(item: int, rows: Ints) -> int | None:
    """The place of `item` among ascending `rows` (m,); None where it is none of them."""
    at = int(np.searchsorted(rows, item))
    return at if at < len(rows) and rows[at] == item else None


def _among(rows: Ints, items: Collection[int]) -> Mask:
    """Which of some ascending `rows` (m,), at least one, are among `items`: (m,).

    >>> _among(np.array([2, 5, 9]), [9, 3, 2, 10]).tolist()
    [True, False, True]
    """
    asked = np.fromiter(items, np.int64, len(items))
    at = np.minimum(np.searchsorted(rows, asked), len(rows) - 1)
    out = np.zeros(len(rows), bool)
    out[at[rows[at] == asked]] = True
    return out


@dataclass(frozen=True, slots=True)
class Contest:
    """Two blends over the candidates that either has among its best: which of the two expected the choice?

    Paired, and a proper scoring rule: the set is fixed before the choice is seen, and is the same for both. A choice
    outside of it says nothing, since neither would have listed it; how the two share out the thousands of items
    that nobody sees is no reason to prefer one.

    >>> first, second = np.array([2.0, 0.0, -9.0]), np.array([0.0, 2.0, -9.0])
    >>> contest = Contest.of(first, second, np.array([0, 1]), np.array([0, 1]))
    >>> contest.gain(0), contest.gain(1), contest.gain(2)
    (-2.0, 2.0, 0.0)
    """

    rows: Ints  # (m,): ordinals, ascending
    margin: Doubles  # (m,): nats by which the second expects each of them more than the first

    @classmethod
    def of(cls, first: Doubles, second: Doubles, best_first: Ints, best_second: Ints) -> Contest:
        """From the scores (N,) of both, and the ordinals of the best candidates of each."""
        rows = np.union1d(best_first, best_second)
        one, other = first[rows], second[rows]
        return cls(rows, (other - log_sum_exp(other)) - (one - log_sum_exp(one)))

    def gain(self, item: int) -> float:
        """Nats by which the second is better than the first, given the choice `item`."""
        at = _place_of(item, self.rows)
        return 0.0 if at is None else float(self.margin[at])


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a blend expects of a choice among candidates, before it is seen."""

    z: Doubles  # (F, N)
    facts: Doubles  # (C,)
    weights: Doubles  # (F,), of a person with these facts
    scores: Doubles  # (N,)
    hard: Ints  # (at least HARD, or all): the best candidates, ordinals ascending
    best: Doubles  # (F, at least HARD, or all): the features of those

    def gradient(self, item: int, taken: Collection[int] = ()) -> Doubles:
        """Gradient (C, F) of the log-likelihood that `item` was taken rather than the best that were not.

        It is the mean over the best candidates, and zero where `item` is none of them.

        Args:
            item: that was taken.
            taken: in the same block before, under the same expectation. They are no rivals of `item`, and what they
                learned against it is taken back, so that the order within a block does not matter. If it is one of
                them, there is nothing more to learn.
        """
        at = _place_of(item, self.hard)
        if at is None or item in taken:
            return np.zeros((len(self.facts), len(self.best)))
        scores = self.scores[self.hard]
        surprise = expit(scores - scores[at])  # (hard,): how probable it was that each were taken rather than `item`
        together = _among(self.hard, taken)
        apart = self.best[:, [at]] - self.best  # (F, hard)
        return np.outer(self.facts, apart @ np.where(together, 1 - surprise, surprise)) / len(self.hard)

    def gradient_of(self, items: Sequence[int]) -> Doubles:
        """The sum (C, F) for a block's items."""
        out = np.zeros((len(self.facts), len(self.best)))
        for n, item in enumerate(items):
            out += self.gradient(item, items[:n])
        return out


def _first_weights() -> Doubles:
    """The same for every feature and everybody."""
    out = np.zeros((len(FACTS), len(FEATURES)))
    out[0] = FIRST
    return out


@dataclass(slots=True)
class Blend:
    """The weights of one partition.

    >>> blend = Blend(prior=50.0)
    >>> z = np.zeros((len(FEATURES), 2)); z[0] = [1.0, -1.0]
    >>> newcomer = np.array([1.0, -0.5, -0.5, -0.5, 0.0])
    >>> blend.learn(blend.expect(z, np.array([True, True]), newcomer).gradient(0))
    >>> bool(blend.weights_for(newcomer)[0] > FIRST)
    True
    """

    prior: float  # trust in the first weights
    weights: Doubles = field(default_factory=_first_weights)  # (C, F)
    curvature: Doubles = field(init=False)  # (C x F, C x F): A

    def __post_init__(self) -> None:
        self.curvature = self.prior * np.eye(self.weights.size)

    def weights_for(self, facts: Doubles) -> Doubles:
        """The weights (F,) of a person with these facts (C,)."""
        out: Doubles = facts @ self.weights
        return out

    def expect(self, z: Doubles, candidates: Mask, facts: Doubles) -> Expectation:
        """What a person with these facts (C,) is expected to choose of the candidates (N,), by features (F, N)."""
        weights = self.weights_for(facts)
        scores = weights @ z
        hard = best_of(scores, candidates)
        return Expectation(z, facts, weights, scores, hard, z[:, hard])

    def learn(self, gradient: Doubles) -> None:
        """One step along the sum of the gradients (C, F) of a block's events."""
        g = gradient.ravel()
        self.curvature = FADE * self.curvature + np.outer(g, g)
        self.curvature[np.diag_indices(len(g))] += (1 - FADE) * self.prior
        self.weights = self.weights + np.linalg.solve(self.curvature, g).reshape(self.weights.shape)

    def reopen(self) -> None:
        """The world has changed: the weights stay as they are, but what earlier blocks taught counts a tenth.

        >>> blend = Blend(prior=50.0)
        >>> blend.curvature += 200.0 * np.eye(len(blend.curvature))
        >>> blend.reopen()
        >>> round(float(blend.curvature[0, 0]), 6)  # a tenth of 250, and nine tenths of the prior
        70.0
        """
        self.curvature = KEPT * self.curvature
        self.curvature[np.diag_indices(len(self.curvature))] += (1 - KEPT) * self.prior

    def copy(self) -> Blend:
        """Another one with the same weights."""
        out = Blend(self.prior, self.weights)  # arrays are replaced, never changed in place
        out.curvature = self.curvature
        return out
