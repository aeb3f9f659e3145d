"""Inside records: round trips, refusal of other formats, and the promised size of a state."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import messages
from stream.errors import BadRecord
from stream.messages import (
    AdaptedVector,
    BlockLoss,
    DriftAlarm,
    Fresh,
    ItemVector,
    ModelHealth,
    ModelVersion,
    Ruling,
    TextVector,
    TrainingJob,
    UserState,
)

V64 = messages.as_bytes(np.arange(64) / 64)


def user_state(tail: int = 2, fresh: int = 1) -> UserState:
    return UserState(
        user_id="ann",
        seq=tail,
        since_s=0.0,
        last_s=60.0 * tail,
        space="s1",
        slow=V64,
        fast=V64,
        mass={"garden lantern": 1.5},
        tail_items=[f"item{i:04d}" for i in range(tail)],
        tail_gaps_s=[1_314_864_000] + [90_007] * (tail - 1) if tail else [],
        detector=[0.5] * 12,
        drift=[],
        recent=[b"12345678"] * min(tail, 8),
        through=tail,
        block="b1",
        fresh=[Fresh(f"e{i}", f"item{i:04d}", 60.0 * i, 1.0, "view") for i in range(fresh)],
    )


ONE_OF_EACH: list[msgspec.Struct] = [
    user_state(),
    ItemVector("mug", V64, "Mug", "mug kitchen", ["kitchen"], True, 0.0),
    TextVector("e1", "ann", 60.0, V64),
    AdaptedVector("mug", "a1", V64),
    DriftAlarm("ann", 60.0, "user", "rank", "PageHinkley", 3.5, 3.0, 40, ["toys"], ["garden"], 17),
    ModelHealth(0, 60.0, 17, 18, 3, 9, 2, 1.5, 8, 1, 1, "v1", "", [BlockLoss(60.0, 2, 3.0, 4.0, 5.0)], 0),
    TrainingJob("j1", 60.0, "refresh", "population", {"p": 1e-5}, {0: 18}, {0: 9}, "v1", 7),
    ModelVersion(
        "v1", "promoted", "", 60.0, 0.0, {0: 18}, "j1", "warm-up", {}, "v1", "ab", "s1", 9, 1.5, 20,
        {"reason": "first", "lower": 0.1}, 0.0,
    ),
    Ruling("v1", "rollback", 90.0, 0.0, "worse than its parent", {"difference": -0.1}),
]  # fmt: skip


@pytest.mark.parametrize("message", ONE_OF_EACH, ids=lambda m: type(m).__name__)
def test_round_trip(message: msgspec.Struct) -> None:
    assert messages.decode(type(message), messages.encode(message)) == message


def test_every_message_stands_above() -> None:
    assert {type(m) for m in ONE_OF_EACH} == set(messages.Message.__args__)


@pytest.mark.parametrize("message", ONE_OF_EACH, ids=lambda m: type(m).__name__)
def test_a_message_begins_with_its_tag(message: msgspec.Struct) -> None:
    wire = msgspec.msgpack.decode(messages.encode(message), strict=False)
    assert wire[0] == type(message).__struct_config__.tag


def test_another_format_is_refused() -> None:
    wire = msgspec.msgpack.decode(messages.encode(ONE_OF_EACH[2]))
    newer = msgspec.msgpack.encode(["t2", *wire[1:]])
    with pytest.raises(BadRecord, match=r"value must be a TextVector in msgpack \(Invalid value 't2'"):
        messages.decode(TextVector, newer)


def test_a_tombstone_is_no_message() -> None:
    with pytest.raises(BadRecord, match="value must be a UserState, got None"):
        messages.decode(UserState, None)
    with pytest.raises(BadRecord, match="value must be a ModelVersion or Ruling, got None"):
        messages.decode_version(None)


@given(st.binary(max_size=64))
def test_no_bytes_whatever_raise_anything_but_bad_record(value: bytes) -> None:
    for kind in messages.Message.__args__:
        with pytest.raises(BadRecord):
            messages.decode(kind, value)
    with pytest.raises(BadRecord):
        messages.decode_version(value)


def test_model_versions_holds_two_kinds() -> None:
    version, ruling = ONE_OF_EACH[-2:]
    assert messages.decode_version(messages.encode(version)) == version
    assert messages.decode_version(messages.encode(ruling)) == ruling


def test_what_a_tail_costs() -> None:
    # per interaction: an id of 8 bytes with its length (9), and the seconds since the one before with their type (5)
    sizes = [len(messages.encode(user_state(tail=tail, fresh=0))) for tail in (20, 50)]
    assert sizes[1] - sizes[0] == 30 * (9 + 5)
    assert sizes[1] <= 1_536


def test_vectors_are_little_endian_float32() -> None:
    data = messages.as_bytes(np.array([1.0, -2.0], dtype=">f8"))
    assert data == b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
    assert messages.as_vector(data).tolist() == [1.0, -2.0]


def test_a_read_vector_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        messages.as_vector(V64)[0] = 1.0
