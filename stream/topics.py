"""Every topic, in one table: who writes it, its key, its partitions, its cleanup policy and its schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from stream import events, messages

Cleanup = Literal["delete", "compact"]

INTERACTIONS = "interactions"
ITEMS = "items"
ERASURES = "erasures"
ITEM_VECTORS = "item-vectors"
ADAPTED_VECTORS = "adapted-vectors"
TEXT_VECTORS = "text-vectors"
USER_STATES = "user-states"
SCORER_STATES = "scorer-states"
ITEM_STATS = "item-stats"
RECOMMENDATIONS = "recommendations"
DRIFT_ALARMS = "drift-alarms"
MODEL_HEALTH = "model-health"
TRAINING_JOBS = "training-jobs"
MODEL_VERSIONS = "model-versions"
TRIGGER_STATES = "trigger-states"
DEAD_LETTERS = "dead-letters"

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the table."""

    name: str
    key: str
    writer: str
    cleanup: Cleanup
    schema: type[Struct] | None  # None: a changelog whose records only its writer reads
    partitioned: bool  # True: as many partitions as `kafka.partitions`; False: one
    about: str
    min_compaction_lag_ms: int = 0
    retention_ms: int = -1  # -1: keep for ever

    def partitions(self, partitions: int) -> int:
        """How many partitions it has where the setting says `partitions`."""
        return partitions if self.partitioned else 1


TOPICS: dict[str, Topic] = {
    t.name: t
    for t in (
        Topic(INTERACTIONS, "user id", "you", "delete", events.Interaction, True, "what people do"),
        Topic(ITEMS, "item id", "you", "compact", events.Item, True, "the catalogue"),
        Topic(ERASURES, "user id", "you", "compact", events.Erasure, True, "who asks to be forgotten"),
        Topic(ITEM_VECTORS, "item id", "encoder", "compact", messages.ItemVector, True, "the catalogue as vectors"),
        Topic(ADAPTED_VECTORS, "item id, adapter", "encoder", "compact", messages.AdaptedVector, True,
              "items newer than a version whose text encoder was adapted"),
        Topic(TEXT_VECTORS, "user id", "encoder", "delete", messages.TextVector, True, "people's texts as vectors",
              retention_ms=7 * DAY_MS),
        Topic(USER_STATES, "user id", "interest", "compact", messages.UserState, True,
              "people: changelog, replay buffer and the scorer's input", min_compaction_lag_ms=DAY_MS),
        Topic(DRIFT_ALARMS, "user id", "interest", "delete", messages.DriftAlarm, True, "users whose interests moved"),
        Topic(SCORER_STATES, "user id, or a name", "scorer", "compact", None, True, "the scorer's changelog"),
        Topic(ITEM_STATS, "item id", "scorer", "compact", None, True, "absolute counters and neighbours of items"),
        Topic(RECOMMENDATIONS, "user id, or `~newcomer`", "scorer", "compact", events.Recommendation, True,
              "the list for each user, and one for people who have none yet"),
        Topic(MODEL_HEALTH, "partition", "scorer", "delete", messages.ModelHealth, True, "losses and hits per block"),
        Topic(TRAINING_JOBS, "job id", "trigger", "delete", messages.TrainingJob, False, "decisions to train"),
        Topic(TRIGGER_STATES, "a name", "trigger", "compact", None, False, "the trigger's changelog"),
        Topic(MODEL_VERSIONS, "version", "tuner; trigger (rulings)", "compact", messages.ModelVersion, False,
              "versions, verdicts and rulings"),
        Topic(DEAD_LETTERS, "topic[partition]@offset", "all", "delete", events.DeadLetter, False,
              "what could not be processed"),
    )
}  # fmt: skip
