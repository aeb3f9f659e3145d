"""Which items of a history speak for a recommended one.

Letters in shapes: T items of a history, k recommended ones, N items of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from stream.ranker import NEXT, RECENCY, SHRINK
from stream.statistics import FOLLOW, TAIL, ItemStats

Doubles = NDArray[np.float64]

MOST = 3  # items of a history that are given as reasons


def strongest(weights: Doubles, history: Sequence[int], items: Sequence[int]) -> list[list[int]]:
    """For each of `items`: those of `history` that speak for it, strongest first, at most `MOST`; itself is none.

    Args:
        weights: with how much each item of the history speaks for each of the others (T, k).
        history: ordinals (T).
        items: ordinals (k).

    >>> strongest(np.array([[0.0, 1.0], [2.0, 3.0]]), [7, 8], [1, 2])
    [[8], [8, 7]]
    """
    order = np.argsort(-weights, axis=0, kind="stable")[: MOST + 1]  # (MOST + 1 or fewer, k)
    out = []
    for column, item in enumerate(items):
        rows = (row for row in order[:, column].tolist() if weights[row, column] > 0)
        out.append([history[row] for row in rows if history[row] != item][:MOST])
    return out


def together(tables: Iterable[ItemStats], tail: Sequence[int], items: Sequence[int]) -> list[list[int]]:
    """For each of `items`: the items of the tail that it was taken together with most, the newest counting most.

    Args:
        tables: statistics, summed at read.
        tail: ordinals, oldest first.
        items: ordinals (k).
    """
    newest = list(dict.fromkeys(tail[: -TAIL - 1 : -1]))  # (T,)
    if not newest or not items:
        return [[] for _ in items]
    weights = sum((table.neighbours.between(items, newest) for table in tables), np.zeros((len(items), len(newest))))
    weights *= RECENCY ** np.arange(len(newest))
    return strongest(weights.T, newest, items)


def followed(
    tables: Iterable[ItemStats], counts: Doubles, tail: Sequence[int], items: Sequence[int]
) -> list[list[int]]:
    """For each of `items`: the items of the tail that it came after most, by the feature "bought next".

    Args:
        tables: statistics, summed at read.
        counts: of all items (N,).
        tail: ordinals, oldest first.
        items: ordinals (k).
    """
    last = list(dict.fromkeys(tail[: -FOLLOW - 1 : -1]))  # newest first
    if not last or not items:
        return [[] for _ in items]
    weights = sum((table.followers.between(last, items) for table in tables), np.zeros((len(last), len(items))))
    weights *= (NEXT ** np.arange(len(last)) / (counts[last] + SHRINK / 2))[:, None]
    return strongest(weights, last, items)
