"""Automatic rollback: would the live version's parent have served people better?

While a version is new, every block is also scored with its parent in the same blend; `Watch` follows the parent's
gain and may be asked after each block. The bound is that of `stream.gate.SequentialTest`, a confidence sequence with
Robbins' normal mixture (Howard et al. 2021; Waudby-Smith et al. 2024), on one side. What one person does hangs
together, so the deviation is that of sums over groups of people: a block tells of its person no more than one of
`GROUPS` numbers, and neither names nor memory per person are needed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.errors import StateError

Doubles = NDArray[np.float64]

GROUPS = 64
FEWEST_BLOCKS = 50  # before them a deviation is not known
TIGHTEST_BLOCKS = 300  # the mixture's bound is closest there


def group_of(user_id: str) -> int:
    """Which of the groups a person belongs to.

    >>> group_of("ann"), group_of("bob")
    (51, 0)
    """
    return zlib.crc32(user_id.encode()) % GROUPS


@dataclass(slots=True)
class Watch:
    """The parent's gain over one live version, from its first block on.

    A block counts as the root of its events, as where the blend learns: one huge order must not decide.

    >>> rng = np.random.default_rng(0)
    >>> watch = Watch("v7")
    >>> while watch.lower(0.99) <= 0:
    ...     watch.update(rng.normal(0.3, 1.0), n=4, group=int(rng.integers(GROUPS)))
    >>> watch.blocks
    80
    """

    version: str = ""
    blocks: int = 0
    squares: float = 0.0  # of the blocks' weighted gains
    gains: Doubles = field(default_factory=lambda: np.zeros(GROUPS))  # sums of weighted gains, by group
    weights: Doubles = field(default_factory=lambda: np.zeros(GROUPS))  # sums of weights
    crosses: float = 0.0  # sum of weight times weighted gain
    weight_squares: float = 0.0

    def update(self, gain: float, n: int, group: int) -> None:
        """Take one block: the parent's gain over the live version (per event), its events, its person's group."""
        if n <= 0 or not math.isfinite(gain):
            return
        weight = math.sqrt(n)
        self.blocks += 1
        self.squares += (weight * gain) ** 2
        self.crosses += weight * weight * gain
        self.weight_squares += weight * weight
        self.gains[group % GROUPS] += weight * gain
        self.weights[group % GROUPS] += weight

    @property
    def mean(self) -> float:
        """Mean gain of the parent."""
        total = float(self.weights.sum())
        return float(self.gains.sum()) / total if total else 0.0

    def lower(self, confidence: float) -> float:
        """A bound below the parent's mean gain, good for all times at once; -inf before `FEWEST_BLOCKS`."""
        if self.blocks < FEWEST_BLOCKS:
            return -math.inf
        alpha, t = 1 - confidence, self.blocks
        spread = (2 * math.log(1 / (2 * alpha)) + math.log(1 + 2 * math.log(1 / (2 * alpha)))) / TIGHTEST_BLOCKS
        inner = math.log(1 + math.sqrt(t * spread + 1) / (2 * alpha))
        width = math.sqrt(self._variance() * 2 * (t * spread + 1) / (t * spread) * inner)  # of the sum of gains
        return self.mean - width / float(self.weights.sum())

    def _variance(self) -> float:
        """Of the sum of weighted gains: between groups of people, at least that of unrelated blocks."""
        m = self.mean
        alone = self.squares - 2 * m * self.crosses + m * m * self.weight_squares
        held = int(np.count_nonzero(self.weights))
        together = float(np.square(self.gains - m * self.weights).sum()) * held / max(held - 1, 1)
        return max(alone, together, 0.0)

    def numbers(self) -> list[float]:
        """Everything but the version, as numbers for a state record."""
        own = [float(self.blocks), self.squares, self.crosses, self.weight_squares]
        return [*own, *self.gains.tolist(), *self.weights.tolist()]

    @classmethod
    def of(cls, version: str, numbers: Sequence[float]) -> Watch:
        """Take back what `numbers` gave; no numbers are a new watch.

        Raises:
            StateError: there is another number of numbers.
        """
        if not numbers:
            return cls(version)
        if len(numbers) != 4 + 2 * GROUPS:
            raise StateError(f"a watch must be {4 + 2 * GROUPS} numbers, got {len(numbers)}")
        blocks, squares, crosses, weight_squares = numbers[:4]
        gains, weights = np.array(numbers[4:], np.float64).reshape(2, GROUPS)
        return cls(version, int(blocks), squares, gains, weights, crosses, weight_squares)
