"""The whole chain in one process: the same five handlers over a `MemoryBus`, event time as the clock.

Deterministic: the same log, settings and seed give the same recommendations, byte for byte. The log is fed block by
block, and every block runs through the whole chain before the next one; a training runs to its end at once, and its
version goes live after `trigger.go_live_delay_s` of event time.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from consumers.alarms import rows
from consumers.encoder import Encoder, EncoderHandler, Under
from consumers.examiner import Tested
from consumers.interest import InterestHandler
from consumers.loop import Stage
from consumers.scorer import ScorerHandler
from consumers.shelf import NextItem
from consumers.summary import Curve, risen_and_fallen, training_row
from consumers.training_worker import in_process
from consumers.trigger import TriggerHandler
from consumers.tuner import TunerHandler
from stream import adapter, events, messages, topics
from stream.blend import FACTS, FEATURES
from stream.bus import MemoryBus
from stream.errors import LogError
from stream.events import Interaction, Item, Recommendation
from stream.lm import NextItemLM
from stream.messages import DriftAlarm, ModelHealth, ModelVersion, Ruling, TrainingJob
from stream.metrics import Figures
from stream.records import Handler, Output, Record
from stream.settings import Settings
from stream.space import Space
from stream.store import ModelStore
from stream.text import TextEncoder

TIDY_BLOCKS = 2_000  # blocks between two compactions of the bus
DELAY_S = 600.0  # event time from a decision to its version going live, where the settings name none
FEW_REPEATS = 0.01  # share of repeated interactions below which a log is taken to have none

Progress = Callable[[int, int, Figures], None]  # events done, events in all, figures so far


@dataclass(slots=True)
class Replay:
    """One run. `feed` drives the chain; `result` sums it up.

    Args:
        settings: `trigger.warm_up_events` and `scoring.warm_up_events` say where testing begins, see `warm_up`.
        store: where versions are put.
        recommendations: gets every list as a JSON line, if given.
        encoder: the text encoder; the one that the settings name if None.
    """

    settings: Settings
    store: ModelStore
    recommendations: IO[bytes] | None = None
    encoder: Encoder | None = None
    bus: MemoryBus = field(init=False)
    stages: list[Stage] = field(default_factory=list)
    health: list[ModelHealth] = field(default_factory=list)
    alarms: list[DriftAlarm] = field(default_factory=list)
    jobs: dict[str, TrainingJob] = field(default_factory=dict)
    versions: list[ModelVersion | Ruling] = field(default_factory=list)
    journal: list[dict[str, object]] = field(default_factory=list)
    parked: list[events.DeadLetter] = field(default_factory=list)
    listed: Counter[str] = field(default_factory=Counter)  # item → lists it stood on
    lists: int = 0
    _read: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bus = MemoryBus(partitions=1, max_poll_records=self.settings.kafka.max_poll_records)
        self.encoder = self.encoder or TextEncoder.load(self.settings.model)
        self.stages = [Stage(name, handler, self.bus) for name, handler in self.handlers()]

    def handlers(self) -> list[tuple[str, Handler]]:
        """Fresh handlers of all five consumers, upstream first."""
        encoder = self.encoder or TextEncoder.load(self.settings.model)

        def load(version: ModelVersion) -> Under:
            base = encoder if isinstance(encoder, TextEncoder) else TextEncoder.load(self.settings.model)
            return Under(*adapter.load(base, self.store.fetch(version)))

        return [
            ("encoder", EncoderHandler(self.settings, encoder, load)),
            ("interest", InterestHandler(self.settings, self._space)),
            ("scorer", ScorerHandler(self.settings, self._model, self._space)),
            ("trigger", TriggerHandler(self.settings)),
            ("tuner", TunerHandler(self.settings, self.bus, self.store, in_process)),
        ]

    def feed(self, outputs: Sequence[Output]) -> None:
        """Append records to the bus and run the chain until it is quiet."""
        self.bus.send(outputs)
        self.drain()

    def drain(self) -> None:
        """Run every handler, upstream first, until none has anything to read."""
        while sum(stage.step() for stage in self.stages):
            pass
        for stage in self.stages:
            self.journal += stage.drain_journal()
        self._collect()

    def tidy(self) -> None:
        """Compact what is compacted, drop what has been read: a broker's cleaner, on demand."""
        for topic in (topics.USER_STATES, topics.SCORER_STATES, topics.ITEM_STATS, topics.TRIGGER_STATES):
            self.bus.compact(topic)
        for topic in (topics.RECOMMENDATIONS, topics.MODEL_HEALTH, topics.DRIFT_ALARMS, topics.TEXT_VECTORS):
            for partition, end in self.bus.ends(topic).items():
                self.bus.trim(topic, partition, end)

    def handler(self, name: str) -> Handler:
        """The handler of a stage."""
        return next(stage.handler for stage in self.stages if stage.name == name)

    @property
    def scorer(self) -> ScorerHandler:
        """The handler of the stage "scorer"."""
        found = self.handler("scorer")
        if not isinstance(found, ScorerHandler):
            raise TypeError(f"the stage 'scorer' must hold a ScorerHandler, got {type(found).__name__}")
        return found

    def _collect(self) -> None:
        for record in self._new(topics.RECOMMENDATIONS):
            if record.value is not None:
                self._on_list(record.value)
        self.health += [messages.decode(ModelHealth, r.value) for r in self._new(topics.MODEL_HEALTH)]
        self.alarms += [messages.decode(DriftAlarm, r.value) for r in self._new(topics.DRIFT_ALARMS)]
        for record in self._new(topics.TRAINING_JOBS):
            job = messages.decode(TrainingJob, record.value)
            self.jobs[job.job_id] = job
        self.versions += [messages.decode_version(r.value) for r in self._new(topics.MODEL_VERSIONS)]
        self.parked += [events.decode(events.DeadLetter, r.value) for r in self._new(topics.DEAD_LETTERS)]

    def _on_list(self, value: bytes) -> None:
        self.lists += 1
        self.listed.update(item.item_id for item in events.decode(Recommendation, value).items)
        if self.recommendations is not None:
            self.recommendations.write(value + b"\n")

    def _new(self, topic: str) -> Iterator[Record]:
        end = self.bus.ends(topic)[0]
        start = self._read.get(topic, 0)
        if end > start:
            self._read[topic] = end
            yield from self.bus.read(topic, {0: (start, end)})

    def _space(self, version: ModelVersion) -> Space | None:
        return Space.load(self.store.fetch(version)) if version.space else None

    def _model(self, version: ModelVersion) -> Future[NextItem]:
        future: Future[NextItem] = Future()
        future.set_result(NextItemLM.load(self.store.fetch(version)))
        return future


def warm_up(interactions: Iterable[Interaction], repeats: bool, share: float = 0.2) -> tuple[int, int]:
    """Length of a log, and how many of its interactions with items come before testing begins.

    With repeats that is `share` of all; without, all up to the point where `share` of the first interactions of users
    with items have happened, since only those count. Events about no item count in the length alone.

    Raises:
        LogError: the log is empty.
    """
    seen: set[tuple[str, str]] = set()
    firsts: list[int] = []
    n = about = 0
    for event in interactions:
        n += 1
        if event.item_id is None:
            continue
        if not repeats and (event.user_id, event.item_id) not in seen:
            seen.add((event.user_id, event.item_id))
            firsts.append(about)
        about += 1
    if not about:
        raise LogError("interactions must hold at least one record with an item, got none")
    return n, int(about * share) if repeats else firsts[int(len(firsts) * share)]


def has_repeats(interactions: Iterable[Interaction], share: float = 0.2) -> bool:
    """Whether people come back to the same items, judged by the first `share` of a log.

    In a shop they do; nobody rates a film twice. It says whether to recommend what a user already has.
    """
    n = sum(event.item_id is not None for event in interactions)
    seen: set[tuple[str, str]] = set()
    looked = 0
    for event in interactions:
        if looked >= max(int(n * share), 1):
            break
        if event.item_id is None:
            continue
        looked += 1
        seen.add((event.user_id, event.item_id))
    return looked - len(seen) >= FEW_REPEATS * max(looked, 1)


def replay(
    name: str,
    items: Iterable[Item],
    interactions: Iterable[Interaction],
    settings: Settings,
    *,
    store_path: Path | None = None,
    recommendations: IO[bytes] | None = None,
    encoder: Encoder | None = None,
    warm_up_share: float = 0.2,
    warm_up_events: int | None = None,
    on_progress: Progress | None = None,
    on_tested: Tested | None = None,
) -> dict[str, Any]:
    """Replay a log through all handlers and measure prequentially.

    Args:
        name: of the data set, for the result.
        items: the catalogue; goes first.
        interactions: in order of arrival; iterated twice.
        settings: warm-up lengths and the store's path in them are replaced, and a delay of 0 by `DELAY_S`.
        store_path: where versions are kept; a temporary directory if None.
        recommendations: gets every list as a JSON line, if given.
        encoder: the text encoder; the one that the settings name if None.
        warm_up_share: share of the log that is learned before anything is tested.
        warm_up_events: so many interactions in place of that share.
        on_progress: called about every second.
        on_tested: told of every event that is tested; what it raises ends the replay.

    Returns:
        The figures that `meander replay --json` prints, with curves for the report.

    Raises:
        LogError: the log is empty.
    """
    began_s = time.perf_counter()
    events_in_all, before = warm_up(interactions, settings.scoring.repeats, warm_up_share)
    before = before if warm_up_events is None else warm_up_events
    with tempfile.TemporaryDirectory(prefix="meander-") as scratch:
        settings = _adapted(settings, before, store_path or Path(scratch))
        run = Replay(settings, ModelStore(settings.store), recommendations, encoder)
        run.scorer.examiner.on_tested = on_tested
        run.feed([Output(topics.ITEMS, item.item_id.encode(), events.encode(item)) for item in items])
        done, told_s = 0, began_s
        for number, block in enumerate(_runs(interactions)):
            run.feed(block)
            done += len(block)
            if number % TIDY_BLOCKS == TIDY_BLOCKS - 1:
                run.tidy()
            if on_progress and (now_s := time.perf_counter()) - told_s > 1.0:
                told_s = now_s
                on_progress(done, events_in_all, run.handler("scorer").figures())
        return _result(name, run, events_in_all, before, time.perf_counter() - began_s)


def _adapted(settings: Settings, before: int, store: Path) -> Settings:
    return settings.model_copy(
        update={
            "trigger": settings.trigger.model_copy(
                update={"warm_up_events": before, "go_live_delay_s": settings.trigger.go_live_delay_s or DELAY_S}
            ),
            "scoring": settings.scoring.model_copy(update={"warm_up_events": before}),
            "store": settings.store.model_copy(update={"path": str(store)}),
        }
    )


def _runs(interactions: Iterable[Interaction]) -> Iterator[list[Output]]:
    """Consecutive interactions of one user and block, as records."""
    run: list[Output] = []
    last: tuple[str, str] | None = None
    for event in interactions:
        key = (event.user_id, event.block)
        if run and key != last:
            yield run
            run = []
        last = key
        run.append(Output(topics.INTERACTIONS, event.user_id.encode(), events.encode(event)))
    if run:
        yield run


def _result(name: str, run: Replay, events_in_all: int, before: int, wall_s: float) -> dict[str, Any]:
    scorer = run.scorer
    part, ids = scorer.parts[0], scorer.catalogue.ids
    versions = [v for v in run.versions if isinstance(v, ModelVersion)]
    curve, served_s = Curve(), dict[str, float]()
    for record in run.health:
        curve.add(record)
        served_s.setdefault(record.version, record.at_s)
    trainings = [training_row(v, run.jobs.get(v.job_id), served_s.get(v.version, 0.0), run.alarms) for v in versions]
    arrival = part.arrival.rates()
    return {
        "dataset": name,
        "policy": run.settings.trigger.policy,
        "repeats": run.settings.scoring.repeats,
        "seed": run.settings.seed,
        "events": events_in_all,
        "users": len(part.people),
        "items": len(scorer.catalogue),
        "warm_up_events": before,
        "tested": part.arrival.tested,
        **{key: round(value, 5) for key, value in arrival.items()},
        "served_hit_rate_10": round(part.served.rates()["hit_rate_10"], 5),
        "catalogue_hit_rate_10": round(part.catalogue.rates()["hit_rate_10"], 5),
        "popularity_hit_rate_10": round(part.popularity.rates()["hit_rate_10"], 5),
        "coverage_10": round(len(run.listed) / max(len(scorer.catalogue), 1), 5),
        "recommendations": run.lists,
        "parked": len(run.parked),
        "alarms": {"user": len(run.alarms), "population": sum(t["trigger"] == "population" for t in trainings)},
        "trainings": trainings,
        "rulings": [msgspec.structs.asdict(v) for v in run.versions if isinstance(v, Ruling)],
        "versions_published": sum(v.verdict == "promoted" for v in versions),
        "training_seconds": round(sum(v.seconds for v in versions), 2),
        "swaps": dict(scorer.shelf.swaps),
        "blend_weights": {
            fact: {feature: round(float(w), 3) for feature, w in zip(FEATURES, row, strict=True)}
            for fact, row in zip(FACTS, part.blend.weights, strict=True)
        },
        "wall_seconds": round(wall_s, 2),
        "events_per_second": round(events_in_all / wall_s, 1),
        "peak_rss_mb": round(_peak_rss_mb(), 1),
        "curves": curve.points,
        "segments": risen_and_fallen(run.alarms),
        "alarms_told": rows(run.alarms, {ids[i]: title for i, title in scorer.items.titles.items()}),
        "alarm_times": [alarm.at_s for alarm in run.alarms],
    }


def _peak_rss_mb() -> float:
    scale = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
