"""Rises of a loss, and what recurs with the week."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.rises import BATCH, FEWEST, RECENT, SLOTS, WEEK_S, Rise, Season, false_per, threshold

LIMIT = threshold(20_000)


def fed(rise: Rise, values: Any, start: int = 0, limit: float = LIMIT) -> list[int]:
    return [i for i, x in enumerate(values) if rise.update(float(x), float(start + i), limit)]


@pytest.mark.parametrize("run", [200, 5_000])
def test_false_alarms_are_as_rare_as_asked_for(run: int) -> None:
    rng, found, n = np.random.default_rng(1), 0, 0
    for _ in range(12):
        rise = Rise()
        for x in rng.normal(4.0, 2.0, 25_000).tolist():
            if rise.update(x, 0.0, threshold(run)):
                found += 1
                rise.restart()
        n += 25_000
    assert found <= 1.5 * n / BATCH / run
    assert false_per(threshold(run)) == pytest.approx(run)


def test_a_fall_is_no_rise_and_a_creep_is_forgotten() -> None:
    rng = np.random.default_rng(2)
    assert fed(Rise(), np.concatenate([rng.normal(4, 2, 3_000), rng.normal(2, 2, 3_000)])) == []
    assert fed(Rise(), rng.normal(4, 2, 20_000) + np.linspace(0, 0.25, 20_000)) == []


def test_a_rise_that_passes_by_itself_is_let_go() -> None:
    rng, rise = np.random.default_rng(3), Rise()
    assert fed(rise, rng.normal(4, 2, 2_000)) == []
    (found,) = fed(rise, rng.normal(6, 2, 100), 2_000)
    assert found < 60
    assert rise.risen
    assert rise.size == pytest.approx(2.0, abs=0.8)
    assert rise.began_s == pytest.approx(2_000, abs=30)
    fed(rise, rng.normal(4, 2, 5 * RECENT * BATCH))
    assert (rise.risen, rise.size) == (False, 0.0)
    assert rise.mean == pytest.approx(4.0, abs=0.2)  # the reference has not learned it


def test_after_its_consequence_the_new_level_is_usual() -> None:
    rng, rise = np.random.default_rng(4), Rise()
    fed(rise, rng.normal(4, 2, 2_000))
    assert fed(rise, rng.normal(6, 2, 400))
    left = []
    for events in (2_400, 2_800, 3_600):
        rise.answer(events)
        left.append(rise.risen)
    assert left == [True, True, False]  # a later training may do what the first did not
    assert rise.mean == pytest.approx(6.0, abs=0.3)
    assert fed(rise, rng.normal(6, 2, 4_000)) == []


def test_a_swap_hides_no_rise() -> None:
    rng, rise = np.random.default_rng(5), Rise()
    fed(rise, rng.normal(4, 2, 2_000))
    assert fed(rise, rng.normal(6, 2, 15)) == []
    rise.swap()  # another version serves before anything was noticed
    assert fed(rise, rng.normal(6, 2, 200))
    assert rise.size == pytest.approx(2.0, abs=0.8)
    better = Rise()
    fed(better, rng.normal(4, 2, 2_000))
    better.swap()
    assert fed(better, rng.normal(3, 2, 4_000)) == []
    assert better.mean == pytest.approx(3.0, abs=0.2)  # its level is learned


def test_a_rise_is_answered_again_when_what_came_since_has_doubled() -> None:
    rng, rise = np.random.default_rng(6), Rise()
    for i, loss in enumerate([*rng.normal(4, 2, 2_000), *rng.normal(6, 2, 200)]):
        rise.update(loss, float(i), 16.0, events=3 * i)
    assert rise.began == pytest.approx(6_000, abs=90)
    since = int(rise.began)
    assert rise.due(since + 600)
    rise.answer(since + 700)
    assert [rise.due(since + n) for n in (1_399, 1_401)] == [False, True]
    rise.restart()
    assert not rise.due(since + 9_999)


def test_nothing_is_flagged_before_enough_was_seen() -> None:
    rise = Rise()
    assert fed(rise, [0.0] * BATCH * (FEWEST - 1) + [9.0] * BATCH) == []


def test_one_huge_block_decides_nothing() -> None:
    rng, rise = np.random.default_rng(6), Rise()
    calm = rng.normal(4, 2, 3_000)
    calm[[1_500, 2_200, 2_900]] = 1e6
    assert fed(rise, calm) == []


def test_written_down_at_any_moment_it_goes_on_alike() -> None:
    rng = np.random.default_rng(7)
    stream = np.concatenate([rng.normal(4, 2, 1_500), rng.normal(6, 2, 500), rng.normal(4, 2, 500)]).tolist()
    whole = Rise()
    expected = fed(whole, stream)
    assert expected
    for cut in (1, 9, 10, 99, 1_503, 1_600, 2_400):
        first = Rise()
        fed(first, stream[:cut])
        second = Rise.of(first.numbers())
        assert second == first
        assert [cut + i for i in fed(second, stream[cut:], cut)] == [i for i in expected if i >= cut]
        assert second == whole


def test_what_comes_every_week_is_expected() -> None:
    season = Season()
    for week in range(4):
        for slot in range(SLOTS):
            for k in range(BATCH):
                at_s = week * WEEK_S + (slot + k / 16) * WEEK_S / SLOTS
                assert season.usual(at_s) == pytest.approx(0.8 * week / (week + 1) if slot >= 20 else 0.0)
                season.learn(at_s, 0.8 if slot >= 20 else 0.0)
    assert Season.of(season.numbers()) == season
    assert Season.of([]) == Season()
