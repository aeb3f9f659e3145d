"""The trigger consumer: alarms and the model's health in; decisions to train, and to end a shadow, out.

Everything is decided at model-health records and in event time, so that it does not matter how topics interleave:
alarms wait until the health of the model is known up to their time. One instance is active; its whole state is one
record of trigger-states, at most 40 KB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import numpy as np

from consumers.observation import Observation
from consumers.trigger_state import Seen, TriggerState, Waiting
from stream import policy, topics, versions
from stream.errors import BadRecord, StateError
from stream.evidence import AlarmShare, Population, Reading, Unknown, numbers
from stream.messages import (
    DriftAlarm,
    ModelHealth,
    ModelVersion,
    Ruling,
    TrainingJob,
    decode,
    decode_version,
    encode,
)
from stream.records import Output, Record
from stream.settings import Settings
from stream.worth import Worth

KEY = b"trigger"
RULINGS = ("promoted", "refused", "rollback")


class TriggerHandler:
    """Weighs the evidence for a training against its cost, whenever the scorer reports.

    Never two trainings at once: a job is outstanding until a version with its id is there (promoted, refused or
    undecided) and in force in event time. If none comes within `trigger.max_staleness_events` further interactions,
    the job is given up, which is journaled. The warm-up job is issued whatever the policy.
    """

    inputs: ClassVar[tuple[str, ...]] = (topics.DRIFT_ALARMS, topics.MODEL_HEALTH)
    broadcasts: ClassVar[tuple[str, ...]] = (topics.MODEL_VERSIONS,)
    changelogs: ClassVar[tuple[str, ...]] = (topics.TRIGGER_STATES,)

    def __init__(self, settings: Settings) -> None:
        self.journal: list[dict[str, object]] = []
        self._settings = settings
        self._versions: dict[bytes, ModelVersion | Ruling] = {}  # by key, as compaction keeps them
        self._readings: list[Reading] = []
        self._worth = Worth.of([], settings, 0.0)
        self._dirty = False
        self._take(TriggerState.new())
        self._verbs: dict[str, Callable[[Record], Iterable[Output]]] = {
            topics.DRIFT_ALARMS: self._alarm,
            topics.MODEL_HEALTH: self._health,
            topics.MODEL_VERSIONS: self._version,
        }

    def figures(self) -> Mapping[tuple[str, ...], float]:
        """Decisions since the start of this handler, and the evidence as it was last weighed."""
        jobs, rulings, rises = self._restored
        out: dict[tuple[str, ...], float] = {("jobs_total", t): n - jobs.get(t, 0) for t, n in self._state.jobs.items()}
        out |= {("rulings_total", r): self._state.rulings.get(r, 0) - rulings.get(r, 0) for r in RULINGS}
        out["alarms_total", "population", "page_hinkley"] = self._population.flagged - rises
        out["job_outstanding",] = self._state.outstanding
        out["event_timestamp_seconds",] = self._state.now_s
        for reading in self._readings:
            out["evidence", reading.trigger] = reading.now
            out["evidence_threshold", reading.trigger] = reading.threshold
        return out

    def on_record(self, record: Record) -> Iterable[Output]:
        """Take one record; returns training jobs and rulings."""
        return self._verbs[record.topic](record)

    def snapshot(self) -> Iterable[Output]:
        """The whole state, if anything came in since the last time."""
        if not self._dirty:
            return []
        self._dirty = False
        kept, population = self._state, self._population
        kept.population, kept.season, kept.rises, kept.row = population.numbers()
        kept.share, kept.usual = list(self._share.buckets), (self._share.usual_events, self._share.usual_alarms)
        kept.unknown = self._unknown.events, self._unknown.unknown
        self._observation.save(kept)
        return [Output(topics.TRIGGER_STATES, KEY, encode(kept), 0)]

    def restore(self, record: Record) -> None:
        """Take back the newest state."""
        if record.key != KEY or record.value is None:
            return
        try:
            self._take(decode(TriggerState, record.value))
        except (BadRecord, ValueError, TypeError) as error:
            raise StateError(f"{record.where} must be a trigger state: {error}") from None

    def forget(self, user_id: str) -> Iterable[Output]:  # noqa: ARG002
        """Nothing: alarms are only counted here."""
        return []

    def _take(self, state: TriggerState) -> None:
        trigger = self._settings.trigger
        self._state = state
        self._population = Population.of(
            trigger.false_trigger_events, (state.population, state.season, state.rises, state.row)
        )
        self._share = AlarmShare(trigger.alarm_window_events, self._settings.drift.false_alarms_per_1000 / 1000)
        for events, alarms in state.share:
            self._share.add(events, alarms)
        self._share.usual_events, self._share.usual_alarms = state.usual
        self._unknown = Unknown(events=state.unknown[0], unknown=state.unknown[1])
        self._observation = Observation(self._settings.gate, state)
        self._restored = dict(state.jobs), dict(state.rulings), self._population.flagged

    # what comes in

    def _alarm(self, record: Record) -> Iterable[Output]:
        alarm, state = decode(DriftAlarm, record.value), self._state
        if alarm.offset <= state.alarms_through.get(record.partition, -1):
            return []  # seen before the restart
        state.alarms_through[record.partition] = alarm.offset
        state.alarms.append(Waiting(alarm.at_s, record.partition, alarm.offset))
        del state.alarms[: -self._settings.trigger.alarm_window_events]  # bounded, should the scorer be silent
        self._dirty = True
        return []

    def _version(self, record: Record) -> Iterable[Output]:
        if record.key is not None and record.value is not None:
            self._versions[record.key] = decode_version(record.value)
        return []

    def _health(self, record: Record) -> Iterable[Output]:
        health, state = decode(ModelHealth, record.value), self._state
        if health.through <= state.known_through(health.partition):
            return []  # seen before the restart
        state.health.append(health)
        self._dirty = True
        out: list[Output] = []
        while (due := state.next_health(self._settings.kafka.partitions)) is not None:
            out += self._digest(due)
        return out

    # what is decided

    def _digest(self, health: ModelHealth) -> list[Output]:
        """Take one health record into account, then decide."""
        state, before = self._state, self._state.events
        last = state.seen.get(health.partition, Seen(0, -1, 0.0, 0))
        self._unknown.add(max(0, health.events - last.events), max(0, health.unknown - last.unknown))
        state.seen[health.partition] = Seen(health.events, health.through, health.at_s, health.unknown)
        due = [alarm for alarm in state.alarms if alarm.at_s <= self._state.now_s]
        state.alarms = [alarm for alarm in state.alarms if alarm.at_s > self._state.now_s]
        self._share.add(max(0, self._state.events - before), len(due))
        self._watch(health)
        return [*self._observe(health), *self._decide()]

    def _watch(self, health: ModelHealth) -> None:
        """Feed the detectors of the population and of segments with blocks that a version served."""
        if not health.version:
            return
        if health.version != self._population.version:
            self._unknown.clear()
        self._population.watch(health.version)
        for block in health.blocks:
            for name in self._population.update(block) if np.isfinite(block.blend) else ():
                rise = self._population.streams[name]
                self.journal.append(
                    {"event": "segment-drift" if name else "population-drift", "segment": name,
                     "version": health.version, "began_s": rise.began_s, "statistic": round(rise.statistic, 3),
                     "before": round(rise.mean, 4), "after": round(rise.after, 4)}
                )  # fmt: skip

    def _observe(self, health: ModelHealth) -> list[Output]:
        """Rule on the live version beside its parent, then on the candidate in shadow."""
        out = []
        for asked in (self._observation.rollback, self._observation.ended):
            ruling = asked(health, self._versions.values(), self._state.now_s, self._in_force_s)
            if ruling is not None:
                self._versions[ruling.key] = ruling
                self._state.rulings[ruling.ruling] = self._state.rulings.get(ruling.ruling, 0) + 1
                self._follow(ruling)
                out.append(Output(topics.MODEL_VERSIONS, ruling.key, encode(ruling), 0))
        return out

    def _follow(self, ruling: Ruling) -> None:
        """Journal a ruling; after a rollback evidence is gathered anew, and no training goes on from what fell."""
        told = {"version": ruling.version, **ruling.numbers}
        if ruling.ruling != "rollback":
            self.journal.append({"event": "shadow-ended", "ruling": ruling.ruling, **told})
            return
        state, known = self._state, self._versions.values()
        back = versions.live(known, self._in_force_s)
        self.journal.append({"event": "rolled-back", "to": back.version if back else "", **told})
        self._population.watch("")
        self._share.clear()
        fallen = self._versions.get(ruling.version.encode())
        if isinstance(fallen, ModelVersion) and state.changed_s >= max(fallen.at_s, fallen.live_at_s):
            state.changed_s, state.changed_events = 0.0, 0  # it was the version that changed, not the world
        if state.outstanding and state.job and not versions.stands(known, state.job.parent):
            state.outstanding = False  # whatever comes of it cannot go live
            self.journal.append({"event": "training-given-up", "job": state.job.job_id, "parent": state.job.parent})

    def _decide(self) -> list[Output]:
        """Issue a job if there is reason to and nothing in its way; journal what was weighed."""
        self._settle_job()
        state, trigger = self._state, self._settings.trigger
        live = versions.live(self._versions.values(), self._state.now_s)
        if live is None:
            enough = state.job is None or not policy.obstacle(
                trigger, "warm-up", self._state.new_events, self._idle_s, False
            )
            ready = self._state.events >= trigger.warm_up_events and enough and not state.outstanding
            warm_up = Reading("warm-up", float(self._state.events), float(trigger.warm_up_events), ready)
            return [self._issue("warm-up", "", warm_up, [warm_up])] if ready else []
        if not versions.stands(self._versions.values(), live.version):
            return []  # nothing goes on from what is about to be rolled back
        self._worth = Worth.of(self._versions.values(), self._settings, state.now_s)
        counts = self._counts(live)
        self._readings = policy.weigh(
            self._settings, self._population, self._share, self._unknown.share, counts, self._worth
        )
        reason = policy.strongest(self._readings)
        if reason is None:
            self._weighed()
            return []
        obstacle = policy.obstacle(trigger, reason.trigger, state.new_events, self._idle_s, state.outstanding)
        if obstacle:
            self._held_back(reason, obstacle)
            return []
        return [self._issue("refresh", live.version, reason, self._readings)]

    def _counts(self, live: ModelVersion) -> policy.Counts:
        """Interactions, as of now. After a change of the population the log begins anew, as far as it teaches."""
        state, least = self._state, self._settings.trigger.min_new_events
        after = (max(one.through + 1 - live.horizon.get(partition, 0), 0) for partition, one in state.seen.items())
        since = state.events - state.changed_events
        unlearned = min(sum(after), since)
        learned = max(since - unlearned, least) if state.changed_events else since - unlearned
        return policy.Counts(state.new_events, learned, unlearned, state.interval)

    @property
    def _in_force_s(self) -> float:
        """Event time from which a ruling of now holds: in replay at the same event, whatever a batch holds."""
        return self._state.now_s + self._settings.trigger.go_live_delay_s

    @property
    def _idle_s(self) -> float:
        return self._state.now_s - self._state.job.at_s if self._state.job else float("inf")

    def _settle_job(self) -> None:
        """End the outstanding job: by its version, or for want of one."""
        state = self._state
        if not state.outstanding or state.job is None:
            return
        made = [v for v in self._versions.values() if isinstance(v, ModelVersion) and v.job_id == state.job.job_id]
        if any(v.live_at_s <= self._state.now_s for v in made):
            state.outstanding = False
        elif self._state.new_events >= self._settings.trigger.max_staleness_events:
            state.outstanding = False
            self.journal.append(
                {"event": "training-given-up", "job": state.job.job_id, "new_events": self._state.new_events}
            )

    def _issue(self, kind: str, parent: str, reason: Reading, found: list[Reading]) -> Output:
        state, rise = self._state, self._population.risen
        if rise and rise.began_s > state.changed_s and self._settings.drift.follow_population:
            state.changed_s, state.changed_events = rise.began_s, state.events
        job_id = f"j{1 + sum(state.jobs.values())}"
        horizon = {partition: seen.through + 1 for partition, seen in sorted(state.seen.items())}
        since = state.job.horizon if state.job else {}
        evidence, epochs = numbers(found), 0
        if reason.size:
            epochs = policy.epochs(self._settings.training, reason, self._worth.price)
            evidence |= {"size": reason.size, "gain": reason.gain, "price": self._worth.price}
        job = TrainingJob(job_id, self._state.now_s, kind, reason.trigger, evidence, horizon, since, parent,
                          policy.seed_of(self._settings.seed, job_id), reason.segment, reason.began_s,
                          reason.trigger not in policy.OF_TASTE, state.changed_s, epochs)  # fmt: skip
        self.journal.append({"event": "training-decided", "job": job_id, "kind": kind, "trigger": reason.trigger,
                             "parent": parent, "new_events": self._state.new_events, "people_of": reason.segment,
                             "began_s": reason.began_s, **evidence})  # fmt: skip
        state.jobs[reason.trigger] = state.jobs.get(reason.trigger, 0) + 1
        state.interval = state.new_events
        state.job, state.job_events, state.outstanding, state.told = job, self._state.events, True, []
        state.weighed = self._state.events
        self._population.settle()
        self._share.clear()
        return Output(topics.TRAINING_JOBS, job_id.encode(), encode(job), 0)

    def _weighed(self) -> None:
        """Not worth it yet: journaled once in `trigger.min_new_events` interactions."""
        if self._readings and self._state.events - self._state.weighed >= self._settings.trigger.min_new_events:
            self._state.weighed = self._state.events
            self.journal.append(
                {
                    "event": "not-worth-it-yet",
                    "new_events": self._state.new_events,
                    **numbers(self._readings),
                    "price": self._worth.price,
                    "refreshes": self._worth.refreshes,
                    "seconds": round(self._worth.seconds, 1),
                }
            )

    def _held_back(self, reason: Reading, obstacle: str) -> None:
        """Not now: journaled once for each reason and obstacle between two jobs."""
        state, once = self._state, f"{reason.trigger}/{obstacle}"
        if once not in state.told:
            state.told.append(once)
            self.journal.append({"event": "training-held-back", "trigger": reason.trigger, "because": obstacle,
                                 "new_events": state.new_events, **numbers(self._readings)})  # fmt: skip
