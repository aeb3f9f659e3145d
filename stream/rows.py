"""Matrices whose rows come one by one: with room for more, and with products that do not depend on what came along."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_ROOM = 64  # rows at first


class Rows:
    """A matrix (n, width) that grows at its end; a row more costs O(width) on average.

    >>> rows = Rows(2)
    >>> rows.upto(1)[0] = (3.0, 4.0)
    >>> rows.upto(2).tolist(), len(rows)
    ([[3.0, 4.0], [0.0, 0.0]], 2)
    """

    def __init__(self, width: int) -> None:
        self._data = np.zeros((0, width), np.float32)
        self._n = 0

    def __len__(self) -> int:
        """How many rows there are."""
        return self._n

    @property
    def width(self) -> int:
        """How many columns there are."""
        return self._data.shape[1]

    def upto(self, n: int) -> Floats:
        """The first `n` rows (n, width), new ones 0, to read and to write; a view until the next growth."""
        if n > len(self._data):
            data = np.zeros((max(n, len(self._data) * 3 // 2, _ROOM), self.width), np.float32)
            data[: self._n] = self._data[: self._n]
            self._data = data
        self._n = max(self._n, n)
        return self._data[:n]


def products(rows: Floats, matrix: Floats) -> Floats:
    """`rows @ matrix.T` (n, m), each row in its own product, so that a row never depends on its neighbours.

    A process that has seen a catalogue grow and one that reads it at its start so have the same numbers, to the bit.
    """
    out = np.empty((len(rows), len(matrix)), np.float32)
    for i, row in enumerate(rows):
        out[i] = matrix @ row
    return out
