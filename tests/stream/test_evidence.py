"""Aggregated evidence."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp

import msgspec
import numpy as np
import pytest

from stream.evidence import EVERYBODY, AlarmShare, Limits, Population, Reading, Unknown, numbers, readings, tail
from stream.messages import BlockLoss
from stream.rises import Rise

SEGMENTS = ("Books", "Garden", "Music", "Toys")
LIMITS = Limits(p_value=1e-4, unknown_share=0.1, most=200, reaction_events=20)


def test_the_tail_is_a_sum() -> None:
    assert tail(0, 1e9, 3.0) == 1.0
    assert tail(2, 1e9, 3.0) == pytest.approx(1 - exp(-3) * (1 + 3))
    assert tail(5, 1e9, 3.0) == pytest.approx(1 - exp(-3) * (1 + 3 + 9 / 2 + 27 / 6 + 81 / 24))
    assert tail(2, 1.0, 3.0) == pytest.approx((3 / 4) ** 2)  # geometric
    assert tail(1, 1e9, 0.0) == 0.0
    assert tail(4_900, 1e9, 5_000.0) == pytest.approx(0.92, abs=0.01)


def test_the_window_lets_go_of_what_it_does_not_need() -> None:
    share = AlarmShare(window=500, per_event=0.01)
    for alarms in (9, 0, 1, 2):
        share.add(200, alarms)
    assert (share.events, share.alarms) == (600, 3)  # 400 would be too few
    assert (share.usual_events, share.usual_alarms) == (200.0, 9.0)
    assert share.expected == pytest.approx((5 + 9) / 700 * 600)  # planned: 5 in 500
    share.clear()
    assert (share.events, share.alarms, share.p_value, share.usual_alarms) == (0, 0, 1.0, 12.0)


def test_alarms_that_are_usual_here_are_no_evidence() -> None:
    rng, share, unusual = np.random.default_rng(0), AlarmShare(window=1_000, per_event=0.001), 0
    for n in range(400):
        share.add(100, int(rng.poisson(0.4)))  # four times what was planned
        unusual += n > 30 and share.p_value < 1e-4
    assert unusual == 0
    assert share.usual_events <= 10_000
    share.add(100, 20)
    assert share.p_value < 1e-4


def test_the_share_of_unknown_items_fades() -> None:
    unknown = Unknown(memory=100)
    unknown.add(40, 40)
    assert unknown.share == 0.0  # too few
    for _ in range(10):
        unknown.add(100, 20)
    assert unknown.share == pytest.approx(0.2, abs=0.01)
    unknown.clear()
    assert unknown.share == 0.0


def blocks(n: int, seed: int, **raised: float) -> Iterator[BlockLoss]:
    """Blocks of one event and one segment each, every five minutes; losses of some segments, or of all, are raised."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        segment = SEGMENTS[int(rng.integers(4))]
        loss = rng.normal(4.0, 2.0) + raised.get(segment, 0.0) + raised.get("everybody", 0.0)
        yield BlockLoss(300.0 * i, 1, float(loss), 0.0, 0.0, segment=segment, group=i % 64)


def found(population: Population, given: Iterator[BlockLoss]) -> list[tuple[int, str]]:
    return [(i, name) for i, block in enumerate(given) for name in population.update(block)]


def test_stationary_blocks_raise_nothing_and_a_rise_is_found_where_it_is() -> None:
    population = Population(50_000)
    population.watch("v1")
    assert found(population, blocks(20_000, seed=0)) == []
    assert list(population.streams) != sorted(population.streams)
    assert set(population.streams) == {EVERYBODY, *SEGMENTS}
    first, name = found(population, blocks(1_000, seed=1, Toys=1.5))[0]
    assert (name, first < 600) == ("Toys", True)
    segment = population.risen_segment
    assert segment is not None
    assert segment[0] == "Toys"
    assert segment[1].size == pytest.approx(1.5, abs=0.5)
    assert segment[2] == pytest.approx(0.25, abs=0.01)


def test_a_rise_of_everybody_is_found_before_those_of_segments() -> None:
    population = Population(50_000)
    found(population, blocks(10_000, seed=0))
    first, name = found(population, blocks(1_000, seed=1, everybody=0.8))[0]
    assert (name, first < 500) == (EVERYBODY, True)
    risen = [population.risen is not None]
    for _ in range(3):
        population.settle()
        risen.append(population.risen is not None)
    assert (risen, population.flagged > 0) == ([True, True, True, False], True)


def test_weekends_that_are_hard_for_everybody_are_no_reason_again_and_again() -> None:
    rng, population, found_in = np.random.default_rng(3), Population(50_000), list[int]()
    for i in range(16 * 7 * 144):  # 16 weeks of a block every ten minutes
        at_s, weekend = i * 600.0, i // 144 % 7 > 4
        loss = float(rng.normal(4.6 if weekend else 4.0, 2.0))
        found_in += [i // 1_008 for _ in population.update(BlockLoss(at_s, 1, loss, 0.0, 0.0, group=i % 64))]
    assert [week for week in found_in if week > 1] == []


def test_what_one_person_does_in_a_row_is_no_rise_of_everybodys_loss() -> None:
    of_one, of_all = Population(50_000), Population(50_000)
    for population in (of_one, of_all):
        found(population, blocks(10_000, seed=0))
    hard = [*blocks(400, seed=1, everybody=1.5)]
    assert found(of_all, iter(hard))
    assert found(of_one, (msgspec.structs.replace(block, group=7) for block in hard)) == []
    assert of_one.row is not None
    assert of_one.merged == 400
    assert of_one.row.blend == pytest.approx(np.mean([block.blend for block in hard]))
    again = Population.of(50_000, of_one.numbers())
    assert found(again, blocks(50, seed=2)) == found(of_one, blocks(50, seed=2))
    assert again == of_one


def test_a_rise_outlives_a_version_that_does_not_cure_it() -> None:
    population = Population(50_000)
    population.watch("v1")
    found(population, blocks(3_000, seed=0))
    found(population, blocks(1_000, seed=1, everybody=2.0))
    assert population.risen is not None
    population.settle()  # a training answers it
    population.watch("v2")
    assert population.risen is not None
    assert population.risen.size == 0.0  # nothing is known of how the new version does
    found(population, blocks(1_000, seed=2, everybody=1.5))
    assert population.risen.size == pytest.approx(1.5, abs=0.5)  # above what it was before the rise
    population.watch("v3")
    found(population, blocks(1_000, seed=3))
    assert population.risen is None  # that one has cured it


def test_without_a_version_nothing_is_left_of_a_rise() -> None:
    population = Population(50_000)
    population.watch("v1")
    found(population, blocks(3_000, seed=0))
    found(population, blocks(1_000, seed=1, everybody=2.0))
    for version in ("", "v2"):
        population.watch(version)
        assert population.risen is None
    assert found(population, blocks(5_000, seed=2, everybody=4.0)) == []


def test_readings_tell_now_threshold_and_size() -> None:
    population, share = Population(50_000), AlarmShare(1_000, 0.001)
    rise = Rise(blocks=30, mean=4.0, after=4.5, risen=True, began_s=60.0)
    population.streams |= {EVERYBODY: Rise(blocks=40), "Toys": rise}
    share.add(1_000, 0)
    assert readings(population, share, 0.2, LIMITS, 300, 0.5) == [
        Reading("population", 0.0, 0.0, False),
        Reading("segment", 0.5, 0.0, True, 0.5 * 30 / 40, segment="Toys", began_s=60.0),
        Reading("users", 1.0, 1e-4, False),
        Reading("new-items", 0.2, 0.1, True, 0.2),
        Reading("staleness", 300.0, 200.0, True, 0.5),
    ]
    population.streams[EVERYBODY] = Rise(blocks=40, mean=4.0, after=4.25, risen=True, began_s=30.0)
    first = readings(population, share, 0.2, LIMITS, 300, 0.5)[0]
    assert first == Reading("population", 0.25, 0.0, True, 0.25, began_s=30.0)
    assert numbers([first])["population"] == 0.25
