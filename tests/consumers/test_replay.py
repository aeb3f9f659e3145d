"""The whole chain on the MemoryBus: deterministic, and the same however it is batched and interrupted."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from consumers.loop import Stage
from consumers.replay import Replay, _adapted, has_repeats, replay, warm_up
from producers.synthetic import Plan, World
from stream import events, messages, topics
from stream.errors import LogError
from stream.events import Interaction, Item
from stream.records import Output
from stream.settings import Settings, load
from stream.store import ModelStore
from stream.text import TextEncoder

EVENTS, BEFORE = 900, 300


@pytest.fixture(scope="module")
def world() -> tuple[list[Item], list[Interaction]]:
    made = World(Plan(users=30, items=60, events=EVENTS, days=60, swaps=0.5, seed=3))
    return list(made.items), list(made.interactions())


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.tiny()


def settings(**changes: Any) -> Settings:
    base: dict[str, Any] = {
        "users": {"tail": 200},  # whole histories: what a training reads is then what there was at its horizon
        "model": {"dim": 16, "layers": 1, "heads": 2, "context": 20},
        "training": {"window_events": 400, "warm_up_epochs": 1, "epochs": 1, "max_steps": 15, "batch_size": 16},
        "trigger": {"policy": "clock", "clock_events": 300, "min_new_events": 100, "go_live_delay_s": 20 * 86_400.0},
        "gate": {"bootstrap": 100},
        "scoring": {"health_events": 50},
    }
    for section, values in changes.items():
        base[section] = {**base.get(section, {}), **values} if isinstance(values, dict) else values
    return load(**base)


def played(world: Any, encoder: TextEncoder, **changes: Any) -> tuple[dict[str, Any], bytes]:
    lists = io.BytesIO()
    items, interactions = world
    result = replay("made", items, interactions, settings(**changes), recommendations=lists, encoder=encoder)
    return result, lists.getvalue()


def test_the_same_log_gives_the_same_bytes(world: Any, encoder: TextEncoder) -> None:
    one, lists = played(world, encoder, trigger={"go_live_delay_s": 600.0})
    two, again = played(world, encoder, trigger={"go_live_delay_s": 600.0})
    assert lists == again
    assert lists.count(b"\n") == one["recommendations"] > 300
    timed = {"wall_seconds", "events_per_second", "peak_rss_mb", "training_seconds", "trainings"}
    assert {k: v for k, v in one.items() if k not in timed} == {k: v for k, v in two.items() if k not in timed}


def test_what_a_replay_tells(world: Any, encoder: TextEncoder) -> None:
    result, lists = played(world, encoder, trigger={"go_live_delay_s": 600.0})
    assert result["events"] == EVENTS
    assert result["warm_up_events"] == EVENTS // 5
    assert result["tested"] == EVENTS - EVENTS // 5
    assert result["parked"] == 0
    first, *others = result["trainings"]
    assert (first["trigger"], first["verdict"], first["version"]) == ("warm-up", "promoted", "v1")
    assert others
    assert {t["trigger"] for t in others} == {"clock"}
    assert all("gain" in t["gate"] and "reason" in t["gate"] for t in others)
    assert 0 < result["popularity_hit_rate_10"] < result["hit_rate_10"] < result["hit_rate_20"] < 1
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    last = [events.decode(events.Recommendation, line) for line in lists.splitlines()][-1]
    assert last.model_version.startswith("v")
    assert last.horizon < last.at


def test_policy_never_trains_once(world: Any, encoder: TextEncoder) -> None:
    result, _ = played(world, encoder, trigger={"policy": "never"})
    assert [t["trigger"] for t in result["trainings"]] == ["warm-up"]


def fed(world: Any, encoder: TextEncoder, tmp_path: Path, size: int, restart_every: int = 0, **changes: Any) -> Replay:
    """The log in batches of `size`, not block by block; with handlers made anew from their changelogs now and then."""
    items, interactions = world
    chosen = _adapted(settings(**changes), BEFORE, tmp_path)
    run = Replay(chosen, ModelStore(chosen.store), None, encoder)
    run.bus.max_poll_records = size
    run.feed([Output(topics.ITEMS, item.item_id.encode(), events.encode(item)) for item in items])
    records = [Output(topics.INTERACTIONS, e.user_id.encode(), events.encode(e)) for e in interactions]
    for number, begin in enumerate(range(0, len(records), size)):
        if restart_every and number % restart_every == restart_every - 1:
            handlers = run.handlers()
            run.stages = [Stage(name, handler, run.bus) for name, handler in handlers]
        run.feed(records[begin : begin + size])
    return run


def outcome(run: Replay) -> dict[str, Any]:
    """Everything that must not depend on batches or restarts."""
    lists: dict[tuple[str, str], Any] = {}
    for record in run.bus.read(topics.RECOMMENDATIONS):
        made = events.decode(events.Recommendation, record.value)
        lists[made.user_id, made.at] = [(i.item_id, i.score) for i in made.items]  # the one that stands
    states = {}
    for record in run.bus.read(topics.USER_STATES):
        state = messages.decode(messages.UserState, record.value)
        state.fresh = []
        states[state.user_id] = messages.encode(state)
    versions = [messages.decode_version(r.value) for r in run.bus.read(topics.MODEL_VERSIONS)]
    return {
        "lists": lists,
        "states": states,
        "alarms": [r.value for r in run.bus.read(topics.DRIFT_ALARMS)],
        "health": [r.value for r in run.bus.read(topics.MODEL_HEALTH)],
        "jobs": [r.value for r in run.bus.read(topics.TRAINING_JOBS)],
        "versions": [(v.version, getattr(v, "checksum", ""), getattr(v, "verdict", "")) for v in versions],
    }


@pytest.fixture(scope="module")
def one_by_one(world: Any, encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return outcome(fed(world, encoder, tmp_path_factory.mktemp("store"), 1))


def assert_same(one: dict[str, Any], two: dict[str, Any], keys: Sequence[str] = ()) -> None:
    for key in keys or one:
        assert one[key] == two[key], key


@pytest.mark.parametrize("size", [7, 500])
def test_batches_change_nothing(
    size: int, world: Any, encoder: TextEncoder, one_by_one: dict[str, Any], tmp_path: Path
) -> None:
    assert_same(one_by_one, outcome(fed(world, encoder, tmp_path, size)))


def test_restarts_change_nothing(world: Any, encoder: TextEncoder, one_by_one: dict[str, Any], tmp_path: Path) -> None:
    assert_same(one_by_one, outcome(fed(world, encoder, tmp_path, 37, restart_every=5)))


@pytest.fixture(scope="module")
def adapting(encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings that adapt a tiny encoder named by its path, behind a gate that lets pass what is not much worse."""
    path = tmp_path_factory.mktemp("encoder")
    encoder.save(path)
    training = {"text_adapter": True, "adapter_steps": 5, "adapter_rank": 2, "adapter_learning_rate": 0.02}
    trigger = {"clock_events": 200, "go_live_delay_s": 12 * 86_400.0}  # a version lives on for half the log
    gate = {"confidence": 0.51, "mrr_margin": 0.9}
    return {"model": {"encoder": str(path)}, "training": training, "trigger": trigger, "gate": gate}


def test_adapters_are_the_same_whatever_the_batches(
    world: Any, encoder: TextEncoder, adapting: dict[str, Any], tmp_path: Path
) -> None:
    one = fed(world, encoder, tmp_path / "one", 1, **adapting)
    other = fed(world, encoder, tmp_path / "other", 130, restart_every=2, **adapting)
    assert_same(outcome(one), outcome(other))
    versions = [v for v in one.versions if isinstance(v, messages.ModelVersion)]
    assert versions[0].adapter == ""  # nothing could judge a first one
    kept = [v for v in versions if v.adapter]
    assert len({v.adapter for v in kept}) == len(kept) > 0
    assert one.scorer.shelf.live is not None
    assert one.scorer.shelf.live.model.adapter in {v.adapter for v in kept}
    frozen = adapting | {"training": {"text_adapter": False}}
    without = outcome(fed(world, encoder, tmp_path / "without", 130, **frozen))
    assert outcome(one)["lists"] != without["lists"]
    assert outcome(one)["states"] == without["states"]  # drift is measured in the base space
    late = events.encode(Item(item_id="late", title="late garden thing"))
    one.feed([Output(topics.ITEMS, b"late", late)])
    under = {messages.decode(messages.AdaptedVector, r.value).adapter for r in one.bus.read(topics.ADAPTED_VECTORS)}
    assert one.scorer.shelf.live.model.adapter in under


def test_what_people_say_is_replayed_whatever_a_poll_holds(encoder: TextEncoder) -> None:
    made = World(Plan(users=30, items=60, events=300, days=60, swaps=0.5, says=1.0, seed=3))
    talking = list(made.items), list(made.interactions())
    silent = talking[0], [event for event in talking[1] if event.item_id]
    chosen = {"trigger": {"policy": "never"}}
    (one, lists), (other, _) = (
        played(talking, encoder, kafka={"max_poll_records": size}, **chosen) for size in (500, 1)
    )
    without, fewer = played(silent, encoder, **chosen)
    figures = ("tested", "hit_rate_10", "ndcg_10", "served_hit_rate_10", "catalogue_hit_rate_10", "events", "parked")
    assert {k: one[k] for k in figures} == {k: other[k] for k in figures}
    assert (one["events"], one["tested"], one["warm_up_events"]) == (300 + 18, 240, 60)
    assert (without["tested"], without["warm_up_events"]) == (240, 60)
    answered = {events.decode(events.Recommendation, line).answers for line in lists.splitlines()}
    after_warm_up = {e.event_id for e in made.searches() if e.at_s > silent[1][60].at_s}
    assert after_warm_up
    assert after_warm_up == {name for name in answered if name.startswith("said-")}
    assert lists != fewer


def test_an_erased_person_leaves_no_trace(world: Any, encoder: TextEncoder, tmp_path: Path) -> None:
    run = fed(world, encoder, tmp_path, 500)
    someone = world[1][-1].user_id
    erasure = events.Erasure(user_id=someone, at=world[1][-1].at)
    run.feed([Output(topics.ERASURES, someone.encode(), events.encode(erasure))])
    newest: dict[tuple[str, bytes | None], bytes | None] = {}
    for topic in (topics.USER_STATES, topics.SCORER_STATES, topics.RECOMMENDATIONS):
        newest |= {(topic, r.key): r.value for r in run.bus.read(topic)}
    of_them = [v for (_, key), v in newest.items() if key in (someone.encode(), b"u/" + someone.encode())]
    assert of_them == [None, None, None]


def test_warm_up_counts_what_counts() -> None:
    def bought(user: str, *items: str) -> list[Interaction]:
        return [Interaction(event_id=f"{user}{n}", user_id=user, item_id=i, at=n) for n, i in enumerate(items)]

    log = bought("ann", "a", "a", "a", "b", "c", "d", "e")  # first interactions at 0, 3, 4, 5, 6
    assert warm_up(log, repeats=True, share=0.5) == (7, 3)
    assert warm_up(log, repeats=False, share=0.5) == (7, 4)
    with pytest.raises(LogError, match="interactions must hold at least one record with an item, got none"):
        warm_up([], repeats=True)
    assert has_repeats(log, share=1.0)
    assert not has_repeats(log[2:], share=1.0)
    search = Interaction(event_id="q", user_id="ann", text="a lamp", at=0)
    assert warm_up([search, *log, search], repeats=True, share=0.5) == (9, 3)
    assert warm_up([search, *log, search], repeats=False, share=0.5) == (9, 4)
    assert not has_repeats([search] * 9 + log[2:], share=1.0)


def test_alarms_of_people_are_the_same_after_restarts(world: Any, encoder: TextEncoder, tmp_path: Path) -> None:
    sensitive: dict[str, Any] = {"drift": {"threshold": 0.5, "reaction_events": 5}, "trigger": {"policy": "never"}}
    one = outcome(fed(world, encoder, tmp_path / "one", 37, **sensitive))
    assert len(one["alarms"]) >= 5
    assert_same(one, outcome(fed(world, encoder, tmp_path / "other", 53, restart_every=3, **sensitive)), ["alarms"])
