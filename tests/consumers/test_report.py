from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from consumers.report import TRIGGERS, render, write_report
from stream.errors import LogError

RESULT: dict[str, Any] = {
    "dataset": "online-retail",
    "policy": "drift",
    "events": 387_841,
    "hit_rate_10": 0.0961,
    "served_hit_rate_10": 0.0902,
    "popularity_hit_rate_10": 0.0331,
    "alarms": {"user": 812, "population": 2},
    "versions_published": 1,
    "alarms_told": [
        {"user": "<ann>", "at": "2011-09-01T08:00:00Z", "began": "2011-08-30T08:00:00Z",
         "says": "Interests moved: <Tea>.", "scope": "user", "signal": "rank", "detector": "page_hinkley",
         "evidence": 4.5, "threshold": 3.25, "interaction": 40, "since": 12},
    ],
    "alarm_times": [1314835200.0, 1314835260.0],
    "segments": [{"segment": "Toys <script>alert(1)</script>", "risen": 4, "fallen": 1}],
    "curves": [
        {"at": f"2011-09-0{n}T00:00:00Z", "events": n, "hit_rate_10": 0.1, "served_hit_rate_10": 0.09,
         "popularity_hit_rate_10": 0.03}
        for n in (1, 2, 3)
    ],
    "trainings": [
        {"at": "2011-09-02T08:15:00Z", "trigger": "population", "evidence": {"width": 4123.0}, "version": "v2",
         "verdict": "promoted", "gate": {"reason": "better <b>", "lower_bound": 0.0041}, "steps": 800, "seconds": 31.04,
         "examples": 60_000, "concerned": [{"user": "13069", "times_threshold": 1.75, "at": "2011-09-01T00:00:00Z"}]},
        {"at": "2011-09-03T00:00:00Z", "trigger": "users", "evidence": {}, "version": "v3",
         "verdict": "refused", "gate": {}, "steps": 800, "seconds": 30.0, "examples": 60_000},
    ],
    "rulings": [{"at_s": 1315094400.0, "version": "v2", "ruling": "rollback", "reason": "worse"}],
}  # fmt: skip


class Page(HTMLParser):
    """Collects what a page shows and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(value) for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_shows_the_headline_the_reasons_and_the_verdicts() -> None:
    page = Page(render(RESULT))
    for words in (".096", ".090", ".033", "2.9 times popularity's", "1 of 2", "812", TRIGGERS["population"], "promoted",
                  "refused", "better <b>", ".004", "4,123", "31", "rollback"):  # fmt: skip
        assert words in page.words, words
    assert page.tags.count("svg") == 3


def test_an_alarm_says_what_changed_and_what_flagged_it() -> None:
    page = Page(render(RESULT))
    for words in ("The strongest alarms", "<ann>", "Interests moved: <Tea>.", "rank", "page_hinkley", "4.50", "3.25",
                  "2011-08-30 08:00"):  # fmt: skip
        assert words in page.words, words
    assert "The strongest alarms" not in render({**RESULT, "alarms_told": []})


def test_a_training_names_those_whom_it_concerns_most() -> None:
    assert "user 13069  1.75" in Page(render(RESULT)).words


def test_is_whole_without_a_network_and_runs_no_script() -> None:
    page = Page(render(RESULT))
    assert all(load.startswith("#") for load in page.loads)
    assert "script" not in page.tags
    assert "link" not in page.tags


def test_a_version_is_marked_where_it_began_to_serve_if_it_ever_did() -> None:
    row = RESULT["trainings"][0]
    served = render({**RESULT, "trainings": [{**row, "live_at_s": 1314921600.0}]})
    assert "live from" in served
    assert ">v2</text>" in served
    assert ">v2</text>" not in render({**RESULT, "trainings": [{**row, "live_at_s": 0.0}]})


def test_many_numbers_fold_away() -> None:
    row = {**RESULT["trainings"][0], "gate": {f"number_{n}": float(n) for n in range(9)}}
    page = Page(render({**RESULT, "trainings": [row], "alarms_told": []}))
    assert page.tags.count("details") == 2  # these and all figures
    assert "number 8" in page.words


def test_texts_of_the_data_are_escaped() -> None:
    assert "<script>" not in render({**RESULT, "dataset": "<script>", "policy": "<script>"})


@pytest.mark.parametrize("missing", list(RESULT))
def test_whatever_is_missing_is_left_out(missing: str) -> None:
    page = Page(render({key: value for key, value in RESULT.items() if key != missing}))
    assert page.tags.count("main") == 1


def test_an_empty_result_says_so() -> None:
    words = Page(render({})).words
    assert "Nothing was trained." in words
    assert "No window of events was tested." in words


def test_writes_into_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "report.html"
    write_report(RESULT, path)
    assert path.read_text(encoding="utf-8") == render(RESULT)
    with pytest.raises(LogError, match="cannot be written"):
        write_report(RESULT, path / "below.html")
