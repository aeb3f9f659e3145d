"""Lists whose items differ: greedy choice by score and by what is not in the list yet.

The most probable set of a determinantal point process, built item by item (Chen, Zhang, Zhou, "Fast Greedy MAP
Inference for Determinantal Point Process to Improve Recommendation Diversity", 2018). Letters: n candidates, k places,
D dimensions. The kernel is q_i S_ij q_j with likeness S_ij = (1 + cosine) / 2, and log q in proportion to the score, a
logit in nats; so each step takes

    argmax of (1 - dial) * score + dial * log d²

where d² is the part of an item's direction, squared, that the items taken so far leave open: 1 at first, 0 for a twin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

POOL = 100  # best candidates that are looked at, or twice the length of the list
LEAST = 1e-10  # of d²


def diversified(scores: Doubles, vectors: Floats, k: int, dial: float) -> list[int]:
    """Places of the k chosen, in order; of equals the first. O(n k (k + D)), below 1 ms for 10 of 100.

    Args:
        scores: of the candidates, best first (n,).
        vectors: their directions, of any length (n, D); one of zeros counts as unlike all others.
        k: length of the list.
        dial: 0: by score alone, 1: by difference alone.

    >>> mugs_and_a_hat = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    >>> diversified(np.array([3.0, 2.9, 2.0]), mugs_and_a_hat, 2, 0.0)
    [0, 1]
    >>> diversified(np.array([3.0, 2.9, 2.0]), mugs_and_a_hat, 2, 0.2)
    [0, 2]
    """
    n = len(scores)
    k = min(k, n)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1.0)
    covered = np.zeros((k, n))  # row j: how much of each direction the j-th item taken adds to what is covered
    left = np.ones(n)  # d²
    free = np.zeros(n)  # -inf: taken
    chosen: list[int] = []
    for j in range(k):
        i = int(np.argmax((1.0 - dial) * scores + dial * np.log(np.maximum(left, LEAST)) + free))
        chosen.append(i)
        free[i] = -np.inf
        like = (1.0 + unit @ unit[i]) / 2
        covered[j] = (like - covered[:j].T @ covered[:j, i]) / np.sqrt(max(left[i], LEAST))
        left -= covered[j] ** 2
    return chosen
