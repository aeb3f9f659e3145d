"""Collaborative vectors from co-occurrence."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from stream import cooccurrence


def test_pairs_within_the_window_count_both_ways() -> None:
    history = np.array([0, 1, 0, *[2] * cooccurrence.WINDOW, 3])
    pairs = cooccurrence._pairs(4, [history], np.arange(4))
    assert pairs[0, 1] == pairs[1, 0] == 2  # at distances 1 and 1
    assert pairs[0, 0] == 0  # an item does not stand with itself
    assert pairs[3, 2] == cooccurrence.WINDOW
    assert pairs[3, 0] == 0  # eleven apart


def test_pairs_never_span_two_people() -> None:
    assert not cooccurrence._pairs(2, [np.array([0]), np.array([1])], np.arange(2)).any()


def test_information_is_what_exceeds_chance() -> None:
    pairs = np.array([[2, 0], [0, 2]], np.float32)  # chance would put 1 in every cell
    assert_allclose(cooccurrence._ppmi(pairs), [[np.log(2), 0], [0, np.log(2)]], rtol=1e-6)


def test_length_says_how_much_is_known() -> None:
    histories = [np.array([0, 1, 2, 3])] * 5
    vectors = cooccurrence.vectors(5, histories, np.array([5, 5, 5, 45, 0]), dim=3)
    squared = (vectors**2).sum(1)
    assert_allclose(squared[squared > 0], [5 / 10, 5 / 10, 5 / 10, 45 / 50], rtol=1e-5)
    assert_array_equal(vectors[4], np.zeros(3))


def test_no_history_gives_zeros_of_the_wanted_shape() -> None:
    assert_array_equal(cooccurrence.vectors(2, [], np.zeros(2, np.int64), dim=8), np.zeros((2, 8)))


def test_what_is_consumed_together_lies_together() -> None:
    rng = np.random.default_rng(0)
    histories = [rng.permutation(10) + 10 * (person % 2) for person in range(40)]
    vectors = cooccurrence.vectors(20, histories, np.full(20, 20), dim=4)
    assert (vectors[:10] @ vectors[:10].T).mean() > 0.5
    assert abs((vectors[:10] @ vectors[10:].T).mean()) < 0.05
