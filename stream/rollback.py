"""Automatic rollback: would the live version's parent have served people better?

While a version is new, every block is also scored with its parent in the same blend; `Watch` follows the parent's
gain and may be asked after each block. The bound is an asymptotic confidence sequence with Robbins' normal mixture, on
one side and without an end: after t blocks whose total has variance V,
``mean ± sqrt(2 V (t p + 1) / (t p) * log(1 + sqrt(t p + 1) / (2 a))) / weight`` holds for all t at once with
probability 1 - a. V is that between groups of people (`stream.clusters`).

Howard, Ramdas, McAuliffe, Sekhon: Time-uniform, nonparametric, nonasymptotic confidence sequences. Annals of
Statistics 49 (2021). Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit theory and
asymptotic confidence sequences. Annals of Statistics 52 (2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream.clusters import Clusters

FEWEST_BLOCKS = 50  # before them a deviation is not known
TIGHTEST_BLOCKS = 300  # the mixture's bound is closest there


@dataclass(slots=True)
class Watch:
    """The parent's gain over one live version, from its first block on.

    A block counts as the root of its events, as where the blend learns: one huge order must not decide.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> watch = Watch("v7")
    >>> while watch.lower(0.99) <= 0:
    ...     watch.update(rng.normal(0.3, 1.0), n=4, group=int(rng.integers(64)))
    >>> watch.blocks
    80
    """

    version: str = ""
    sums: Clusters = field(default_factory=Clusters)

    def update(self, gain: float, n: int, group: int) -> None:
        """Take one block: the parent's gain over the live version (per event), its events, its person's group."""
        if n > 0 and math.isfinite(gain):
            self.sums.update(gain, math.sqrt(n), group)

    @property
    def blocks(self) -> int:
        """That were taken."""
        return self.sums.blocks

    @property
    def mean(self) -> float:
        """Mean gain of the parent."""
        return self.sums.mean

    def lower(self, confidence: float) -> float:
        """A bound below the parent's mean gain, good for all times at once; -inf before `FEWEST_BLOCKS`."""
        if self.blocks < FEWEST_BLOCKS:
            return -math.inf
        alpha, t = 1 - confidence, self.blocks
        spread = (2 * math.log(1 / (2 * alpha)) + math.log(1 + 2 * math.log(1 / (2 * alpha)))) / TIGHTEST_BLOCKS
        inner = math.log(1 + math.sqrt(t * spread + 1) / (2 * alpha))
        width = math.sqrt(self.sums.variance * 2 * (t * spread + 1) / (t * spread) * inner)  # of the sum of gains
        return self.mean - width / self.sums.weight

    def numbers(self) -> list[float]:
        """Everything but the version, as numbers for a state record."""
        return self.sums.numbers()

    @classmethod
    def of(cls, version: str, numbers: Sequence[float]) -> Watch:
        """Take back what `numbers` gave; no numbers are a new watch."""
        return cls(version, Clusters.of(numbers)) if numbers else cls(version)
