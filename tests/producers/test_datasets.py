from __future__ import annotations

from pathlib import Path

import pytest

from producers import log
from producers.datasets import from_files, head, load
from stream.errors import LogError
from stream.events import Interaction, Item

EVENTS = [Interaction(event_id=f"e{n}", user_id="ann", item_id=item, at=n) for n, item in enumerate("abab")]


def test_unknown_names_and_missing_folders() -> None:
    with pytest.raises(LogError, match="dataset must be one of online-retail, ml-100k, got 'netflix'"):
        load("netflix")
    with pytest.raises(LogError, match=r"--path DIR.*GroupLens"):
        load("ml-100k")


def test_items_are_made_for_ids_that_none_describes(tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    log.write(path, EVENTS)
    dataset = from_files(path)
    assert dataset.name == "clicks.jsonl"
    assert dataset.items == [Item(item_id="a", at=0), Item(item_id="b", at=1)]
    assert list(dataset.interactions) == list(dataset.interactions) == EVENTS


def test_items_come_from_their_file_or_from_a_combined_one(tmp_path: Path) -> None:
    events, items = tmp_path / "events.jsonl", tmp_path / "items.jsonl"
    cup = Item(item_id="a", title="Cup")
    log.write(events, EVENTS)
    log.write(items, [cup])
    assert from_files(events, items).items == [cup, Item(item_id="b", at=1)]
    log.write(events, [cup, *EVENTS])
    assert from_files(events).items == [cup, Item(item_id="b", at=1)]


def test_head_limits_and_may_be_iterated_again() -> None:
    first = head(EVENTS, 3)
    assert list(first) == list(first) == EVENTS[:3]
    assert list(head(EVENTS, 9)) == EVENTS
    assert head(EVENTS, None) is EVENTS
    assert list(head(EVENTS, 0)) == []
