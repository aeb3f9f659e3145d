from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from producers.log import Interactions, read_interactions, read_items, write
from stream.errors import LogError
from stream.events import Interaction, Item

MUG = Item(item_id="mug", title="Red mug", categories=["kitchen"], attributes={"user_id": "is a colour here"})
EVENTS = [
    Interaction(event_id="e1", user_id="ann", item_id="mug", at="2011-09-01T08:00:00Z", event="purchase", value=2.0),
    Interaction(event_id="e2", user_id="bob", item_id="mug", at=1314864000000, text='says "user_id"\n', group="b1"),
]


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_reads_back_both_kinds_in_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert write(path, [EVENTS[0], MUG, EVENTS[1]]) == 3
    assert list(read_interactions(path)) == EVENTS
    assert list(read_items(path)) == [MUG]
    again = Interactions(path)
    assert list(again) == list(again) == EVENTS


def test_events_about_no_item_are_interactions(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    said = Interaction(event_id="q1", user_id="ann", at=0, text="a lamp", user={"country": "France"})
    write(path, [MUG, said])
    assert list(read_interactions(path)) == [said]
    assert list(read_items(path)) == [MUG]


def test_gzip_by_name_and_equal_bytes_for_equal_messages(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl.gz", tmp_path / "two.jsonl.gz"
    write(one, EVENTS)
    write(two, EVENTS)
    assert one.read_bytes() == two.read_bytes()
    assert gzip.decompress(one.read_bytes()).count(b"\n") == 2


def test_takes_encoded_json_and_skips_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, [b'{"event_id":"e1","user_id":"ann","item_id":"mug","at":0}', b"", b'{"item_id":"cup"}'])
    assert [e.user_id for e in read_interactions(path)] == ["ann"]
    assert [i.item_id for i in read_items(path)] == ["cup"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"event_id":"e","user_id":"ann","at":0}', "item_id must be present"),
        (b'{"event_id":"e","item_id":"mug","at":0}', "user_id must be present"),  # it has an event_id: no item
        (b'{"event_id":"e","user_id":7,"item_id":"mug","at":0}', "user_id must be `str`, got 7"),
        (b'{"event_id":"e","user_id":"ann","item_id":"mug","at":"soon"}', "at must be RFC 3339 or epoch milliseco"),
        (b"not json", "value must be a JSON object"),
        (b"[1]", "value must be a JSON object"),
        (b"\xff\xfe", "value must be a JSON object"),
    ],
)
def test_names_file_line_field_rule_and_value(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"item_id":"mug"}\n' + line + b"\n")
    with pytest.raises(LogError) as caught:
        list(read_interactions(path))
    assert str(caught.value).startswith(f"{path}, line 2: {reason}")
    assert "\n" not in str(caught.value)


def test_a_malformed_item_is_told_from_a_malformed_interaction(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"title":"a mug"}\n')
    assert list(read_interactions(path)) == []
    with pytest.raises(LogError, match="line 1: item_id must be present"):
        list(read_items(path))


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"absent\.jsonl cannot be read"):
        list(read_items(tmp_path / "absent.jsonl"))
    with pytest.raises(LogError, match="cannot be written"):
        write(tmp_path / "no" / "folder.jsonl", EVENTS)
    plain = tmp_path / "plain.jsonl.gz"
    plain.write_bytes(b'{"item_id":"mug"}\n')
    with pytest.raises(LogError, match=r"plain\.jsonl\.gz cannot be read"):
        list(read_items(plain))


def test_a_torn_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.gz"
    write(path, EVENTS * 2000)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(LogError, match="must be a whole gzip file"):
        list(read_interactions(path))
