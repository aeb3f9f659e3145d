from __future__ import annotations

from consumers.measures import KEPT_VERSIONS, LISTS, Measures
from stream import metrics


def test_sums_are_kept_for_each_version_that_was_live() -> None:
    measures = Measures()
    measures.tested("", {"arrival": None, "served": None, "popularity": None}, None)
    measures.tested("v1", {"arrival": 0, "served": 1, "popularity": 15}, {"arrival": 1.5, "popularity": 4.0})
    measures.tested("v1", {"arrival": 3, "served": None, "popularity": 40}, {"arrival": 2.5, "popularity": 5.0})
    figures = measures.figures()
    metrics.check(figures)
    assert [figures["tested_total", version] for version in ("none", "v1")] == [1, 2]
    assert [figures["ranked_total", version] for version in ("none", "v1")] == [0, 2]
    assert {ranking: figures["hits_10_total", ranking, "v1"] for ranking in ("arrival", "served", "popularity")} == {
        "arrival": 2, "served": 1, "popularity": 0,
    }  # fmt: skip
    assert figures["reciprocal_rank_20_sum_total", "arrival", "v1"] == 1 + 1 / 4
    assert figures["reciprocal_rank_20_sum_total", "popularity", "v1"] == 1 / 16
    assert figures["log_loss_sum_total", "arrival", "v1"] == 4.0
    assert figures["log_loss_sum_total", "popularity", "v1"] == 9.0
    assert ("log_loss_sum_total", "served", "v1") not in figures


def test_versions_that_were_live_longest_ago_go() -> None:
    measures = Measures()
    names = [f"v{i}" for i in range(1, KEPT_VERSIONS + 3)]
    for name in names:
        measures.tested(name, {}, None)
        measures.tested("v1", {}, None)  # it comes back again and again
    assert list(measures.versions) == [*names[-KEPT_VERSIONS + 1 :], "v1"]


def test_coverage_is_taken_over_the_newest_lists() -> None:
    measures = Measures()
    for i in range(LISTS):
        measures.listed([i % 7, 100])
    assert measures.figures()["recommended_items",] == 8
    for _ in range(LISTS):
        measures.listed([3])
    assert measures.figures()["recommended_items",] == 1
    assert (len(measures.lists), dict(measures.items)) == (LISTS, {3: LISTS})
