from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from producers import terminal
from producers.datasets import Dataset
from stream.admin import TopicState
from stream.bus import MemoryBus
from stream.events import Interaction, Item
from stream.settings import Kafka, Settings


def state(end: int, group: str, committed: int) -> TopicState:
    return TopicState(1, {0: end}, {group: {0: committed}})


def test_the_slower_of_the_followers_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"interactions": state(100, "interest", 70), "user-states": state(60, "scorer", 10)}
    asked: list[Sequence[str]] = []

    def topic_states(kafka: Kafka, groups: Sequence[str]) -> dict[str, TopicState]:
        asked.append(groups)
        return states

    monkeypatch.setattr(terminal, "topic_states", topic_states)
    assert terminal.lag(Kafka()) == 50
    assert asked == [("interest", "scorer")]
    states.clear()
    assert terminal.lag(Kafka()) == 0


def test_makes_the_topics_sends_and_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Kafka] = []
    monkeypatch.setattr(terminal, "ensure_topics", made.append)
    monkeypatch.setattr(terminal, "topic_states", lambda kafka, groups: {})
    bus, out = MemoryBus(), io.StringIO()
    data = Dataset("shop", [Item(item_id="mug")],
                   [Interaction(event_id="e1", user_id="ann", item_id="mug", at=1)])  # fmt: skip
    terminal.produce(bus, data, Settings(), 0.0, Console(file=out))
    assert len(made) == 1
    assert bus.ends("interactions") == {0: 1}
    assert out.getvalue().endswith("sent 1 items and 1 interactions\n")
