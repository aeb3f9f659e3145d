from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from consumers import playback
from consumers.playback import opened, play, rolling, summary
from stream.errors import LogError
from stream.settings import Settings

RESULT: dict[str, Any] = {
    "dataset": "shop", "events": 1_200, "tested": 1_000, "hit_rate_10": 0.0961, "served_hit_rate_10": 0.0902,
    "popularity_hit_rate_10": 0.0331, "ndcg_10": 0.0492, "wall_seconds": 12.4, "events_per_second": 96.8,
    "trainings": [{"at": "2011-09-01T08:00:00.000Z", "version": "v1", "verdict": "promoted", "trigger": "warm-up",
                   "examples": 1_000, "steps": 40, "seconds": 1.26}],
}  # fmt: skip


def test_the_summary_has_both_hit_rates_and_every_training() -> None:
    assert list(summary(RESULT)) == [
        "shop: 1,000 of 1,200 events tested; hit rate at 10 on arrival .096, served .090, popularity .033; NDCG .049",
        "2011-09-01T08:00 v1 promoted (warm-up, 1,000 examples, 40 steps, 1.3 s)",
        "12 s, 96.80 events/s",
    ]


def test_hit_rates_while_it_runs() -> None:
    assert rolling({}) == "warming up"
    assert rolling({("tested_total", "v1"): 0}) == "warming up"


@pytest.mark.parametrize("name", ["lists.jsonl", "lists.jsonl.gz"])
def test_equal_lists_give_equal_files(tmp_path: Path, name: str) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        with opened(tmp_path / folder / name) as file:
            file.write(b"{}\n")
    one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
    assert one == two
    assert (gzip.decompress(one) if name.endswith(".gz") else one) == b"{}\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot be written"), opened(tmp_path / "no" / "lists.jsonl"):
        pass


def test_plays_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def replay(name: str, *rest: Any, recommendations: Any, on_progress: Any) -> dict[str, Any]:
        on_progress(5, 10, {})
        recommendations.write(b"{}\n")
        return {**RESULT, "dataset": name}

    monkeypatch.setattr(playback, "replay", replay)
    monkeypatch.setattr(playback, "TELL_S", 0.0)
    lists, report = tmp_path / "lists.jsonl", tmp_path / "report.html"
    assert play("shop", [], [], Settings(), lists, report)["tested"] == 1_000
    assert lists.read_bytes() == b"{}\n"
    assert "Meander on shop" in report.read_text()
    said = capsys.readouterr()
    assert said.out == ""  # it is left to --json -
    assert "on arrival .096" in said.err
    assert "5 of 10 events; warming up" in said.err  # no terminal: lines in place of a bar
