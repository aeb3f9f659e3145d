"""The benchmark of cold start: arms, slices, and that all arms are tested on the same events."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.analysis import Analysis
from benchmarks.coldstart import AS_IT_IS, TAKEN, after_text, arms, compared, interval
from benchmarks.protocol import Log
from producers.datasets import Dataset
from producers.synthetic import Plan, World
from stream.events import Interaction, Item
from stream.settings import load
from stream.text import TextEncoder


def took(n: int, user: str, item: str | None, /, **more: object) -> Interaction:
    return Interaction(event_id=str(n), user_id=user, item_id=item, at=n * 60_000, **more)  # type: ignore[arg-type]


EVENTS = [
    took(0, "ann", "a"),
    took(1, "ann", None, text="a lamp"),
    *(took(n, "ann", f"i{n}") for n in range(2, 9)),
    took(9, "bob", None, user={"age": "30s"}),
    took(10, "bob", "b", text="lovely"),
    took(11, "bob", "c"),
]


def test_five_events_after_a_text_are_a_slice() -> None:
    log = Log.of(EVENTS, repeats=True, warm_up_share=0.0)
    assert [log.item_ids[i] for i in log.items[log.tested][after_text(EVENTS, log)]] == [
        "i2", "i3", "i4", "i5", "i6", "c"
    ]  # fmt: skip


def test_arms_lack_what_they_say_and_only_that() -> None:
    items = [Item(item_id="a", title="Lamp", at=5, available=False)]
    made = arms(Dataset("made", items, EVENTS), TAKEN)
    assert list(made) == [AS_IT_IS, *(f"without {name}" for name in TAKEN)]
    bare, silent, nobody = (made[f"without {name}"] for name in TAKEN)
    assert bare.items == [Item(item_id="a", at=5, available=False)]
    assert list(bare.interactions) == EVENTS
    assert [e.event_id for e in silent.interactions if e.item_id is None] == ["9"]
    assert not any(e.text for e in silent.interactions)
    assert [e.event_id for e in nobody.interactions if e.item_id is None] == ["1"]
    assert not any(e.user for e in nobody.interactions)
    assert list(arms(Dataset("plain", [Item(item_id="a")], EVENTS[:1]), TAKEN)) == [AS_IT_IS]


def test_an_interval_is_over_users_of_a_slice() -> None:
    analysis = Analysis(Log.of([took(n, f"u{n % 10}", "a") for n in range(100)], repeats=True, warm_up_share=0.0))
    hits = (analysis.users < 5).astype(float)
    low, high = interval(hits, np.ones(100, bool), analysis)
    assert 0.1 <= low < 0.5 < high <= 0.9
    assert interval(hits, analysis.users < 5, analysis)[1] == 1.0


@pytest.mark.parametrize("names", [[TAKEN[1]]])
def test_all_arms_are_tested_on_the_same_events(names: list[str]) -> None:
    world = World(Plan(users=20, items=40, events=150, days=20, swaps=0.5, says=1.0))
    settings = load(
        model={"dim": 16, "layers": 1, "heads": 2, "context": 10},
        training={"warm_up_epochs": 1, "max_steps": 4, "batch_size": 16},
        trigger={"policy": "never"},
    )
    data = Dataset("made", world.items, list(world.interactions()))
    found = compared(data, settings, names, TextEncoder.tiny())
    assert found["tested"]["all"] == 120
    assert 0 < found["tested"]["after a text"] < 120
    assert list(found["arms"]) == [AS_IT_IS, "without text of people"]
    one, other = (found["arms"][name]["all"] for name in found["arms"])
    minus = found["as_it_is_minus"]["without text of people"]["all"]
    for name in ("hit_rate_10", "ndcg_10", "catalogue_hit_rate_10"):
        assert minus[name] == pytest.approx(one[name] - other[name], abs=2e-5)
    assert one["popularity_hit_rate_10"] == other["popularity_hit_rate_10"]
    json.dumps(found, allow_nan=False)
