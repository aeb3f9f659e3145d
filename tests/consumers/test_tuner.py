"""The tuner: from jobs to versions over a MemoryBus, and every way that can end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.training_worker import Outcome, Plan, in_process
from consumers.tuner import TunerHandler
from stream import metrics
from stream.adapted import Adapted
from stream.bus import MemoryBus
from stream.drift import Detector, Weights
from stream.errors import StoreError, TrainingError
from stream.gate import Evidence, PairedBlocks
from stream.history import LoggedEvent
from stream.lm import NextItemLM
from stream.messages import (
    AdaptedVector,
    ItemVector,
    ModelVersion,
    Ruling,
    TrainingJob,
    UserState,
    as_bytes,
    decode,
    encode,
)
from stream.records import Output, Record
from stream.settings import Settings, load
from stream.space import Space
from stream.store import ModelStore
from stream.training import Progress

Paired = Callable[[float], PairedBlocks]
ITEMS = [f"i{n:02}" for n in range(12)]
PEOPLE = [f"u{n:02}" for n in range(30)]


def walks(bus: MemoryBus, start: int, stop: int) -> None:
    """Everybody takes steps `start` to `stop` round the items, one a minute; states follow."""
    outputs = []
    for step in range(start, stop):
        for n, user in enumerate(PEOPLE):
            at_ms = step * 60_000 + n
            event = {"event_id": f"{user}-{step}", "user_id": user, "item_id": ITEMS[(n + step) % 12], "at": at_ms}
            outputs.append(Output("interactions", user.encode(), msgspec.json.encode(event), 0))
    for n, user in enumerate(PEOPLE):
        tail = [ITEMS[(n + step) % 12] for step in range(stop)]
        times_s = [step * 60 + n / 1000 for step in range(stop)]
        gaps_s = [60 * (step > 0) for step in range(stop)]
        state = UserState(user, stop, 0.0, times_s[-1], "", b"", b"", {}, tail, gaps_s, [], [], [], 0, "", [])
        outputs.append(Output("user-states", user.encode(), encode(state), 0))
    bus.send(outputs)


def paired(gain: float) -> PairedBlocks:
    k = 100
    rank = np.full(k, 0.2)
    return PairedBlocks(np.arange(k) % 25, np.ones(k, np.int64), np.full(k, gain), rank, rank, np.zeros(k, bool))


class World:
    """A bus with people and items, a store, and a tuner whose gate sees a gain of our choice."""

    def __init__(self, path: Path, train: Callable[[Plan, Progress], Outcome] = in_process, **overrides: Any) -> None:
        small = {"dim": 8, "layers": 1, "heads": 2, "context": 8, "dropout": 0.1}
        quick = {"warm_up_epochs": 2, "epochs": 1, "batch_size": 16, "window_events": 300}
        settings: dict[str, Any] = {"model": small, "training": quick, "store": {"path": str(path)}}
        self.settings: Settings = load(None, **(settings | {"gate": {"bootstrap": 100}} | overrides))
        self.bus, self.store = MemoryBus(), ModelStore(self.settings.store)
        self.gain, self.plans, self._train = 0.0, list[Plan](), train
        self.asked: list[tuple[Sequence[LoggedEvent], float, NextItemLM, NextItemLM | None]] = []
        rng = np.random.default_rng(0)
        for item in ITEMS:
            vector = as_bytes(rng.standard_normal(5).astype(np.float32))
            message = ItemVector(item, vector, item, f"thing {item}", [], True, 0.0)
            self.bus.send([Output("item-vectors", item.encode(), encode(message), 0)])
        self.tuner = TunerHandler(self.settings, self.bus, self.store, self.train, self.pair)
        self.jobs = 0

    def train(self, plan: Plan, progress: Progress) -> Outcome:
        self.plans.append(plan)
        outcome = self._train(plan, progress)
        assert self.tuner.figures()["training_progress_ratio", "clock"] == 1.0
        metrics.check(self.tuner.figures())
        return outcome

    def pair(
        self,
        log: Sequence[LoggedEvent],
        hold_out_from_s: float,
        candidate: NextItemLM,
        live: NextItemLM | None,
        item_vectors: dict[str, NDArray[np.float32]],
        settings: Settings,
    ) -> PairedBlocks:
        assert sorted(item_vectors) == ITEMS
        self.asked.append((log, hold_out_from_s, candidate, live))
        return paired(self.gain)

    def job(self, kind: str = "refresh", parent: str = "", **scope: Any) -> Record:
        self.jobs += 1
        end = self.bus.ends("interactions")[0]
        job = TrainingJob(
            f"j{self.jobs}", 1e6, kind, "clock", {"events": 1.0}, {0: end}, {}, parent, self.jobs, **scope
        )
        return Record("training-jobs", 0, self.jobs, job.job_id.encode(), encode(job))

    def tuned(self, kind: str = "refresh", parent: str = "", gain: float = 0.0, **scope: Any) -> ModelVersion:
        self.gain = gain
        [output] = list(self.tuner.on_record(self.job(kind, parent, **scope)))
        assert (output.topic, output.partition) == ("model-versions", 0)
        version = decode(ModelVersion, output.value)
        assert output.key == version.version.encode()
        return version


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "models")
    walks(world.bus, 0, 20)
    return world


def test_the_first_version_is_promoted_and_ships_the_space(world: World) -> None:
    version = world.tuned("warm-up")
    assert (version.version, version.verdict, version.parent) == ("v1", "promoted", "")
    assert version.gate["reason"] == "first version"
    assert (version.gate["events"], version.gate["people"]) == (600, 30)
    assert version.examples == 2 * 600
    assert (version.at_s, version.live_at_s, version.horizon, version.trigger) == (1e6, 0.0, {0: 600}, "clock")
    directory = world.store.fetch(version)
    assert NextItemLM.load(directory).item_ids == tuple(ITEMS)
    assert Space.load(directory).name == version.space != ""
    events = [entry["event"] for entry in world.tuner.journal]
    assert events == ["training-started", "version-published", "version-judged"]


def test_a_refresh_calibrates_the_drift_detector_whatever_its_verdict(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def detector_of(self: Space, *given: Any) -> Detector:
        asked.append((self.name, *given))
        return Detector(Weights(0.1, -1.0, -2.0, -3.0, 0.4), 2.5, 2.0)

    monkeypatch.setattr(Space, "detector_of", detector_of)
    first = world.tuned("warm-up")
    walks(world.bus, 20, 30)
    second = world.tuned(parent="v1", gain=-1.0)
    assert (first.detector, second.verdict) == (None, "refused")
    assert second.detector == [0.1, -1.0, -2.0, -3.0, 0.4, 2.5, 2.0]
    ((name, people, vectors, *_),) = asked
    assert (name, len(people), vectors.shape) == (first.space, len(PEOPLE), (len(ITEMS), 64))
    times_s = people[0][1]
    assert 20 < len(times_s) < 30  # what is held out comes after it
    assert list(times_s) == sorted(times_s)


def test_where_the_past_says_too_little_the_detector_stays(world: World) -> None:
    world.tuned("warm-up")
    walks(world.bus, 20, 30)
    assert world.tuned(parent="v1").detector is None  # thirty events of thirty people


def learned(plan: Plan) -> list[float]:
    """Event times of what a plan learns as new."""
    return sorted(plan.histories.times_s[plan.histories.fresh].tolist())


@pytest.mark.parametrize("scope", [{"began_s": 35 * 60.0}, {"changed_s": 35 * 60.0}])
def test_after_a_change_a_share_of_what_came_since_is_held_out(world: World, scope: dict[str, float]) -> None:
    world.tuned("warm-up")
    walks(world.bus, 20, 40)
    second = world.tuned("refresh", "v1", gain=0.2, **scope)
    assert second.gate["hold_out_from_s"] == 39 * 60.0  # a fifth of five rounds
    assert (learned(world.plans[1])[0], learned(world.plans[1])[-1]) == (20 * 60.0, 38 * 60.0 + 0.029)
    assert len(world.plans[1].histories) == 39 * 30  # the rest is there for replay
    walks(world.bus, 40, 50)
    world.tuned("refresh", "v2", gain=0.2, epochs=3, **scope)
    assert learned(world.plans[2])[0] == 39 * 60.0  # what was held out is new to the next
    assert world.asked[1][1] == 48 * 60.0  # nothing is held out that the parent has learned
    assert [plan.training.epochs for plan in world.plans] == [1, 1, 3]


def test_a_segments_training_learns_the_news_of_its_people(world: World) -> None:
    world.tuned("warm-up")
    walks(world.bus, 20, 40)
    for n, user in enumerate(PEOPLE):
        [state] = [decode(UserState, r.value) for r in world.bus.read("user-states") if r.key == user.encode()][-1:]
        state.mass = {"Toys": 2.0 if n < 10 else 0.5, "Garden": 1.0}
        world.bus.send([Output("user-states", user.encode(), encode(state), 0)])
    version = world.tuned("refresh", "v1", gain=0.2, segment="Toys")
    histories = world.plans[1].histories
    fresh = [bool(histories.fresh[a:b].any()) for a, b in itertools.pairwise(histories.starts.tolist())]
    assert sum(fresh) == 10
    assert version.gate["fresh_from_s"] == pytest.approx(1_140.029)
    assert len(world.asked[0][0]) == 40 * 30  # everybody's blocks judge it


@pytest.mark.parametrize(
    ("gain", "verdict", "kept"), [(0.1, "promoted", True), (0.0, "undecided", True), (-0.1, "refused", False)]
)
def test_a_refresh_gets_the_gates_verdict(world: World, gain: float, verdict: str, kept: bool) -> None:
    world.tuned("warm-up")
    walks(world.bus, 20, 30)
    version = world.tuned(parent="v1", gain=gain)
    assert (version.version, version.verdict, version.parent, version.space) == ("v2", verdict, "v1", "")
    assert version.gate["gain"] == pytest.approx(gain)
    shown = Evidence.of(version.gate)  # for a shadow to go on from
    assert (shown.blocks, shown.total) == ((0, 0.0) if verdict == "promoted" else (100, pytest.approx(100 * gain)))
    assert bool(version.path) == kept
    if kept:
        world.store.fetch(version)
    assert world.tuner.figures()["trainings_total", "clock", verdict] == (2 if verdict == "promoted" else 1)


def test_the_newest_share_is_held_out_and_joins_the_next_window(world: World) -> None:
    world.tuned("warm-up")
    walks(world.bus, 20, 30)  # 300 new events; the window is 300: 60 are held out, the last two rounds
    second = world.tuned(parent="v1", gain=0.1)
    assert second.gate["hold_out_from_s"] == 28 * 60.0
    h = world.plans[1].histories
    assert h.times_s.max() < 28 * 60.0
    assert h.times_s[h.fresh].min() == 20 * 60.0
    log, hold_out_from_s, candidate, live = world.asked[0]
    assert (len(log), hold_out_from_s) == (900, 28 * 60.0)  # tails reach back to the beginning
    assert live is not None
    assert candidate.weights["id.weight"].tobytes() != live.weights["id.weight"].tobytes()

    walks(world.bus, 30, 32)  # 60 + 60 unseen: half of that is the most that is held out
    third = world.tuned(parent="v2", gain=0.1)
    assert third.gate["hold_out_from_s"] == 30 * 60.0
    h = world.plans[2].histories
    assert sorted(set(h.times_s[h.fresh] // 60)) == [28, 29]


def test_an_erased_person_is_not_in_the_next_training(world: World) -> None:
    world.bus.send([Output("user-states", b"u03", None, 0)])
    version = world.tuned("warm-up")
    assert (version.gate["people"], version.gate["events"]) == (29, 580)
    assert len(world.plans[0].histories.starts) == 30


def test_a_new_item_gets_a_row_and_old_ones_stay(world: World) -> None:
    world.tuned("warm-up")
    event = {"event_id": "n", "user_id": "u00", "item_id": "a-new-one", "at": 20 * 60_000}
    world.bus.send([Output("interactions", b"u00", msgspec.json.encode(event), 0)])
    walks(world.bus, 21, 30)
    version = world.tuned(parent="v1", gain=0.1)
    assert NextItemLM.load(world.store.fetch(version)).item_ids == (*ITEMS, "a-new-one")


def test_undecided_is_refused_where_there_is_no_shadow(tmp_path: Path) -> None:
    world = World(tmp_path / "models", gate={"bootstrap": 100, "shadow_blocks": 0})
    walks(world.bus, 0, 20)
    world.tuned("warm-up")
    walks(world.bus, 20, 30)
    version = world.tuned(parent="v1")
    assert (version.verdict, version.path) == ("refused", "")
    assert str(version.gate["reason"]).endswith("; gate.shadow_blocks is 0")


def test_versions_go_live_after_the_delay(tmp_path: Path) -> None:
    world = World(tmp_path / "models", trigger={"go_live_delay_s": 90.0})
    walks(world.bus, 0, 20)
    assert world.tuned("warm-up").live_at_s == 1e6 + 90


def broken(plan: Plan, progress: Progress) -> Outcome:
    raise TrainingError("training ended without a model: no memory")


def test_a_failed_training_is_a_refused_version(tmp_path: Path) -> None:
    world = World(tmp_path / "models", broken)
    walks(world.bus, 0, 20)
    version = world.tuned("warm-up")
    assert (version.verdict, version.path, version.steps) == ("refused", "", 0)
    assert version.gate == {"reason": "failed: training ended without a model: no memory"}
    assert world.tuner.journal[-1]["verdict"] == "refused"
    counted = {key: n for key, n in world.tuner.figures().items() if n}
    assert counted == {("trainings_total", "clock", "failed"): 1}


def test_an_old_version_that_cannot_be_removed_refuses_no_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(*_: object) -> list[str]:
        raise StoreError("v0 must be removable: permission denied")

    world = World(tmp_path / "models")
    monkeypatch.setattr(ModelStore, "prune", stuck)
    walks(world.bus, 0, 20)
    assert world.tuned("warm-up").verdict == "promoted"
    assert {"event": "versions-not-removed", "reason": "v0 must be removable: permission denied"} in world.tuner.journal


def _nobody(world: World) -> None:
    world.bus.logs["user-states", 0].clear()


def _damage(world: World) -> None:
    [path] = world.store.fs.glob(f"{world.store.root}/v1-*/model.safetensors")
    Path(path).write_bytes(b"")


def _rolled_back(world: World) -> None:
    ruling = encode(Ruling("v1", "rollback", 0.0, 0.0, "worse", {}))
    world.tuner.on_record(Record("model-versions", 0, 1, b"v1/rollback", ruling))


def _nothing(world: World) -> None:
    return


@pytest.mark.parametrize(
    ("fault", "parent", "reason"),
    [
        (_nobody, "v1", "training needs at least one interaction of a person with a live state, got none"),
        (_damage, "v1", "model.safetensors is torn: it must have "),
        (_nothing, "v1", "a refresh needs at least 2 interactions that v1 has not learned"),
        (_nothing, "v9", "parent of j2 must be on record, got 'v9'"),
        (_rolled_back, "v1", "v1, the parent of j2, was rolled back"),
    ],
)
def test_what_stands_in_the_way_of_a_refresh(
    world: World, fault: Callable[[World], None], parent: str, reason: str
) -> None:
    world.tuned("warm-up")
    if fault is not _nothing:
        walks(world.bus, 20, 30)
    fault(world)
    version = world.tuned(parent=parent)
    assert version.verdict == "refused"
    assert reason in str(version.gate["reason"])


def test_a_job_that_comes_again_is_passed_over(world: World) -> None:
    record = world.job("warm-up")
    assert len(list(world.tuner.on_record(record))) == 1
    assert list(world.tuner.on_record(record)) == []
    assert world.tuner.journal[-1]["event"] == "job-passed-over"


def test_versions_on_the_topic_count(world: World) -> None:
    version = world.tuned("warm-up")
    again = TunerHandler(world.settings, world.bus, world.store, in_process)
    ruling = Ruling("v1", "rollback", 0.0, 0.0, "", {})
    again.on_record(Record("model-versions", 0, 0, b"v1", encode(version)))
    again.on_record(Record("model-versions", 0, 1, b"v1/rollback", encode(ruling)))
    again.on_record(Record("model-versions", 0, 2, b"v1/rollback", None))
    [output] = list(again.on_record(world.job("warm-up")))
    assert output.key == b"v2"
    assert (list(again.snapshot()), list(again.forget("u00"))) == ([], [])


def test_trainings_are_the_same_every_time(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        world = World(tmp_path / name)
        walks(world.bus, 0, 20)
        world.tuned("warm-up")
        walks(world.bus, 20, 30)
        found.append(world.tuned(parent="v1", gain=0.1))
    assert found[0].path == found[1].path  # named by its checksum
    assert found[0].space == found[1].space


def adapting(plan: Plan, progress: Progress) -> Outcome:
    """A training whose version has an adapter and ships vectors of the items there were."""
    outcome = in_process(plan, progress)
    shipped = Adapted("a1", tuple(ITEMS), np.ones((12, 5), np.float32), np.zeros((12, 8), np.uint8))
    NextItemLM.load(plan.made).with_adapted(shipped).save(plan.made)
    return msgspec.structs.replace(outcome, adapter="a1")


def test_a_version_with_an_adapter_is_judged_with_all_vectors_under_it(tmp_path: Path) -> None:
    world = World(tmp_path / "models", adapting)
    walks(world.bus, 0, 20)
    assert world.tuned("warm-up").adapter == "a1"
    made = [AdaptedVector("new", name, as_bytes(np.full(5, n))) for n, name in enumerate(("other", "a1"), 2)]
    world.bus.send([Output("adapted-vectors", message.key, encode(message), 0) for message in made])
    walks(world.bus, 20, 30)
    assert world.tuned(parent="v1", gain=-0.1).adapter == ""  # refused, and not kept
    _, _, candidate, live = world.asked[-1]
    nothing = np.zeros((1, 5), np.float32)
    assert live is not None
    for model, expected in ((candidate, 0.0), (live, 3.0)):
        assert model.adapted is not None
        assert model.adapted.placed(["new"], nothing).tolist() == [[expected] * 5]
