from __future__ import annotations

import json
from pathlib import Path

import pytest

from producers import log
from producers.record import Recorded, record
from stream.bus import MemoryBus
from stream.errors import TopicError
from stream.events import Interaction, Item, Recommendation, encode
from stream.messages import DriftAlarm, ModelVersion, Ruling
from stream.messages import encode as encode_inside
from stream.records import Output


def event(number: int, user: str, at: int) -> Interaction:
    return Interaction(event_id=f"e{number}", user_id=user, item_id="mug", at=at)


def test_interactions_of_partitions_are_merged_by_event_time(tmp_path: Path) -> None:
    bus = MemoryBus(partitions=2)
    parts = {0: [event(1, "ann", 10), event(2, "ann", 40), event(3, "ann", 20)], 1: [event(4, "bob", 5),
             event(5, "bob", 30)]}  # fmt: skip
    for partition, events in parts.items():
        bus.send([Output("interactions", e.user_id.encode(), encode(e), partition) for e in events])
    path = tmp_path / "log.jsonl.gz"
    assert record(bus, ["interactions"], path) == Recorded(lines=5)
    order = [e.event_id for e in log.read_interactions(path)]
    assert order == ["e4", "e1", "e5", "e2", "e3"]  # e3 is late: it stays behind e2 of its partition


def test_a_combined_log_reads_back_what_was_sent(tmp_path: Path) -> None:
    bus, path = MemoryBus(), tmp_path / "log.jsonl"
    mug, cup = Item(item_id="mug", title="Mug"), Item(item_id="cup")
    for item in (Item(item_id="mug", title="old"), cup, mug):
        bus.send([Output("items", item.item_id.encode(), encode(item))])
    bus.send([Output("interactions", b"ann", encode(event(1, "ann", 10)))])
    assert record(bus, ["items", "interactions"], path) == Recorded(lines=3)
    assert list(log.read_items(path)) == [cup, mug]  # the newest record of each
    assert list(log.read_interactions(path)) == [event(1, "ann", 10)]


def test_what_is_malformed_or_deleted_is_counted(tmp_path: Path) -> None:
    bus, path = MemoryBus(), tmp_path / "log.jsonl"
    bus.send([Output("interactions", b"ann", value) for value in (b"junk", None, encode(event(1, "ann", 10)))])
    bus.send([Output("items", b"mug", None), Output("items", b"cup", b'{"item_id": 7}')])
    assert record(bus, ["items", "interactions"], path) == Recorded(lines=1, malformed=3, tombstones=1)


def test_other_topics_become_readable_json(tmp_path: Path) -> None:
    bus, path = MemoryBus(), tmp_path / "log.jsonl"
    alarm = DriftAlarm("ann", 5.0, "user", "rank", "page_hinkley", 4.0, 3.0, 9, ["Toys"], [], 0)
    version = ModelVersion("v1", "promoted", "", 9.0, 0.0, {0: 9}, "j", "warm-up", {}, "", "", "", 4, 1.0, 9, {}, 0.0)
    listed = Recommendation(user_id="ann", at="", model_version="v1", items=[], answers="e1", horizon="")
    bus.send([Output("drift-alarms", b"ann", encode_inside(alarm)), Output("recommendations", b"ann", encode(listed))])
    bus.send([Output("model-versions", b"v1", encode_inside(version))])
    bus.send([Output("model-versions", b"v1/rollback", encode_inside(Ruling("v1", "rollback", 9.0, 0.0, "worse", {})))])
    record(bus, ["drift-alarms", "recommendations", "model-versions"], path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0]["risen"] == ["Toys"]
    assert rows[1]["answers"] == "e1"
    assert (rows[2]["verdict"], rows[3]["ruling"]) == ("promoted", "rollback")


@pytest.mark.parametrize("name", ["interaction", "scorer-states"])
def test_refuses_what_is_no_topic_or_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(TopicError, match=f"topic must be one of interactions, items.*, got '{name}'"):
        record(MemoryBus(), [name], tmp_path / "log.jsonl")
