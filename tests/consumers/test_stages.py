"""Drift spaces, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from consumers.stages import Stages
from stream.errors import BadRecord
from stream.messages import as_bytes
from stream.settings import Settings
from stream.space import Space

if TYPE_CHECKING:
    from tests.conftest import Shop


def test_items_are_placed_in_spaces_that_come_later(shop: Shop) -> None:
    stages = Stages(Settings())
    stages.put("new", shop.base[1])
    assert stages.add(shop.space, 0.0)
    for index, segment in ((0, ""), (1, "Toy Thing")):
        place = stages.at(index).places.find("new")
        assert place is not None
        assert place.segment == segment
    assert (stages.items, stages.last) == (1, 1)
    assert stages.knows(shop.space.name)


def test_a_space_of_another_size_is_not_taken(shop: Shop) -> None:
    stages = Stages(Settings())
    stages.put("new", np.ones(8, np.float32))
    assert not stages.add(shop.space, 0.0)
    assert not stages.knows(shop.space.name)


def test_the_random_space_is_that_of_the_seed() -> None:
    stages = Stages(Settings(seed=5))
    stages.put("new", np.ones(8, np.float32))
    assert stages.at(0).rules.space.name == Space.random(8, 5).name


def test_vectors_of_another_size_are_refused(shop: Shop) -> None:
    stages = Stages(Settings())
    stages.add(shop.space, 0.0)
    assert len(stages.checked(as_bytes(shop.base[0]))) == 16
    for data in (b"", b"123", as_bytes(np.ones(8))):
        with pytest.raises(BadRecord, match="vector must be 16 float32 values"):
            stages.checked(data)
