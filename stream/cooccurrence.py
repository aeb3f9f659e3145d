"""Collaborative item vectors: positive pointwise mutual information of co-occurrence, factorised.

Letters: N items, C contexts (the most popular items), D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

WINDOW = 10  # interactions of a person that count as together
CONTEXTS = 1_024  # bounds memory: N * C float32, and time: a C * C eigenproblem
SMOOTHING = 0.75  # exponent of the context distribution: rare contexts are not overrated
TRUST_AFTER = 5.0  # interactions at which an item's vector has half its weight (squared)
_CHUNK = 2_000_000


def vectors(n_items: int, histories: Sequence[Ints], counts: Ints, dim: int) -> Floats:
    """Item vectors (N, D) from who was consumed with whom; shorter the less is known, zero for items unseen.

    The rows of `U * sqrt(S)` of the truncated SVD of the PPMI matrix (Levy & Goldberg, *Neural word embedding as
    implicit matrix factorization*, NIPS 2014), scaled to length `sqrt(count / (count + 5))`.

    Args:
        n_items: N.
        histories: per person, item indices in time order.
        counts: interactions per item, (N,).
        dim: D.

    >>> together = [np.array([0, 1])] * 9 + [np.array([2, 3])] * 9
    >>> v = vectors(5, together, np.array([9, 9, 9, 9, 0]), dim=2)
    >>> bool(v[0] @ v[1] > 0.5), bool(abs(v[0] @ v[2]) < 1e-6), v[4].tolist()
    (True, True, [0.0, 0.0])
    """
    contexts = np.argsort(-counts, kind="stable")[:CONTEXTS]  # (C,)
    pairs = _pairs(n_items, histories, contexts)  # (N, C)
    pairs[contexts, np.arange(len(contexts))] += counts[contexts]  # with itself: then a pair is alike, too
    information = _ppmi(pairs)
    # PPMI = U S V', so PPMI' PPMI = V S^2 V' and U S = PPMI V: exact, and only C * C
    values, basis = np.linalg.eigh((information.T @ information).astype(np.float64))
    top = slice(None, -dim - 1, -1)
    strength = np.sqrt(np.maximum(values[top], 0.0))  # (<= D,) singular values, largest first
    found = (information @ basis[:, top].astype(np.float32)) / np.sqrt(np.maximum(strength, 1e-9))  # U sqrt(S)
    found[:, strength < 1e-4 * max(float(strength[0]), 1e-12)] = 0.0
    out = np.zeros((n_items, dim), np.float32)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    trust = np.sqrt(counts / (counts + TRUST_AFTER))[:, None]
    out[:, : found.shape[1]] = np.where(length > 1e-6, found / np.maximum(length, 1e-6) * trust, 0.0)
    return out


def _pairs(n_items: int, histories: Sequence[Ints], contexts: Ints) -> Floats:
    """How often an item stood within `WINDOW` interactions of a context, either way (N, C)."""
    column = np.full(n_items, -1, np.int64)
    column[contexts] = np.arange(len(contexts))
    items = np.concatenate([*histories, np.empty(0, np.int64)]).astype(np.int64)
    owner = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    counted = np.zeros(n_items * len(contexts), np.float32)
    for apart in range(1, WINDOW + 1):
        same = owner[apart:] == owner[:-apart]
        before, after = items[:-apart][same], items[apart:][same]
        for row, context in ((before, after), (after, before)):
            keep = (column[context] >= 0) & (row != context)
            cells = row[keep] * len(contexts) + column[context[keep]]
            for start in range(0, len(cells), _CHUNK):
                np.add.at(counted, cells[start : start + _CHUNK], np.float32(1.0))
    return counted.reshape(n_items, len(contexts))


def _ppmi(pairs: Floats) -> Floats:
    """Positive pointwise mutual information, log(p(i, c) / p(i) p(c)) where positive (N, C)."""
    rows, columns = pairs.sum(1, keepdims=True), pairs.sum(0, keepdims=True) ** SMOOTHING
    expected = rows * (columns / max(float(columns.sum()), 1e-12))
    ratio = np.divide(pairs, expected, out=np.zeros_like(pairs), where=expected > 0)
    return np.asarray(np.log(np.maximum(ratio, 1.0)), np.float32)
