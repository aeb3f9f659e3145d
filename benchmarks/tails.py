"""The newest items of every user, as several baselines read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

TAIL = 50  # newest interactions of a user that the neighbourhood methods look at


class Tails:
    """The newest `length` items of every user.

    >>> tails = Tails(1, length=2)
    >>> [before.tolist() for _, before in tails.extend(0, np.array([4, 5, 6]))], tails.of(0).tolist()
    ([[], [4], [4, 5]], [5, 6])
    """

    def __init__(self, n_users: int, length: int = TAIL) -> None:
        self.items: list[deque[int]] = [deque(maxlen=length) for _ in range(n_users)]

    def of(self, user: int) -> Ints:
        """A user's items, oldest first."""
        return np.fromiter(self.items[user], np.int64)

    def extend(self, user: int, items: Ints) -> Iterator[tuple[int, Ints]]:
        """Append items one by one; yields each with what stood before it."""
        for item in items.tolist():
            yield item, self.of(user)
            self.items[user].append(item)
