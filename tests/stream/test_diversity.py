from __future__ import annotations

from itertools import combinations
from math import log

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.diversity import diversified


def made(n: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return -np.sort(-rng.normal(size=n)), rng.normal(size=(n, 8)).astype(np.float32)


def spread(vectors: NDArray[np.float32]) -> float:
    """Mean distance (1 - cosine) of pairs."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return float(np.mean([1 - unit[i] @ unit[j] for i, j in combinations(range(len(unit)), 2)]))


def test_without_the_dial_the_order_stays() -> None:
    scores, vectors = made(100)
    assert diversified(scores, vectors, 10, 0.0) == list(range(10))


def test_the_choice_is_greedy_by_score_and_determinant() -> None:
    scores, vectors = made(12)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    like = (1 + unit @ unit.T) / 2
    expected: list[int] = []
    for _ in range(5):  # from the definition: each step's gain in the log-determinant
        gains = {
            i: 0.6 * scores[i] + 0.4 * np.linalg.slogdet(like[np.ix_([*expected, i], [*expected, i])])[1]
            for i in range(12)
            if i not in expected
        }
        expected.append(max(gains, key=lambda i: gains[i]))
    assert diversified(scores, vectors, 5, 0.4) == expected


def test_a_higher_dial_spreads_the_list() -> None:
    """Ten kinds of ten items, in more dimensions than are listed; the better the kind, the better each of its items."""
    rng = np.random.default_rng(1)
    kinds = rng.normal(size=(10, 32)).repeat(10, axis=0)
    vectors = (kinds + 0.2 * rng.normal(size=kinds.shape)).astype(np.float32)
    scores = -0.05 * np.arange(100, dtype=np.float64)
    spreads = [spread(vectors[diversified(scores, vectors, 10, dial)]) for dial in (0.0, 0.3, 0.6, 1.0)]
    assert spreads == sorted(spreads)
    assert (spreads[0] < 0.1, spreads[-1] > 0.9) == (True, True)


def test_a_twin_comes_last_and_nothing_comes_twice() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    scores = np.array([3.0, 2.9, 1.0, 0.5])
    # half of 2.9 + log 1e-10 against half of 0.5 + log(3 / 4 - ...): whatever is no twin is better
    assert diversified(scores, vectors, 4, 0.5) == [0, 2, 3, 1]
    assert diversified(scores, vectors, 9, 0.5) == [0, 2, 3, 1]


@pytest.mark.parametrize("dial", [0.2, 1.0])
def test_items_without_a_vector_are_unlike_all_others(dial: float) -> None:
    scores, vectors = np.array([1.0, 1.0, 1.0]), np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 0.0]], np.float32)
    assert diversified(scores, vectors, 2, dial) == [0, 2]
    assert diversified(scores, np.zeros((3, 2), np.float32), 3, dial) == [0, 1, 2]


def test_how_much_score_a_difference_is_worth() -> None:
    """At right angles S is 1/2, so d² is 1 - 1/4: the dial trades log(3/4) against what a like item loses."""
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], np.float32)  # cosines .6 and 0 to the first
    gain = log(1 - 0.25) - log(1 - 0.64)  # of the third over the second
    loss = 0.5
    for dial, second in ((loss / (loss + gain) - 0.01, 1), (loss / (loss + gain) + 0.01, 2)):
        assert diversified(np.array([1.0, 0.7, 0.7 - loss]), vectors, 2, dial) == [0, second]


def test_nothing_to_choose_from() -> None:
    assert diversified(np.zeros(0), np.zeros((0, 4), np.float32), 10, 0.5) == []
