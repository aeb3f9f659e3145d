"""The tuner consumer: a training job in, a version out, whichever way its verdict falls.

It owns no state: jobs are its input, the versions so far its broadcast, and the data of a job is read off the topics
when the job comes. Memory: the histories of one job, and a record per version.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from consumers import calibrating
from consumers.training_worker import Outcome, Plan, Train
from stream import versions
from stream.adapted import check_available
from stream.baskets import Baskets
from stream.bus import Bus
from stream.errors import StoreError, TrainingError
from stream.gate import PairedBlocks, Verdict, judge
from stream.gathering import Gathered, gather, newer_vectors, worded
from stream.history import Histories, LoggedEvent
from stream.lm import NextItemLM
from stream.messages import ModelVersion, Ruling, TrainingJob, decode, decode_version, encode
from stream.policy import TRIGGERS
from stream.prequential import paired_losses
from stream.records import Output, Record
from stream.settings import Settings
from stream.store import ModelStore, Published
from stream.topics import MODEL_VERSIONS, TRAINING_JOBS

Floats = NDArray[np.float32]

MOST_HELD_OUT = 0.5  # of the events that the live model has not learned


class Pair(Protocol):
    """`stream.prequential.paired_losses`, or a stand-in for it."""

    def __call__(
        self,
        log: Sequence[LoggedEvent],
        hold_out_from_s: float,
        candidate: NextItemLM,
        live: NextItemLM | None,
        item_vectors: dict[str, Floats],
        settings: Settings,
    ) -> PairedBlocks:
        """Losses of the blend with either model on the blocks from `hold_out_from_s` on."""
        ...


@dataclass(frozen=True, slots=True)
class Split:
    """Event times that divide the data of a job."""

    fresh_from_s: float  # the parent has not learned what is newer as new
    news_from_s: float  # what this training learns as new begins here
    hold_out_from_s: float  # and ends here

    def kept(self, job: TrainingJob) -> dict[str, float]:
        """What the version's record says of it."""
        passed_over = {"fresh_from_s": self.fresh_from_s} if job.segment else {}
        return {"hold_out_from_s": self.hold_out_from_s} | passed_over


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a job."""

    verdict: Verdict
    published: Published = field(default_factory=lambda: Published("", ""))
    outcome: Outcome = field(default_factory=lambda: Outcome(0, 0, 0.0, 0.0, 0.0))
    space: str = ""
    detector: list[float] | None = None  # of single people's drift; None: as it was
    failed: bool = False


class TunerHandler:
    """Trains, gates and publishes; a training that fails is a refused version with its reason.

    1. Gather what may be learned (`stream.gathering`). 2. Of a refresh, hold out the newest `gate.hold_out` of the
    window in time, at most half of what the live model has not learned. 3. Train: a warm-up from scratch, a refresh
    from the parent's weights; with `training.text_adapter` a refresh first adapts the text encoder. 4. Judge the
    candidate against its parent on the held-out events. 5. Publish what was not refused. 6. Write the version's record.
    What was held out is new to the next training: the record's gate numbers say from when on (`hold_out_from_s`).

    Whatever comes of a refresh, it calibrates the drift detector of single people with the past that it learned from.

    A job that knows when what it answers began, or when the population changed last, holds out `gate.hold_out` of what
    came since; one that is about a segment learns, beside replay, what that segment's people have done since. Of what
    it passed over the version says nothing, so that the next training still takes it as new (`fresh_from_s`).

    A job whose version is on record already is passed over.
    """

    inputs: ClassVar[tuple[str, ...]] = (TRAINING_JOBS,)
    broadcasts: ClassVar[tuple[str, ...]] = (MODEL_VERSIONS,)
    changelogs: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, settings: Settings, bus: Bus, store: ModelStore, train: Train, pair: Pair = paired_losses
    ) -> None:
        check_available(settings.training)
        self.journal: list[dict[str, object]] = []
        self._settings, self._bus, self._store, self._train = settings, bus, store, train
        self._pair = pair
        self._records: dict[str, ModelVersion | Ruling] = {}  # by key of model-versions
        # zeros from the start: Prometheus sees a first training only where it has seen none before
        names, results = ("trainings_total", "training_seconds_total"), ("promoted", "refused", "undecided", "failed")
        self._counts: dict[tuple[str, ...], float] = dict.fromkeys(product(names, TRIGGERS, results), 0.0)
        self._progress: dict[str, float] = {}  # trigger of the running training → share done

    def figures(self) -> Mapping[tuple[str, ...], float]:
        """Trainings so far, and the share of the running one that is done; may be called during `on_record`."""
        running = {("training_progress_ratio", trigger): share for trigger, share in dict(self._progress).items()}
        return dict(self._counts) | running

    def on_record(self, record: Record) -> Iterable[Output]:
        """Note a version or a ruling; carry out a job."""
        if record.topic == MODEL_VERSIONS:
            self._note(record)
            return ()
        job = decode(TrainingJob, record.value)
        if any(isinstance(r, ModelVersion) and r.job_id == job.job_id for r in self._records.values()):
            self.journal.append({"event": "job-passed-over", "job": job.job_id, "reason": "its version is on record"})
            return ()
        version = self._carried_out(job)
        self._records[version.version] = version
        return (Output(MODEL_VERSIONS, version.version.encode(), encode(version), 0),)

    def snapshot(self) -> Iterable[Output]:
        """Nothing: there is no state of its own."""
        return ()

    def restore(self, record: Record) -> None:
        """Nothing: there are no changelogs."""

    def forget(self, user_id: str) -> Iterable[Output]:  # noqa: ARG002
        """Nothing is held about people."""
        return ()

    def _note(self, record: Record) -> None:
        key = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            self._records.pop(key, None)
        else:
            self._records[key] = decode_version(record.value)

    def _carried_out(self, job: TrainingJob) -> ModelVersion:
        name = versions.next_name(self._records.values())
        self.journal.append({"event": "training-started", "job": job.job_id, "version": name, "trigger": job.trigger})
        self._progress[job.trigger] = 0.0
        try:
            with tempfile.TemporaryDirectory(prefix="meander-training-") as scratch:
                trained = self._trained(job, name, Path(scratch))
        except (TrainingError, StoreError) as error:
            trained = Trained(Verdict("refused", f"failed: {error}", {}), failed=True)
        finally:
            self._progress.clear()
        self._count(job, trained)
        self.journal.append(
            {"event": "version-judged", "version": name, "verdict": trained.verdict.verdict, **trained.verdict.record()}
        )
        return self._record(job, name, trained)

    def _count(self, job: TrainingJob, trained: Trained) -> None:
        result = "failed" if trained.failed else trained.verdict.verdict
        for key, amount in (
            (("trainings_total", job.trigger, result), 1.0),
            (("training_seconds_total", job.trigger, result), trained.outcome.seconds),
            (("training_steps_total",), float(trained.outcome.steps)),
        ):
            self._counts[key] = self._counts.get(key, 0.0) + amount

    def _trained(self, job: TrainingJob, name: str, scratch: Path) -> Trained:
        data = gather(self._bus, self._settings, job)  # 1
        parent = self._parent(job)
        split = self._split(job, data, parent)  # 2
        plan = self._plan(job, data, parent, scratch, split)
        outcome = self._train(plan, self._tell(job.trigger))  # 3
        space, detector = "", None
        if parent is None:
            numbers = {"loss": outcome.loss, "events": float(len(data.log)), "people": float(data.people)}
            verdict = Verdict("promoted", "first version", numbers | split.kept(job))
            space = calibrating.fitted(data, plan, self._settings)
        else:
            verdict = self._judged(job, data, plan, split)  # 4
            detector = self._detector(plan)
        if verdict.verdict == "refused":
            return Trained(verdict, outcome=outcome, detector=detector)
        published = self._store.publish(plan.made, name)  # 5
        self.journal.append({"event": "version-published", "version": name, "path": published.path})
        self._prune()
        return Trained(verdict, published, outcome, space, detector)

    def _prune(self) -> None:
        """Remove old versions; one that cannot be removed is no reason to refuse the new one."""
        try:
            removed = self._store.prune(self._records.values())
        except StoreError as error:
            self.journal.append({"event": "versions-not-removed", "reason": str(error)})
        else:
            if removed:
                self.journal.append({"event": "versions-removed", "versions": removed})

    def _parent(self, job: TrainingJob) -> ModelVersion | None:
        """The version that a refresh goes on from; None for a first training."""
        if job.kind == "warm-up" or not job.parent:
            return None
        parent = self._records.get(job.parent)
        if not isinstance(parent, ModelVersion):
            raise TrainingError(f"parent of {job.job_id} must be on record, got {job.parent!r}")
        if not versions.stands(self._records.values(), job.parent):
            raise TrainingError(f"{job.parent}, the parent of {job.job_id}, was rolled back")
        return parent

    def _split(self, job: TrainingJob, data: Gathered, parent: ModelVersion | None) -> Split:
        """What is new to the parent, what of it this training learns, and what is held out."""
        times_s = np.array([event.at_s for event in data.log])
        if not len(times_s):
            raise TrainingError("training needs at least one interaction of a person with a live state, got none")
        if parent is None:
            return Split(times_s[0], times_s[0], float(np.nextafter(times_s[-1], np.inf)))
        judged_from_s = float(parent.gate.get("hold_out_from_s", parent.at_s))
        fresh_from_s = float(parent.gate.get("fresh_from_s", judged_from_s))
        began_s = max(job.began_s, job.changed_s)
        unseen = times_s[np.searchsorted(times_s, max(judged_from_s, began_s)) :]
        since = len(times_s) - int(np.searchsorted(times_s, began_s))
        held = int(min(self._settings.gate.hold_out * min(since, data.window), MOST_HELD_OUT * len(unseen)))
        if not held:
            raise TrainingError(f"a refresh needs at least 2 interactions that {parent.version} has not learned")
        news_from_s = max(fresh_from_s, job.began_s) if job.segment else fresh_from_s
        return Split(fresh_from_s, news_from_s, float(unseen[-held]))

    def _plan(self, job: TrainingJob, data: Gathered, parent: ModelVersion | None, scratch: Path, split: Split) -> Plan:
        learned = [event for event in data.log if event.at_s < split.hold_out_from_s]
        directory = self._store.fetch(parent) if parent else None
        old = list(NextItemLM.load(directory).item_ids) if directory else []
        item_ids = old + sorted({event.item_id for event in learned} - set(old))
        training = self._settings.training
        if job.epochs:
            training = training.model_copy(update={"epochs": job.epochs})
        adapts = training.text_adapter and job.text  # a first version has nothing to be judged against
        return Plan(
            directory=scratch,
            histories=Histories.of(learned, item_ids, fresh_from_s=split.news_from_s, of_people=data.concerned),
            item_ids=item_ids,
            text=data.vectors(item_ids),
            baskets=Baskets.of(data.past, item_ids, split.hold_out_from_s),
            model=self._settings.model,
            training=training,
            seed=job.seed,
            parent=directory,
            wording=worded(self._bus, self._settings, data.base_dim) if directory and adapts else None,
        )

    def _tell(self, trigger: str) -> Callable[[int, int, float], None]:
        def progress(step: int, steps: int, loss: float) -> None:  # noqa: ARG001
            self._progress[trigger] = step / steps

        return progress

    def _judged(self, job: TrainingJob, data: Gathered, plan: Plan, split: Split) -> Verdict:
        """The gate's verdict; undecided without a shadow to go into is refused."""
        if plan.parent is None:
            raise TrainingError(f"{job.job_id} must have a parent to be judged against")
        live, candidate = NextItemLM.load(plan.parent), NextItemLM.load(plan.made)
        if live.adapted:
            live = live.with_adapted(live.adapted.with_newer(newer_vectors(self._bus, live.adapter)))
        vectors = dict(zip(data.items, data.vectors(list(data.items)), strict=True))
        pairs = self._pair(data.log, split.hold_out_from_s, candidate, live, vectors, self._settings)
        verdict = judge(pairs, self._settings.gate, job.seed)
        numbers = verdict.numbers | split.kept(job)
        if verdict.verdict == "undecided" and not self._settings.gate.shadow_blocks:
            return Verdict("refused", f"{verdict.reason}; gate.shadow_blocks is 0", numbers)
        return Verdict(verdict.verdict, verdict.reason, numbers)

    def _detector(self, plan: Plan) -> list[float] | None:
        """The drift detector, calibrated anew in the space that serves; None: it stays as it is."""
        made = [r for r in self._records.values() if isinstance(r, ModelVersion) and r.space]
        if not made:
            return None
        newest = max(made, key=lambda version: versions.number(version.version))
        return calibrating.again(self._store.fetch(newest), plan, self._settings)

    def _record(self, job: TrainingJob, name: str, trained: Trained) -> ModelVersion:
        delay_s = self._settings.trigger.go_live_delay_s
        return ModelVersion(
            version=name,
            verdict=trained.verdict.verdict,
            parent=job.parent if job.kind != "warm-up" else "",
            at_s=job.at_s,
            live_at_s=job.at_s + delay_s if delay_s > 0 else 0.0,
            horizon=job.horizon,
            job_id=job.job_id,
            trigger=job.trigger,
            evidence=job.evidence,
            path=trained.published.path,
            checksum=trained.published.checksum,
            space=trained.space,
            steps=trained.outcome.steps,
            seconds=trained.outcome.seconds,
            examples=trained.outcome.examples,
            gate=trained.verdict.record(),
            published_s=trained.outcome.ended_s,
            adapter=trained.outcome.adapter if trained.published.path else "",
            detector=trained.detector,
        )
