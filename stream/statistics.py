"""What items have in common with time and with each other: counters, and bounded co-occurrence rows.

Letters in shapes: N items of the catalogue, C neighbours kept per item, T items of a history tail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.groups import Groups

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

TAIL = 50  # co-occurrence pairs an event with so many before it
FOLLOW = 10  # sequential rules look back so far
_GROW = 1024  # rows are added by so many at least
_AT_ONCE = 256  # items of a block that are paired at once, in an array of as many rows
_FEW = 6  # slots that are sooner found one after the other
_STEPS = (1.0 / np.arange(1, FOLLOW + 1)).astype(np.float32)


@dataclass(slots=True)
class Catalogue:
    """Item ids and their ordinals, in order of first sight.

    >>> catalogue = Catalogue()
    >>> catalogue.add("mug"), catalogue.add("bowl"), catalogue.add("mug")
    (0, 1, 0)
    """

    ids: list[str] = field(default_factory=list)
    ordinals: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, item_id: str) -> int:
        """The ordinal of an item, new or known."""
        ordinal = self.ordinals.get(item_id)
        if ordinal is None:
            ordinal = self.ordinals[item_id] = len(self.ids)
            self.ids.append(item_id)
        return ordinal


class BoundedRows:
    """A sparse matrix of weights that keeps at most `width` columns of each row.

    A new column of a full row replaces the lightest one (the first of equals), so what is frequent stays: a
    simplified Space-Saving (Metwally, Agrawal, El Abbadi 2005) without the inherited count. Memory: 8 bytes x rows
    x (width + 1).

    >>> rows = BoundedRows(width=2)
    >>> for column in (7, 7, 8, 9):  # 9 replaces 8
    ...     rows.add(np.array([0]), np.array([column]), np.ones((1, 1), np.float32))
    >>> rows.row(0)
    ([7, 9], [2.0, 1.0])
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.columns = np.full((0, width), -1, np.int32)  # (rows, C); -1: free
        self.weights = np.zeros((0, width), np.float32)  # (rows, C)
        self._place = np.full(1, -1, np.int64)  # column → place among those that are looked for; the last: free slots

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        have = len(self.columns)
        if rows > have:
            more = max(rows - have, have // 2, _GROW)
            self.columns = np.vstack([self.columns, np.full((more, self.width), -1, np.int32)])
            self.weights = np.vstack([self.weights, np.zeros((more, self.width), np.float32)])
            self._place = np.full(have + more + 1, -1, np.int64)

    def add(self, rows: Ints, columns: Ints, amounts: Floats) -> None:
        """Add `amounts` (T, k) to distinct `columns` (k,) of distinct `rows` (T,), all at once.

        New columns replace the lightest ones of their row, of as many as there are; no column of this call another one.
        """
        self.reserve(max(int(rows.max()), int(columns.max())) + 1)
        row, slot, k = self._found(rows, columns)
        self.weights[rows[row], slot] += amounts[row, k]
        left = amounts.copy()
        left[row, k] = 0.0
        row, k = left.nonzero()
        if not len(row):
            return
        new = np.bincount(row, minlength=len(rows))  # (T,)
        rank = np.arange(len(row)) - (np.cumsum(new) - new)[row]  # of each new column among those of its row
        fits = rank < self.width
        row, k, rank = row[fits], k[fits], rank[fits]
        some = new.nonzero()[0]
        lightest = _lightest(self.weights.take(rows[some], axis=0), min(int(new.max()), self.width))
        slot = lightest[np.searchsorted(some, row), rank]
        self.columns[rows[row], slot] = columns[k]
        self.weights[rows[row], slot] = left[row, k]

    def _found(self, rows: Ints, columns: Ints) -> tuple[Ints, Ints, Ints]:
        """Where `columns` are in `rows`: place among the rows, slot, place among the columns."""
        held = self.columns.take(rows, axis=0)  # (T, C)
        if len(columns) == 1:
            flat = (held == columns[0]).ravel().nonzero()[0]
            k = np.zeros(len(flat), np.int64)
        else:
            self._place[columns] = np.arange(len(columns))
            places = self._place.take(held).ravel()  # (T x C,)
            self._place[columns] = -1
            flat = (places >= 0).nonzero()[0]
            k = places.take(flat)
        return flat // self.width, flat % self.width, k

    def row(self, row: int) -> tuple[list[int], list[float]]:
        """Columns and weights of one row, in slot order; exact for `put`."""
        if row >= len(self.columns):
            return [], []
        used = self.columns[row] >= 0
        return self.columns[row, used].tolist(), self.weights[row, used].tolist()

    def at(self, rows: Ints) -> tuple[NDArray[np.int32], Floats]:
        """Columns and weights (T, C) of `rows` (T,)."""
        self.reserve(int(rows.max()) + 1)
        return self.columns.take(rows, axis=0), self.weights.take(rows, axis=0)

    def between(self, rows: Sequence[int], columns: Sequence[int]) -> Doubles:
        """The weights (T, k) of distinct `columns` (k,) in `rows` (T,), dense; zero where there is none."""
        self.reserve(max([*rows, *columns], default=-1) + 1)
        asked = np.asarray(rows, np.int64)
        row, slot, k = self._found(asked, np.asarray(columns, np.int64))
        out = np.zeros((len(rows), len(columns)))
        out[row, k] = self.weights[asked[row], slot]
        return out

    def put(self, row: int, columns: Sequence[int], weights: Sequence[float]) -> None:
        """Replace one row by what `row` gave."""
        self.reserve(max([row, *columns]) + 1)
        self.columns[row], self.weights[row] = -1, 0.0
        n = min(len(columns), self.width)
        self.columns[row, :n], self.weights[row, :n] = columns[:n], weights[:n]

    def score(self, rows: Ints, row_weights: Sequence[Doubles], n: int) -> list[Doubles]:
        """For each weighting (T,) of `rows` (T,): the weighted sum of the rows as a dense (n,) vector."""
        columns, weights = self.at(rows)  # (T, C)
        flat = columns.ravel() + 1  # free slots fall into a bin of their own, which is cut off
        sums = (np.bincount(flat, weights=(weights * w[:, None]).ravel(), minlength=n + 1) for w in row_weights)
        return [total[1 : n + 1].astype(np.float64, copy=False) for total in sums]


@dataclass(slots=True)
class ItemStats:
    """Counters and neighbours of items, folded from learned blocks in order; a pure function of them.

    `short` and `long` are exponentially decayed counts, each as of its item's `newest_s` (lazy decay). Late events are
    pre-decayed, so arrival order does not matter for them. Memory: 16 x C + 48 bytes per item.

    >>> stats = ItemStats(short_half_life_s=60.0, long_half_life_s=600.0, width=10)
    >>> _ = stats.learn(0.0, [], [0, 1])
    >>> stats.count[:2].tolist(), stats.popularity(60.0, 2)[0].tolist()
    ([1.0, 1.0], [0.5, 0.5])
    >>> stats.neighbours.row(0)
    ([1], [1.0])
    """

    short_half_life_s: float
    long_half_life_s: float
    width: int
    count: Doubles = field(default_factory=lambda: np.zeros(0))  # (N,)
    short: Doubles = field(default_factory=lambda: np.zeros(0))  # (N,)
    long: Doubles = field(default_factory=lambda: np.zeros(0))  # (N,)
    newest_s: Doubles = field(default_factory=lambda: np.zeros(0))  # (N,)
    neighbours: BoundedRows = field(init=False)  # symmetric: consumed by one user within TAIL events
    groups: Groups = field(init=False)  # counts by attribute of the person, decayed as `long` is
    followers: BoundedRows = field(init=False)  # row a, column b: b came d <= FOLLOW events after a, weight 1 / d

    def __post_init__(self) -> None:
        self.neighbours = BoundedRows(self.width)
        self.followers = BoundedRows(self.width)
        self.groups = Groups(self.long_half_life_s)

    def reserve(self, n: int) -> None:
        """Make room for `n` items."""
        if n > len(self.count):
            more = max(n - len(self.count), len(self.count) // 2, _GROW)
            for name in ("count", "short", "long", "newest_s"):
                setattr(self, name, np.concatenate([getattr(self, name), np.zeros(more)]))

    def learn(
        self, at_s: float, tail: Sequence[int], items: Sequence[int], attributes: Mapping[str, str] | None = None
    ) -> set[int]:
        """Fold the `items` of one block, consumed at `at_s` by a user with history `tail` (oldest first).

        Returns the ordinals whose rows changed.
        """
        self.groups.learn(at_s, attributes or {}, items)
        for item in items:
            self.reserve(item + 1)
            self._count(item, at_s)
        changed, history = set[int](), [*tail[-TAIL:], *items]
        for begin in range(len(history) - len(items), len(history), _AT_ONCE):
            changed |= self._pair(history[max(begin - TAIL, 0) : begin], history[begin : begin + _AT_ONCE])
        return changed

    def _pair(self, tail: Sequence[int], items: Sequence[int]) -> set[int]:
        """Count which of the `items` came together with, and after, each other and a tail of at most `TAIL` items.

        Returns the ordinals of all of them. O(items x (tail + items)).
        """
        sequence = [*tail, *items]
        begin = len(sequence) - len(items)
        place = {item: n for n, item in enumerate(dict.fromkeys([*items, *sequence]))}  # those of the block first
        places, k, n = [place[item] for item in sequence], len(set(items)), len(place)
        rows = np.array(places)
        together, next_ = np.zeros((k, n), np.float32), np.zeros((k, n), np.float32)  # items of the block, all items
        for at, item in enumerate(places[begin:], begin):
            together[item] += np.bincount(rows[max(at - TAIL, 0) : at], minlength=n) > 0
            last = list(dict.fromkeys(places[max(at - FOLLOW, 0) : at][::-1]))
            next_[item, last] += _STEPS[: len(last)]
        np.fill_diagonal(together, 0.0)
        ordinals = np.fromiter(place, np.int64, n)
        if n > k:
            self.neighbours.add(ordinals[k:], ordinals[:k], together[:, k:].T)
        if n > 1:
            together[:, :k] += together[:, :k].T.copy()
            self.neighbours.add(ordinals[:k], ordinals, together)
        before = np.flatnonzero(next_.any(axis=0))
        if len(before):
            self.followers.add(ordinals[before], ordinals[:k], next_[:, before].T)
        return set(place)

    def popularity(self, now_s: float, n: int) -> tuple[Doubles, Doubles]:
        """Short and long decayed counts (n,) as of `now_s`."""
        self.reserve(n)
        age = np.maximum(now_s - self.newest_s[:n], 0.0)
        return (
            self.short[:n] * np.exp2(-age / self.short_half_life_s),
            self.long[:n] * np.exp2(-age / self.long_half_life_s),
        )

    def _count(self, item: int, at_s: float) -> None:
        newest = self.newest_s[item] if self.count[item] else at_s
        now = max(newest, at_s)
        for values, half_life in ((self.short, self.short_half_life_s), (self.long, self.long_half_life_s)):
            values[item] = values[item] * 2.0 ** ((newest - now) / half_life) + 2.0 ** ((at_s - now) / half_life)
        self.newest_s[item] = now
        self.count[item] += 1.0


def _lightest(weights: Floats, most: int) -> Ints:
    """Slots (T, most) of the lightest `weights` (T, C), which are used up; of equals the first: free ones in order."""
    if most > _FEW:
        return weights.argsort(axis=1, kind="stable")[:, :most]
    out, each = np.empty((len(weights), most), np.int64), np.arange(len(weights))
    for n in range(most):
        out[:, n] = weights.argmin(axis=1)
        weights[each, out[:, n]] = np.inf
    return out
