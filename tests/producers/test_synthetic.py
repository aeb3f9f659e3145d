from __future__ import annotations

import itertools
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from producers.synthetic import DAY_S, NAMES, START_S, WORDS, Plan, World, write_truth
from stream.errors import LogError


def shares(world: World, user: str, start_s: float, stop_s: float) -> Counter[str]:
    topic = {item.item_id: item.categories[0] for item in world.items}
    own = [e for e in world.interactions() if e.user_id == user and start_s <= e.at_s < stop_s]
    return Counter(topic[e.item_id or ""] for e in own)


def test_same_seed_same_world_other_seed_other_world() -> None:
    one, two, other = (World(Plan(users=30, items=40, events=500, seed=seed)) for seed in (1, 1, 2))
    assert one.items == two.items
    assert one.changes == two.changes
    events = list(one.interactions())
    assert events == list(two.interactions())
    assert events != list(other.interactions())
    assert len({e.event_id for e in events}) == 500
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(events))


def test_titles_carry_the_words_of_their_topic() -> None:
    world = World(Plan(items=16))
    assert world.items[0].categories == [NAMES[0]]
    assert world.items[9].categories == [NAMES[1]]
    assert all(len(item.title.split()) == 4 for item in world.items)


def test_a_swap_moves_a_users_events_at_its_second() -> None:
    world = World(Plan(users=5, items=80, events=5_000, swaps=0.2, gradual=0.0, focus=1.0))
    (change,) = world.changes
    assert (change.kind, change.until_s) == ("swap", change.at_s)
    assert set(shares(world, change.user_id, START_S, change.at_s)) == {change.before}
    assert set(shares(world, change.user_id, change.at_s, START_S + 90 * DAY_S)) == {change.after}


def test_a_gradual_change_is_half_done_in_its_middle() -> None:
    world = World(Plan(users=2, items=80, events=20_000, swaps=0.0, gradual=0.5, focus=1.0, gradual_days=20.0))
    (change,) = world.changes
    assert change.until_s == change.at_s + 20 * DAY_S
    during = shares(world, change.user_id, change.at_s, change.until_s)
    assert during[change.after] / during.total() == pytest.approx(0.5, abs=0.06)
    assert set(during) == {change.before, change.after}


def test_a_category_moves_all_who_are_interested_in_it() -> None:
    world = World(Plan(users=40, items=80, events=4_000, swaps=0.0, gradual=0.0, focus=1.0, category_day=45.0))
    (change,) = world.changes
    assert (change.kind, change.at_s) == ("category", START_S + 45 * DAY_S)
    topic = {item.item_id: item.categories[0] for item in world.items}
    before = {topic[e.item_id or ""] for e in world.interactions() if e.at_s < change.at_s}
    after = {topic[e.item_id or ""] for e in world.interactions() if e.at_s >= change.at_s}
    assert change.before in before
    assert change.before not in after
    assert change.after in after


def test_a_population_change_draws_popularity_anew() -> None:
    world = World(Plan(users=40, items=80, events=8_000, swaps=0.0, gradual=0.0, population_day=45.0))
    (change,) = world.changes
    assert (change.kind, change.user_id) == ("population", "")
    before = Counter(e.item_id for e in world.interactions() if e.at_s < change.at_s)
    after = Counter(e.item_id for e in world.interactions() if e.at_s >= change.at_s)
    top = {item for item, _ in before.most_common(8)}
    assert len(top & {item for item, _ in after.most_common(8)}) < 5


def test_popularity_follows_the_power_law() -> None:
    world = World(Plan(users=10, items=8 * 4, events=40_000, swaps=0.0, gradual=0.0, popularity=1.0))
    counts = Counter(e.item_id for e in world.interactions())
    of_topic = sorted((counts[i.item_id] for i in world.items if i.categories == [NAMES[0]]), reverse=True)
    assert of_topic[0] / of_topic[1] == pytest.approx(2.0, rel=0.15)  # weights 1, 1/2, 1/3, 1/4
    assert of_topic[0] / of_topic[3] == pytest.approx(4.0, rel=0.15)


def test_all_swaps_may_come_on_one_day() -> None:
    world = World(Plan(users=50, items=80, swaps=0.2, gradual=0.0, swap_day=45.0))
    assert [(c.kind, c.at_s) for c in world.changes] == [("swap", START_S + 45 * DAY_S)] * 10


@pytest.mark.parametrize("day", ["segment_day", "tastes_day"])
def test_tastes_change_in_one_topic_or_in_all(day: str) -> None:
    base = {"users": 40, "items": 80, "events": 8_000, "swaps": 0.0, "gradual": 0.0, "styles": 2}
    plain, world = World(Plan(**base)), World(Plan(**base, **{day: 45.0}))  # type: ignore[arg-type]
    (change,) = world.changes
    topic = {item.item_id: item.categories[0] for item in world.items}
    pairs = list(zip(plain.interactions(), world.interactions(), strict=True))
    assert all(a == b for a, b in pairs if a.at_s < change.at_s)
    moved = {topic[a.item_id or ""] for a, b in pairs if a.item_id != b.item_id}
    assert moved == ({change.after} if day == "segment_day" else set(NAMES))
    assert all(topic[a.item_id or ""] == topic[b.item_id or ""] for a, b in pairs)


def test_a_user_keeps_to_a_style_within_their_interest() -> None:
    world = World(Plan(users=3, items=160, events=900, swaps=0.0, gradual=0.0, styles=4, focus=1.0))
    for user in ("u0", "u1", "u2"):
        style = {int((e.item_id or "i")[1:]) // len(NAMES) % 4 for e in world.interactions() if e.user_id == user}
        assert len(style) == 1


def test_arrivals_come_on_their_day_and_come_first() -> None:
    world = World(Plan(users=40, items=80, events=6_000, swaps=0.0, gradual=0.0, arrivals_day=45.0, arrivals=0.2))
    (change,) = world.changes
    before = {e.item_id for e in world.interactions() if e.at_s < change.at_s}
    after = Counter(e.item_id for e in world.interactions() if e.at_s >= change.at_s)
    new = set(after) - before
    assert len(new) == 16
    assert sum(after[item] for item in new) > after.total() / 3


def test_what_comes_after_what_changes_and_what_is_popular_does_not() -> None:
    plan = {"users": 40, "items": 80, "events": 12_000, "swaps": 0.0, "gradual": 0.0, "sequence": 0.7}
    world = World(Plan(**plan, sequence_day=45.0))  # type: ignore[arg-type]
    (change,) = world.changes
    assert (change.kind, change.user_id) == ("sequence", "")
    topic = {item.item_id: item.categories[0] for item in world.items}
    rings, popular = [], []
    for late in (False, True):
        follows, last = {name: Counter[str]() for name in NAMES}, dict[str, str]()
        events = [e for e in world.interactions() if (e.at_s >= change.at_s) == late]
        for e in events:
            now = topic[e.item_id or ""]
            if e.user_id in last:
                follows[last[e.user_id]][now] += 1
            last[e.user_id] = now
        ring = {name: found.most_common(1)[0] for name, found in follows.items()}
        assert all(0.65 < n / follows[name].total() < 0.85 for name, (_, n) in ring.items())
        assert {after for after, _ in ring.values()} == set(NAMES)  # each comes after one
        rings.append({name: after for name, (after, _) in ring.items()})
        popular.append({item for item, _ in Counter(e.item_id for e in events).most_common(8)})
    assert sum(rings[0][name] == rings[1][name] for name in NAMES) < 4
    assert len(popular[0] & popular[1]) >= 6


def test_weekends_recur() -> None:
    world = World(Plan(users=40, items=80, events=6_000, swaps=0.0, gradual=0.0, focus=0.0, weekend=0.8))
    topic = {item.item_id: item.categories[0] for item in world.items}
    days: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for e in world.interactions():
        days[datetime.fromtimestamp(e.at_s, UTC).weekday() > 4][topic[e.item_id or ""]] += 1
    shares = {weekend: max(found.values()) / found.total() for weekend, found in days.items()}
    assert shares[True] > 0.75
    assert shares[False] < 0.2


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ({"users": 0}, "synthetic users must be at least 1, got 0"),
        ({"items": 7}, "synthetic items must be at least 8, one for each topic, got 7"),
        ({"styles": 101}, "synthetic styles must be between 1 and the items of a topic, got 101"),
        ({"arrivals": 0.6}, r"synthetic arrivals must be between 0 and 0\.5, got 0\.6"),
        ({"sequence": -0.1}, r"synthetic sequence must be between 0 and 1, got -0\.1"),
        ({"weekend": 1.1}, r"synthetic weekend must be between 0 and 1, got 1\.1"),
        ({"swaps": 0.7, "gradual": 0.4}, r"synthetic gradual must be between 0 and 1, with swaps, got 0\.4"),
    ],
)
def test_refuses_plans_that_cannot_be(plan: dict[str, float], reason: str) -> None:
    with pytest.raises(LogError, match=reason):
        Plan(**plan)  # type: ignore[arg-type]


def test_truth_is_written_as_json_lines(tmp_path: Path) -> None:
    world = World(Plan(users=10, items=8, swaps=0.1, gradual=0.1))
    path = tmp_path / "truth.jsonl"
    write_truth(path, world.changes)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"swap", "gradual"}
    assert rows[0].keys() == {"kind", "user_id", "before", "after", "at", "until"}
    with pytest.raises(LogError, match="cannot be written"):
        write_truth(tmp_path / "no" / "truth.jsonl", world.changes)


def test_some_who_turn_say_so_within_the_hour_before() -> None:
    silent = World(Plan(users=20, items=40, events=300, swaps=0.5, gradual=0.1))
    world = World(Plan(users=20, items=40, events=300, swaps=0.5, gradual=0.1, says=0.5))
    said = world.searches()
    assert len(said) == 6
    turns = {change.user_id: change for change in world.changes}
    for search in said:
        turn = turns[search.user_id]
        assert 0 <= turn.at_s - search.at_s <= 3_600
        assert set((search.text or "").split()) <= set(WORDS[turn.after])
    everything = list(world.interactions())
    assert [e for e in everything if e.item_id] == list(silent.interactions())
    assert [e for e in everything if not e.item_id] == said
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(everything))
