"""What the live view reads from the topics now and then: versions, the newest alarm, and a user to show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from consumers import alarms
from consumers.inspect import Person, describe
from stream import topics
from stream.bus import Bus
from stream.errors import BrokerError
from stream.events import Recommendation
from stream.events import decode as decode_outside
from stream.messages import DriftAlarm, ItemVector, ModelVersion, Ruling, TrainingJob, UserState, decode, decode_version
from stream.records import Record
from stream.versions import live

NEWEST = 60  # records looked at, of each partition, for a user to show
SETTLED = 5  # interactions that make a user worth showing


@dataclass(slots=True)
class Sampler:
    """Keeps up with the small topics, and picks a user whose list is new; only `refresh` asks the broker.

    >>> from stream.bus import MemoryBus
    >>> sampler = Sampler(MemoryBus())
    >>> sampler.refresh()
    >>> sampler.outstanding, sampler.person, sampler.alarm
    ([], None, '')
    """

    bus: Bus
    versions: list[ModelVersion | Ruling] = field(default_factory=list)
    jobs: dict[str, TrainingJob] = field(default_factory=dict)
    alarm: str = ""  # the newest one, in words
    person: Person | None = None
    _read: dict[tuple[str, int], int] = field(default_factory=dict)  # topic, partition → offset read up to
    _titles: dict[str, str] = field(default_factory=dict)

    @property
    def answered(self) -> set[str]:
        """Ids of the jobs that a version answers."""
        return {v.job_id for v in self.versions if isinstance(v, ModelVersion)}

    @property
    def outstanding(self) -> list[TrainingJob]:
        """Jobs that no version answers yet, oldest first."""
        return [job for job in self.jobs.values() if job.job_id not in self.answered]

    @property
    def serving(self) -> ModelVersion | None:
        """The version that is live by the records read so far."""
        return live(self.versions)

    def refresh(self) -> None:
        """Read what is new; a broker that does not answer in time is asked again at the next call."""
        with contextlib.suppress(BrokerError):
            for record in self._new(topics.TRAINING_JOBS):
                job = decode(TrainingJob, record.value)
                self.jobs[job.job_id] = job
            self.versions += [decode_version(r.value) for r in self._new(topics.MODEL_VERSIONS) if r.value]
            for record in self._newest(topics.DRIFT_ALARMS, 1):
                alarm = decode(DriftAlarm, record.value)
                self.alarm = f"{alarm.user_id}: {alarms.sentence(alarm, self._titles)}"
            for record in self._new(topics.ITEM_VECTORS):
                if record.value is not None:
                    item = decode(ItemVector, record.value)
                    self._titles[item.item_id] = item.title or item.item_id
            self.person = self._pick() or self.person

    def _pick(self) -> Person | None:
        """The user of the newest list whose state was read with it, and who has done something before."""
        states = {r.key: r for r in self._newest(topics.USER_STATES, NEWEST)}
        for record in reversed(list(self._newest(topics.RECOMMENDATIONS, NEWEST))):
            known = states.get(record.key)
            if known is not None:
                state = decode(UserState, known.value)
                if state.seq >= SETTLED:
                    return describe(state, decode_outside(Recommendation, record.value), None, self._titles)
        return None

    def _new(self, topic: str) -> Iterator[Record]:
        """Records since the last call."""
        ends = self.bus.ends(topic)
        spans = {p: (self._read.get((topic, p), 0), end) for p, end in ends.items()}
        if any(end > start for start, end in spans.values()):
            for record in self.bus.read(topic, spans):
                self._read[topic, record.partition] = record.offset + 1
                yield record

    def _newest(self, topic: str, count: int) -> Iterator[Record]:
        """The last `count` records of each partition that are no tombstones, if there are new ones."""
        ends = self.bus.ends(topic)
        if any(ends.values()):
            spans = {p: (max(0, end - count), end) for p, end in ends.items()}
            yield from (record for record in self.bus.read(topic, spans) if record.value is not None)
