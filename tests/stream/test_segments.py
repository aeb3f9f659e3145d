"""Segments: k-means and names."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal

from stream import segments


def test_clusters_are_found_and_seeded() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(at, 0.1, (50, 3)) for at in (-5, 0, 5)]).astype(np.float32)
    centres = segments.cluster(points, 3, seed=4)
    assert sorted(round(float(c)) for c in centres[:, 0]) == [-5, 0, 5]
    assert_array_equal(centres, segments.cluster(points, 3, seed=4))
    assert_array_equal(np.bincount(segments.assign(points, centres)), [50, 50, 50])


def test_there_are_no_more_clusters_than_distinct_points() -> None:
    assert len(segments.cluster(np.zeros((9, 2), np.float32), 4, seed=0)) == 1


def test_a_name_is_taken_once() -> None:
    texts = ["red mug", "red mug", "blue bag"]
    assert segments.names(texts, np.array([0, 1, 2]), 3) == ["Mug Red", "Segment 2", "Bag Blue"]


def test_items_without_words_are_numbered() -> None:
    assert segments.names(["", "12"], np.array([0, 1]), 2) == ["Segment 1", "Segment 2"]


def test_words_that_say_little_name_nothing() -> None:
    assert segments.names(["set of the and with", "vase"], np.array([0, 1]), 2) == ["Segment 1", "Vase"]
