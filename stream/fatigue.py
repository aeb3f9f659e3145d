"""What was shown to a person several times, and not chosen, sinks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

REASON = "shown and not chosen"  # its name among the contributions to a score
MOST = 300  # items of a person that are counted, the newest


def passed_over(counts: dict[int, int], shown: Sequence[int], taken: Collection[int], most: int = MOST) -> None:
    """Count a list that a person had before them while they took something; what they take counts from nothing again.

    Args:
        counts: by ordinal, how often; changed in place, newest last, of one list its first item.
        shown: ordinals of the list, best first.
        taken: ordinals of what the person took.
        most: entries that are kept.

    >>> counts = {1: 1, 2: 4, 3: 2}
    >>> passed_over(counts, shown=[1, 2, 5], taken=[2, 9], most=2)
    >>> counts
    {5: 1, 1: 2}
    """
    for item in taken:
        counts.pop(item, None)
    for item in reversed(shown):
        if item not in taken:
            counts[item] = counts.pop(item, 0) + 1
    for item in list(counts)[: max(len(counts) - most, 0)]:
        del counts[item]


def penalties(counts: Mapping[int, int], n: int, dial: float) -> Doubles:
    """What each of `n` items loses (N,), nats: `dial` per doubling of the times it was passed over, so nothing for one.

    >>> penalties({0: 1, 2: 2, 3: 8}, 5, 0.5).tolist()
    [0.0, 0.0, 0.5, 1.5, 0.0]
    """
    out = np.zeros(n)
    out[list(counts)] = dial * np.log2(np.array(list(counts.values()), float))
    return out
