"""The benchmark of what is found in the population: its arithmetic, on made-up records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import population, worlds
from stream.messages import BlockLoss, ModelHealth

EACH = 200


def records(kind: str, seed: int) -> list[ModelHealth]:
    """Blocks of one event every ten minutes; after the change those of Toys lose 2 nats more, unless it is calm."""
    rng, out = np.random.default_rng(seed), []
    for n in range(40):
        blocks = []
        for k in range(EACH):
            at_s = worlds.CHANGE_S + (n * EACH + k - 6_000) * 600.0
            segment = ("Toys", "Garden", "Books")[int(rng.integers(3))]
            more = 2.0 * (kind != "null" and at_s >= worlds.CHANGE_S and segment == "Toys")
            blocks.append(BlockLoss(at_s, 1, float(rng.normal(4, 2) + more), 0.0, 0.0, segment=segment, group=k % 64))
        seen = (n + 1) * EACH
        out.append(ModelHealth(0, 0.0, seen, seen, 5, 0, 0, 0.0, 0, 0, 0, "v1", "", blocks, 0))
    return out


def test_a_change_is_found_with_the_record_that_shows_it_and_calm_logs_raise_nothing() -> None:
    given = population.parsed(["--kinds", "null,segment", "--seeds", "0,1", "--drawn", "20000"])
    found: dict[str, Any] = population.figures(records, given)
    assert found["segment"] == {
        "delay_events": [200, 200],
        "found_within_1000": 2,
        "first": ["Toys", "Toys"],
        "everybody": [400, 400],
        "false_before": [[], []],
    }
    assert found["null"] == {"events": [8_000, 8_000], "false": [[], []]}
    assert found["drawn"] == {"events": 40_000, "false": [0, 0], "false_per_50000": 0.0}


def test_a_calm_log_must_be_long_enough_to_be_drawn_from() -> None:
    with pytest.raises(ValueError, match="over 1700 blocks after its warm-up, got 0 more"):
        population.drawn(records("null", 0)[:5], 50_000, 1_000, 0)


def test_a_kind_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        population.parsed(["--kinds", "null,rain"])
    assert "--kinds must be of null, users" in capsys.readouterr().err


def test_records_are_kept_and_logs_share_their_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"dim": 8, "layers": 1, "heads": 2, "context": 10}
    plain = worlds.settings
    monkeypatch.setattr(population, "AFTER", 60)
    monkeypatch.setattr(
        worlds, "settings", lambda seed, **t: plain(seed, **t).model_copy(update={"model": plain(0).model.model_copy(
            update=small), "training": plain(0).training.model_copy(update={"max_steps": 5})}))  # fmt: skip
    found = population.main(
        ["--kinds", "null,tastes", "--events", "600", "--out", str(tmp_path), "--drawn", "0", "--seeds", "3"]
    )
    assert found["tastes"]["delay_events"] == [None]
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {"null", *worlds.PLANTS} - {*worlds.APART}
    null, tastes = (population.Recorder(tmp_path, 600).health(kind, 3) for kind in ("null", "tastes"))
    assert null[0] == tastes[0]
    assert json.dumps(found)
