import numpy as np
import pytest

from consumers.items import Items
from stream import messages, topics
from stream.errors import BadRecord
from stream.messages import ItemVector
from stream.records import Record


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


def test_titles_follow_the_newest_record() -> None:
    items = Items()
    for title in ("Mug", "Red mug"):
        items.on_record(titled("m", title))
    assert items.titles == {0: "Red mug"}
    items.on_record(titled("m", ""))
    assert items.titles == {}
