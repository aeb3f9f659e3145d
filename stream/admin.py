"""Topics and groups on the broker: create what is missing, refuse what does not fit, tell how far everyone is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream.errors import TopicError
from stream.kafka_bus import Admin, KafkaBus, wire
from stream.settings import Kafka
from stream.topics import TOPICS, Topic


@dataclass(frozen=True, slots=True)
class Ensured:
    """What `ensure_topics` did, in Meander's own topic names."""

    created: tuple[str, ...]
    unchecked: tuple[str, ...]  # existing topics whose cleanup policy the broker does not tell


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as the broker sees it."""

    partitions: int
    ends: Mapping[int, int]  # partition → offset of the next record
    committed: Mapping[str, Mapping[int, int]]  # group → partition → committed offset

    def lag(self, group: str) -> int:
        """Records that `group` has not committed yet, over the partitions that it has committed anything of.

        >>> TopicState(2, {0: 10, 1: 4}, {"g": {0: 7}}).lag("g")
        3
        """
        return sum(max(0, self.ends[p] - at) for p, at in self.committed.get(group, {}).items() if p in self.ends)


def ensure_topics(kafka: Kafka) -> Ensured:
    """Create every topic of `stream.topics` that is missing; calling it again changes nothing.

    Raises:
        TopicError: a topic exists with another number of partitions or another cleanup policy; nothing is created.
        BrokerError: the broker cannot be reached, or refuses.
    """
    names = {wire(kafka, topic.name): topic for topic in TOPICS.values()}
    with Admin(kafka) as admin:
        there = admin.partitions(list(names))
        policies = admin.cleanup_policies(list(there)) if there else {}
        for name, topic in names.items():
            if name in there:
                _check(kafka, name, topic, there[name], policies.get(name))
        missing = {name: topic for name, topic in names.items() if name not in there}
        if missing:
            admin.create({name: _options(kafka, topic) for name, topic in missing.items()})
    unchecked = tuple(names[name].name for name in there if name not in policies)
    return Ensured(created=tuple(topic.name for topic in missing.values()), unchecked=unchecked)


def topic_states(kafka: Kafka, groups: Sequence[str] = (), admin: Admin | None = None) -> dict[str, TopicState]:
    """Meander's topics that exist → partitions, ends, and what the consumer `groups` have committed.

    Pass an open `Admin` to ask repeatedly.
    """
    if admin is None:
        with Admin(kafka) as fresh:
            return topic_states(kafka, groups, fresh)
    names = {topic: wire(kafka, topic) for topic in TOPICS}
    there = admin.partitions(list(names.values()))
    ends = KafkaBus(kafka).all_ends(there)
    committed = {group: admin.committed(kafka.prefix + group) for group in groups}
    return {
        topic: TopicState(
            there[name],
            ends[name],
            {
                group: mine
                for group, at in committed.items()
                if (mine := {p: o for (t, p), o in at.items() if t == name})
            },
        )
        for topic, name in names.items()
        if name in there
    }


def _check(kafka: Kafka, name: str, topic: Topic, partitions: int, policy: str | None) -> None:
    wanted = topic.partitions(kafka.partitions)
    if partitions != wanted:
        raise TopicError(f"topic {name!r} must have {wanted} partition(s) (kafka.partitions), but has {partitions}")
    if policy is not None and policy != topic.cleanup:
        raise TopicError(f"topic {name!r} must have cleanup.policy={topic.cleanup}, but has {policy}")


def _options(kafka: Kafka, topic: Topic) -> dict[str, Any]:
    configs: dict[str, str] = {"cleanup.policy": topic.cleanup}
    if topic.min_compaction_lag_ms:
        configs["min.compaction.lag.ms"] = str(topic.min_compaction_lag_ms)
    if topic.cleanup == "delete":
        configs["retention.ms"] = str(topic.retention_ms)
    return {
        "num_partitions": topic.partitions(kafka.partitions),
        "replication_factor": kafka.replication,
        "configs": configs,
    }
