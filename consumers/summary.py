"""What a run came to: records of the topics folded into curves, tables and headline figures.

Pure functions from messages to plain values (numbers, strings, lists, dicts) that JSON can hold; `meander replay
--json` and the report are made of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from consumers.alarms import concerned, rows
from stream import topics
from stream.bus import Bus
from stream.events import rfc3339
from stream.messages import (
    DriftAlarm,
    ItemVector,
    ModelHealth,
    ModelVersion,
    Ruling,
    TrainingJob,
    decode,
    decode_version,
)

WINDOW_EVENTS = 5_000  # interactions per point of a curve
COUNTERS = ("events", "users", "tested", "hits", "ndcg", "served_tested", "served_hits", "popularity_hits")


@dataclass(slots=True)
class Curve:
    """Hit rates over windows of about `every` interactions, summed over partitions.

    The counters of a model-health record are cumulative within its partition, so a record that arrives twice
    changes nothing.

    >>> curve = Curve(every=100)
    >>> for n, hits in ((100, 0), (200, 8)):
    ...     curve.add(ModelHealth(0, 60.0 * n, n, n, 9, n, hits, 0.0, n, 5, 2, "v1", "", [], 0))
    >>> curve.points[-1]["hit_rate_10"], curve.points[-1]["served_hit_rate_10"]
    (0.08, 0.0)
    """

    every: int = WINDOW_EVENTS
    points: list[dict[str, Any]] = field(default_factory=list)
    _newest: dict[int, ModelHealth] = field(default_factory=dict)  # per partition
    _mark: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0.0))  # at the last point

    @property
    def totals(self) -> dict[str, float]:
        """Counters over all partitions."""
        return {name: sum(float(getattr(h, name)) for h in self._newest.values()) for name in COUNTERS}

    def add(self, health: ModelHealth) -> None:
        """Fold one record in; `points` grows when a window is full."""
        before = self._newest.get(health.partition)
        if before is not None and health.through <= before.through:
            return
        self._newest[health.partition] = health
        totals = self.totals
        if totals["events"] - self._mark["events"] < self.every:
            return
        self.points.append({"at": rfc3339(health.at_s), "events": int(totals["events"]), **_rates(totals, self._mark)})
        self._mark = totals

    def rates(self) -> dict[str, float | None]:
        """Hit rates over everything."""
        return _rates(self.totals, dict.fromkeys(COUNTERS, 0.0))


def training_row(
    version: ModelVersion,
    job: TrainingJob | None = None,
    served_s: float | None = None,
    raised: Iterable[DriftAlarm] = (),
) -> dict[str, Any]:
    """A training and its verdict, as `replay --json` lists it; `served_s` is when it was first seen to serve.

    `live_at_s` is the event time from which it served, 0 if it never did.
    """
    return {
        "version": version.version,
        "at": rfc3339(version.at_s),
        "at_s": version.at_s,
        "live_at_s": version.live_at_s if served_s is None else served_s,
        "kind": job.kind if job else "",
        "trigger": version.trigger,
        "evidence": dict(version.evidence),
        "segment": job.segment if job else "",
        "concerned": concerned(raised, job),
        "steps": version.steps,
        "seconds": round(version.seconds, 2),
        "examples": version.examples,
        "verdict": version.verdict,
        "gate": dict(version.gate),
        "parent": version.parent,
    }


def risen_and_fallen(alarms: Iterable[DriftAlarm], most: int = 8) -> list[dict[str, Any]]:
    """The segments that alarmed users moved to and from most, by how many of them."""
    risen: Counter[str] = Counter()
    fallen: Counter[str] = Counter()
    for alarm in alarms:
        risen.update(alarm.risen[:1])
        fallen.update(alarm.fallen[:1])
    moved = {name: risen[name] + fallen[name] for name in risen | fallen}
    chosen = sorted(moved, key=lambda name: (-moved[name], name))[:most]
    return [{"segment": name, "risen": risen[name], "fallen": fallen[name]} for name in chosen]


def summarise(bus: Bus, facts: Mapping[str, Any], every: int = WINDOW_EVENTS) -> dict[str, Any]:
    """Read the topics of a run that has ended, or goes on, and sum it up; `facts` are added as they are.

    Of the figures that `replay --json` has, those are missing that no topic carries (hit_rate_20, mrr_20, coverage).
    """
    curve = Curve(every)
    health = [decode(ModelHealth, r.value) for r in bus.read(topics.MODEL_HEALTH) if r.value]
    served_s: dict[str, float] = {}  # version → event time at which it is first seen to serve
    for record in sorted(health, key=lambda h: h.at_s):
        curve.add(record)
        served_s.setdefault(record.version, record.at_s)
    raised = [decode(DriftAlarm, r.value) for r in bus.read(topics.DRIFT_ALARMS) if r.value]
    alarms = {(alarm.user_id, alarm.offset): alarm for alarm in raised}  # an alarm may lie there twice
    described = (decode(ItemVector, r.value) for r in bus.read(topics.ITEM_VECTORS) if r.value)
    titles = {item.item_id: item.title for item in described if item.title}
    issued = [decode(TrainingJob, r.value) for r in bus.read(topics.TRAINING_JOBS) if r.value]
    jobs = {job.job_id: job for job in issued}
    versions, rulings = read_versions(bus)
    totals = curve.totals
    population = sum(job.trigger == "population" for job in jobs.values())
    tested = max(totals["tested"], 1)
    return {
        "events": int(totals["events"]),
        "users": int(totals["users"]),
        "tested": int(totals["tested"]),
        **curve.rates(),
        "ndcg_10": totals["ndcg"] / tested,
        "alarms": {"user": len(alarms), "population": population},
        "alarms_told": rows(alarms.values(), titles),
        "alarm_times": sorted(alarm.at_s for alarm in alarms.values()),
        "segments": risen_and_fallen(alarms.values()),
        "trainings": [training_row(v, jobs.get(v.job_id), served_s.get(v.version), alarms.values()) for v in versions],
        "rulings": [msgspec.structs.asdict(r) for r in rulings],
        "versions_published": sum(v.verdict == "promoted" for v in versions),
        "training_seconds": round(sum(v.seconds for v in versions), 3),
        "curves": curve.points,
        **facts,
    }


def read_versions(bus: Bus) -> tuple[list[ModelVersion], list[Ruling]]:
    """All versions and rulings that the topic holds, the newest record of each key, in the order they were written."""
    newest = {record.key: record for record in bus.read(topics.MODEL_VERSIONS)}
    found = [decode_version(r.value) for r in sorted(newest.values(), key=lambda r: r.offset) if r.value]
    versions = [v for v in found if isinstance(v, ModelVersion)]
    return versions, [r for r in found if isinstance(r, Ruling)]


def _rates(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float | None]:
    """Hit rates between two sets of counters; None where nothing was tested."""
    grown = {name: now[name] - before[name] for name in COUNTERS}

    def share(hits: str, tested: str) -> float | None:
        return round(grown[hits] / grown[tested], 6) if grown[tested] > 0 else None

    return {
        "hit_rate_10": share("hits", "tested"),
        "served_hit_rate_10": share("served_hits", "served_tested"),
        "popularity_hit_rate_10": share("popularity_hits", "tested"),
    }
