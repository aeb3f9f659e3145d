"""A slice of `benchmarks/drift.py`: what the detector finds on the beginning of Online Retail, to the digit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import drift
from consumers.calibrate import Crowd
from producers import datasets
from stream.settings import Settings, load
from stream.whitening import unit


def letters(texts: list[str]) -> NDArray[np.float32]:
    """Vectors of texts by the hashes of their words, in place of an encoder."""
    out = np.zeros((len(texts), 256), np.float32)
    for row, text in zip(out, texts, strict=True):
        for word in text.lower().split():
            row[sum(ord(c) * 31**i for i, c in enumerate(word)) % 256] += 1.0
    return unit(out)


@pytest.fixture(scope="module")
def watched() -> tuple[Crowd, Settings]:
    """The first 60,000 purchases of Online Retail."""
    data, settings = datasets.load(datasets.ONLINE_RETAIL), load()
    events = datasets.head(data.interactions, 60_000)
    return Crowd.of(list(data.items), events, settings, 0.5, letters), settings


@pytest.fixture(scope="module")
def planted(watched: tuple[Crowd, Settings]) -> Callable[[str, str], dict[str, float]]:
    """Figures of one kind of change."""
    watcher = drift.Watcher(*watched)
    return lambda kind, order: drift.measured(watcher, drift.planted(*watched, kind, 40, order, 0))


@pytest.mark.parametrize(
    ("kind", "order", "after_10"),
    [("random", "shuffled", 0.8331), ("dissimilar", "shuffled", 0.9169), ("dissimilar", "natural", 0.8825)],
)
def test_swapped_people_stand_out_ten_events_later(
    planted: Callable[[str, str], dict[str, float]], kind: str, order: str, after_10: float
) -> None:
    found = planted(kind, order)
    assert found["auc_after_10"] == pytest.approx(after_10, abs=0.005)  # other processors round otherwise
    assert found == planted(kind, order)  # to the digit


def test_without_a_change_there_is_little_to_hear_of(watched: tuple[Crowd, Settings]) -> None:
    crowd, _ = watched
    found = drift.null(drift.Watcher(*watched), [0])
    assert crowd.space.threshold == pytest.approx(2.44, abs=0.02)
    assert (found["configured_per_1000"], found["shuffled_events"]) == (1.0, 18_500)
    assert found["shuffled_per_1000"] == pytest.approx(11 / 18.5, abs=0.11)  # 11 alarms, or 2 more or less
