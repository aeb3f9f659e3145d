"""The encoder consumer: what becomes of items and texts, in which order, and how often the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from consumers import encoder as module
from consumers.encoder import EncoderHandler, Under
from stream import metrics
from stream.adapted import Adapted
from stream.errors import BadRecord, StoreError
from stream.events import Item
from stream.item_text import fingerprint
from stream.messages import AdaptedVector, ItemVector, ModelVersion, Ruling, TextVector, as_vector, decode, encode
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


def version(number: int, adapter: str = "", verdict: str = "promoted") -> Record:
    name, parent = f"v{number}", f"v{number - 1}" if number > 1 else ""
    made = ModelVersion(
        name, verdict, parent, 0.0, 0.0, {}, "j", "clock", {}, name, "", "", 1, 1.0, 1, {}, 0.0, adapter
    )
    return Record("model-versions", 0, number, name.encode(), encode(made))


class Adapting:
    """A handler whose versions ship item i1 as it is, under an encoder of their own."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.handler = EncoderHandler(Settings(), Counting(), self.load)

    def load(self, version: ModelVersion) -> Under:
        self.loaded.append(version.version)
        if version.adapter == "torn":
            raise StoreError("v9 is torn")
        known = fingerprint(Item(item_id="i1", title="Mug 1"))
        prints = np.frombuffer(known, np.uint8)[None]
        shipped = Adapted(version.adapter, ("i1",), np.ones((1, 8), np.float32), prints)
        return Under(TextEncoder.tiny(dim=8, seed=len(version.adapter)), shipped)

    def read(self, *records: Record) -> list[Output]:
        for record in records:
            assert self.handler.on_record(record) == ()
        return [output for output in self.handler.snapshot() if output.topic == "adapted-vectors"]


def test_newer_items_are_encoded_under_adapters_too() -> None:
    world = Adapting()
    assert world.read(item(1), version(1), version(2, "ab")) == []  # v2 ships i1
    [output] = world.read(item(1), item(2, partition=3, embedding=[1.0, 2.0]))
    assert (output.key, output.partition) == (b"i2\x00ab", 3)
    found = decode(AdaptedVector, output.value)
    assert (found.item_id, found.adapter, found.key) == ("i2", "ab", output.key)
    assert np.linalg.norm(as_vector(found.vector)) == pytest.approx(1.0)
    [changed] = world.read(item(1, title="Cup"))
    under = TextEncoder.tiny(dim=8, seed=2).encode(["Cup"])[0]
    np.testing.assert_array_equal(as_vector(decode(AdaptedVector, changed.value).vector), under)
    gone = world.read(Record("items", 0, 9, b"i2", None))
    assert gone == [Output("adapted-vectors", b"i2\x00ab", None, 0)]


def test_items_that_came_during_a_training_are_caught_up_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT_ITEMS", 2)
    world = Adapting()
    world.read(version(1), item(5), item(1), item(2))  # i5 is not among the newest two
    assert [output.key for output in world.read(version(2, "ab"))] == [b"i2\x00ab"]


def test_adapters_of_versions_that_may_serve_are_held() -> None:
    world = Adapting()
    rollback = Ruling("v3", "rollback", 0.0, 0.0, "worse", {})
    world.read(version(1), version(2, "ab"), version(3, "abc"), version(4, "no", "refused"))
    world.read(version(5, "torn", "undecided"), item(3))
    assert {o.key for o in world.read(item(4))} == {b"i4\x00ab", b"i4\x00abc"}
    assert world.loaded == ["v2", "v3", "v5"]
    assert [entry["event"] for entry in world.handler.journal] == ["adapter-refused"]
    world.read(version(6), version(7))  # without adapters; the live one's parent has none either
    assert world.read(item(6)) == []
    ruling = Record("model-versions", 0, 9, b"v3/rollback", encode(rollback))
    world.read(*(Record("model-versions", 0, 9, f"v{n}".encode(), None) for n in (5, 6, 7)), ruling)
    assert {o.key for o in world.read(item(8))} == {b"i8\x00ab", b"i8\x00abc"}


def test_an_adapter_that_goes_leaves_nothing_in_line() -> None:
    world = Adapting()
    world.read(version(1), version(2, "ab"))
    assert [o.key for o in world.read(item(2), version(3), version(4))] == [b"i2\x00ab"]
