from collections import defaultdict
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.statistics import FOLLOW, TAIL, BoundedRows, Catalogue, ItemStats


def stats(width: int = 50) -> ItemStats:
    return ItemStats(short_half_life_s=60.0, long_half_life_s=600.0, width=width)


def add(rows: BoundedRows, to: Sequence[int], columns: Sequence[int]) -> None:
    """One of each column to each row."""
    rows.add(np.array(to), np.array(columns), np.ones((len(to), len(columns)), np.float32))


def test_ordinals_are_given_in_order_of_first_sight() -> None:
    catalogue = Catalogue()
    assert [catalogue.add(i) for i in ("c", "a", "c", "b")] == [0, 1, 0, 2]
    assert catalogue.ids == ["c", "a", "b"]
    assert len(catalogue) == 3


def test_a_full_row_gives_up_its_lightest_column() -> None:
    rows = BoundedRows(width=3)
    for column, times in ((5, 3), (6, 1), (7, 2)):
        for _ in range(times):
            add(rows, [1], [column])
    add(rows, [1], [9])
    assert rows.row(1) == ([5, 9, 7], [3.0, 1.0, 2.0])
    assert rows.row(0) == ([], [])
    assert rows.row(10**6) == ([], [])


@pytest.mark.parametrize("new", [2, 9, 12])
def test_new_columns_replace_as_many_of_the_lightest_and_none_of_each_other(new: int) -> None:
    rows = BoundedRows(width=10)
    rows.put(1, list(range(10)), [20.0 - n for n in range(10)])  # the last are the lightest
    rows.put(2, [50], [1.0])  # has room
    add(rows, [1, 2], range(50, 50 + new))
    fit = min(new, 10)
    columns, weights = rows.row(1)
    assert set(columns) == {*range(10 - fit), *range(50, 50 + fit)}
    assert sum(weights) == sum(20.0 - n for n in range(10 - fit)) + fit
    columns, weights = rows.row(2)
    assert len(columns) == fit
    assert new > 10 or dict(zip(columns, weights, strict=True))[50] == 2.0


def test_rows_are_put_back_exactly() -> None:
    rng = np.random.default_rng(0)
    rows, again = BoundedRows(width=12), BoundedRows(width=12)
    for n in range(300):
        if n % 7 == 0:  # with free slots at first, full later
            again = BoundedRows(width=12)
            for row in range(20):
                again.put(row, *rows.row(row))
        asked, columns = rng.choice(20, 5, replace=False), rng.choice(20, rng.integers(1, 11), replace=False)
        amounts = rng.random((5, len(columns))).astype(np.float32)
        for each in (rows, again):
            each.add(asked, columns, amounts)
        assert [rows.row(row) for row in range(20)] == [again.row(row) for row in range(20)]
    probe, weights = np.arange(20), [np.ones(20), rng.random(20)]
    for one, two in zip(rows.score(probe, weights, 20), again.score(probe, weights, 20), strict=True):
        assert (one == two).all()


def test_decayed_counts_halve_with_the_half_life() -> None:
    s = stats()
    s.learn(0.0, [], [0])
    s.learn(60.0, [], [0])
    short, long = s.popularity(120.0, 1)
    assert short[0] == pytest.approx(1 / 4 + 1 / 2)
    assert long[0] == pytest.approx(2 ** (-120 / 600) + 2 ** (-60 / 600))
    assert s.count[0] == 2


def test_arrival_order_does_not_matter_for_decayed_counts() -> None:
    one, two = stats(), stats()
    for s, times in ((one, (0.0, 30.0, 90.0)), (two, (90.0, 0.0, 30.0))):
        for at_s in times:
            s.learn(at_s, [], [0])
    assert one.popularity(100.0, 1)[0] == pytest.approx(two.popularity(100.0, 1)[0])


def test_what_one_user_consumes_becomes_neighbours_both_ways() -> None:
    s = stats()
    s.learn(0.0, [3, 4], [5, 6])  # 5 meets 3 and 4; 6 meets 3, 4 and 5
    assert dict(zip(*s.neighbours.row(5), strict=True)) == {3: 1.0, 4: 1.0, 6: 1.0}
    assert dict(zip(*s.neighbours.row(6), strict=True)) == {3: 1.0, 4: 1.0, 5: 1.0}
    assert dict(zip(*s.neighbours.row(3), strict=True)) == {5: 1.0, 6: 1.0}


def test_what_comes_next_weighs_by_its_distance() -> None:
    s = stats()
    s.learn(0.0, [3, 4], [5])
    assert s.followers.row(4) == ([5], [1.0])
    assert s.followers.row(3) == ([5], [0.5])


def test_an_item_is_no_neighbour_of_itself() -> None:
    s = stats()
    s.learn(0.0, [3], [3])
    assert s.neighbours.row(3) == ([], [])
    assert s.count[3] == 1


def test_windows_are_bounded() -> None:
    s = stats(width=200)
    s.learn(0.0, list(range(100)), [100])
    assert len(s.neighbours.row(100)[0]) == TAIL
    assert sum(bool(s.followers.row(i)[0]) for i in range(100)) == FOLLOW


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=60), max_size=6), st.sampled_from([1, 7, 256]))
def test_a_block_counts_as_its_items_one_after_the_other(blocks: list[list[int]], at_once: int) -> None:
    s, tail = stats(width=40), list[int]()
    together, after = defaultdict[tuple[int, int], float](float), defaultdict[tuple[int, int], float](float)
    for at_s, items in enumerate(blocks):
        with patch("stream.statistics._AT_ONCE", at_once):
            s.learn(float(at_s), tail, items)
        for item in items:
            for other in set(tail[-TAIL:]) - {item}:
                together[item, other] += 1
                together[other, item] += 1
            for n, other in enumerate(dict.fromkeys(reversed(tail[-FOLLOW:])), 1):
                after[other, item] += 1 / n
            tail.append(item)
    for rows, expected in ((s.neighbours, together), (s.followers, after)):
        found = {(row, c): w for row in range(31) for c, w in zip(*rows.row(row), strict=True)}
        assert found == pytest.approx(dict(expected))


def test_changed_rows_are_named() -> None:
    assert stats().learn(0.0, [1, 2], [7]) == {1, 2, 7}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=20))
def test_memory_stays_within_the_width(blocks: list[list[int]]) -> None:
    s = stats(width=3)
    tail: list[int] = []
    for at_s, items in enumerate(blocks):
        s.learn(float(at_s), tail, items)
        tail += items
    for row in range(10):
        columns, weights = s.neighbours.row(row)
        assert len(columns) <= 3
        assert len(set(columns)) == len(columns)
        assert all(w > 0 for w in weights)
    assert s.count.sum() == sum(len(items) for items in blocks)
