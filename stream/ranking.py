"""Ranks and the measures made of them: hit rate, NDCG, reciprocal rank."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

HEAD = 10.0  # places of a list


def rank_of(scores: NDArray[np.float64], item: int, candidates: NDArray[np.bool_]) -> int:
    """Rank of `item` among the candidates, 0 is best; of equals it takes the middle place.

    >>> rank_of(np.array([3.0, 2.0, 2.0, 9.0]), 1, np.array([True, True, True, False]))
    1
    """
    own = scores[item]
    better = int(np.count_nonzero((scores > own) & candidates))
    equal = int(np.count_nonzero((scores == own) & candidates))
    return better + max(equal - 1, 0) // 2


def rank_gain(before: int, after: int) -> float:
    """How much better a rank has become, as a difference of logarithms of rank + `HEAD`: .01 is about one percent.

    Graded where hits are not, so that it shows in a tenth of the events; and blind, unlike a log-loss, to how the
    probability of thousands of items that nobody sees is shared out. Places within the first ten count alike.

    >>> round(rank_gain(before=30, after=10), 3), rank_gain(5, 5)
    (0.693, 0.0)
    """
    return log((before + HEAD) / (after + HEAD))


def place_loss(rank: int) -> float:
    """The loss of a ranking whose choice stood at `rank`: log(rank + 1).

    But for a constant that is the log-loss (nats) of a forecast by Zipf's law over the places. Unlike the log-loss of a
    softmax it does not depend on how sharp the scores are, so it scatters less where people surprise.

    >>> place_loss(0), round(place_loss(99), 3)
    (0.0, 4.605)
    """
    return log(rank + 1)


def top(scores: NDArray[np.float64], candidates: NDArray[np.bool_], k: int) -> list[int]:
    """The `k` best candidates, best first; of equals the one with the smaller ordinal.

    >>> top(np.array([1.0, 5.0, 5.0, 7.0]), np.array([True, True, True, False]), 2)
    [1, 2]
    """
    inside = np.flatnonzero(candidates)
    if len(inside) > k:
        cut = np.partition(scores[inside], len(inside) - k)[len(inside) - k]
        inside = inside[scores[inside] >= cut]
    order = np.lexsort((inside, -scores[inside]))[:k]
    return [int(i) for i in inside[order]]


@dataclass(slots=True)
class Tally:
    """Sums of the measures over tested events.

    >>> tally = Tally()
    >>> tally.add(0); tally.add(2); tally.add(None)  # first, third, a miss that was no candidate
    >>> tally.tested, tally.hits_10, round(tally.ndcg_10, 3), round(tally.mrr_20, 3), tally.cold
    (3, 2, 1.5, 1.333, 1)
    """

    tested: int = 0
    hits_10: int = 0
    hits_20: int = 0
    ndcg_10: float = 0.0
    mrr_20: float = 0.0
    cold: int = 0  # the item was no candidate: a miss

    def add(self, rank: int | None) -> None:
        """Count one event whose item had `rank`, or None where it was no candidate."""
        self.tested += 1
        if rank is None:
            self.cold += 1
            return
        if rank < 20:
            self.hits_20 += 1
            self.mrr_20 += 1.0 / (rank + 1)
        if rank < 10:
            self.hits_10 += 1
            self.ndcg_10 += 1.0 / float(np.log2(rank + 2))

    def rates(self) -> dict[str, float]:
        """Hit rates, NDCG and reciprocal rank per tested event; zeros where nothing was tested."""
        n = max(self.tested, 1)
        return {
            "hit_rate_10": self.hits_10 / n,
            "hit_rate_20": self.hits_20 / n,
            "ndcg_10": self.ndcg_10 / n,
            "mrr_20": self.mrr_20 / n,
            "cold_share": self.cold / n,
        }
