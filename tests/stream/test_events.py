"""Outside records: what is taken, what is parked, and with which words."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import events
from stream.errors import BadRecord
from stream.events import DeadLetter, Erasure, Interaction, Item, Recommendation, Recommended

CLICK: dict[str, object] = {"event_id": "e1", "user_id": "ann", "item_id": "mug", "at": 1_314_864_000_000}


def raw(**changes: object) -> bytes:
    return json.dumps(CLICK | changes).encode()


def test_unknown_fields_are_ignored() -> None:
    read = events.decode(Interaction, raw(colour="red", nested={"a": [1]}))
    assert read == Interaction(event_id="e1", user_id="ann", item_id="mug", at=1_314_864_000_000)


def test_defaults_are_not_written() -> None:
    assert json.loads(events.encode(events.decode(Interaction, raw()))) == CLICK


@pytest.mark.parametrize(
    ("at", "at_s"),
    [
        (0, 0.0),
        (1_500, 1.5),
        (1_500.5, 1.5005),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T01:01:00+01:00", 60.0),
        ("1970-01-01T00:00:00.250Z", 0.25),
        ("1969-12-31T23:59:00Z", -60.0),
    ],
)
def test_both_notations_of_time(at: object, at_s: float) -> None:
    assert events.decode(Interaction, raw(at=at)).at_s == at_s


@pytest.mark.parametrize("at_s", [0.0, 60.5, 1_314_864_000.123, 253_402_300_799.0])
def test_rfc3339_round_trip(at_s: float) -> None:
    assert events.seconds(events.rfc3339(at_s)) == at_s


BAD = [
    (raw(at="yesterday"), "at", r"at must be RFC 3339 or epoch milliseconds, got 'yesterday'"),
    (raw(user_id="~newcomer"), "user_id", r"user_id must be another one than that of the list"),
    (raw(at="2011-09-01T08:00:00"), "at", r"at must be RFC 3339 with an offset, such as a final Z"),
    (raw(at="9999-12-31T23:59:59-23:59"), "at", r"at must be between the years 1 and 9999 in UTC"),
    (raw(at=-1), "at", r"at must be RFC 3339 or epoch milliseconds, got -1"),
    (raw(at=10**400), "at", r"at must be RFC 3339 or epoch milliseconds, got 1000"),
    (raw(at=10**4000 - 1), "at", r"at must be RFC 3339 or epoch milliseconds, got 9999"),
    (raw(at=True), "at", r"at must be `int \| float \| str`, got True"),
    (raw(user_id=5), "user_id", r"user_id must be `str`, got 5"),
    (raw(user_id=""), "user_id", r"user_id must be `str` of length >= 1, got ''"),
    (raw(user_id="a" * 257), "user_id", r"user_id must be `str` of length <= 256, got 'aaa.*\.\.\.$"),
    (raw(event=""), "event", r"event must be `str` of length >= 1, got ''"),
    (raw(group=""), "group", r"group must be `str` of length >= 1, got ''"),
    (raw(value="much"), "value", r"value must be `float \| null`, got 'much'"),
    (raw(schema_version=2), "schema_version", r"schema_version must be at most 1, got 2"),
    (raw(schema_version=0), "schema_version", r"schema_version must be `int` >= 1, got 0"),
    (
        raw()[:-1].replace(b'"item_id": "mug", ', b"") + b"}",
        "item_id",
        "item_id must be present without text or user, g",
    ),
    (raw(item_id=None, text=" "), "item_id", "item_id must be present without text or user, got"),
    (raw(user={"age": 7}), "user[...]", r"user\[\.\.\.\] must be `str`, got \{'age': 7\}"),
    (raw(user={"age": "x" * 65}), "user[...]", r"user\[\.\.\.\] must be `str` of length <= 64, got"),
    (raw(user={"x" * 65: "x"}), "user", r"user must be an object whose names are `str` of length <= 64, got \{'xx"),
    (raw(user={str(n): "x" for n in range(17)}), "user", r"user must be `object` of length <= 16, got"),
    (raw()[:-1] + b', "value": 1e999}', "value", r"value must be a number in range, got"),
    (raw(event_id=5)[:-1] + b', "text": "\xff"}', "event_id", r"event_id must be `str`, got '\{"),
    (b'{"x":' + b"[" * 100_000, "value", r"value must be JSON \(maximum recursion depth"),
    (b"[1]", "value", r"value must be `object`, got '\[1\]'"),
    (b"not json", "value", r"value must be JSON \(JSON is malformed.*got 'not json'"),
    (b"\xff\xfe", "value", r"value must be JSON"),
    (b"", "value", r"value must be JSON \(Input data was truncated\), got ''"),
    (None, "value", r"value must be a JSON Interaction, got None"),
]


@pytest.mark.parametrize(("value", "field", "message"), BAD, ids=[message[:40] for _, _, message in BAD])
def test_a_bad_record_names_field_rule_and_value(value: bytes | None, field: str, message: str) -> None:
    with pytest.raises(BadRecord, match=message) as caught:
        events.decode(Interaction, value)
    assert caught.value.field == field
    assert len(str(caught.value)) < 300  # one line for a log, however large the record


def test_a_path_into_a_list_is_named() -> None:
    with pytest.raises(BadRecord, match=r"embedding\[1\] must be `float`, got \[0.5, 'x'\]"):
        events.decode(Item, b'{"item_id": "mug", "embedding": [0.5, "x"]}')


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise_anything_but_bad_record(value: bytes) -> None:
    with pytest.raises(BadRecord):
        events.decode(Interaction, value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(Interaction.__struct_fields__)), json_values)
def test_no_value_of_a_field_raises_anything_but_bad_record(field: str, value: object) -> None:
    try:
        read = events.decode(Interaction, raw(**{field: value}))
    except BadRecord:
        return
    assert events.decode(Interaction, events.encode(read)) == read
    assert events.rfc3339(read.at_s).endswith("Z")


def test_a_block_is_the_group_or_one_timestamp() -> None:
    alone = Interaction(event_id="e", user_id="ann", item_id="mug", at=1000)
    same = Interaction(event_id="f", user_id="ann", item_id="cup", at="1970-01-01T00:00:01Z")
    basket = Interaction(event_id="g", user_id="ann", item_id="cup", at=1000, group="b7")
    assert alone.block == same.block == "@1.0"
    assert basket.block == "b7"


@pytest.mark.parametrize(
    "message",
    [
        Item(item_id="mug", title="Mug", categories=["kitchen"], attributes={"colour": "red"}, embedding=[0.5, -1.0]),
        Item(item_id="mug", available=False, at="1995-01-01T00:00:00Z"),
        Erasure(user_id="ann", at=60_000),
        Recommendation(
            user_id="ann",
            at="1970-01-01T00:01:00.000Z",
            model_version="v2",
            items=[Recommended(item_id="mug", score=1.5, reasons={"item-kNN": 1.2}, because=["cup"])],
            answers="e1",
            horizon="1970-01-01T00:00:00.000Z",
        ),
        DeadLetter(where="interactions[0]@7", consumer="interest", reason="…", field="at", key=b"\xff", value=b"\x00"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_round_trip(message: msgspec.Struct) -> None:
    assert events.decode(type(message), events.encode(message)) == message


def test_an_item_time_is_checked_too() -> None:
    with pytest.raises(BadRecord, match="at must be RFC 3339 or epoch milliseconds, got 'soon'"):
        events.decode(Item, b'{"item_id": "mug", "at": "soon"}')


@pytest.mark.parametrize("more", [{"text": "a lamp"}, {"user": {"country": "France"}}])
def test_an_event_may_be_about_no_item(more: dict[str, object]) -> None:
    read = events.decode(Interaction, json.dumps({"event_id": "q", "user_id": "ann", "at": 0} | more).encode())
    assert read.item_id is None
    assert json.loads(events.encode(read)) == {"event_id": "q", "user_id": "ann", "at": 0} | more
