"""What a training may learn from: erasure, event time, horizons, and damage on the topics."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from stream.bus import MemoryBus
from stream.errors import StateError
from stream.gathering import gather, newer_vectors, spans, weight_of, worded
from stream.messages import AdaptedVector, ItemVector, TrainingJob, UserState, as_bytes, encode
from stream.records import Output
from stream.settings import Settings, load


def acted(user: str, item: str, at_s: float, **fields: Any) -> Output:
    event = {"event_id": f"{user}{item}{at_s}", "user_id": user, "item_id": item, "at": int(at_s * 1000)} | fields
    return Output("interactions", user.encode(), msgspec.json.encode(event), 0)


def state(user: str, since_s: float = 0.0, tail: tuple[tuple[str, float], ...] = (), **fields: Any) -> Output:
    items, times_s = [item for item, _ in tail], [at_s for _, at_s in tail]
    drift = fields.get("drift", [])
    gaps_s = [int(at_s - before) for before, at_s in zip([0.0, *times_s], times_s, strict=False)]
    made = UserState(user, 1, since_s, 9.0, "", b"", b"", {}, items, gaps_s, [], drift, [], 0, "", [])
    return Output("user-states", user.encode(), encode(made), 0)


def item(name: str, *vector: float) -> Output:
    made = ItemVector(name, as_bytes(np.array(vector, np.float32)), name, name, [], True, 0.0)
    return Output("item-vectors", name.encode(), encode(made), 0)


def job(horizon: int, at_s: float = 100.0, kind: str = "refresh") -> TrainingJob:
    return TrainingJob("j1", at_s, kind, "clock", {}, {0: horizon}, {}, "v1", 0)


def gathered(outputs: list[Output], asked: TrainingJob | None = None, settings: Settings | None = None) -> list[str]:
    bus = MemoryBus()
    bus.send(outputs)
    asked = asked or job(bus.ends("interactions")[0])
    return [f"{e.user_id} {e.item_id} {e.at_s:g}" for e in gather(bus, settings or Settings(), asked).log]


def test_window_and_tails_are_one_log() -> None:
    tail = (("mug", 1.0), ("cup", 5.0))
    outputs = [acted("ann", "cup", 5.0, group="b7"), acted("bob", "tin", 3.0), state("ann", tail=tail), state("bob")]
    assert gathered(outputs) == ["ann mug 1", "bob tin 3", "ann cup 5"]


def test_only_people_with_a_live_state_count() -> None:
    outputs = [acted(user, "mug", 5.0) for user in ("ann", "bob", "eve")]
    outputs += [state("ann"), state("bob"), Output("user-states", b"bob", None, 0)]
    assert gathered(outputs) == ["ann mug 5"]


def test_what_came_before_an_erasure_is_not_learned() -> None:
    outputs = [
        acted("ann", "mug", 5.0),
        acted("ann", "cup", 8.0),
        state("ann", tail=(("mug", 5.0),)),
        state("ann", 8.0),
    ]
    assert gathered(outputs) == ["ann cup 8"]


def test_nothing_later_than_the_job_is_learned() -> None:
    outputs = [acted("ann", "mug", 5.0), acted("ann", "cup", 8.0), acted("ann", "tin", 6.0)]
    outputs += [state("ann", tail=(("lid", 6.5), ("pan", 9.0)))]
    assert gathered(outputs, job(2, at_s=7.0)) == ["ann mug 5", "ann lid 6"]  # tails keep whole seconds


def test_events_without_weight_and_malformed_ones_are_left_out() -> None:
    outputs = [acted("ann", "mug", 5.0, event="search"), acted("ann", "cup", 6.0, event="view"), state("ann")]
    outputs += [Output("interactions", b"ann", b"{", 0)]
    assert gathered(outputs) == ["ann cup 6"]
    assert weight_of("wishlist", Settings().users) == 1.0


def test_repeats_may_be_dropped() -> None:
    outputs = [acted("ann", "mug", 5.0), acted("ann", "mug", 6.0), state("ann", tail=(("mug", 2.0),))]
    assert gathered(outputs, settings=load(scoring={"repeats": False})) == ["ann mug 2"]


def test_a_warm_up_reads_everything_and_a_refresh_its_window() -> None:
    assert spans(job(500, kind="warm-up"), window_events=100) == {0: (0, 500)}
    assert spans(job(500), window_events=100) == {0: (400, 500)}
    assert spans(TrainingJob("j", 0, "refresh", "", {}, {0: 10, 1: 90, 2: 0}, {}, "", 0), 100) == {
        0: (0, 10), 1: (56, 90), 2: (0, 0)
    }  # fmt: skip


def test_events_after_an_alarm_are_marked() -> None:
    bus = MemoryBus()
    bus.send([acted("ann", "mug", 5.0), acted("ann", "cup", 7.0), state("ann", drift=[12.0, 6.0])])
    assert [e.drifted for e in gather(bus, Settings(), job(2)).log] == [False, True]


def test_vectors_of_items() -> None:
    bus = MemoryBus()
    bus.send([item("mug", 1, 2), item("cup", 3, 4), item("cup", 5, 6), item("tin"), item("lid", 7, 8)])
    bus.send([Output("item-vectors", b"lid", None, 0)])
    data = gather(bus, Settings(), job(0))
    assert sorted(data.items) == ["cup", "mug", "tin"]
    assert data.vectors(["cup", "new", "tin", "mug"]).tolist() == [[5, 6], [0, 0], [0, 0], [1, 2]]
    assert gather(MemoryBus(), Settings(), job(0)).vectors(["cup"]).tolist() == [[0]]


@pytest.mark.parametrize("topic", ["user-states", "item-vectors"])
def test_damage_on_the_topics_is_named(topic: str) -> None:
    with pytest.raises(StateError, match=topic):
        gathered([Output(topic, b"x", b"\x93", 0)])


def test_what_people_have_is_taken_from_a_longer_past_than_the_window() -> None:
    bus = MemoryBus()
    bus.send([acted("ann", name, float(n)) for n, name in enumerate(("mug", "cup", "mug", "tin"))])
    bus.send([acted("eve", "cup", 4.0), state("ann", since_s=1.0, tail=(("lid", 1.0),))])
    short = Settings().training.model_copy(update={"window_events": 2, "history_events": 4})
    settings = Settings().model_copy(update={"training": short})
    data = gather(bus, settings, job(5))
    assert [e.item_id for e in data.log] == ["lid", "tin"]
    took = {(took.user_id, took.item_id): took.at_s for took in data.past}
    assert took == {("ann", "cup"): 1.0, ("ann", "mug"): 2.0, ("ann", "tin"): 3.0, ("ann", "lid"): 1.0}


def test_events_about_no_item_are_passed_over() -> None:
    search = {"event_id": "q", "user_id": "ann", "at": 4000, "text": "a lamp", "event": "purchase"}
    said = Output("interactions", b"ann", msgspec.json.encode(search), 0)
    assert gathered([said, acted("ann", "mug", 5.0), state("ann")]) == ["ann mug 5"]


def test_the_wording_is_that_of_the_catalogue_now() -> None:
    bus = MemoryBus()
    said = [("mug", {"item_id": "mug", "title": "Old"}), ("mug", {"item_id": "mug", "title": "Mug"}), ("x", {"a": 1})]
    bus.send([Output("items", key.encode(), msgspec.json.encode(value), 0) for key, value in said])
    bus.send([Output("items", b"cup", b'{"item_id": "cup"}', 0), Output("items", b"cup", None, 0)])
    wording = worded(bus, Settings(), 4)
    assert (wording.item_ids, wording.texts, wording.extra.shape) == (["mug"], ["Mug"], (1, 4))


def test_newer_vectors_are_those_of_one_adapter() -> None:
    bus = MemoryBus()
    made = [AdaptedVector(*which, as_bytes(np.ones(2))) for which in (("mug", "a"), ("cup", "b"), ("hat", "a"))]
    bus.send([Output("adapted-vectors", message.key, encode(message), 0) for message in made])
    bus.send([Output("adapted-vectors", b"hat\x00a", None, 0)])
    assert {item: vector.tolist() for item, vector in newer_vectors(bus, "a").items()} == {"mug": [1.0, 1.0]}
    bus.send([Output("adapted-vectors", b"hat\x00a", b"torn", 0)])
    with pytest.raises(StateError, match=r"adapted-vectors\[0\]@4 cannot be read"):
        newer_vectors(bus, "a")
