"""Two linear models of items over items: what goes with what people have, and what they take after it.

*Alike* is EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", 2019): what people who have the same
things have, too. *After* is a ridge regression of what is in a block on what its person took before it, newest first
with falling weight (after SLIT of Choi et al., "Session-aware Linear Item-Item Models", 2021); baskets are sets in
it, and an item may speak for itself, so it learns what is bought again. Both in closed form. Letters: p people, r
blocks, m items of the model, k weights kept per item, N items of a catalogue.

    G = A' A + ridge I        # A (p, m): 1 where a person has an item
    P = inverse(G);  alike = I - P / diag(P)        # no item speaks for itself
    after = inverse(S' S + 4 ridge I) S' T          # S (r, m): .98^n for the n-th newest thing had; T (r, m): taken
    score of j = sum over the items i that a person has of weight[i, j], alike once plainly and once times .97^n

They see what co-occurrence counts cannot: that two things are bought together only because both go with a third.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stream.baskets import Baskets
from stream.errors import StoreError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

WIDTH = 256  # weights kept per item, the largest
PEOPLE = 20_000  # people whose things are looked at, those with most
BLOCKS = 50_000  # blocks that are to be foretold, the newest
SEEN = 200  # newest things of a person where the newest count most
RECENT, AFTER = 0.97, 0.98  # weight of the n-th newest thing: RECENT ** n
AFTER_RIDGE = 4.0  # times that of the other
KINDS = 3  # of scores: alike, alike with the newest first, after


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The `k` largest weights of each item."""

    columns: NDArray[np.int32]  # (m, k): items that an item speaks for or against
    weights: Floats  # (m, k)

    @classmethod
    def of(cls, dense: Floats) -> Table:
        """Of a matrix (m, m), m >= 1."""
        falling = -np.abs(dense)
        width = min(WIDTH, len(dense))
        largest = np.sort(np.argpartition(falling, width - 1, axis=1)[:, :width], axis=1)  # in order of the items
        order = np.argsort(np.take_along_axis(falling, largest, axis=1), axis=1, kind="stable")
        columns = np.take_along_axis(largest, order, axis=1)
        return cls(columns.astype(np.int32), np.take_along_axis(dense, columns, axis=1).astype(np.float32))

    def fits(self, m: int) -> bool:
        """Whether it is of `m` items."""
        return (
            self.columns.shape == self.weights.shape
            and len(self.columns) == m
            and (self.columns.max(initial=-1) < m)
            and (self.columns.min(initial=0) >= 0)
        )


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """Both models, over the same items.

    >>> baskets = Baskets(np.array([0, 2, 4, 5]), np.array([0, 1, 0, 1, 2]), np.array([0, 0, 1, 1, 2]), np.zeros(5))
    >>> model = LinearModel.fit(baskets, ["mug", "cup", "hat"], ridge=1.0, most=10)
    >>> [round(float(weight), 3) for weight in model.alike.weights[0]]  # a mug speaks for a cup: 2 / (2 + 1); no hat
    [0.667, 0.0, 0.0]
    """

    item_ids: tuple[str, ...]  # m
    alike: Table
    after: Table

    @classmethod
    def fit(cls, baskets: Baskets, item_ids: Sequence[str], ridge: float, most: int) -> LinearModel:
        """The models of the `most` most frequent items; O(events + r x SEEN² + most³), some seconds for 4,000."""
        counts = np.bincount(baskets.items, minlength=len(item_ids))
        chosen = np.sort(np.argsort(-counts, kind="stable")[:most])
        chosen = chosen[counts[chosen] > 0]
        place = np.full(len(item_ids), -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        names = tuple(item_ids[i] for i in chosen)
        return cls(
            names, Table.of(_alike(baskets, place, ridge)), Table.of(_after(baskets, place, AFTER_RIDGE * ridge))
        )

    def save(self, directory: Path) -> None:
        """Write linear.safetensors and linear.json into `directory`."""
        arrays = {
            "columns": self.alike.columns, "weights": self.alike.weights,
            "after.columns": self.after.columns, "after.weights": self.after.weights,
        }  # fmt: skip
        save_file(arrays, directory / "linear.safetensors")
        (directory / "linear.json").write_text(json.dumps(self.item_ids, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> LinearModel | None:
        """Read what `save` wrote; None where nothing was.

        Raises:
            StoreError: a file is damaged, or the two do not fit.
        """
        if not (directory / "linear.json").exists():
            return None
        try:
            item_ids = msgspec.json.decode((directory / "linear.json").read_bytes(), type=tuple[str, ...])
            arrays = load_file(directory / "linear.safetensors")
            tables = [Table(arrays[at + "columns"], arrays[at + "weights"]) for at in ("", "after.")]
        except (OSError, KeyError, msgspec.DecodeError, SafetensorError) as error:
            raise StoreError(f"{directory} must hold a linear model: {error}") from None
        if not all(table.fits(len(item_ids)) for table in tables):
            raise StoreError(f"{directory}/linear.safetensors must fit the {len(item_ids)} items of linear.json")
        return cls(item_ids, *tables)


@dataclass(slots=True)
class Placed:
    """Linear models over the ordinals of a catalogue that grows.

    >>> table = Table(np.array([[1], [0]], np.int32), np.array([[0.5], [0.25]], np.float32))
    >>> placed = Placed(LinearModel(("mug", "cup"), table, table)); placed.extend(["hat", "cup", "mug"])
    >>> placed.scores([0, 2]).tolist()  # of a hat and a mug, which is newer
    [[0.0, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.5, 0.0]]
    """

    model: LinearModel
    rows: list[int] = field(default_factory=list)  # by ordinal: row of the model, or -1
    ordinals: Ints = field(init=False)  # (m,): by row; -1: not in the catalogue yet
    _row: dict[str, int] = field(init=False)
    _columns: tuple[Ints, Ints] | None = None  # of the two tables as ordinals + 1; 0: not in the catalogue yet

    def __post_init__(self) -> None:
        self.ordinals = np.full(len(self.model.item_ids), -1, np.int64)
        self._row = {item: i for i, item in enumerate(self.model.item_ids)}

    def extend(self, item_ids: Sequence[str]) -> None:
        """Place the items that the catalogue has beyond those it had; `item_ids` are all, by ordinal."""
        for ordinal in range(len(self.rows), len(item_ids)):
            row = self._row.get(item_ids[ordinal], -1)
            self.rows.append(row)
            if row >= 0:
                self.ordinals[row], self._columns = ordinal, None

    def scores(self, owned: Sequence[int]) -> Doubles:
        """Scores (KINDS, N) of all items for a person who has these (ordinals), the newest last."""
        out = np.zeros((KINDS, len(self.rows)))
        known = [(n, row) for n, i in enumerate(reversed(owned)) if (row := self.rows[i]) >= 0]
        if not known:
            return out
        age, rows = np.array(known, np.int64).T
        late = age < SEEN
        age, newest = age[late], rows[late]
        if self._columns is None:
            self._columns = self.ordinals[self.model.alike.columns] + 1, self.ordinals[self.model.after.columns] + 1
        alike, after = zip(self._columns, (self.model.alike.weights, self.model.after.weights), strict=True)
        for kind, ((columns, weights), asked, weight) in enumerate(
            ((alike, rows, np.ones(len(rows))), (alike, newest, RECENT**age), (after, newest, AFTER**age))
        ):
            own = (weights[asked] * weight[:, None]).ravel()
            out[kind] = np.bincount(columns[asked].ravel(), weights=own, minlength=len(self.rows) + 1)[1:]
        return out

    def weights(self, owned: Sequence[int], items: Sequence[int]) -> Doubles:
        """With how much each thing that a person has speaks for each of `items` (T, k), all ordinals; both models."""
        place = np.full(len(self.model.item_ids) + 1, -1)  # row → place among `items`; the last is for unknown ones
        place[[self.rows[i] for i in items]] = np.arange(len(items))
        place[-1] = -1
        out = np.zeros((len(owned), len(items)))
        known = [t for t, i in enumerate(owned) if self.rows[i] >= 0]
        rows = [self.rows[owned[t]] for t in known]
        for table in (self.model.alike, self.model.after):
            places = place[table.columns[rows]]  # (known, k of the table)
            row, slot = np.nonzero(places >= 0)
            out[np.asarray(known, np.int64)[row], places[row, slot]] += table.weights[rows][row, slot]
        return out


def _alike(baskets: Baskets, place: Ints, ridge: float) -> Floats:
    """EASE's weights (m, m); `place` (n,) gives each item's place in the model, -1 for none."""
    import torch
    from scipy.sparse import csr_array

    m = int(place.max(initial=-1)) + 1
    sizes = np.diff(baskets.starts)
    people = np.repeat(np.arange(len(sizes)), sizes)
    most = np.zeros(len(sizes), bool)
    most[np.argsort(-sizes, kind="stable")[:PEOPLE]] = True
    items = place[baskets.items]
    kept = most[people] & (items >= 0)
    has = csr_array((np.ones(int(kept.sum()), np.float32), (people[kept], items[kept])), shape=(len(sizes), m))
    has.sum_duplicates()
    has.data[:] = 1.0
    gram = torch.from_numpy((has.T @ has).toarray())
    gram.diagonal().add_(ridge)
    inverse: Floats = torch.cholesky_inverse(torch.linalg.cholesky(gram)).numpy()
    weights = (-inverse / np.diagonal(inverse)).astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return weights


def _after(baskets: Baskets, place: Ints, ridge: float) -> Floats:
    """Weights (m, m) of things had for things taken next."""
    import torch

    m = int(place.max(initial=-1)) + 1
    powers = (AFTER ** np.arange(SEEN)).astype(np.float32)
    had, weight, taken = list[Ints](), list[Floats](), list[Ints]()
    for before, then in _steps(baskets):
        known = place[before] >= 0
        had.append(place[before][known])
        weight.append(powers[: len(before)][known])
        taken.append(np.unique(place[then][place[then] >= 0]))
    if not had:
        return np.zeros((m, m), np.float32)
    s, t = _sparse(had, weight, m), _sparse(taken, [np.ones(len(row), np.float32) for row in taken], m)
    gram = torch.from_numpy((s.T @ s).toarray())
    gram.diagonal().add_(ridge)
    factor = torch.linalg.cholesky(gram)
    weights: Floats = torch.cholesky_solve(torch.from_numpy((s.T @ t).toarray()), factor).numpy()
    return weights


def _sparse(columns: Sequence[Ints], data: Sequence[Floats], m: int) -> Any:
    """A sparse matrix (r, m) from its rows."""
    from scipy.sparse import csr_array

    ends = np.cumsum([0, *(len(row) for row in columns)])
    return csr_array((np.concatenate(data), np.concatenate(columns), ends), shape=(len(columns), m))


def _steps(baskets: Baskets) -> Iterator[tuple[Ints, Ints]]:
    """Of the `BLOCKS` newest blocks: the things had before, newest first and at most SEEN, and those taken (rows)."""
    firsts = np.flatnonzero(np.diff(baskets.blocks, prepend=-1))  # (r,)
    ends = np.append(firsts[1:], len(baskets.items))
    times_s = baskets.times_s[firsts]
    from_s = np.partition(times_s, -BLOCKS)[-BLOCKS] if len(firsts) > BLOCKS else -np.inf
    owners = set(baskets.starts.tolist())
    had: dict[int, None] = {}
    for first, end, at_s in zip(firsts.tolist(), ends.tolist(), times_s.tolist(), strict=True):
        if first in owners:
            had = {}
        taken = baskets.items[first:end]
        if had and at_s >= from_s:
            newest = list(reversed(had))[:SEEN]
            yield np.array(newest, np.int64), taken
        for item in taken.tolist():
            had.pop(item, None)
            had[item] = None
