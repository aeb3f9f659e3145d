"""Lists of a real little replay: what they say of themselves holds."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from consumers.replay import replay
from producers.synthetic import Plan, World
from stream import events
from stream.blend import FEATURES, LINEAR
from stream.events import Interaction, Item, Recommendation, Recommended
from stream.settings import Settings, load
from stream.text import TextEncoder

PLACES = 4  # of scores and contributions
NAMED = re.compile(r"(?:together with|chosen after|people who have) ([^;,]+?)(?=, which|;|\.$)")
NO_ONE = "things that you have"
Log = tuple[list[Item], list[Interaction]]


def settings(**scoring: Any) -> Settings:
    return load(
        users={"tail": 200},
        model={"dim": 16, "layers": 1, "heads": 2, "context": 20},
        training={"window_events": 400, "warm_up_epochs": 1, "epochs": 1, "max_steps": 15, "batch_size": 16},
        trigger={"policy": "never"},
        scoring=scoring,
    )


@pytest.fixture(scope="module")
def world() -> Log:
    made = World(Plan(users=30, items=60, events=700, days=60, swaps=0.5, seed=3))
    return list(made.items), list(made.interactions())


def played(world: Log, **scoring: Any) -> list[Recommendation]:
    lines = io.BytesIO()
    replay("made", *world, settings(**scoring), recommendations=lines, encoder=TextEncoder.tiny())
    made = [events.decode(Recommendation, line) for line in lines.getvalue().splitlines()]
    return [list_ for list_ in made if list_.user_id != events.NEWCOMER]


@pytest.fixture(scope="module")
def lists(world: Log) -> list[Recommendation]:
    return played(world)


@pytest.fixture(scope="module")
def varied(world: Log) -> list[Recommendation]:
    return played(world, diversity=0.6)


def history(world: Log, made: Recommendation) -> dict[str, str]:
    """Titles, by id, of what the person had when the list was made."""
    titles = {item.item_id: item.title for item in world[0]}
    until = [e for e in world[1] if e.user_id == made.user_id]
    last = next(n for n, e in enumerate(until) if e.event_id == made.answers)
    return {e.item_id: titles[e.item_id] for e in until[: last + 1] if e.item_id}


def each(lists: list[Recommendation]) -> list[tuple[Recommendation, Recommended]]:
    return [(made, item) for made in lists for item in made.items]


@pytest.mark.parametrize("dial", ["lists", "varied"])
def test_contributions_sum_to_the_score_for_every_item_of_every_list(dial: str, request: pytest.FixtureRequest) -> None:
    lists = request.getfixturevalue(dial)
    assert len(lists) > 200
    assert lists[-1].model_version == "v1"
    for _, item in each(lists):
        rounding = (len(item.reasons) + 1) * 0.5 * 10**-PLACES
        assert sum(item.reasons.values()) == pytest.approx(item.score, abs=rounding + 1e-9)
        sizes = [abs(share) for share in item.reasons.values()]
        assert sizes == sorted(sizes, reverse=True)


def test_every_item_has_a_sentence_that_names_only_what_the_person_has(world: Log, lists: list[Recommendation]) -> None:
    all_titles = {item.title for item in world[0]}
    told = 0
    for made in lists:
        had = history(world, made)
        for item in made.items:
            assert re.fullmatch(r"[A-Z].*[^.]\.", item.why)
            named = [title for title in NAMED.findall(item.why) if title != NO_ONE]
            behind = [had[item_id] for item_id in item.because]  # a KeyError would name what they never had
            assert set(named) <= set(behind)
            assert item.item_id not in item.because
            quoted = {title for title in all_titles if title in item.why}
            assert quoted <= {title for title in all_titles if any(title in known for known in had.values())}
            told += len(named)
    assert told > len(lists)


def test_the_day_in_a_sentence_is_the_day_of_the_event(world: Log, lists: list[Recommendation]) -> None:
    made, item = next((m, i) for m, i in reversed(each(lists)) if ", which you chose on " in i.why)
    title = NAMED.findall(item.why)[0]
    had = history(world, made)
    days = {
        events.rfc3339(e.at_s)[8:10].lstrip("0")
        for e in world[1]
        if e.user_id == made.user_id and had.get(e.item_id or "") == title
    }
    assert item.why.partition(", which you chose on ")[2].split()[0] in days


def test_what_like_people_have_is_explained_by_what_the_person_has(lists: list[Recommendation]) -> None:
    linear = {FEATURES[f] for f in LINEAR}
    led = [item for _, item in each(lists) if next(iter(item.reasons), "") in linear]
    assert sum(bool(item.because) for item in led) > 0.9 * len(led) > 0


def test_the_dial_puts_other_items_on_the_list(lists: list[Recommendation], varied: list[Recommendation]) -> None:
    added = [(made, item) for made, item in each(varied) if "adds variety to the list" in item.why]
    assert added
    assert not [item for _, item in each(lists) if "variety" in item.why]
    plain = {made.answers: {item.item_id: item.score for item in made.items} for made in lists}
    for made, item in added:
        assert item.item_id not in plain[made.answers]
    for made in varied:
        assert made.items[0].item_id == next(iter(plain[made.answers]))  # the best stays first
        assert len({item.item_id for item in made.items}) == len(plain[made.answers])
        scores = plain[made.answers]
        assert all(scores[i.item_id] == i.score for i in made.items if i.item_id in scores)
    assert {m.answers for m in lists} == {m.answers for m in varied}
