"""The drift spaces and detectors that the interest consumer uses one after the other, with the items placed in them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream import profile
from stream.drift import Detector
from stream.errors import BadRecord
from stream.messages import as_vector
from stream.places import Places
from stream.settings import Settings
from stream.space import Space

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stage:
    """A space with the items in it, and a detector in it; they serve from event time `live_at_s` on."""

    live_at_s: float
    places: Places
    rules: profile.Rules


class Stages:
    """Spaces in the order in which they serve, and the base vectors of all items, to place them in a new one.

    The first space is random, and the detectors are off in it; before any vector is known it places nothing. A detector
    that was calibrated anew is a stage of its own in the space before it. Memory: four bytes per base dimension and
    item, and half a kilobyte per item and space.

    >>> stages = Stages(Settings())
    >>> stages.put("mug", np.ones(8, np.float32))
    >>> stages.add(Space.random(base_dim=8, seed=1), live_at_s=60.0), stages.due(0, 59.0), stages.due(0, 60.0)
    (True, 0, 1)
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base: dict[str, Floats] = {}
        self._base_dim = 0  # unknown
        self._stages = [self._staged(Space.random(1, settings.seed), 0.0)]

    @property
    def items(self) -> int:
        """How many items have a vector."""
        return len(self._base)

    @property
    def last(self) -> int:
        """Index of the newest space."""
        return len(self._stages) - 1

    def at(self, index: int) -> Stage:
        """The space with that index."""
        return self._stages[index]

    def due(self, index: int, at_s: float) -> int:
        """Index of what serves at event time `at_s` where the one with `index` served before."""
        while index < self.last and at_s >= self._stages[index + 1].live_at_s:
            index += 1
        return index

    def knows(self, name: str) -> bool:
        """Whether the space is among them."""
        return any(stage.rules.space.name == name for stage in self._stages)

    def put(self, item_id: str, base_vector: Floats) -> None:
        """Place an item in every space."""
        self._measure(len(base_vector))
        self._base[item_id] = base_vector
        for places in {id(stage.places): stage.places for stage in self._stages}.values():
            places.put(item_id, base_vector)

    def add(self, space: Space, live_at_s: float) -> bool:
        """Take a space in; False if it was fitted with base vectors of another size."""
        if self._base_dim and len(space.mean) != self._base_dim:
            return False
        self._measure(len(space.mean))
        self._stages.append(self._staged(space, live_at_s))
        return True

    def calibrate(self, detector: Detector, live_at_s: float) -> None:
        """Take in a detector that was calibrated anew for the newest space; a random one has none."""
        last = self._stages[-1]
        if last.rules.space.segments:
            self._stages.append(Stage(live_at_s, last.places, replace(last.rules, detector=detector)))

    def checked(self, data: bytes) -> Floats:
        """A base vector, of the same size as all others.

        Raises:
            BadRecord: it is not.
        """
        size = 4 * self._base_dim or len(data)
        if not data or len(data) % 4 or len(data) != size:
            raise BadRecord("vector", f"{size // 4} float32 values", f"{len(data)} bytes")
        return as_vector(data)

    def _measure(self, base_dim: int) -> None:
        """Make the random space anew once the size of base vectors is known."""
        if not self._base_dim:
            self._base_dim = base_dim
            self._stages[0] = self._staged(Space.random(base_dim, self._settings.seed), 0.0)

    def _staged(self, space: Space, live_at_s: float) -> Stage:
        places = Places(space)
        for item_id, vector in self._base.items():
            places.put(item_id, vector)
        return Stage(live_at_s, places, profile.Rules.of(self._settings, space))
