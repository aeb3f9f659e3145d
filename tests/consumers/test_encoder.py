"""The encoder consumer: what becomes of items and texts, in which order, and how often the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from consumers import encoder as module
from consumers.encoder import EncoderHandler
from stream import metrics
from stream.errors import BadRecord
from stream.messages import ItemVector, TextVector, as_vector, decode
from stream.records import Output, Record
from stream.settings import Settings
from stream.text import TextEncoder

TINY = TextEncoder.tiny(dim=8)


class Counting:
    """An encoder that notes what it was asked for."""

    dim = 8

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return TINY.encode(texts)


def item(number: int = 0, partition: int = 0, **fields: Any) -> Record:
    value = msgspec.json.encode({"item_id": f"i{number}", "title": f"Mug {number}"} | fields)
    return Record("items", partition, number, f"i{number}".encode(), value)


def said(text: str | None, offset: int = 0, partition: int = 0) -> Record:
    value = {"event_id": f"e{offset}", "user_id": "ann", "item_id": "i1", "at": 60_000, "text": text}
    return Record("interactions", partition, offset, b"ann", msgspec.json.encode(value))


def run(records: Sequence[Record], size: int = 500, encoder: Counting | None = None) -> list[Output]:
    handler = EncoderHandler(Settings(), encoder or Counting())
    outputs: list[Output] = []
    for start in range(0, len(records), size):
        for record in records[start : start + size]:
            outputs += handler.on_record(record)
        outputs += handler.snapshot()
    return outputs


def vector_of(record: Record) -> NDArray[np.float32]:
    return as_vector(decode(ItemVector, run([record])[0].value).vector)


def test_an_item_becomes_its_vector() -> None:
    [output] = run([item(3, partition=2, categories=["Kitchen"], available=False, at="1970-01-01T00:01:00Z")])
    assert (output.topic, output.key, output.partition) == ("item-vectors", b"i3", 2)
    found = decode(ItemVector, output.value)
    assert (found.item_id, found.title, found.words, found.categories) == ("i3", "Mug 3", "mug 3 kitchen", ["Kitchen"])
    assert (found.available, found.at_s) == (False, 60.0)
    np.testing.assert_array_equal(as_vector(found.vector), TINY.encode(["Mug 3. Kitchen"])[0])


def test_a_removed_item_is_removed() -> None:
    assert run([Record("items", 1, 7, b"i3", None)]) == [Output("item-vectors", b"i3", None, 1)]
    with pytest.raises(BadRecord, match="key must be the item's id in a tombstone, got None"):
        run([Record("items", 1, 7, None, None)])


def test_a_text_becomes_a_vector_in_the_partition_of_its_interaction() -> None:
    outputs = run([said(None), said("  ", 1), said("lovely mug", 2, partition=3)])
    assert [(o.topic, o.key, o.partition) for o in outputs] == [("text-vectors", b"ann", 3)]
    found = decode(TextVector, outputs[0].value)
    assert (found.event_id, found.user_id, found.at_s) == ("e2", "ann", 60.0)
    np.testing.assert_array_equal(as_vector(found.vector), TINY.encode(["lovely mug"])[0])


@pytest.mark.parametrize("size", [1, 7])
def test_batches_change_nothing(size: int) -> None:
    records = [item(i % 9, title=f"Thing {i % 5}") for i in range(30)]
    records += [said(f"text {i % 4}", i) for i in range(10)] + [Record("items", 0, 99, b"i1", None), item(1)]
    assert run(records, size) == run(records)


def test_the_same_text_is_encoded_once() -> None:
    encoder = Counting()
    run([item(1), item(2), item(1), item(1, available=False), item(1, title="Cup")], size=1, encoder=encoder)
    assert encoder.asked == ["Mug 1", "Mug 2", "Cup"]


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED_TEXTS", 2)
    encoder = Counting()
    run([item(i) for i in (1, 2, 1, 3, 1, 2)], size=1, encoder=encoder)  # 2 is the one not used for longest
    assert encoder.asked == ["Mug 1", "Mug 2", "Mug 3", "Mug 2"]


def test_peoples_texts_are_not_kept() -> None:
    handler = EncoderHandler(Settings(), Counting())
    for _ in range(2):
        handler.on_record(said("my own words"))
        handler.snapshot()
    assert handler.figures() == {("encoded_total", "item"): 0, ("encoded_total", "text"): 2}
    metrics.check(handler.figures())


def test_an_embedding_is_joined_with_the_text() -> None:
    plain, joined = vector_of(item(1)), vector_of(item(1, embedding=[1.0, 0.0, 2.0]))
    np.testing.assert_allclose(np.linalg.norm(joined), 1, rtol=1e-6)
    alone = vector_of(item(1, title="", embedding=[1.0, 0.0, 2.0]))
    np.testing.assert_allclose(joined, (plain + alone) / np.linalg.norm(plain + alone), atol=1e-6)
    np.testing.assert_allclose(alone, vector_of(item(2, title="", embedding=[2.0, 0.0, 4.0])), atol=1e-6)  # direction
    assert vector_of(item(1, title="")).tolist() == [0.0] * 8


@pytest.mark.parametrize(
    ("embedding", "rule"),
    [
        ([], "a list of 1 to 8192 numbers"),
        ([0.0] * 9_000, "a list of 1 to 8192 numbers"),
        ([0.0, 0.0], "finite numbers that are not all zero"),
    ],
)
def test_an_embedding_must_have_a_direction(embedding: list[float], rule: str) -> None:
    with pytest.raises(BadRecord, match=f"embedding must be {rule}, got "):
        run([item(1, embedding=embedding)])


def test_a_malformed_record_leaves_no_trace() -> None:
    handler = EncoderHandler(Settings(), Counting())
    handler.on_record(item(1))
    with pytest.raises(BadRecord):
        handler.on_record(Record("items", 0, 1, b"x", b"{"))
    handler.on_record(Record("interactions", 0, 1, b"x", b'{"user_id": 1}'))  # interest parks it
    assert [output.key for output in handler.snapshot()] == [b"i1"]
    assert list(handler.snapshot()) == []
    assert list(handler.forget("ann")) == []
