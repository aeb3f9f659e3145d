"""The measurement of the dial of diversity: beside a replay, and without a trace in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.diversity import Trial, Tried, diversity
from consumers.replay import replay
from producers.synthetic import Plan, World
from stream.settings import Settings, load
from stream.text import TextEncoder


def settings(dial: float) -> Settings:
    return load(
        model={"dim": 16, "layers": 1, "heads": 2, "context": 20},
        training={"warm_up_epochs": 1, "epochs": 1, "max_steps": 10, "batch_size": 16},
        trigger={"policy": "never"},
        scoring={"diversity": dial},
    )


def played() -> dict[str, Any]:
    made = World(Plan(users=20, items=60, events=400, days=60, seed=3))
    result = replay(
        "made",
        list(made.items),
        list(made.interactions()),
        settings(0.0),
        encoder=TextEncoder.tiny(),
        warm_up_share=0.2,
    )
    return {key: result[key] for key in ("tested", "hit_rate_10", "served_hit_rate_10", "coverage_10", "blend_weights")}


def test_all_values_beside_one_replay() -> None:
    alone = played()
    trial = Trial([Tried(settings(dial)) for dial in (0.0, 0.5, 0.9)])
    with trial.beside():
        beside = played()
    assert beside == alone
    figures = trial.figures()
    plain = figures["0"]
    assert len(trial.users) == alone["tested"]
    assert plain["hit_rate_10"] == pytest.approx(alone["hit_rate_10"], abs=0.01)  # of equals one is listed
    assert (plain["served_hit_rate_10"], plain["coverage_10"]) == (alone["served_hit_rate_10"], alone["coverage_10"])
    assert plain["hit_rate_10_minus_plain_ci95"] == [0.0, 0.0]
    within = [figures[dial]["diversity_within"] for dial in ("0", "0.5", "0.9")]
    assert within == sorted(within)
    assert within[-1] > within[0]


def test_diversity_within_a_list() -> None:
    assert diversity(np.eye(3, dtype=np.float32)) == 1.0
    assert diversity(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)) == pytest.approx(2 / 3)
    assert diversity(np.ones((1, 1), np.float32)) == 0.0
