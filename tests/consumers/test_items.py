import numpy as np
import pytest

from consumers.items import Items
from consumers.shelf import Slot
from stream import messages, topics
from stream.adapted import Adapted
from stream.errors import BadRecord
from stream.lm import LMShape, NextItemLM
from stream.messages import AdaptedVector, ItemVector, ModelVersion
from stream.records import Record
from stream.space import Space


def titled(item_id: str, title: str) -> Record:
    message = ItemVector(item_id, messages.as_bytes(np.ones(2)), title, "", [], True, 0.0)
    return Record(topics.ITEM_VECTORS, 0, 0, item_id.encode(), messages.encode(message))


def vector(item_id: str, *values: float, available: bool = True, at_s: float = 0.0) -> Record:
    message = ItemVector(item_id, messages.as_bytes(np.array(values)), item_id, "", [], available, at_s)
    return Record(topics.ITEM_VECTORS, 0, 0, item_id.encode(), messages.encode(message))


def test_what_is_available_depends_on_the_time_and_on_what_is_left_out() -> None:
    items = Items()
    for record in (vector("a", 1.0), vector("b", 1.0, at_s=100.0), vector("c", 1.0, available=False), vector("d", 1.0)):
        items.on_record(record)
    assert items.available(99.0).tolist() == [True, False, False, True]
    assert items.available(100.0).tolist() == [True, True, False, True]
    assert items.available(100.0, without=[0, 1]).tolist() == [False, False, False, True]
    assert items.available(99.0, without=[0, 3]).tolist() == [True] * 4  # rather something than nothing


def test_an_item_that_only_people_name_is_available() -> None:
    items = Items()
    items.catalogue.add("unknown")
    assert items.available(0.0).tolist() == [True]


def test_a_tombstone_takes_an_item_out_of_the_lists() -> None:
    items = Items()
    for record in (vector("a", 1.0), vector("b", 1.0)):
        items.on_record(record)
    items.on_record(Record(topics.ITEM_VECTORS, 0, 2, b"a", None))
    items.on_record(Record(topics.ITEM_VECTORS, 0, 3, b"never seen", None))
    assert items.available(0.0).tolist() == [False, True]


def test_vectors_of_another_width_are_refused() -> None:
    items = Items()
    items.on_record(vector("a", 1.0, 0.0))
    with pytest.raises(BadRecord, match="vector must be of 2 dimensions, got 3"):
        items.on_record(vector("b", 1.0, 0.0, 0.0))


def test_without_a_space_there_are_no_drift_vectors_and_without_vectors_no_model() -> None:
    items = Items()
    items.catalogue.add("a")
    assert len(items.in_space()) == 0
    assert items.filled(None) is None


def test_vectors_in_drift_space_are_the_same_whether_they_come_one_by_one_or_at_once() -> None:
    rng = np.random.default_rng(0)
    records = [vector(f"i{n}", *rng.normal(size=4)) for n in range(100)]
    records += [vector("i7", 1.0, 2.0, 3.0, 4.0), vector("i99", 0.0, 0.0, 0.0, 1.0)]  # their texts have changed
    space = Space.random(base_dim=4, seed=0)
    one_by_one, at_once = Items(), Items()
    one_by_one.use(space)
    for record in records:
        one_by_one.on_record(record)
        assert len(one_by_one.in_space()) == len(one_by_one.catalogue)
        at_once.on_record(record)
    at_once.use(space)
    assert np.array_equal(one_by_one.in_space(), at_once.in_space())
    another = Space.random(base_dim=4, seed=1)
    one_by_one.use(another)
    assert np.array_equal(one_by_one.in_space(), another.vectors(at_once.catalogue.ids, at_once.vectors.rows(100)))


def test_titles_follow_the_newest_record() -> None:
    items = Items()
    for title in ("Mug", "Red mug"):
        items.on_record(titled("m", title))
    assert items.titles == {0: "Red mug"}
    items.on_record(titled("m", ""))
    assert items.titles == {}


def adapted(item_id: str, adapter: str, *values: float) -> Record:
    message = AdaptedVector(item_id, adapter, messages.as_bytes(np.array(values)))
    return Record(topics.ADAPTED_VECTORS, 0, 0, message.key, messages.encode(message))


def test_a_version_with_an_adapter_uses_vectors_under_it_alone() -> None:
    items = Items()
    for record in (vector("a", 0.0, 1.0), vector("b", 0.0, 1.0), adapted("b", "other", 9.0, 9.0)):
        items.on_record(record) if record.topic == topics.ITEM_VECTORS else items.on_adapted(record)
    shipped = Adapted("mine", ("a",), np.array([[1, 0]], np.float32), np.zeros((1, 8), np.uint8))
    plain = NextItemLM.random(LMShape(dim=4, layers=1, heads=1, context=2, base_dim=2), ["a", "b"], seed=0)
    model = plain.with_adapted(shipped)
    version = ModelVersion("v2", "promoted", "v1", 0.0, 0.0, {}, "j", "clock", {}, "", "", "", 1, 1.0, 1, {}, 0.0)
    slot = items.filled(Slot(version, model))
    assert slot is not None

    def expected(*rows: tuple[float, float]) -> list[list[float]]:
        found: list[list[float]] = plain.item_matrix(items.catalogue.ids, np.array(rows, np.float32)).tolist()
        return found

    assert slot.matrix.tolist() == expected((1, 0), (0, 0))  # b is not shipped: it is scored without text
    items.on_record(vector("c", 0.0, 1.0))
    items.filled(slot)
    assert slot.matrix.tolist() == expected((1, 0), (0, 0), (0, 0))
    for record in (adapted("c", "mine", 0.0, 2.0), adapted("a", "mine", 3.0, 0.0)):
        items.on_adapted(record)
    items.filled(slot)
    assert slot.matrix.tolist() == expected((3, 0), (0, 0), (0, 2))
    with pytest.raises(BadRecord, match="vector must be of 2 dimensions, got 1"):
        items.on_adapted(adapted("c", "mine", 1.0))
