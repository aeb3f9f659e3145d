"""What people alike take: item counts by attribute of the person, against those of everybody whose attribute is known.

Naive Bayes over a person's attributes (country, age group …): what each value says about an item adds up. Shares of
rare items are shrunk towards what is expected of them, as in empirical Bayes screening (DuMouchel 1999). One attribute
is known of everybody, how far along they are (`stage`): what people take first is not what they take later.

Letters in shapes: G groups (values of attributes), N items of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

GROUPS = 256  # values of attributes that are counted; the ones that come first
SHRINK = 5.0  # added to the counts that were found and to those that were expected
EVERYBODY = ""  # in place of a value: all people of whom the attribute is known
STAGE = "~stage"  # an attribute of everybody: how many different things they have, by powers of two
_GROW = 1024  # columns are added by so many at least


@dataclass(slots=True)
class Groups:
    """Decayed counts of items by attribute of the person, folded from learned blocks in order; a pure function of them.

    Each count is as of its item's `newest_s` (lazy decay); late events are pre-decayed. Memory: 4 bytes x groups x
    items.

    >>> groups = Groups(half_life_s=60.0)
    >>> groups.learn(0.0, {"country": "France"}, [0, 1])
    >>> groups.learn(0.0, {"country": "Spain"}, [1])
    >>> groups.counts("country", "France", groups.kept(60.0, 2)).tolist(), groups.row(1)
    ([0.5, 0.5], (0.0, {'country': {'': 2.0, 'France': 1.0, 'Spain': 1.0}}))
    """

    half_life_s: float
    rows: dict[tuple[str, str], int] = field(default_factory=dict)  # (attribute, value) → row
    count: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (G, N)
    newest_s: Doubles = field(default_factory=lambda: np.zeros(0))  # (N,)

    def learn(self, at_s: float, attributes: Mapping[str, str], items: Sequence[int]) -> None:
        """Fold the `items` of one block, consumed at `at_s` by a person with these attributes."""
        named = [(name, value) for name in sorted(attributes) for value in (EVERYBODY, attributes[name])]
        known = [row for row in (self._row(key) for key in named) if row is not None]
        if not known:
            return
        for item in items:
            self.reserve(item + 1)
            now_s = max(float(self.newest_s[item]), at_s)
            self.count[:, item] *= np.float32(2.0 ** ((self.newest_s[item] - now_s) / self.half_life_s))
            self.count[known, item] += np.float32(2.0 ** ((at_s - now_s) / self.half_life_s))
            self.newest_s[item] = now_s

    def reserve(self, n: int) -> None:
        """Make room for `n` items."""
        have = len(self.newest_s)
        if n > have:
            more = max(n - have, have // 2, _GROW)
            self.newest_s = np.concatenate([self.newest_s, np.zeros(more)])
        if self.count.shape != (len(self.rows), len(self.newest_s)):
            count = np.zeros((len(self.rows), len(self.newest_s)), np.float32)
            count[: self.count.shape[0], : self.count.shape[1]] = self.count
            self.count = count

    def kept(self, now_s: float, n: int) -> Doubles:
        """What is left as of `now_s` of the counts of each item (n,), as a share."""
        self.reserve(n)
        return np.exp2(-np.maximum(now_s - self.newest_s[:n], 0.0) / self.half_life_s)

    def counts(self, name: str, value: str, kept: Doubles) -> Doubles:
        """Decayed counts (n,) of the people whose attribute `name` is `value`, given what is left of them."""
        row = self.rows.get((name, value))
        return np.zeros(len(kept)) if row is None else self.count[row, : len(kept)].astype(np.float64) * kept

    def row(self, item: int) -> tuple[float, dict[str, dict[str, float]]]:
        """Of one item: event time of its newest count, and counts by attribute and value; exact for `put`."""
        out: dict[str, dict[str, float]] = {}
        if item >= len(self.newest_s):
            return 0.0, out
        for name, value in sorted(self.rows):
            count = float(self.count[self.rows[name, value], item])
            if count:
                out.setdefault(name, {})[value] = count
        return float(self.newest_s[item]), out

    def put(self, item: int, newest_s: float, counts: Mapping[str, Mapping[str, float]]) -> None:
        """Replace the counts of one item by what `row` gave."""
        values = {(name, value): count for name, held in counts.items() for value, count in held.items()}
        rows = {key: self._row(key) for key in values}
        self.reserve(item + 1)
        self.count[:, item], self.newest_s[item] = 0.0, newest_s
        for key, row in rows.items():
            if row is not None:
                self.count[row, item] = values[key]

    def _row(self, key: tuple[str, str]) -> int | None:
        """The row of a group, new or known; None once there are too many."""
        row = self.rows.get(key)
        if row is None and len(self.rows) < GROUPS:
            row = self.rows[key] = len(self.rows)
            self.reserve(len(self.newest_s))
        return row


def stage(owned: int) -> dict[str, str]:
    """The attribute that everybody has: `owned` different things, 0, 1 to 2, 3 to 6, 7 to 14 …

    >>> [stage(owned)[STAGE] for owned in (0, 1, 2, 3, 100)]
    ['0', '1', '1', '2', '6']
    """
    return {STAGE: str((owned + 1).bit_length() - 1)}


def affinity(tables: Sequence[Groups], attributes: Mapping[str, str], now_s: float, n: int) -> Doubles:
    """How much more than everybody people with these attributes take each item (n,), summed over the attributes.

    That is log((found + SHRINK) / (expected + SHRINK)): 0 for an item nobody has taken, and for an attribute or a value
    that was never seen.

    >>> groups = Groups(half_life_s=60.0)
    >>> for _ in range(5):
    ...     groups.learn(0.0, {"country": "France"}, [0])
    ...     groups.learn(0.0, {"country": "Spain"}, [1])
    >>> affinity([groups], {"country": "France", "age": "30s"}, 0.0, 3).round(2).tolist()
    [0.29, -0.41, 0.0]
    """
    out, kept = np.zeros(n), [table.kept(now_s, n) for table in tables]
    for name in sorted(attributes):
        found, everybody = (
            sum((table.counts(name, value, left) for table, left in zip(tables, kept, strict=True)), np.zeros(n))
            for value in (attributes[name], EVERYBODY)
        )
        of_them, of_all = float(found.sum()), float(everybody.sum())
        if of_them and of_all:
            out += np.log((found + SHRINK) / (everybody * (of_them / of_all) + SHRINK))
    return out
