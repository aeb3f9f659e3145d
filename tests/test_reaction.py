"""What an alarm changes: of people who turn into others more is hit, and without an alarm nothing is different."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.reaction import compared
from benchmarks.splice import splice
from producers.datasets import Dataset
from producers.synthetic import Plan, World
from stream.events import Interaction
from stream.settings import load
from stream.text import TextEncoder

TOLD = "told after 1"


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """A made log without any change, in which twenty people become others half-way; an alarm comes by itself."""
    made = World(Plan(users=60, items=160, events=6_000, days=60, swaps=0, gradual=0, focus=0.9, seed=5))
    data = Dataset("made", list(made.items), list(made.interactions()))
    spliced = splice(data.interactions, pairs=20, seed=0, dissimilar=True)
    settings = load(
        model={"dim": 16, "layers": 1, "heads": 2, "context": 20},
        training={"warm_up_epochs": 1, "max_steps": 15, "batch_size": 16},
        scoring={"repeats": False},
    )
    return compared(data, spliced, settings, [1], TextEncoder.tiny())


def test_people_who_turned_gain_once_it_is_known(found: dict[str, Any]) -> None:
    first = found["switched, events 1 to 20"]
    assert first["people"] == found["switched_people"] == 20
    assert first[TOLD]["hit_rate_10"]["gain"] >= 0.1
    assert first[TOLD]["hit_rate_10"]["ci95"][0] > 0
    assert first[TOLD]["ndcg_10"]["gain"] > 0


def test_without_an_alarm_nothing_changes(found: dict[str, Any]) -> None:
    assert found["alarms"]["user"] == 0
    assert found["switched, events 1 to 20"]["product"]["hit_rate_10"]["gain"] == 0
    assert found["stationary, all events"]["product"]["ndcg_10"] == {"gain": 0, "ci95": [0, 0]}


def test_a_spliced_person_goes_on_at_the_others_times_and_nobody_is_there_twice() -> None:
    log = [
        Interaction(
            event_id=f"{user}{n}", user_id=user, item_id=f"{user}{n}", at=1000 * (100 * n + k), user={"of": user}
        )
        for n in range(60)
        for k, user in enumerate("abcdef")
    ]
    made = splice(log, pairs=2, seed=1)
    assert len(made.switched) == 2
    gone = set("abcdef") - {event.user_id for event in made.interactions}
    assert len(gone) == 2
    times = [event.at_s for event in made.interactions]
    assert times == sorted(times)
    for user, before in made.switched.items():
        own = [event for event in made.interactions if event.user_id == user]
        assert {event.item_id[0] for event in own[:before] if event.item_id} == {user}
        (other,) = {event.item_id[0] for event in own[before:] if event.item_id}
        assert other in gone
        assert {event.user["of"] for event in own} == {user}
        assert made.since_s()[user] == own[before].at_s
        assert all(event in log for event in own[:before])
