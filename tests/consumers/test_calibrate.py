"""`meander calibrate`: thresholds from a log's own null."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from math import inf
from pathlib import Path

import numpy as np
import pytest

from consumers.calibrate import Crowd, calibrate
from producers import synthetic
from stream.drift import Detector
from stream.errors import LogError
from stream.events import Interaction, Item
from stream.settings import Settings, load
from stream.space import Space
from stream.text import TextEncoder


@pytest.fixture(scope="module")
def log() -> tuple[Sequence[Item], list[Interaction]]:
    """Two hundred people and eight topics, of which nobody changes."""
    world = synthetic.World(synthetic.Plan(users=120, items=300, events=12_000, swaps=0.0, gradual=0.0, seed=3))
    return world.items, list(world.interactions())


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(trigger={"warm_up_events": 6_000})


def test_it_finds_what_the_settings_take(
    log: tuple[Sequence[Item], list[Interaction]], settings: Settings, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    encode = TextEncoder.tiny().encode
    result = calibrate("made", *log, settings, 1_000.0, encode)
    assert result["null_events"] >= 10_000
    assert "events without drift; in the order of the log" in capsys.readouterr().err
    (tmp_path / "meander.toml").write_text(result["toml"])
    taken = load(tmp_path / "meander.toml").drift
    assert (taken.threshold, taken.false_alarms_per_1000) == (result["threshold"], 1.0)
    rarer = calibrate("made", *log, settings, 4_000.0, encode)
    assert rarer["threshold"] > result["threshold"]
    assert tomllib.loads(rarer["toml"])["drift"]["false_alarms_per_1000"] == 0.25


def test_a_log_that_is_too_short_is_refused(log: tuple[Sequence[Item], list[Interaction]], settings: Settings) -> None:
    items, events = log
    encode = TextEncoder.tiny().encode
    with pytest.raises(LogError, match=r"false alarms per 100,000 events need a null of 1,000,000 events, got \d"):
        calibrate("made", items, events, settings, 100_000.0, encode)
    with pytest.raises(LogError, match="the first 6,000 interactions must hold more people to learn from"):
        calibrate("made", items, events[:200], settings, 1_000.0, encode)
    with pytest.raises(LogError, match="must hold interactions with two items or more, got 0"):
        calibrate("made", items, [], settings, 1_000.0, encode)


def test_where_repeats_do_not_count_histories_have_each_item_once(
    log: tuple[Sequence[Item], list[Interaction]],
) -> None:
    items, events = log
    once = load(scoring={"repeats": False})
    for settings, unique in ((load(), False), (once, True)):
        crowd = Crowd.of(items, events[:4_000], settings, 0.5, TextEncoder.tiny().encode)
        assert all(len(np.unique(rows)) == len(rows) for rows, _, _ in crowd.people) == unique
        assert sum(n for _, _, n in crowd.people) <= 2_000


def test_a_threshold_that_is_set_comes_before_that_of_the_warm_up(
    log: tuple[Sequence[Item], list[Interaction]], settings: Settings
) -> None:
    space = Crowd.of(*log, settings, 0.5, TextEncoder.tiny().encode).space.with_threshold(2.0)

    def of(space: Space, **drift: object) -> Detector:
        return space.detector(load(drift=drift).drift)

    assert of(space).threshold == 2.0
    assert of(space, threshold=3.5).threshold == 3.5
    assert of(space.with_threshold(inf)).on is False
    assert of(Space.random(16, 0), threshold=3.5).on is False  # it knows nobody
