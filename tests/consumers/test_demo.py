from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers import demo as module
from consumers.board import Board
from consumers.demo import Script, Show, facts, split, tuned
from consumers.running import Running, fresh
from stream.bus import MemoryBus
from stream.errors import BrokerError, SettingsError, TrainingError
from stream.events import Interaction, Item
from stream.messages import ItemVector, ModelVersion, TrainingJob, encode
from stream.records import Output
from stream.settings import Settings


def events(*at_s: float) -> list[Interaction]:
    return [Interaction(event_id=f"e{n}", user_id="ann", item_id="mug", at=at * 1000) for n, at in enumerate(at_s)]


SHOW = Show("shop", [Item(item_id="mug")], events(*range(450)), events(1_000, 1_300), season_s=150.0)


def test_splits_where_the_season_begins() -> None:
    log = events(1, 5, 3, 10, 7, 12)
    before, season = split(log, 10.0)
    assert [e.at_s for e in before] == [1, 5, 3]
    assert [e.at_s for e in season] == [10, 7, 12]  # a late event arrives where it arrives


def test_the_season_takes_the_time_it_is_given() -> None:
    assert SHOW.speed == 300 / 150
    assert Show("shop", [], [], []).speed == 0.0


def test_warm_ups_end_with_what_comes_before() -> None:
    settings = tuned(Settings(), 221_968)
    assert settings.scoring.warm_up_events == 221_968
    assert settings.trigger.warm_up_events == 221_768  # one model-health record earlier, as the last one is not full
    assert facts(SHOW, settings, 12.34)["wall_seconds"] == 12.3


VERSION = ModelVersion("v1", "refused", "", 9.0, 0.0, {0: 9}, "j", "warm-up", {}, "", "", "", 4, 1.0, 9,
                       {"reason": "failed: disk full"}, 0.0)  # fmt: skip


@dataclass
class Stage:
    """Stands in for the processes: embeds at once, and has a version after the warm-up."""

    bus: MemoryBus = field(default_factory=MemoryBus)
    view: Any = None
    stop: threading.Event = field(default_factory=threading.Event)
    phases: list[str] = field(default_factory=list)
    supervisor: Any = field(default_factory=lambda: SimpleNamespace(directory=Path("runs/demo")))
    settings: Settings = field(default_factory=Settings)
    goes_live: bool = True
    promoted: bool = True

    def __post_init__(self) -> None:
        sampler = SimpleNamespace(answered={"j1"}, versions=[], serving=None)
        board = Board.of(["interest", "scorer"])
        board.update(0.0, {"interest": {("events_total",): 1_000.0, ("lag_records", "interactions", "0"): 30.0},
                           "scorer": {("events_total",): 900.0}})  # fmt: skip
        self.view = SimpleNamespace(board=board, phase="", sampler=sampler)

    def behind(self) -> int:
        return 0

    def play(
        self, bus: Any, items: Any, interactions: Any, speed: float, stop: threading.Event, lag: Any, ahead: int
    ) -> None:
        self.phases.append(f"{self.view.phase}: {len(items)} items, {len(interactions)} events at {speed:g}")
        assert lag() == 30 + (1_000 - 900)
        assert ahead == (5_000 if speed else 20_000)
        for item in items:
            vector = ItemVector(item.item_id, b"", "", "", [], True, 0.0)
            self.bus.send([Output("item-vectors", b"mug", encode(vector))])
        if self.view.phase == "first training" and self.goes_live:
            self.view.sampler.versions = [VERSION]
            self.view.sampler.serving = "v1" if self.promoted else None


def played(stage: Stage) -> Script:
    script = Script(SHOW, stage.play, cast(Running, stage))
    script.start()
    assert script.over.wait(5.0)
    return script


def test_the_script_goes_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAP_S", 0.01)
    stage = Stage()
    assert played(stage).error is None
    assert stage.phases == [
        "embedding the catalogue, warming up: 1 items, 50 events at 0",
        "first training: 0 items, 400 events at 0",  # two model-health records of 200
        "the season: 0 items, 2 events at 2",
    ]
    assert stage.view.phase == "finishing"


@pytest.mark.parametrize(("answered", "least_s", "most_s"), [({"j1"}, 0.0, 0.25), (set(), 0.3, 2.0)])
def test_the_end_waits_for_the_training_that_runs_but_not_for_the_next(
    answered: set[str], least_s: float, most_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NAP_S", 0.01)
    monkeypatch.setattr(module, "LAST_TRAINING_S", 0.3)
    stage = Stage()
    jobs = [TrainingJob(name, 9.0, "refresh", "users", {}, {0: 9}, {0: 4}, "v1", 3) for name in ("j1", "j2")]
    stage.bus.send([Output("training-jobs", job.job_id.encode(), encode(job)) for job in jobs])
    stage.view.sampler.answered = answered
    began_s = time.monotonic()
    assert played(stage).error is None
    assert least_s <= time.monotonic() - began_s <= most_s


def test_a_first_version_that_does_not_come_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAP_S", 0.01)
    monkeypatch.setattr(module, "FIRST_TRAINING_S", 0.05)
    error = played(Stage(goes_live=False)).error
    assert isinstance(error, TrainingError)
    assert "the first training must give a version within 0 s, but has not ended" in str(error)
    assert "but ended: failed: disk full; logs" in str(played(Stage(promoted=False)).error)


def test_a_signal_ends_every_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAP_S", 0.01)
    stage = Stage(goes_live=False)
    stage.stop.set()
    assert played(stage).error is None


def test_an_error_of_the_player_is_kept() -> None:
    stage = Stage()

    def gone(*args: object) -> None:
        raise BrokerError("the broker does not answer")

    stage.play = gone  # type: ignore[method-assign,assignment]
    assert str(played(stage).error) == "the broker does not answer"


def test_only_versions_are_removed(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "v1").mkdir(parents=True)
    assert list(fresh(models).iterdir()) == []
    assert fresh(tmp_path / "new").is_dir()
    (models / "thesis.txt").write_text("dear")
    with pytest.raises(SettingsError, match=r"must hold nothing but versions of a run before, got 'thesis\.txt'"):
        fresh(models)
    assert (models / "thesis.txt").exists()
