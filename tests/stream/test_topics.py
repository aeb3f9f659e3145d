"""The table of topics."""

from __future__ import annotations

import pytest

from stream import events, messages, topics
from stream.topics import TOPICS


def test_every_name_of_the_module_is_a_row() -> None:
    names = {v for k, v in vars(topics).items() if k.isupper() and isinstance(v, str)}
    assert names == set(TOPICS)
    assert all(name == row.name for name, row in TOPICS.items())


def test_partitions_follow_the_setting_or_are_one() -> None:
    assert TOPICS[topics.INTERACTIONS].partitions(8) == 8
    assert TOPICS[topics.TRAINING_JOBS].partitions(8) == 1


def test_what_a_consumer_aligns_has_the_same_number_of_partitions() -> None:
    aligned = [
        topics.INTERACTIONS, topics.TEXT_VECTORS, topics.USER_STATES, topics.SCORER_STATES, topics.ITEM_STATS,
        topics.DRIFT_ALARMS, topics.MODEL_HEALTH, topics.RECOMMENDATIONS,
    ]  # fmt: skip
    assert {TOPICS[name].partitions(5) for name in aligned} == {5}
    # a version and the ruling on it stay in order
    assert TOPICS[topics.MODEL_VERSIONS].partitions(5) == 1


@pytest.mark.parametrize("row", TOPICS.values(), ids=lambda row: row.name)
def test_a_row_is_whole(row: topics.Topic) -> None:
    assert row.key
    assert row.writer
    assert row.about
    if row.cleanup == "compact":
        assert row.retention_ms == -1, "a compacted topic must not lose keys to age"
    else:
        assert row.min_compaction_lag_ms == 0


def test_what_others_write_and_read_is_json() -> None:
    outside = {
        name for name, row in TOPICS.items() if row.schema is not None and row.schema.__module__ == "stream.events"
    }
    assert outside == {"interactions", "items", "erasures", "recommendations", "dead-letters"}
    assert TOPICS[topics.USER_STATES].schema is messages.UserState
    assert TOPICS[topics.ITEMS].schema is events.Item


def test_changelogs_are_compacted() -> None:
    for name in (topics.USER_STATES, topics.SCORER_STATES, topics.ITEM_STATS, topics.TRIGGER_STATES):
        assert TOPICS[name].cleanup == "compact"
