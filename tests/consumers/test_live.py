from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import pytest
from rich.console import Console

from consumers.live import View
from consumers.samples import Sampler
from stream.bus import MemoryBus
from stream.errors import BrokerError
from stream.events import Recommendation, Recommended
from stream.events import encode as encode_outside
from stream.messages import DriftAlarm, ItemVector, ModelVersion, TrainingJob, UserState, as_bytes, encode
from stream.records import Output

NAMES = ["encoder", "interest", "scorer", "trigger", "tuner"]
ZERO = as_bytes(np.zeros(64, np.float32))
FIGURES: Mapping[str, Mapping[tuple[str, ...], float]] = {
    "interest": {("events_total",): 1_000.0, ("users",): 40.0, ("event_timestamp_seconds",): 1_314_835_200.0,
                 ("ready",): 1.0, ("lag_records", "interactions", "0"): 1_234.0,
                 ("alarms_total", "user", "page_hinkley"): 3.0},
    "scorer": {("events_total",): 900.0, ("live_version_info", "v1"): 1.0, ("tested_total", "v1"): 100.0,
               ("hits_10_total", "arrival", "v1"): 12.0, ("hits_10_total", "served", "v1"): 9.0,
               ("hits_10_total", "popularity", "v1"): 3.0, ("ready",): 1.0},
    "tuner": {("training_progress_ratio", "population"): 0.4},
}  # fmt: skip
JOB = TrainingJob("j2", 90.0, "refresh", "population", {}, {0: 9}, {0: 4}, "v1", 3)


def version(name: str, job: str) -> ModelVersion:
    return ModelVersion(name, "promoted", "", 100.0, 0.0, {0: 9}, job, "warm-up", {}, "p", "", "", 40, 31.5, 900, {}, 0)


def state(user: str, seq: int) -> UserState:
    return UserState(user, seq, 0.0, 60.0, "s", ZERO, ZERO, {"Toys": 1.0}, ["mug"], [60], [], [], [], 3, "b", [])


def filled() -> MemoryBus:
    bus = MemoryBus()
    item = Recommended(item_id="pot", score=1.0, reasons={"interests": 0.4}, why="Close to your interests.")
    for user, seq in (("ann", 52), ("bob", 2)):  # bob has done too little to be shown
        listed = Recommendation(user_id=user, at="1970-01-01T00:01:00Z", model_version="v1", items=[item], answers="e",
                                horizon="")  # fmt: skip
        bus.send([Output("user-states", user.encode(), encode(state(user, seq)))])
        bus.send([Output("recommendations", user.encode(), encode_outside(listed))])
    vectors = [ItemVector(i, b"", t, "", [], True, 0.0) for i, t in (("mug", "Red mug"), ("pot", "Flower pot"))]
    bus.send([Output("item-vectors", v.item_id.encode(), encode(v)) for v in vectors])
    bus.send([Output("model-versions", b"v1", encode(version("v1", "j1")))])
    bus.send([Output("training-jobs", b"j2", encode(JOB))])
    alarm = DriftAlarm("ann", 0.0, "user", "rank", "page_hinkley", 4.0, 3.0, 40, ["Toys"], ["Books"], 2)
    bus.send([Output("drift-alarms", b"ann", encode(alarm))])
    return bus


def test_the_sampler_reads_on_from_where_it_was() -> None:
    bus = filled()
    sampler = Sampler(bus)
    sampler.refresh()
    assert [job.job_id for job in sampler.outstanding] == ["j2"]
    assert sampler.serving is not None
    assert sampler.serving.version == "v1"
    assert sampler.alarm == "ann: Interests moved on 1970-01-01 towards Toys and away from Books."
    assert sampler.person is not None
    assert (sampler.person.user_id, sampler.person.listed[0].why) == ("ann", "Close to your interests.")
    bus.send([Output("model-versions", b"v2", encode(version("v2", "j2")))])
    sampler.refresh()
    assert sampler.outstanding == []
    assert [v.version for v in sampler.versions] == ["v1", "v2"]


def test_the_sampler_bears_a_broker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(filled())
    sampler.refresh()

    def gone(topic: str) -> dict[int, int]:
        raise BrokerError("the broker does not answer", retriable=True)

    monkeypatch.setattr(MemoryBus, "ends", lambda self, topic: gone(topic))
    sampler.refresh()
    assert sampler.person is not None


def view(*, terminal: bool) -> tuple[View, io.StringIO, list[float]]:
    out, clock = io.StringIO(), [100.0]
    console = Console(file=out, force_terminal=terminal, width=130, height=50, color_system=None)
    return View(filled(), NAMES, lambda name: FIGURES.get(name, {}), console, lambda: clock[0]), out, clock


def test_on_a_terminal_everything_is_seen() -> None:
    shown, out, _ = view(terminal=True)
    with shown:
        shown.phase = "the season"
        shown.refresh()
    text = out.getvalue()
    for words in ("the season", "2011-09-01 00:00", "1,234", "silent", "on arrival", ".120", "served", ".090",
                  "popularity", ".030", "alarms of users", "Page-Hinkley", "promoted (warm-up, 32 s)", "Red mug",
                  "Flower pot", "Close to your interests.", "v1"):  # fmt: skip
        assert words in text, words


def test_elsewhere_it_is_one_line_every_five_seconds() -> None:
    shown, out, clock = view(terminal=False)
    with shown:
        for _ in range(12):  # one second apart
            shown.refresh()
            clock[0] += 1.0
    lines = out.getvalue().splitlines()
    assert len(lines) == 3  # at 0, 5 and 10 s
    assert lines[1].startswith("   5 s | starting | 2011-09-01 | encoder 0/s lag 0 interest 0/s lag 1,234")
    assert "training (population) 40%" in lines[1]
    assert lines[1].endswith("hit rate: on arrival .120, served .090, popularity .030")


def test_before_anything_answers() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=130, color_system=None)
    with View(MemoryBus(), NAMES, lambda name: {}, console) as shown:
        shown.refresh()
    assert "warming up" in out.getvalue()
    assert "none yet" in out.getvalue()
