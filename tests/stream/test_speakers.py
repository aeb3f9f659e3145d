from __future__ import annotations

import numpy as np

from stream.speakers import MOST, followed, strongest, together
from stream.statistics import ItemStats

DAY_S = 86_400.0


def learned(*histories: list[int]) -> ItemStats:
    stats = ItemStats(DAY_S, 30 * DAY_S, 10)
    for history in histories:
        for place, item in enumerate(history):
            stats.learn(0.0, history[:place], [item])
    return stats


def test_the_strongest_come_first_and_few_of_them() -> None:
    weights = np.array([[1.0], [4.0], [0.0], [2.0], [3.0]])
    assert strongest(weights, [10, 11, 12, 13, 14], [1]) == [[11, 14, 13]]
    assert MOST == 3


def test_an_item_never_speaks_for_itself_and_nothing_speaks_against() -> None:
    assert strongest(np.array([[9.0], [-1.0], [0.5]]), [1, 2, 3], [1]) == [[3]]
    assert strongest(np.zeros((0, 2)), [], [1, 2]) == [[], []]


def test_together_names_the_strongest_neighbours() -> None:
    stats = ItemStats(60.0, 600.0, 10)
    for _ in range(3):
        stats.learn(0.0, [], [0, 3])
    stats.learn(0.0, [], [1, 3])
    assert together([stats], [1, 0, 2], [3, 2]) == [[0, 1], []]
    assert together([stats], [], [3]) == [[]]


def test_what_an_item_came_after() -> None:
    stats = learned([0, 1, 3], [0, 1, 3], [2, 3])
    counts = stats.count[:4]
    # 1 stood right before 3 twice, of 2 times: weight 2 / (2 + 5); 0 two before it twice: 1 / (2 + 5), one step older
    assert followed([stats], counts, [0, 1], [3, 2]) == [[1, 0], []]
    assert followed([stats], counts, [], [3]) == [[]]
    assert followed([stats], counts, [0], []) == []


def test_tables_are_summed() -> None:
    one, two = learned([0, 3]), learned([1, 3], [1, 3], [1, 3])
    for stats in (one, two):
        stats.reserve(4)
    # 0: 1 / (1 + 5), the newest; 1: 3 / (3 + 5) * .7
    assert followed([one, two], one.count[:4] + two.count[:4], [1, 0], [3]) == [[1, 0]]
