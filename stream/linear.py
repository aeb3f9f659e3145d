"""A linear model of items over items: what people who have the same things have, too.

EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", 2019), in closed form. Letters: p people, m items of
the model, k weights kept per item, N items of a catalogue.

    G = A' A + ridge I        # A (p, m): 1 where a person has an item
    P = inverse(G);  B = I - P / diag(P)        # no item speaks for itself
    score of j = sum of B[i, j] over the items i that a person has

It sees what co-occurrence counts cannot: that two things are bought together only because both go with a third.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stream.errors import StoreError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

WIDTH = 256  # weights kept per item, the largest
PEOPLE = 20_000  # people whose things are looked at, those with most
_CHUNK = 1_000  # people at a time


@dataclass(frozen=True, slots=True, eq=False)
class Owned:
    """Which items people have, as columns.

    >>> owned = Owned.of({("ann", "mug"): 1.0, ("bob", "cup"): 2.0, ("ann", "cup"): 9.0}, ["cup", "mug"], before_s=5.0)
    >>> owned.starts.tolist(), owned.items.tolist()
    ([0, 1, 2], [1, 0])
    """

    starts: Ints  # (p + 1,): person i has items[starts[i]:starts[i + 1]]
    items: Ints  # rows of the catalogue, each once per person

    @classmethod
    def of(cls, firsts: Mapping[tuple[str, str], float], item_ids: Sequence[str], before_s: float) -> Owned:
        """Of (person, item) → event time of the first; those at or after `before_s`, and other items, are left out."""
        row = {item: i for i, item in enumerate(item_ids)}
        people: dict[str, list[int]] = {}
        for (user_id, item_id), at_s in firsts.items():
            if at_s < before_s and item_id in row:
                people.setdefault(user_id, []).append(row[item_id])
        starts = np.concatenate([[0], np.cumsum([len(items) for items in people.values()])])
        return cls(starts.astype(np.int64), np.array([i for items in people.values() for i in items], np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """The weights of the model, the `k` largest of each item.

    >>> owned = Owned(np.array([0, 2, 4, 5]), np.array([0, 1, 0, 1, 2]))
    >>> model = LinearModel.fit(owned, ["mug", "cup", "hat"], ridge=1.0, most=10)
    >>> [round(float(weight), 3) for weight in model.weights[0]]  # a mug speaks for a cup: 2 / (2 + 1); not for a hat
    [0.667, 0.0, 0.0]
    """

    item_ids: tuple[str, ...]  # m
    columns: NDArray[np.int32]  # (m, k): items that an item speaks for or against
    weights: Floats  # (m, k)

    @classmethod
    def fit(cls, owned: Owned, item_ids: Sequence[str], ridge: float, most: int) -> LinearModel:
        """The model of the `most` most frequent items; O(people x most² + most³), a few seconds for 4,000."""
        import torch

        counts = np.bincount(owned.items, minlength=len(item_ids))
        chosen = np.sort(np.argsort(-counts, kind="stable")[:most])
        chosen = chosen[counts[chosen] > 0]
        place = np.full(len(item_ids), -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        gram = _gram(owned, place, len(chosen))
        matrix = torch.from_numpy(gram)
        matrix.diagonal().add_(ridge)
        inverse: Floats = torch.cholesky_inverse(torch.linalg.cholesky(matrix)).numpy()
        weights = -inverse / np.diagonal(inverse)
        np.fill_diagonal(weights, 0.0)
        columns = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :WIDTH]
        kept = np.take_along_axis(weights, columns, axis=1)
        return cls(tuple(item_ids[i] for i in chosen), columns.astype(np.int32), kept.astype(np.float32))

    def save(self, directory: Path) -> None:
        """Write linear.safetensors and linear.json into `directory`."""
        save_file({"columns": self.columns, "weights": self.weights}, directory / "linear.safetensors")
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
            columns, weights = arrays["columns"], arrays["weights"]
        except (OSError, KeyError, msgspec.DecodeError, SafetensorError) as error:
            raise StoreError(f"{directory} must hold a linear model: {error}") from None
        if columns.shape != weights.shape or len(columns) != len(item_ids) or columns.max(initial=-1) >= len(item_ids):
            raise StoreError(f"{directory}/linear.safetensors must fit the {len(item_ids)} items of linear.json")
        return cls(item_ids, columns, weights)


@dataclass(slots=True)
class Placed:
    """A linear model over the ordinals of a catalogue that grows.

    >>> model = LinearModel(("mug", "cup"), np.array([[1], [0]], np.int32), np.array([[0.5], [0.25]], np.float32))
    >>> placed = Placed(model); placed.extend(["hat", "cup", "mug"]); placed.scores([2]).tolist()
    [0.0, 0.5, 0.0]
    >>> placed.weights([2, 0], [1]).tolist()  # a mug speaks for a cup, a hat is unknown
    [[0.5], [0.0]]
    """

    model: LinearModel
    rows: list[int] = field(default_factory=list)  # by ordinal: row of the model, or -1
    ordinals: Ints = field(init=False)  # (m,): by row; -1: not in the catalogue yet
    _row: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.ordinals = np.full(len(self.model.item_ids), -1, np.int64)
        self._row = {item: i for i, item in enumerate(self.model.item_ids)}

    def extend(self, item_ids: Sequence[str]) -> None:
        """Place the items that the catalogue has beyond those it had; `item_ids` are all, by ordinal."""
        for ordinal in range(len(self.rows), len(item_ids)):
            row = self._row.get(item_ids[ordinal], -1)
            self.rows.append(row)
            if row >= 0:
                self.ordinals[row] = ordinal

    def scores(self, owned: Iterable[int]) -> Doubles:
        """Scores (N,) of all items for a person who has these (ordinals)."""
        out = np.zeros(len(self.rows))
        rows = [row for i in owned if (row := self.rows[i]) >= 0]
        if not rows:
            return out
        found = self.ordinals >= 0
        sums = np.bincount(
            self.model.columns[rows].ravel(), weights=self.model.weights[rows].ravel(), minlength=len(found)
        )
        out[self.ordinals[found]] = sums[found]
        return out

    def weights(self, owned: Sequence[int], items: Sequence[int]) -> Doubles:
        """With how much each thing that a person has speaks for each of `items` (T, k), all ordinals."""
        place = np.full(len(self.model.item_ids) + 1, -1)  # row → place among `items`; the last is for unknown ones
        place[[self.rows[i] for i in items]] = np.arange(len(items))
        place[-1] = -1
        out = np.zeros((len(owned), len(items)))
        known = [t for t, i in enumerate(owned) if self.rows[i] >= 0]
        rows = [self.rows[owned[t]] for t in known]
        places = place[self.model.columns[rows]]  # (known, k of the model)
        row, slot = np.nonzero(places >= 0)
        out[np.asarray(known, np.int64)[row], places[row, slot]] = self.model.weights[rows][row, slot]
        return out


def _gram(owned: Owned, place: Ints, m: int) -> Floats:
    """How many people have both (m, m), over the `PEOPLE` who have most."""
    sizes = np.diff(owned.starts)
    people = np.sort(np.argsort(-sizes, kind="stable")[:PEOPLE])
    gram = np.zeros((m, m), np.float32)
    for begin in range(0, len(people), _CHUNK):
        some = people[begin : begin + _CHUNK]
        has = np.zeros((len(some), m), np.float32)
        for line, person in enumerate(some):
            items = place[owned.items[owned.starts[person] : owned.starts[person + 1]]]
            has[line, items[items >= 0]] = 1.0
        gram += has.T @ has
    return gram
