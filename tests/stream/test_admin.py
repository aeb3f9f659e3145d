"""Topics on real brokers: created when missing, refused when they differ."""

from __future__ import annotations

import pytest

from stream.admin import ensure_topics, topic_states
from stream.errors import TopicError
from stream.kafka_bus import Admin, wire
from stream.settings import Kafka
from stream.topics import TOPICS


def test_topics_are_created_once_and_checked_ever_after(any_broker: Kafka) -> None:
    kafka = any_broker.model_copy(update={"partitions": 2})
    assert ensure_topics(kafka).created == tuple(TOPICS)
    assert ensure_topics(kafka).created == ()
    states = topic_states(kafka)
    assert {name: state.partitions for name, state in states.items()} == {
        name: topic.partitions(2) for name, topic in TOPICS.items()
    }
    with pytest.raises(TopicError, match=r"\.interactions' must have 3 partition\(s\) \(kafka.partitions\), but has 2"):
        ensure_topics(kafka.model_copy(update={"partitions": 3}))


def test_a_topic_with_another_cleanup_policy_is_refused(any_broker: Kafka) -> None:
    name = wire(any_broker, "user-states")
    with Admin(any_broker) as admin:
        admin.create({name: {"num_partitions": 1, "replication_factor": 1, "configs": {"cleanup.policy": "delete"}}})
        with pytest.raises(TopicError, match=r"user-states' must have cleanup.policy=compact, but has delete"):
            ensure_topics(any_broker)
        assert list(admin.partitions([wire(any_broker, topic) for topic in TOPICS])) == [name]  # nothing was created
