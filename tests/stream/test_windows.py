"""Windows and batches: every event is asked for once, from the end of the block before it."""

from __future__ import annotations

import numpy as np
import pytest

from stream.history import Histories
from stream.lm import NO_GAP
from stream.windows import Windows, batches

START = 99


def histories(*people: list[tuple[int, float]]) -> Histories:
    flat = [event for person in people for event in person]
    times_s = np.array([at_s for _, at_s in flat], np.float64)
    starts = np.cumsum([0, *map(len, people)])
    return Histories(starts, np.array([item for item, _ in flat], np.int64), times_s, times_s >= 4)


def asked(windows: Windows) -> list[tuple[int, list[int], int]]:
    """(window, inputs up to the position, target) of every target."""
    rows = [windows.rows[w][: p + 1].tolist() for w, p in zip(windows.window, windows.position, strict=True)]
    return list(zip(windows.window.tolist(), rows, windows.item.tolist(), strict=True))


def test_a_block_is_asked_for_from_everything_before_it() -> None:
    windows = Windows.cut(histories([(7, 0.0), (8, 5.0), (9, 5.0), (6, 6.0)]), context=6, n_items=START)
    assert asked(windows) == [(0, [START], 7), (0, [START, 7], 8), (0, [START, 7], 9), (0, [START, 7, 8, 9], 6)]
    assert windows.gaps.tolist() == [[NO_GAP, NO_GAP, 2, 0, 1, NO_GAP]]  # start, first, 5 s, 0 s, 1 s, padding
    assert windows.lengths.tolist() == [5]
    assert windows.fresh.tolist() == [False, True, True, True]


def test_long_histories_overlap_by_half_and_keep_their_context() -> None:
    windows = Windows.cut(histories([(i, float(i)) for i in range(10)]), context=4, n_items=START)
    assert windows.rows.tolist() == [[START, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8]]
    found = asked(windows)
    assert [target for _, _, target in found] == list(range(10))
    assert found[4] == (1, [1, 2, 3], 4)
    assert found[9] == (3, [5, 6, 7, 8], 9)
    assert all(inputs[-1] == target - 1 for _, inputs, target in found[1:])


@pytest.mark.parametrize("context", [2, 3, 5, 50])
def test_every_event_is_asked_for_once_whatever_the_context(context: int) -> None:
    rng = np.random.default_rng(context)
    people = [
        [(int(i), float(t)) for i, t in zip(rng.integers(0, 50, n), np.sort(rng.integers(0, 30, n)), strict=True)]
        for n in (1, 2, 30, 77)
    ]
    made = histories(*people)
    windows = Windows.cut(made, context, n_items=START)
    assert windows.item.tolist() == made.items.tolist()
    assert (windows.position < windows.lengths[windows.window]).all()
    assert (windows.position >= 0).all()
    assert windows.lengths.max() <= context


def test_one_epoch_has_every_chosen_target_once() -> None:
    windows = Windows.cut(histories(*[[(i, float(i)) for i in range(n)] for n in (3, 9, 5, 1, 7)]), 4, n_items=START)
    chosen = np.arange(len(windows.item)) % 3 == 0
    found: list[int] = []
    for batch in batches(windows, chosen, 2, np.random.default_rng(0)):
        assert len(batch.rows) <= 2
        last = batch.rows.flatten()[batch.at]  # the input at which each target is asked for
        expected = [START if target == 0 else target - 1 for target in batch.item.tolist()]
        assert last.tolist() == expected
        found += batch.item.tolist()
    assert sorted(found) == sorted(windows.item[chosen].tolist())


def test_nothing_to_cut() -> None:
    windows = Windows.cut(histories(), context=4, n_items=START)
    assert len(windows.item) == 0
    assert list(batches(windows, np.zeros(0, bool), 2, np.random.default_rng(0))) == []
