"""The chain without a scorer: people's states and trainings, so that one refresh can be judged in many variants."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from consumers.encoder import Encoder
from consumers.replay import Replay
from consumers.training_worker import Outcome, Plan, in_process
from consumers.tuner import TunerHandler
from stream import events, topics
from stream.clusters import group_of
from stream.events import Interaction, Item
from stream.gate import Call, Evidence, PairedBlocks, SequentialTest, Verdict, judge
from stream.gathering import gather
from stream.history import LoggedEvent
from stream.lm import NextItemLM
from stream.messages import ModelVersion, TrainingJob, encode
from stream.prequential import paired_losses
from stream.records import Output
from stream.settings import Gate, Settings
from stream.store import ModelStore


@dataclass(slots=True)
class Refresh:
    """One refresh as the tuner carried it out: what it learned from, and what its candidate was judged on."""

    plan: Plan
    candidate: NextItemLM
    live: NextItemLM
    version: ModelVersion
    asked: tuple[Any, ...]  # log, hold_out_from_s, candidate, live, item vectors, settings
    later: tuple[Any, ...] = ()  # the same for the events that followed, where a shadow would run

    def paired(self, candidate: NextItemLM, *, later: bool = False) -> PairedBlocks:
        """The gate's paired run with another candidate; `later`: the same over the events that followed."""
        log, from_s, _, live, vectors, settings = self.later if later else self.asked
        return paired_losses(log, from_s, candidate, live, vectors, settings)

    def judged(self, candidate: NextItemLM, seed: int) -> tuple[Verdict, Call, PairedBlocks]:
        """The gate's verdict on a candidate, how it fares in shadow if that left it open, and the gate's paired run."""
        gate, pairs = self.asked[5].gate, self.paired(candidate)
        verdict = judge(pairs, gate, seed)
        if verdict.verdict != "undecided":
            return verdict, verdict.verdict, pairs
        return verdict, in_shadow(self.paired(candidate, later=True), gate, Evidence.of(verdict.numbers)), pairs


def in_shadow(pairs: PairedBlocks, gate: Gate, before: Evidence) -> Call:
    """The shadow stage over these blocks, after what the hold-out has shown; "undecided" if they are too few."""
    test, change = SequentialTest(gate.confidence, gate.shadow_blocks, before), pairs.candidate_rr - pairs.live_rr
    for user, gain, n, rr in zip(pairs.users.tolist(), pairs.gain, pairs.n, change, strict=True):
        test.update(float(gain), float(n), float(rr), group_of(str(user)))
    return test.verdict


@dataclass(slots=True)
class Workshop:
    """Encoder, interest and tuner over a bus in memory; to be used in a `with` statement."""

    settings: Settings
    encoder: Encoder | None = None
    run: Replay = field(init=False)
    plans: list[Plan] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _at: Path = field(init=False)
    _directories: int = 0

    def __enter__(self) -> Self:
        self._at = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="meander-workshop-")))
        store = self.settings.store.model_copy(update={"path": str(self._at / "models")})
        self.settings = self.settings.model_copy(update={"store": store})
        self.run = Replay(self.settings, ModelStore(store), None, self.encoder)
        self.run.stages = [stage for stage in self.run.stages if stage.name not in ("scorer", "trigger")]
        for stage in self.run.stages:
            if stage.name == "tuner":
                stage.handler = TunerHandler(self.settings, self.run.bus, self.run.store, self._train, self._pair)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def feed(self, items: Iterable[Item], interactions: Sequence[Interaction]) -> None:
        """Play a catalogue and interactions into the topics."""
        self.run.feed([Output(topics.ITEMS, item.item_id.encode(), events.encode(item)) for item in items])
        for begin in range(0, len(interactions), 500):
            self.run.feed(
                [
                    Output(topics.INTERACTIONS, event.user_id.encode(), events.encode(event))
                    for event in interactions[begin : begin + 500]
                ]
            )

    def directory(self) -> Path:
        """An empty one, gone at the end."""
        self._directories += 1
        made = self._at / str(self._directories)
        made.mkdir()
        return made

    def trained(self, kind: str, at_s: float, parent: str = "", seed: int = 0) -> ModelVersion:
        """Carry out a job with everything there is; the version's record."""
        number = len(self.run.versions) + 1
        horizon = self.run.bus.ends(topics.INTERACTIONS)
        job = TrainingJob(f"j{number}", at_s, kind, "clock", {}, horizon, {}, parent, seed)
        self.run.feed([Output(topics.TRAINING_JOBS, job.job_id.encode(), encode(job))])
        made = self.run.versions[-1]
        if not isinstance(made, ModelVersion):
            raise TypeError(f"the newest record must be a version, got {made!r}")
        return made

    def refreshed(self, parent: str, before: Interaction, rest: Sequence[Interaction], seed: int = 0) -> Refresh:
        """A refresh of `parent` with everything there is, up to `before`, and all that is needed to judge others.

        The `rest` of the log is played afterwards, for the shadow stage.
        """
        version = self.trained("refresh", before.at_s, parent, seed)
        asked = self.asked[-1]
        self.feed([], rest)
        horizon = self.run.bus.ends(topics.INTERACTIONS)
        job = TrainingJob("later", rest[-1].at_s, "refresh", "clock", {}, horizon, {}, parent, seed)
        data = gather(self.run.bus, self.settings, job)
        vectors = dict(zip(data.items, data.vectors(list(data.items)), strict=True))
        later = (data.log, rest[0].at_s, asked[2], asked[3], vectors, self.settings)
        return Refresh(self.plans[-1], asked[2], asked[3], version, asked, later)

    def variant(self, plan: Plan) -> NextItemLM:
        """The model of another plan."""
        plan = replace(plan, directory=self.directory())
        in_process(plan, lambda step, steps, loss: None)  # noqa: ARG005
        return NextItemLM.load(plan.made)

    def _train(self, plan: Plan, progress: Any) -> Outcome:
        self.plans.append(replace(plan, directory=self.directory()))
        return in_process(plan, progress)

    def _pair(
        self,
        log: Sequence[LoggedEvent],
        hold_out_from_s: float,
        candidate: NextItemLM,
        live: NextItemLM | None,
        item_vectors: dict[str, NDArray[np.float32]],
        settings: Settings,
    ) -> PairedBlocks:
        self.asked.append((log, hold_out_from_s, candidate, live, item_vectors, settings))
        return paired_losses(*self.asked[-1])
