from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from consumers.shelf import NextItem, Shelf, Vectors, fill
from stream.errors import StoreError
from stream.linear import LinearModel
from stream.messages import ModelVersion, Ruling


class Fixed:
    """A model whose logits prefer the items with the largest first base dimension."""

    base_dim = 2
    item_ids: tuple[str, ...] = ()
    linear: LinearModel | None = None
    adapter = ""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale, self.asked = scale, 0

    def item_matrix(self, item_ids: Any, vectors: Any) -> Any:
        self.asked += len(item_ids)
        return np.asarray(vectors, np.float32) * self.scale

    def user_vector(self, item_vectors: Any, times_s: Any) -> Any:
        return np.array([1.0, 0.0], np.float32) * (len(item_vectors) > 0)


def version(name: str, verdict: str = "promoted", parent: str = "", live_at_s: float = 0.0) -> ModelVersion:
    return ModelVersion(name, verdict, parent, 0.0, live_at_s, {}, "j", "clock", {}, name, "", "", 1, 1.0, 1, {}, 0.0)


def done(model: Any) -> "Future[NextItem]":
    future: Future[NextItem] = Future()
    if isinstance(model, BaseException):
        future.set_exception(model)
    else:
        future.set_result(model)
    return future


def names(shelf: Shelf) -> str | None:
    return shelf.live.version.version if shelf.live else None


def test_a_version_goes_live_at_its_event_time() -> None:
    shelf = Shelf(lambda v: done(Fixed()))
    shelf.on_version("v1", version("v1", live_at_s=100.0))
    assert not shelf.advance(99.0)
    assert names(shelf) is None
    assert shelf.advance(100.0)
    assert names(shelf) == "v1"
    assert not shelf.advance(101.0)


def test_the_old_one_serves_until_the_new_one_is_loaded() -> None:
    slow: Future[NextItem] = Future()
    shelf = Shelf(lambda v: slow if v.version == "v2" else done(Fixed()))
    shelf.on_version("v1", version("v1"))
    shelf.advance(0.0)
    shelf.on_version("v2", version("v2", parent="v1"))
    assert not shelf.advance(1.0)
    assert names(shelf) == "v1"
    slow.set_result(Fixed())
    assert shelf.advance(2.0)
    assert names(shelf) == "v2"
    assert [j["before"] for j in shelf.journal] == ["", "v1"]


@pytest.mark.parametrize("broken", [StoreError("torn"), Fixed(float("nan"))])
def test_a_damaged_version_is_refused_and_the_old_one_keeps_serving(broken: Any) -> None:
    shelf = Shelf(lambda v: done(broken) if v.version == "v2" else done(Fixed()))
    shelf.on_version("v1", version("v1"))
    shelf.advance(0.0)
    shelf.on_version("v2", version("v2", parent="v1"))
    shelf.advance(1.0)
    assert names(shelf) == "v1"
    assert shelf.swaps == {"swapped": 1, "refused": 1, "rolled_back": 0}
    assert shelf.journal[-1]["event"] == "swap refused"
    shelf.on_version("v3", version("v3", parent="v1"))
    shelf.advance(2.0)
    assert names(shelf) == "v3"


def test_a_rollback_brings_the_parent_back() -> None:
    shelf = Shelf(lambda v: done(Fixed()))
    shelf.on_version("v1", version("v1"))
    shelf.on_version("v2", version("v2", parent="v1"))
    shelf.advance(0.0)
    assert names(shelf) == "v2"
    shelf.on_version("v2/rollback", Ruling("v2", "rollback", 1.0, 0.0, "worse", {}))
    shelf.advance(1.0)
    assert names(shelf) == "v1"
    assert shelf.swaps == {"swapped": 1, "refused": 0, "rolled_back": 1}


def test_refused_candidates_are_never_loaded() -> None:
    asked: list[str] = []

    def loader(record: ModelVersion) -> "Future[NextItem]":
        asked.append(record.version)
        return done(Fixed())

    shelf = Shelf(loader)
    shelf.on_version("v1", version("v1"))
    shelf.on_version("v2", version("v2", verdict="refused", parent="v1"))
    shelf.advance(0.0)
    assert asked == ["v1"]


def test_companions_are_parent_reference_and_shadow() -> None:
    shelf = Shelf(lambda v: done(Fixed()))
    for name, verdict, parent in (("v1", "promoted", ""), ("v2", "promoted", "v1"), ("v3", "promoted", "v2")):
        shelf.on_version(name, version(name, verdict, parent))
    shelf.on_version("v4", version("v4", "undecided", "v3"))
    shelf.advance(0.0)
    found = {role: shelf.companion(role) for role in ("parent", "reference", "shadow")}
    assert {role: slot and slot.version.version for role, slot in found.items()} == {
        "parent": "v2",
        "reference": "v1",
        "shadow": "v4",
    }


def test_only_changed_vectors_are_computed_again() -> None:
    shelf, model, vectors = Shelf(lambda v: done(model)), Fixed(), Vectors()
    shelf.on_version("v1", version("v1"))
    shelf.advance(0.0)
    slot = shelf.live
    assert slot is not None
    for i in range(3):
        vectors.put(i, np.array([i, 0.0], np.float32))
    model.asked = 0
    fill(slot, ["a", "b", "c"], vectors)
    assert model.asked == 3
    vectors.put(1, np.array([9.0, 0.0], np.float32))
    fill(slot, ["a", "b", "c", "d"], vectors)  # b changed, d is new
    assert model.asked == 5
    assert slot.logits([0], [0.0]).tolist() == [0.0, 9.0, 2.0, 0.0]
