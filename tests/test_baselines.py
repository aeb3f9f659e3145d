"""The benchmark's baselines, by arithmetic on a small log, and its protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.analysis import Analysis
from benchmarks.baselines import BASELINES, DAY_S, DecayedPopularity, ItemKNN, Popularity, SessionKNN
from benchmarks.fitted import EASE, OnlineBPR
from benchmarks.lists import Catalogue
from benchmarks.protocol import Log, Outcome, examine, ranks_of
from benchmarks.quality import check, meander
from producers.datasets import Dataset
from producers.synthetic import Plan, World
from stream.events import Interaction, Item
from stream.ranking import rank_of
from stream.settings import load
from stream.text import TextEncoder

Row = tuple[str, str, float, str]  # user, item, days, group
BOUGHT: list[Row] = [
    ("u1", "e", 0.0, "1"),
    ("u2", "e", 0.0, "2"),
    ("u3", "e", 0.0, "3"),
    ("ann", "a", 0.0, "4"),
    ("ann", "b", 0.0, "4"),
    ("bob", "a", 1.0, "5"),
    ("bob", "c", 1.0, "5"),
    ("dan", "b", 4.0, "6"),
    ("dan", "d", 4.0, "6"),
    ("ann", "c", 5.0, "7"),
    ("ann", "d", 5.0, "7"),
    ("ann", "e", 5.0, "7"),
    ("ann", "f", 5.0, "7"),
]


def events(rows: list[Row]) -> list[Interaction]:
    return [
        Interaction(event_id=str(n), user_id=user, item_id=item, at=int(days * DAY_S * 1000), group=group)
        for n, (user, item, days, group) in enumerate(rows)
    ]


def log_of(rows: list[Row], repeats: bool = False, share: float = 0.0) -> Log:
    return Log.of(events(rows), repeats, share)


def made(log: Log, *names: str) -> dict[str, Any]:
    methods: dict[str, Any] = {
        name: BASELINES[name](len(log.user_ids), len(log.item_ids), 0) for name in names or BASELINES
    }
    for method in methods.values():
        if isinstance(method, EASE):
            method.every = 20  # the log is short
    return methods


def random_rows(seed: int, n_blocks: int = 60) -> list[Row]:
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for block in range(n_blocks):
        user = f"u{random.integers(6)}"
        held = random.choice(15, random.integers(1, 5), replace=False)
        rows += [(user, f"i{item}", block / 4, str(block)) for item in held]
    return rows


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("popularity", [1, 1, 0]),  # e was bought three times, c and d once
        ("popularity-3d", [2, 1, 0]),  # c 2^(-4/3) = .40, d 2^(-1/3) = .79, e 3 * 2^(-5/3) = .94
        ("own-past", [1, 1, 0]),  # without repeats nothing that is owned is a candidate: popularity
        ("item-knn", [0, 0, 2]),  # c stood with a, d with b, e with neither
        ("item-knn-recency", [1, 0, 2]),  # b is newer than a
        ("user-knn", [1, 0, 2]),  # bob .95 / sqrt(2), dan 1 / sqrt(2)
        ("v-sknn", [1, 0, 2]),  # the same: each has one block
        ("sequential-rules", [1, 0, 2]),  # c after a .7 / 7, d after b 1 / 7
    ],
)
def test_ranks_of_a_last_block(name: str, expected: list[int]) -> None:
    log = log_of(BOUGHT)
    ranks = examine(log, made(log, name))[name].ranks
    assert ranks[-4:-1] == expected
    assert ranks[-1] is None  # nobody had bought f before


def test_a_short_half_life_puts_the_newest_first() -> None:
    log = log_of(BOUGHT)
    method = DecayedPopularity(len(log.user_ids), len(log.item_ids), DAY_S)
    ranks = examine(log, {"decayed": method})["decayed"].ranks
    assert ranks[-4:-1] == [2, 0, 1]  # c 2^-4 = .06, d 2^-1 = .5, e 3 * 2^-5 = .09


def test_item_knn_is_a_shrunk_cosine() -> None:
    knn = ItemKNN(2, 3, recency=0.5)
    knn.learn(0, 0.0, np.array([0, 1]))
    knn.learn(0, 1.0, np.array([2]))
    knn.learn(1, 2.0, np.array([1, 0]))  # newest: 0
    expected = (2 * 0.5 / 12, 2 / 12, (1 + 0.5) / np.sqrt(12 * 11))
    np.testing.assert_allclose(knn.scores(1, 3.0), expected, rtol=1e-5)


def test_session_knn_forgets_old_blocks_and_keeps_its_place() -> None:
    random = np.random.default_rng(0)
    knn, blocks = SessionKNN(4, 30, blocks=40), list[np.ndarray[Any, Any]]()
    for _ in range(900):
        blocks.append(random.choice(30, random.integers(1, 6), replace=False))
        knn.learn(int(random.integers(4)), 0.0, blocks[-1])
    tail = knn.tails.of(2)
    wanted = {int(item): 0.95**age for age, item in reversed(list(enumerate(tail[::-1])))}
    expected = np.zeros(30)
    for block in blocks[-40:]:
        expected[block] += sum(wanted.get(int(item), 0.0) for item in block) / np.sqrt(len(block))
    np.testing.assert_allclose(knn.scores(2, 0.0), expected)


def test_ease_is_its_closed_form() -> None:
    ease = EASE(3, 4, every=1, ridge=2.0, recency=1.0)
    owned = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0]], float)
    for user, row in enumerate(owned):
        ease.learn(user, 0.0, np.flatnonzero(row))
    inverse = np.linalg.inv(owned.T @ owned + 2.0 * np.eye(4))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    np.testing.assert_allclose(ease.scores(0, 1.0), owned[0] @ weights, atol=1e-6)


def test_bpr_learns_who_likes_what() -> None:
    bpr = OnlineBPR(20, 10)
    for _ in range(30):
        for user in range(20):
            bpr.learn(user, 0.0, np.array([0, 1, 2, 3, 4]) + 5 * (user % 2))
    own = np.array([bpr.scores(user, 0.0)[5 * (user % 2) :][:5].min() for user in range(20)])
    other = np.array([bpr.scores(user, 0.0)[5 * (1 - user % 2) :][:5].max() for user in range(20)])
    assert (own > other).all()


@pytest.mark.parametrize("repeats", [False, True])
def test_the_future_changes_nothing(repeats: bool) -> None:
    rows = random_rows(1)
    shuffled = [rows[n] for n in np.random.default_rng(2).permutation(np.arange(100, len(rows)))]
    one, other = log_of(rows, repeats), log_of(rows[:100] + shuffled, repeats)
    known = int(one.tested[:100].sum())
    before, after = examine(one, made(one)), examine(other, made(other))
    for name in BASELINES:
        assert before[name].ranks[:known] == after[name].ranks[:known]
        assert before[name].ranks != after[name].ranks


def test_a_block_is_learned_once_it_is_tested() -> None:
    rows = random_rows(3)
    last = [row for row in rows if row[3] == "59"]
    turned = rows[: -len(last)] + last[::-1]
    one, other = log_of(rows, repeats=True), log_of(turned, repeats=True)
    assert len(last) > 1
    for name, outcome in examine(one, made(one)).items():
        assert outcome.ranks[-len(last) :] == examine(other, made(other))[name].ranks[: -len(last) - 1 : -1]


def test_an_interrupted_block_is_learned_at_its_end() -> None:
    rows: list[Row] = [("x", "a", 0.0, "1"), ("y", "a", 0.0, "2"), ("x", "b", 0.0, "1"), ("y", "b", 0.0, "2")]
    log = log_of(rows)
    outcome = examine(log, {"popularity": Popularity(2, 2)})["popularity"]
    assert outcome.ranks == [None, None, None, 0]
    assert log_of([("x", "a", 0.0, "1"), ("x", "b", 1.0, "1")]).blocks.tolist() == [0, 1]  # as a day lies between


def test_only_first_interactions_count_without_repeats() -> None:
    rows: list[Row] = [("x", "a", 0.0, "1"), ("x", "a", 1.0, "2"), ("y", "b", 2.0, "3"), ("x", "b", 3.0, "4")]
    assert log_of(rows).events() == [("x", "a"), ("y", "b"), ("x", "b")]
    assert log_of(rows, repeats=True).tested.tolist() == [True] * 4
    assert log_of(rows, repeats=True, share=0.5).events() == [("y", "b"), ("x", "b")]


def test_ranks_are_those_of_the_product() -> None:
    random = np.random.default_rng(0)
    scores, candidates = random.integers(0, 8, 60).astype(float), random.random(60) < 0.7
    expected = [rank_of(scores, item, candidates) if candidates[item] else None for item in range(60)]
    assert ranks_of(scores, np.arange(60), candidates) == expected


def test_figures_and_paired_intervals() -> None:
    log = log_of(random_rows(5), share=0.2)
    n = int(log.tested.sum())
    analysis = Analysis(log)
    best, worst = Outcome([0] * n, np.ones(15, np.int64)), Outcome([None] * n, np.ones(15, np.int64))
    figures = analysis.figures(best)
    assert (figures["hit_rate_10"], figures["ndcg_10"], figures["mrr_20"], figures["hit_rate_10_per_user"]) == (1,) * 4
    assert (figures["coverage_10"], figures["gini_10"], figures["curve_hit_rate_10"]) == (1.0, 0.0, [1.0])
    assert analysis.difference(best, best)["hit_rate_10_ci95"] == [0.0, 0.0]
    assert analysis.difference(best, worst)["ndcg_10_ci95"] == [1.0, 1.0]


def test_the_long_tail_is_what_a_fifth_of_the_items_goes_before() -> None:
    rows: list[Row] = [
        (f"u{n}{item}", item, 0.0, f"{n}{item}")
        for item, times in zip("abcde", (5, 4, 3, 2, 1), strict=True)
        for n in range(times)
    ]
    log = log_of([*rows, *(("z", item, 1.0, "z") for item in "abef")])
    assert log.long_tail()[-4:].tolist() == [False, True, True, True]  # one of five goes before b; f is new


def test_the_catalogue_beside_the_headline() -> None:
    rows: list[Row] = [("x", "a", 0.0, "1"), ("y", "b", 1.0, "2"), ("z", "a", 2.0, "3")]
    log = log_of(rows)
    items = [Item(item_id="b", title="Mug", at=0), Item(item_id="a", available=False), Item(item_id="c")]
    catalogue = Catalogue.of(items, log.item_ids, TextEncoder.tiny())
    assert [*catalogue.places] == ["a", "b", "c"]
    assert catalogue.since_s.tolist() == [np.inf, 0.0, 0.0]
    assert catalogue.vectors.any(axis=1).tolist() == [False, True, False]
    outcome = examine(log, {"popularity": Popularity(3, 2)}, catalogue)["popularity"]
    assert outcome.ranks == [None, None, 0]
    assert outcome.more["catalogue_hit_rate_10"] == round(2 / 3, 5)  # b stood in the catalogue before anyone had it


def test_other_events_are_refused() -> None:
    log = log_of(BOUGHT)
    tested = log.events()
    check(tested, [None] * len(tested), log)
    with pytest.raises(RuntimeError, match="tested event 1 must be"):
        check([tested[0], tested[0], *tested[2:]], [None] * len(tested), log)
    with pytest.raises(RuntimeError, match="must test the 13 events"):
        check(tested[:-1], [None] * (len(tested) - 1), log)
    with pytest.raises(RuntimeError, match="count each event"):
        check(tested, [], log)


@pytest.mark.parametrize("repeats", [False, True])
def test_meander_is_tested_on_the_same_events(repeats: bool) -> None:
    world = World(Plan(users=20, items=40, events=400, days=30, seed=3))
    data = Dataset("made", list(world.items), list(world.interactions()))
    log = Log.of(data.interactions, repeats)
    settings = load(trigger={"policy": "never"}, scoring={"repeats": repeats})
    encoder = TextEncoder.tiny()
    outcome = meander(data, log, data.interactions, settings, Catalogue.of(data.items, log.item_ids, encoder), encoder)
    assert len(outcome.ranks) == int(log.tested.sum())
    popularity = examine(log, made(log, "popularity"))["popularity"]
    assert [rank is None for rank in outcome.ranks] == [rank is None for rank in popularity.ranks]  # candidates, too
    assert outcome.shown.sum() > 0
    assert 0 < outcome.more["novelty_10"] < 20
    assert 0 < outcome.more["diversity_10"] < 1
