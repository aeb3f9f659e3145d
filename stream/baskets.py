"""What people took, person by person and block by block, over a longer past: what linear item models are fitted to.

Letters: p people, e events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


class Took(NamedTuple):
    """A person took an item."""

    user_id: str
    item_id: str
    at_s: float
    block: str


@dataclass(frozen=True, slots=True, eq=False)
class Baskets:
    """Events as columns, one person after the other, each in order of time.

    >>> past = [Took("ann", "mug", 60.0, "a1"), Took("bob", "cup", 60.0, "b1"), Took("ann", "cup", 90.0, "a2")]
    >>> baskets = Baskets.of(past, ["cup", "mug"], before_s=100.0)
    >>> baskets.starts.tolist(), baskets.items.tolist(), baskets.blocks.tolist()
    ([0, 2, 3], [1, 0, 0], [0, 1, 2])
    """

    starts: Ints  # (p + 1,): person i has the events starts[i]:starts[i + 1]
    items: Ints  # (e,) rows of the catalogue
    blocks: Ints  # (e,) numbers, the same for what was taken together, never for two people
    times_s: Doubles  # (e,)

    @classmethod
    def of(cls, past: Iterable[Took], item_ids: Sequence[str], before_s: float) -> Baskets:
        """Of a log, whatever its order; what is at or after `before_s`, and other items, are left out."""
        row = {item: i for i, item in enumerate(item_ids)}
        people: dict[str, list[tuple[float, str, int]]] = {}
        for user_id, item_id, at_s, block in past:
            if at_s < before_s and item_id in row:
                people.setdefault(user_id, []).append((at_s, block, row[item_id]))
        starts, items, blocks, times_s = [0], list[int](), list[int](), list[float]()
        number = -1
        for events in people.values():
            events.sort(key=lambda event: event[0])  # stable: the order of the log among equal times
            last: str | None = None
            for at_s, block, item in events:
                number += block != last
                last = block
                items.append(item)
                blocks.append(number)
                times_s.append(at_s)
            starts.append(len(items))
        return cls(np.array(starts, np.int64), np.array(items, np.int64), np.array(blocks, np.int64), np.array(times_s))
