"""Sums over paired blocks, and how far their total may be off when what one person does hangs together.

A block tells of its person no more than one of `GROUPS` numbers, so neither names nor memory per person are needed.
The variance of a total is taken between groups of people, as of a total of clusters in a survey (Cochran: Sampling
Techniques, 3rd edition, 1977, sections 6.3 and 9A), and never below that of unrelated blocks, since few groups can
agree by chance.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.errors import StateError

Doubles = NDArray[np.float64]

GROUPS = 64
NUMBERS = 4 + 2 * GROUPS  # of a state


def group_of(user_id: str) -> int:
    """Which of the groups a person belongs to.

    >>> group_of("ann"), group_of("bob")
    (51, 0)
    """
    return zlib.crc32(user_id.encode()) % GROUPS


@dataclass(slots=True)
class Clusters:
    """Weighted gains of blocks, by group of people.

    >>> sums = Clusters()
    >>> for group in range(60):
    ...     sums.update(0.2 if group % 2 else 0.4, weight=1.0, group=group)
    >>> round(sums.mean, 6), round(sums.variance, 6)  # 60 deviations of .1, squared, by 60 / 59
    (0.3, 0.610169)
    """

    blocks: int = 0
    squares: float = 0.0  # of the blocks' weighted gains
    crosses: float = 0.0  # sum of weight times weighted gain
    weight_squares: float = 0.0
    gains: Doubles = field(default_factory=lambda: np.zeros(GROUPS))  # sums of weighted gains, by group
    weights: Doubles = field(default_factory=lambda: np.zeros(GROUPS))  # sums of weights

    def update(self, gain: float, weight: float, group: int) -> None:
        """Take one block: its gain, how much it counts, its person's group."""
        self.blocks += 1
        self.squares += (weight * gain) ** 2
        self.crosses += weight * weight * gain
        self.weight_squares += weight * weight
        self.gains[group % GROUPS] += weight * gain
        self.weights[group % GROUPS] += weight

    @property
    def total(self) -> float:
        """Of the weighted gains."""
        return float(self.gains.sum())

    @property
    def weight(self) -> float:
        """Of all blocks."""
        return float(self.weights.sum())

    @property
    def mean(self) -> float:
        """Weighted mean gain."""
        return self.total / self.weight if self.weight else 0.0

    @property
    def variance(self) -> float:
        """Of the total, about the mean: between groups of people, at least that of unrelated blocks."""
        m = self.mean
        alone = self.squares - 2 * m * self.crosses + m * m * self.weight_squares
        held = int(np.count_nonzero(self.weights))
        together = float(np.square(self.gains - m * self.weights).sum()) * held / max(held - 1, 1)
        return max(alone, together, 0.0)

    def numbers(self) -> list[float]:
        """Everything, as numbers for a state record."""
        own = [float(self.blocks), self.squares, self.crosses, self.weight_squares]
        return [*own, *self.gains.tolist(), *self.weights.tolist()]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Clusters:
        """Take back what `numbers` gave.

        Raises:
            StateError: there is another number of numbers.
        """
        if len(numbers) != NUMBERS:
            raise StateError(f"sums over groups of people must be {NUMBERS} numbers, got {len(numbers)}")
        blocks, squares, crosses, weight_squares = numbers[:4]
        gains, weights = np.array(numbers[4:], np.float64).reshape(2, GROUPS)
        return cls(int(blocks), squares, crosses, weight_squares, gains, weights)
