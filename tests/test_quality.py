"""Recommendations are no worse than they were, and better than counting: 30,000 events of real data, test, then learn.

Where a change is worth a loss here, store new figures: `python benchmarks/regression.py --renew`.
"""

from __future__ import annotations

import pytest

from benchmarks import regression
from benchmarks.quality import MEANDER

pytestmark = pytest.mark.slow

NOISE = 3.0  # standard errors of a paired difference that are nobody's fault: another processor adds up otherwise


@pytest.fixture(scope="module")
def run() -> regression.Run:
    return regression.run()


def test_a_version_was_trained_and_served(run: regression.Run) -> None:
    assert run.result["versions_published"] >= 1
    assert run.result["tested"] == regression.EVENTS * 8 // 10


@pytest.mark.parametrize("measure", regression.MEASURES)
def test_no_worse_than_stored(run: regression.Run, measure: str) -> None:
    stored = regression.stored()
    difference, error = run.minus(stored)[measure]
    assert difference >= -NOISE * error, f"{measure}: {stored['figures'][measure]} {difference:+.5f} +- {error:.5f}"


@pytest.mark.parametrize("rival", regression.RIVALS)
def test_better_than_counting(run: regression.Run, rival: str) -> None:
    figures = run.figures()
    for measure in regression.MEASURES:
        assert figures[MEANDER][measure] > figures[rival][measure]
