"""The catalogue as a scorer sees it: ordinals, base vectors, what is available since when, vectors in drift space."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consumers.shelf import Newer, Slot, Vectors, fill
from stream import messages
from stream.errors import BadRecord
from stream.messages import AdaptedVector, ItemVector
from stream.records import Record
from stream.space import Space
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
    _known: dict[int, tuple[bool, float]] = field(default_factory=dict)  # ordinal → (available, at_s)
    _available: Mask = field(default_factory=lambda: np.ones(0, bool))
    _since_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _drift: Floats = field(default_factory=lambda: np.zeros((0, 1), np.float32))  # (N, D)
    _drift_done: int = -1  # vectors changed so far that `_drift` has seen

    def on_record(self, record: Record) -> None:
        """Fold one record of item-vectors; a tombstone takes the item out of what is available.

        Raises:
            BadRecord: damaged, or of another width than those before.
        """
        self._available = np.ones(0, bool)  # to be made again
        if record.value is None:
            ordinal = self.catalogue.ordinals.get((record.key or b"").decode("utf-8", "replace"))
            if ordinal is not None:
                self._known[ordinal] = (False, 0.0)
            return
        item = messages.decode(ItemVector, record.value)
        vector = messages.as_vector(item.vector)
        if self.vectors.now and len(vector) != self.vectors.data.shape[1]:
            raise BadRecord("vector", f"of {self.vectors.data.shape[1]} dimensions", len(vector))
        ordinal = self.catalogue.add(item.item_id)
        self.vectors.put(ordinal, vector)
        self._known[ordinal] = (item.available, item.at_s)
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
        self.space, self._drift_done = space, -1

    def available(self, now_s: float, without: Iterable[int] = ()) -> Mask:
        """Items (N,) that may be recommended at event time `now_s`; all of them where none would be left."""
        n = len(self.catalogue)
        if len(self._available) < n:
            self._available, self._since_s = np.ones(n, bool), np.zeros(n)
            for ordinal, (available, at_s) in self._known.items():
                self._available[ordinal], self._since_s[ordinal] = available, at_s
        mask = self._available[:n] & (self._since_s[:n] <= now_s)
        mask[list(without)] = False
        return mask if mask.any() else np.ones(n, bool)

    def in_space(self) -> Floats:
        """Vectors (N, D) in drift space; no rows while there is no space."""
        n = len(self.catalogue)
        if self.space is not None and (len(self._drift) < n or self._drift_done != self.vectors.now):
            self._drift = self.space.vectors(self.catalogue.ids, self.vectors.rows(n))
            self._drift_done = self.vectors.now
        return self._drift

    def filled(self, slot: Slot | None) -> Slot | None:
        """The slot with its item vectors up to date; None where there is no slot, or no vector yet."""
        if slot is None or not self.vectors.now:
            return None
        adapter = slot.model.adapter
        fill(slot, self.catalogue.ids, self._under(adapter, slot.model.base_dim) if adapter else self.vectors)
        return slot

    def _under(self, adapter: str, width: int) -> Newer:
        return self.newer.setdefault(adapter, Newer(width))
