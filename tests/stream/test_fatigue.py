from __future__ import annotations

from stream.fatigue import MOST, passed_over, penalties


def test_each_list_counts_once_and_what_is_taken_counts_from_nothing_again() -> None:
    counts: dict[int, int] = {}
    for _ in range(3):
        passed_over(counts, shown=[4, 5, 6], taken=[6])
    assert counts == {5: 3, 4: 3}
    passed_over(counts, shown=[4, 6], taken=[5])
    assert counts == {4: 4, 6: 1}
    passed_over(counts, shown=[], taken=[4])  # taken without having been shown
    assert counts == {6: 1}


def test_the_newest_are_kept_and_of_one_list_its_best() -> None:
    counts: dict[int, int] = {}
    for first in range(0, 500, 10):
        passed_over(counts, shown=range(first, first + 10), taken=[])
    assert sorted(counts) == list(range(500 - MOST, 500))
    passed_over(counts, shown=[7, 8, 9], taken=[], most=2)
    assert list(counts) == [8, 7]


def test_the_first_time_costs_nothing_and_each_doubling_the_same() -> None:
    lost = penalties({1: 1, 2: 2, 3: 4, 5: 16}, 7, 0.3)
    assert lost.round(12).tolist() == [0.0, 0.0, 0.3, 0.6, 0.0, 1.2, 0.0]
    assert penalties({1: 9}, 3, 0.0).tolist() == penalties({}, 3, 2.0).tolist() == [0.0, 0.0, 0.0]
