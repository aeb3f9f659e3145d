"""A bad version that was forced live past the gate: the whole chain notices, goes back to its parent, and goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consumers.loop import Stage
from consumers.replay import Replay, _adapted
from producers.synthetic import Plan, World
from stream import events, messages, topics
from stream.linear import LinearModel
from stream.lm import NextItemLM
from stream.messages import ModelVersion, Ruling
from stream.records import Output
from stream.settings import Settings, load
from stream.store import ModelStore
from stream.text import TextEncoder

EVENTS, BEFORE, FORCED = 2_200, 1_000, 1_400


def settings(**changes: Any) -> Settings:
    base: dict[str, Any] = {
        "users": {"tail": 200},
        "model": {"dim": 16, "layers": 1, "heads": 2, "context": 20},
        "training": {"warm_up_epochs": 4, "max_steps": 120, "batch_size": 16},
        "trigger": {"policy": "never", "go_live_delay_s": 4 * 86_400.0},  # longer than any batch
        "gate": {"rollback_confidence": 0.9},  # few events, and a model that says little
        "scoring": {"health_events": 50, "blend_prior": 1e5},  # the blend goes on trusting what it is given
    }
    merged: dict[str, Any] = {name: {**base.get(name, {}), **changes.get(name, {})} for name in base | changes}
    return load(**merged)


def upside_down(lm: NextItemLM) -> NextItemLM:
    """What it put first comes last."""
    if lm.linear is None:
        raise ValueError("the version must have a linear model")
    alike, after = (replace(table, weights=-table.weights) for table in (lm.linear.alike, lm.linear.after))
    weights = lm.weights | {"scale": -lm.weights["scale"]}
    return NextItemLM(lm.shape, lm.item_ids, weights, LinearModel(lm.linear.item_ids, alike, after), lm.adapted)


def forced(run: Replay) -> None:
    """Put a bad child of v1 live, past the gate."""
    store, parent = run.store, run.scorer.shelf.live
    assert parent is not None
    at = Path(run.settings.store.path) / "bad"
    upside_down(NextItemLM.load(store.fetch(parent.version))).save(at)
    published, now_s = store.publish(at, "v2"), run.scorer.parts[0].clock_s
    version = ModelVersion(
        "v2", "promoted", "v1", now_s, now_s, {}, "forced", "clock", {}, published.path, published.checksum, "",
        1, 1.0, 1, {}, 0.0,
    )  # fmt: skip
    run.feed([Output(topics.MODEL_VERSIONS, b"v2", messages.encode(version))])


def played(tmp_path: Path, size: int, restart_every: int = 0, **changes: Any) -> Replay:
    made = World(Plan(users=60, items=80, events=EVENTS, days=60, swaps=0, gradual=0, focus=0.9, popularity=0, seed=3))
    chosen = _adapted(settings(**changes), BEFORE, tmp_path)
    run = Replay(chosen, ModelStore(chosen.store), None, TextEncoder.tiny())
    run.bus.max_poll_records = size
    run.feed([Output(topics.ITEMS, item.item_id.encode(), events.encode(item)) for item in made.items])
    records = [Output(topics.INTERACTIONS, e.user_id.encode(), events.encode(e)) for e in made.interactions()]
    for number, begin in enumerate(range(0, len(records), size)):
        if restart_every and number % restart_every == restart_every - 1:
            run.stages = [Stage(name, handler, run.bus) for name, handler in run.handlers()]
        if begin == FORCED:
            forced(run)
        run.feed(records[begin : begin + size])
    return run


def rulings(run: Replay) -> list[Ruling]:
    return [version for version in run.versions if isinstance(version, Ruling)]


def lists(run: Replay) -> list[events.Recommendation]:
    return [events.decode(events.Recommendation, r.value) for r in run.bus.read(topics.RECOMMENDATIONS)]


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    return played(tmp_path_factory.mktemp("store"), 100)


def test_a_bad_version_is_rolled_back_and_lists_go_on(steady: Replay) -> None:
    (ruling,) = rulings(steady)
    assert (ruling.version, ruling.ruling) == ("v2", "rollback")
    assert steady.scorer.shelf.live is not None
    assert steady.scorer.shelf.live.version.version == "v1"
    assert steady.scorer.shelf.swaps["rolled_back"] == 1
    made = [one.model_version for one in lists(steady)]
    assert [name for i, name in enumerate(made) if i == 0 or made[i - 1] != name][-3:] == ["v1", "v2", "v1"]
    assert made.count("v2") < 800
    assert made[-1] == "v1"


def test_batches_and_restarts_change_nothing(steady: Replay, tmp_path: Path) -> None:
    other = played(tmp_path, 50, restart_every=3)
    assert [messages.encode(r) for r in rulings(other)] == [messages.encode(r) for r in rulings(steady)]
    told = [[r.value for r in run.bus.read(topics.MODEL_HEALTH)] for run in (steady, other)]
    assert told[0] == told[1]
    at_end = [{one.user_id: (one.model_version, one.items) for one in lists(run)} for run in (steady, other)]
    assert at_end[0] == at_end[1]
