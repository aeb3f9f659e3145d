"""Segments of a catalogue: k-means in the drift space, named by their most distinctive words.

Letters: N items, K segments, D dimensions.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

LARGEST = 32  # segments, at most: people read them
_WORD = re.compile(r"[^\W\d_]{3,}")
_STOP = frozenset(
    {
        "all",
        "and",
        "are",
        "but",
        "for",
        "from",
        "has",
        "into",
        "its",
        "not",
        "pack",
        "per",
        "set",
        "the",
        "was",
        "with",
        "you",
    }
)


def how_many(n_items: int) -> int:
    """Segments for a catalogue of `n_items`: a few dozen items in each, 2 to 32.

    >>> how_many(128), how_many(3_665), how_many(1_000_000)
    (4, 21, 32)
    """
    return max(2, min(LARGEST, round(math.sqrt(n_items / 8))))


def cluster(points: Floats, k: int, seed: int, rounds: int = 25) -> Floats:
    """Centres (K, D) of Lloyd's k-means, started as k-means++ (Arthur & Vassilvitskii, SODA 2007); seeded.

    Fewer than `k` centres come back where there are fewer distinct points.

    >>> points = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], np.float32)
    >>> sorted(cluster(points, k=2, seed=0).tolist())
    [[0.0, 0.5], [9.0, 8.5]]
    """
    rng = np.random.default_rng(seed)
    centres = points[[int(rng.integers(len(points)))]]
    nearest = _squared(points, centres)[:, 0]
    while len(centres) < k and nearest.sum() > 1e-9:
        chosen = int(np.searchsorted(np.cumsum(nearest, dtype=np.float64), rng.random() * float(nearest.sum())))
        centres = np.vstack([centres, points[[min(chosen, len(points) - 1)]]])
        nearest = np.minimum(nearest, _squared(points, centres[-1:])[:, 0])
    for _ in range(rounds):
        member = assign(points, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, member, points)
        sizes = np.bincount(member, minlength=len(centres))[:, None]
        moved = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres).astype(np.float32)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def assign(points: Floats, centres: Floats) -> Ints:
    """Index of the nearest centre of each point (N,)."""
    member: Ints = np.argmin(_squared(points, centres), axis=1).astype(np.int64)
    return member


def words_of(text: str) -> frozenset[str]:
    """The words of a text that can name a segment.

    >>> sorted(words_of("SET OF 6 T-LIGHTS in Gift Box"))
    ['box', 'gift', 'lights']
    """
    return frozenset(_WORD.findall(text.lower())) - _STOP


def names(texts: Sequence[str], member: Ints, k: int) -> list[str]:
    """A name for each of the K segments: its two most distinctive words, by share of items times rarity elsewhere.

    >>> names(["red garden spade", "garden fork", "toy car", "toy train"], np.array([0, 0, 1, 1]), 2)
    ['Garden Fork', 'Toy Car']
    """
    bags = [words_of(text) for text in texts]
    everywhere = Counter(word for bag in bags for word in bag)
    out: list[str] = []
    for segment in range(k):
        inside = [bags[i] for i in np.flatnonzero(member == segment)]
        counts = Counter(word for bag in inside for word in bag)

        def distinct(word: str, counts: Counter[str] = counts, size: int = len(inside)) -> tuple[float, str]:
            rare = math.log((1 + len(bags)) / everywhere[word])
            return -counts[word] / size * rare, word

        best = sorted(counts, key=distinct)[:4]
        tries = [" ".join(best[:2]), " ".join(best[:3]), " ".join(best[:4])]
        free = [t.title() for t in tries if t and t.title() not in out]
        out.append(free[0] if free else f"Segment {segment + 1}")
    return out


def _squared(points: Floats, centres: Floats) -> Floats:
    """Squared distances (N, K)."""
    apart = (points**2).sum(1)[:, None] - 2 * points @ centres.T + (centres**2).sum(1)[None]
    return np.asarray(np.maximum(apart, 0.0), np.float32)
