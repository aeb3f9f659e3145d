import numpy as np
import pytest

from stream.ranking import Tally, rank_of, top

SCORES = np.array([5.0, 4.0, 4.0, 4.0, 1.0])
ALL = np.ones(5, bool)


def test_rank_counts_the_better_candidates_only() -> None:
    assert rank_of(SCORES, 4, ALL) == 4
    assert rank_of(SCORES, 4, np.array([False, True, False, False, True])) == 1


def test_of_equals_the_middle_place() -> None:
    assert rank_of(SCORES, 1, ALL) == 1 + (3 - 1) // 2
    assert rank_of(np.zeros(5), 0, ALL) == (5 - 1) // 2  # a constant score is no way to the top


def test_top_is_in_order_and_breaks_ties_by_ordinal() -> None:
    assert top(SCORES, ALL, 3) == [0, 1, 2]
    assert top(SCORES, np.array([False, False, True, True, True]), 10) == [2, 3, 4]
    assert top(SCORES, np.zeros(5, bool), 3) == []


def test_measures_by_hand() -> None:
    tally = Tally()
    for rank in (0, 9, 10, 25, None):
        tally.add(rank)
    assert tally.rates() == pytest.approx(
        {
            "hit_rate_10": 2 / 5,
            "hit_rate_20": 3 / 5,
            "ndcg_10": (1 + 1 / np.log2(11)) / 5,
            "mrr_20": (1 + 1 / 10 + 1 / 11) / 5,
            "cold_share": 1 / 5,
        }
    )


def test_nothing_tested_is_zero() -> None:
    assert set(Tally().rates().values()) == {0.0}
