"""What the trigger remembers: one record of trigger-states, exact."""

from __future__ import annotations

from msgspec import Struct

from stream.messages import BlockLoss, ModelHealth, TrainingJob

WAITING_PER_PARTITION = 8  # health records; a partition without events is waited for no longer than this


class Seen(Struct, frozen=True, array_like=True):
    """What the newest model-health record of a partition said."""

    events: int
    through: int
    at_s: float
    unknown: int


class Waiting(Struct, frozen=True, array_like=True, order=True):
    """An alarm whose time the model's health has not reached."""

    at_s: float
    partition: int
    offset: int


class TriggerState(Struct, array_like=True, tag="g4"):
    """Everything the trigger knows beyond the records of model-versions."""

    seen: dict[int, Seen]  # health records taken into account, by partition
    health: list[ModelHealth]  # not yet taken into account
    alarms: list[Waiting]
    alarms_through: dict[int, int]  # partition -> offset of the newest alarm's interaction
    population: tuple[str, int, int, int]  # version, events, rises flagged, blocks in `row`: stream.evidence.Population
    season: list[float]
    rises: dict[str, list[float]]  # by stream, in their order
    share: list[tuple[int, int]]
    usual: tuple[float, float]  # events and alarms that have left the share's window
    unknown: tuple[float, float]  # see stream.evidence.Unknown
    jobs: dict[str, int]  # issued, by trigger
    job: TrainingJob | None  # the newest
    job_events: int  # interactions seen when it was issued
    outstanding: bool
    shadow: str  # the candidate that `test` is about
    test: list[float]
    rulings: dict[str, int]
    told: list[str]  # what was journaled since the newest job: said once
    weighed: int  # interactions seen when the evidence was last journaled
    watched: str = ""  # the version that `watch` is about
    watch: list[float] = []  # see stream.rollback.Watch
    row: BlockLoss | None = None  # of the population
    interval: int = 0  # interactions between the newest job and the one before it
    changed_s: float = 0.0  # event time at which the newest rise of everybody's loss began that a job answers
    changed_events: int = 0  # interactions seen when the first job answered it

    @classmethod
    def new(cls) -> TriggerState:
        """Nothing has happened yet."""
        none = (0.0, 0.0)
        return cls({}, [], [], {}, ("", 0, 0, 0), [], {}, [], none, none, {}, None, 0, False, "", [], {}, [], 0)

    @property
    def now_s(self) -> float:
        """Event time: as far as the model's health is known."""
        return max((seen.at_s for seen in self.seen.values()), default=0.0)

    @property
    def events(self) -> int:
        """Interactions taken into account, over all partitions."""
        return sum(seen.events for seen in self.seen.values())

    @property
    def new_events(self) -> int:
        """Interactions since the newest job was issued."""
        return self.events - self.job_events

    def known_through(self, partition: int) -> int:
        """Offset of the newest interaction that a health record of the partition told of; -1 before the first."""
        held = [h.through for h in self.health if h.partition == partition]
        return max([self.seen[partition].through if partition in self.seen else -1, *held])

    def next_health(self, partitions: int) -> ModelHealth | None:
        """Take out the oldest health record that no other partition's can precede any more.

        So partitions are merged by event time, however their records arrive. A partition that stays silent is waited
        for until `WAITING_PER_PARTITION` records per partition are held.
        """
        if not self.health:
            return None
        oldest = min(self.health, key=lambda h: (h.at_s, h.partition, h.through))
        others = {h.partition for h in self.health if h.partition != oldest.partition}
        others |= {p for p, seen in self.seen.items() if p != oldest.partition and seen.at_s > oldest.at_s}
        if len(others) < partitions - 1 and len(self.health) <= WAITING_PER_PARTITION * partitions:
            return None
        self.health.remove(oldest)
        return oldest
