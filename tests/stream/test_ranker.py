import numpy as np
import pytest

from stream.blend import FEATURES
from stream.groups import stage
from stream.ranker import AGAIN, DAY_S, NEXT, RECENCY, SHRINK, Past, Ranker, View
from stream.statistics import Catalogue, ItemStats


def ranker(tables: int = 1) -> Ranker:
    catalogue = Catalogue()
    for item in ("a", "b", "c", "d"):
        catalogue.add(item)
    return Ranker(catalogue, [ItemStats(60.0, 600.0, 10) for _ in range(tables)])


def row(features: np.ndarray, name: str) -> list[float]:
    out: list[float] = features[FEATURES.index(name)].tolist()
    return out


def test_popularity_is_the_logarithm_of_decayed_counts() -> None:
    r = ranker()
    r.tables[0].learn(0.0, [], [1])
    features = r.features(View(), 60.0, None)
    assert row(features, "recent popularity") == pytest.approx([0, np.log1p(0.5), 0, 0])
    assert row(features, "all-time popularity") == pytest.approx([0, np.log(2), 0, 0])


def test_neighbours_by_hand() -> None:
    r = ranker()
    r.tables[0].learn(0.0, [], [0, 1])  # a and b together
    r.tables[0].learn(1.0, [], [2, 1])  # c and b together
    features = r.features(View(tail=[0, 2]), 1.0, None)  # newest: c
    one, two = 1 / np.sqrt(1 + SHRINK), 1 / np.sqrt(2 + SHRINK)
    assert row(features, "bought together")[1] == pytest.approx((one + one) * two)
    assert row(features, "bought together, recent")[1] == pytest.approx((one + RECENCY * one) * two)
    assert row(features, "bought next")[1] == pytest.approx((1 + NEXT) / (1 + SHRINK / 2))


def test_people_alike_speak_where_something_is_known_of_the_person() -> None:
    r = ranker()
    for person, item in (("fr", 0), ("es", 1)):
        for _ in range(9):
            r.tables[0].learn(0.0, [], [item], {"country": person})
    of_france = r.features(View(attributes={"country": "fr"}), 0.0, None)
    assert row(of_france, "popular among people alike") == pytest.approx([np.log(14 / 9.5), np.log(5 / 9.5), 0, 0])
    assert row(r.features(View(), 0.0, None), "popular among people alike") == [0, 0, 0, 0]


def test_what_people_begin_with_is_not_what_they_come_to() -> None:
    r = ranker()
    for owned, item in ((0, 0), (40, 1)):
        for _ in range(9):
            r.tables[0].learn(0.0, [], [item], stage(owned))
    newcomer, regular = (row(r.features(View(owned=n), 0.0, None), "popular at this stage") for n in (0, 35))
    assert newcomer == pytest.approx([np.log(14 / 9.5), np.log(5 / 9.5), 0, 0])
    assert regular == pytest.approx([np.log(5 / 9.5), np.log(14 / 9.5), 0, 0])
    assert row(r.features(View(owned=7), 0.0, None), "popular at this stage") == [0, 0, 0, 0]  # nobody was there yet


def test_partitions_are_summed() -> None:
    whole, split = ranker(), ranker(tables=2)
    whole.tables[0].learn(0.0, [], [0, 1])
    whole.tables[0].learn(0.0, [], [0, 2])
    split.tables[0].learn(0.0, [], [0, 1])
    split.tables[1].learn(0.0, [], [0, 2])
    view = View(tail=[0])
    assert split.features(view, 5.0, None) == pytest.approx(whole.features(view, 5.0, None))


def test_repeats_count_and_age() -> None:
    r = ranker()
    past = Past()
    for day, items in ((0, [2, 1]), (10, [2]), (20, [2]), (21, [0])):
        past.take(items, day * DAY_S, most=9)
    now_s = 20 * DAY_S + r.repeat_half_life_s
    features = r.features(View(past=past, rates=np.array([0.1, 0.2, 0.3])), now_s, None)
    assert row(features, "bought before") == pytest.approx([np.log(2), np.log(2), np.log(4), 0])
    assert row(features, "share of visits") == pytest.approx([1.5 / 2, 1.5 / 5, 3.5 / 5, 0])  # since the first
    pause, age = 10.0, r.repeat_half_life_s / DAY_S  # bought every ten days
    assert row(features, "due again")[2] == pytest.approx(np.exp(np.log1p(pause) - np.log1p(age)))
    assert row(features, "due again")[0] == pytest.approx(np.exp(np.log1p(age - 1) - np.log1p(age)))  # only once
    assert row(features, "often bought again") == [0.3, 0.1, 0.2, 0]  # in the order in which they were taken last
    assert row(features, "time since bought")[2] == pytest.approx(0.5)


def test_who_takes_the_same_again_is_told_from_who_looks_for_new_things() -> None:
    same, new = Past(), Past()
    for visit in range(5):
        same.take([0, 1], visit * DAY_S, most=9)
        new.take([2 * visit, 2 * visit + 1], visit * DAY_S, most=9)
    share, of = AGAIN
    assert same.again == pytest.approx((8 + share) / (8 + of))  # the first visit cannot repeat anything
    assert new.again == pytest.approx((0 + share) / (8 + of))
    assert same.facts(4 * DAY_S, repeats=True)[-1] == pytest.approx(2 * ((8 + share) / (8 + of) - share / of))
    assert same.facts(4 * DAY_S, repeats=False)[-1] == Past().facts(0.0, repeats=True)[-1] == 0.0


def test_the_model_speaks_as_it_is() -> None:
    logits = np.array([1, 2, 3, 4], np.float32)
    assert row(ranker().features(View(), 0.0, logits), "language model") == [1, 2, 3, 4]
