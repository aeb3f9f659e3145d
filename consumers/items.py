"""The catalogue as a scorer sees it: ordinals, base vectors, what is available since when, vectors in drift space."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from consumers.shelf import Newer, Slot, Vectors, fill, stale
from stream import messages
from stream.errors import BadRecord
from stream.messages import AdaptedVector, ItemVector
from stream.records import Record
from stream.rows import Rows
from stream.space import DIM, Space
from stream.statistics import Catalogue

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(slots=True)
class Items:
    """Folds item-vectors; brings item vectors of models and of the drift space up to date when they are needed.

    Memory: O(items x (base dimensions + drift dimensions + title)).

    >>> items = Items()
    >>> items.catalogue.add("mug"), items.available(60.0).tolist()  # nothing is known that speaks against it
    (0, [True])
    """

    catalogue: Catalogue = field(default_factory=Catalogue)
    vectors: Vectors = field(default_factory=Vectors)
    newer: dict[str, Newer] = field(default_factory=dict)  # by adapter
    space: Space | None = None
    titles: dict[int, str] = field(default_factory=dict)  # by ordinal; without those that have none
    _since_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # by ordinal; inf: not available
    _drift: Rows = field(default_factory=lambda: Rows(DIM))
    _drift_done: int = 0  # vectors changed so far that `_drift` has seen

    def on_record(self, record: Record) -> None:
        """Fold one record of item-vectors; a tombstone takes the item out of what is available.

        Raises:
            BadRecord: damaged, or of another width than those before.
        """
        if record.value is None:
            ordinal = self.catalogue.ordinals.get((record.key or b"").decode("utf-8", "replace"))
            if ordinal is not None:
                self._offer(ordinal, inf)
            return
        item = messages.decode(ItemVector, record.value)
        vector = messages.as_vector(item.vector)
        if self.vectors.now and len(vector) != self.vectors.data.width:
            raise BadRecord("vector", f"of {self.vectors.data.width} dimensions", len(vector))
        ordinal = self.catalogue.add(item.item_id)
        self.vectors.put(ordinal, vector)
        self._offer(ordinal, item.at_s if item.available else inf)
        if item.title:
            self.titles[ordinal] = item.title
        else:
            self.titles.pop(ordinal, None)

    def on_adapted(self, record: Record) -> None:
        """Fold one record of adapted-vectors.

        Raises:
            BadRecord: damaged, or of another width than those before.
        """
        if record.value is None:
            return  # the item is gone; it keeps its place until the next version
        item = messages.decode(AdaptedVector, record.value)
        vector = messages.as_vector(item.vector)
        newer = self.newer.setdefault(item.adapter, Newer(len(vector)))
        if len(vector) != newer.width:
            raise BadRecord("vector", f"of {newer.width} dimensions", len(vector))
        newer.put(self.catalogue.add(item.item_id), vector)

    def use(self, space: Space) -> None:
        """Measure interests in `space` from now on."""
        self.space, self._drift, self._drift_done = space, Rows(DIM), 0

    def available(self, now_s: float, without: Iterable[int] = ()) -> Mask:
        """Items (N,) that may be recommended at event time `now_s`; all of them where none would be left."""
        n = len(self.catalogue)
        self._reserve(n)
        mask = self._since_s[:n] <= now_s
        mask[list(without)] = False
        return mask if mask.any() else np.ones(n, bool)

    def in_space(self) -> Floats:
        """Vectors (N, D) in drift space; no rows while there is no space."""
        if self.space is None:
            return self._drift.upto(0)
        n, have = len(self.catalogue), len(self._drift)
        found = self._drift.upto(n)
        if have < n or self._drift_done != self.vectors.now:
            rows = stale(self.vectors, self._drift_done, have, n)
            found[rows] = self.space.vectors([self.catalogue.ids[i] for i in rows], self.vectors.rows(n)[rows])
            self._drift_done = self.vectors.now
        return found

    def filled(self, slot: Slot | None) -> Slot | None:
        """The slot with its item vectors up to date; None where there is no slot, or no vector yet."""
        if slot is None or not self.vectors.now:
            return None
        adapter = slot.model.adapter
        fill(slot, self.catalogue.ids, self._under(adapter, slot.model.base_dim) if adapter else self.vectors)
        return slot

    def _under(self, adapter: str, width: int) -> Newer:
        return self.newer.setdefault(adapter, Newer(width))

    def _offer(self, ordinal: int, since_s: float) -> None:
        self._reserve(ordinal + 1)
        self._since_s[ordinal] = since_s

    def _reserve(self, n: int) -> None:
        """Items that nothing is known of are available."""
        have = len(self._since_s)
        if n > have:
            self._since_s = np.pad(self._since_s, (0, max(n - have, have // 2)))
