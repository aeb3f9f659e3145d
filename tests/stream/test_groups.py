"""Item counts by attribute of the person."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from stream import groups as groups_
from stream.groups import SHRINK, Groups, affinity

ANN, BOB = {"country": "France", "age": "30s"}, {"country": "Spain"}


def learned(n: int = 200, seed: int = 0) -> Groups:
    made, rng = Groups(half_life_s=600.0), np.random.default_rng(seed)
    for step in range(n):
        made.learn(10.0 * step - 300.0 * (rng.random() < 0.1), (ANN, BOB, {})[step % 3], rng.integers(0, 9, 2).tolist())
    return made


def test_counts_fade_and_late_events_count_as_if_they_had_come_in_time() -> None:
    late, ordered = Groups(half_life_s=60.0), Groups(half_life_s=60.0)
    for at_s in (0.0, 120.0, 60.0):
        late.learn(at_s, BOB, [1])
    for at_s in (0.0, 60.0, 120.0):
        ordered.learn(at_s, BOB, [1])
    for made in (late, ordered):
        assert_allclose(made.counts("country", "Spain", made.kept(180.0, 2)), [0.0, (0.25 + 0.5 + 1) / 2])
    assert late.counts("country", "France", late.kept(0.0, 2)).tolist() == [0.0, 0.0]


def test_expected_is_the_groups_share_of_all_whose_attribute_is_known() -> None:
    made = Groups(half_life_s=1e12)
    for _ in range(30):
        made.learn(0.0, ANN, [0])
    for _ in range(10):
        made.learn(0.0, BOB, [0, 1])
    for _ in range(500):
        made.learn(0.0, {}, [1])  # of these nothing is known: they are not in the comparison
    found = affinity([made], {"country": "Spain"}, 0.0, 3)
    share = 20 / 50  # of the events with a country
    expected = [np.log((10 + SHRINK) / (40 * share + SHRINK)), np.log((10 + SHRINK) / (10 * share + SHRINK)), 0.0]
    assert_allclose(found, expected, rtol=1e-6)
    both = affinity([made], ANN, 0.0, 3)
    age = affinity([made], {"age": "30s"}, 0.0, 3)
    assert_allclose(both, affinity([made], {"country": "France"}, 0.0, 3) + age)
    assert age.tolist() == [0.0, 0.0, 0.0]  # one value alone tells nobody from anybody
    assert affinity([made], {"shoe": "42"}, 0.0, 3).tolist() == [0.0, 0.0, 0.0]


def test_tables_of_several_partitions_are_one() -> None:
    one, two, both = Groups(60.0), Groups(60.0), Groups(60.0)
    for made, who, item in ((one, ANN, 0), (two, BOB, 1), (two, ANN, 1)):
        made.learn(0.0, who, [item])
        both.learn(0.0, who, [item])
    assert_allclose(affinity([one, two], ANN, 30.0, 2), affinity([both], ANN, 30.0, 2))


def test_rows_written_and_read_back_go_on_alike() -> None:
    made = learned()
    again = Groups(half_life_s=600.0)
    for item in (3, 1, 8, 0, 2, 4, 5, 6, 7):
        again.put(item, *made.row(item))
    for table in (made, again):
        table.learn(3_000.0, {"country": "Italy"}, [2, 10])
    assert [made.row(item) for item in range(12)] == [again.row(item) for item in range(12)]
    assert affinity([made], ANN, 3_100.0, 12).tolist() == affinity([again], ANN, 3_100.0, 12).tolist()


def test_too_many_values_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_, "GROUPS", 3)
    made = Groups(half_life_s=60.0)
    for n in range(5):
        made.learn(0.0, {"id": str(n)}, [0])
    assert made.row(0)[1] == {"id": {"": 5.0, "0": 1.0, "1": 1.0}}
    made.put(0, 0.0, {"id": {"": 2.0, "7": 1.0}})
    assert made.row(0)[1] == {"id": {"": 2.0}}
