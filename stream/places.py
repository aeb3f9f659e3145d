"""Where items stand in one drift space: their vector, their place among the popular ones, their segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.space import Space

Floats = NDArray[np.float32]


class Place(NamedTuple):
    """One item in a drift space."""

    vector: Floats  # (D,), unit length
    position: int  # in the order of popularity; the number of fitted items for one that came later
    segment: str  # "" in a random space


class Places:
    """All items known, in one space. Memory: about half a kilobyte per item that the space was not fitted with.

    >>> places = Places(Space.random(base_dim=8, seed=0))
    >>> places.put("mug", np.ones(8, np.float32))
    >>> places.find("mug").position, places.find("cup")
    (0, None)
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        member = space.segment_of(space.popular).tolist() if len(space.centres) else []
        self._fitted = [space.segments[segment] for segment in member]
        self._later: dict[str, Place] = {}

    def put(self, item_id: str, base_vector: Floats) -> None:
        """Place an item, or place it anew after its text has changed; a fitted item keeps its place."""
        if item_id in self.space.position:
            return
        vectors = self.space.texts(base_vector[None])
        segment = self.space.segments[int(self.space.segment_of(vectors)[0])] if len(self.space.centres) else ""
        self._later[item_id] = Place(vectors[0], len(self.space.items), segment)

    def gather(self, item_ids: Sequence[str]) -> tuple[Sequence[str], Floats]:
        """Those of the items whose vector is known, and the vectors (n, D); in a fitted space."""
        rows = [self.space.position.get(item_id, -1) for item_id in item_ids]
        vectors = self.space.popular[rows]
        known = list(range(len(rows)))
        for i, row in enumerate(rows):
            if row < 0:
                place = self._later.get(item_ids[i])
                if place is None:
                    known.remove(i)
                else:
                    vectors[i] = place.vector
        return (item_ids, vectors) if len(known) == len(rows) else ([item_ids[i] for i in known], vectors[known])

    def find(self, item_id: str) -> Place | None:
        """The item's place; None while its vector is not known."""
        row = self.space.position.get(item_id)
        if row is None:
            return self._later.get(item_id)
        return Place(self.space.popular[row], row, self._fitted[row])
