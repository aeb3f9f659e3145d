"""One contract over every handler: what `stream.records.Handler` promises, whatever the handler does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream import events, messages, metrics, topics
from stream.bus import MemoryBus
from stream.errors import BadRecord
from stream.messages import AdaptedVector, Fresh, ItemVector, UserState
from stream.records import Handler, Output, Record
from stream.settings import Settings, load
from stream.store import ModelStore
from stream.topics import TOPICS

SCORING = {"health_events": 2, "group_timeout_s": 1.0, "fatigue": 0.5}
SETTINGS: Settings = load(trigger={"warm_up_events": 3}, scoring=SCORING)


def encoder() -> Handler:
    from consumers.encoder import EncoderHandler
    from stream.text import TextEncoder

    return EncoderHandler(SETTINGS, TextEncoder.tiny())


def interest() -> Handler:
    from consumers.interest import InterestHandler

    return InterestHandler(SETTINGS, lambda _: None)


def scorer() -> Handler:
    from consumers.scorer import ScorerHandler

    def missing(version: messages.ModelVersion) -> Future[Any]:
        raise AssertionError(f"{version.version} is not asked for here")

    return ScorerHandler(SETTINGS, missing)


def trigger() -> Handler:
    from consumers.trigger import TriggerHandler

    return TriggerHandler(SETTINGS)


def tuner() -> Handler:
    from consumers.tuner import TunerHandler

    def train(plan: object, progress: object) -> Any:
        raise AssertionError(f"no training is asked for here: {plan}")

    return TunerHandler(SETTINGS, MemoryBus(), ModelStore(SETTINGS.store), train)


BUILD: dict[str, Callable[[], Handler]] = {
    "encoder": encoder, "interest": interest, "scorer": scorer, "trigger": trigger, "tuner": tuner
}  # fmt: skip
ROLES = sorted(BUILD)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in the working directory lands in a temporary one."""
    monkeypatch.chdir(tmp_path)


def vector(i: int) -> bytes:
    return messages.as_bytes(np.eye(16)[i % 16])


def click(i: int, user: str, item: str) -> bytes:
    return events.encode(
        events.Interaction(event_id=f"e{i}", user_id=user, item_id=item, at=60_000 * i, text="a red mug" * (i % 2))
    )


def state(i: int, user: str, item: str) -> bytes:
    empty = bytes(4 * 64)
    fresh = [Fresh(f"e{i}", item, 60.0 * i, 1.0, "view")]
    return messages.encode(
        UserState(
            user, i + 1, 0.0, 60.0 * i, "", empty, empty, {}, [item], [60 * i], [], [], [], i, f"@{60.0 * i}", fresh
        )
    )


def item(i: int) -> bytes:
    return events.encode(events.Item(item_id=f"i{i}", title=f"mug {i}"))


def health(i: int) -> bytes:
    return messages.encode(
        messages.ModelHealth(0, 60.0 * i, 2 * i + 1, 2 * i + 2, 1, 0, 0, 0.0, 0, 0, 0, "", "", [], 0)
    )


# good records of every topic that some handler reads, except jobs, which train
STREAMS: dict[str, list[tuple[bytes, bytes | None]]] = {
    topics.ITEMS: [(b"i%d" % i, item(i)) for i in range(4)],
    topics.ITEM_VECTORS: [
        (b"i%d" % i, messages.encode(ItemVector(f"i{i}", vector(i), "", f"mug {i}", [], True, 0.0))) for i in range(4)
    ],
    topics.ADAPTED_VECTORS: [(b"i1\x00a1", messages.encode(AdaptedVector("i1", "a1", vector(2))))],
    topics.INTERACTIONS: [(b"u%d" % (i % 2), click(i, f"u{i % 2}", f"i{i % 4}")) for i in range(8)],
    topics.USER_STATES: [(b"u0", state(i, "u0", f"i{i % 4}")) for i in range(8)],
    topics.TEXT_VECTORS: [(b"u0", messages.encode(messages.TextVector("t1", "u0", 60.0, vector(1))))],
    topics.DRIFT_ALARMS: [
        (b"u0", messages.encode(messages.DriftAlarm("u0", 60.0, "user", "rank", "", 4.0, 3.0, 9, [], [], 1)))
    ],
    topics.MODEL_HEALTH: [(b"0", health(i)) for i in range(8)],
}  # fmt: skip


def feed(handler: Handler, topic: str, values: Iterable[tuple[bytes, bytes | None]], start: int = 0) -> list[Output]:
    return [
        output
        for offset, (key, value) in enumerate(values, start)
        for output in handler.on_record(Record(topic, 0, offset, key, value))
    ]


def fed(role: str) -> tuple[Handler, list[Output]]:
    """A handler that has read all its good records, in three batches; and what it wrote."""
    handler, out = BUILD[role](), []
    for topic in (*handler.broadcasts, *handler.inputs):
        out += feed(handler, topic, STREAMS.get(topic, []))
        out += handler.snapshot()
    return handler, out


def restored(role: str, outputs: list[Output]) -> Handler:
    """A fresh handler with the changelogs among `outputs`, and the broadcasts."""
    handler, bus = BUILD[role](), MemoryBus()
    bus.send(outputs)
    for topic in handler.changelogs:
        bus.compact(topic)
        for record in bus.read(topic):
            handler.restore(record)
    for topic in handler.broadcasts:
        feed(handler, topic, STREAMS.get(topic, []))
    return handler


@pytest.mark.parametrize("role", ROLES)
def test_topics_are_those_of_the_table(role: str) -> None:
    handler = BUILD[role]()
    assert {*handler.inputs, *handler.broadcasts, *handler.changelogs} <= set(TOPICS)
    assert not set(handler.inputs) & set(handler.broadcasts)
    for name in handler.changelogs:
        assert TOPICS[name].cleanup == "compact"
        assert role in TOPICS[name].writer
    assert handler.journal == []


@pytest.mark.parametrize("role", ROLES)
def test_it_writes_to_its_own_topics_and_beside_its_input(role: str) -> None:
    _, outputs = fed(role)
    for output in outputs:
        assert role in TOPICS[output.topic].writer
        assert output.key, f"a record of {output.topic} without a key"
        if TOPICS[output.topic].partitioned:
            assert output.partition == 0


@pytest.mark.parametrize("role", ROLES)
def test_figures_are_known_to_the_table_of_metrics(role: str) -> None:
    fresh, (used, _) = BUILD[role](), fed(role)
    metrics.check(fresh.figures())
    metrics.check(used.figures())
    assert set(fresh.figures()) <= set(used.figures())


@pytest.mark.parametrize("role", ROLES)
def test_journal_entries_name_their_event_and_go_into_a_log_line(role: str) -> None:
    for entry in fed(role)[0].journal:
        assert isinstance(entry["event"], str)
        json.dumps(entry)


@pytest.mark.parametrize("role", ROLES)
def test_nothing_changed_nothing_written(role: str) -> None:
    handler, _ = fed(role)
    assert list(handler.snapshot()) == []
    assert list(BUILD[role]().snapshot()) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_restored_handler_goes_on_as_if_nothing_had_happened(role: str) -> None:
    handler, outputs = fed(role)
    other = restored(role, outputs)
    assert list(other.snapshot()) == []
    for topic in handler.inputs:
        more = [(key, value) for key, value in STREAMS.get(topic, []) if value is not None]
        if topic == topics.INTERACTIONS:
            more = [(b"u%d" % (i % 3), click(i, f"u{i % 3}", f"i{i % 4}")) for i in range(8, 14)]
        elif topic == topics.USER_STATES:
            more = [(b"u0", state(i, "u0", f"i{i % 4}")) for i in range(8, 14)]
        elif topic == topics.MODEL_HEALTH:
            more = [(b"0", health(i)) for i in range(8, 14)]
        assert feed(handler, topic, more, 100) == feed(other, topic, more, 100)
        assert list(handler.snapshot()) == list(other.snapshot())


BROKEN = [b"", b"\xff\xfe", b"{", b"[]", b"null", b"5", b"\x93\xa2u1\x01", b'{"user_id": 5}', b"{" * 100_000]


@pytest.mark.parametrize("role", ROLES)
def test_a_malformed_record_is_bad_and_changes_nothing(role: str) -> None:
    handler, outputs = fed(role)
    twin = restored(role, outputs)
    for topic in handler.inputs:
        if (role, topic) == ("encoder", topics.INTERACTIONS):
            continue  # interest reads them too, and parks what is malformed
        for value in BROKEN:
            with pytest.raises(BadRecord):
                list(handler.on_record(Record(topic, 0, 50, b"u0", value)))
    for topic in handler.broadcasts:  # what a handler does not use it may pass over
        for key, value in product((b"u0", b"\xff\xfe", None), BROKEN):
            with contextlib.suppress(BadRecord):
                assert list(handler.on_record(Record(topic, 0, 50, key, value))) == []
    assert list(handler.snapshot()) == []
    for topic in handler.inputs:
        assert feed(handler, topic, STREAMS.get(topic, []), 200) == feed(twin, topic, STREAMS.get(topic, []), 200)


@pytest.mark.parametrize("role", ROLES)
def test_a_tombstone_of_anything_is_taken_or_parked(role: str) -> None:
    """Compacted topics hold tombstones, with keys that other people chose."""
    handler, _ = fed(role)
    made: list[Output] = []
    for topic in (*handler.inputs, *handler.broadcasts):
        for key in (b"nobody", b"\xff\xfe", None):
            with contextlib.suppress(BadRecord):
                made += handler.on_record(Record(topic, 0, 60, key, None))
    made += handler.snapshot()
    assert [output.key for output in made if output.value is not None and b"nobody" in (output.key or b"")] == []


@pytest.mark.parametrize("role", ROLES)
def test_forget_leaves_nothing_of_a_person_in_the_changelogs(role: str) -> None:
    handler, outputs = fed(role)
    assert list(handler.forget("a stranger")) == []
    tombstones = list(handler.forget("u0"))
    assert all(output.value is None for output in tombstones)
    tombstones += handler.snapshot()
    bus = MemoryBus()
    bus.send([*outputs, *tombstones])
    for topic in {*handler.changelogs, topics.RECOMMENDATIONS}:
        bus.compact(topic)
        assert [record.where for record in bus.read(topic) if b"u0" in (record.key or b"")] == []
    assert list(handler.forget("u0")) == []
