"""A person before the blend: one past, or two after a change of interests."""

from __future__ import annotations

import numpy as np
import pytest

from consumers.items import Items
from consumers.people import Open, Part, Person, Profile
from consumers.shelf import Shelf
from consumers.sight import Sight, Viewer, Who
from stream.blend import Blend
from stream.evidence import Population
from stream.ranker import Ranker
from stream.settings import load
from stream.statistics import ItemStats

N = 8


def seen(changed_s: float, odds: float = 0.0) -> tuple[Sight, Part]:
    """Somebody who took 0, 1 and 2 several times, and then 3; others took 3 and 4 together."""
    stats = ItemStats(60.0, 600.0, 10)
    part, items, ann = Part(Blend(50.0), stats, Population(50_000), clock_s=900.0), Items(), Person()
    for item in range(N):
        items.catalogue.add(str(item))
    for at_s, taken in ((0.0, [5, 6, 7]), (50.0, [3, 4]), (60.0, [4, 3])):
        stats.learn(at_s, [], taken)
    for n, taken in enumerate(([0, 1], [0, 2], [1, 2], [3])):
        stats.learn(200.0 * n, ann.tail, taken)
        ann.take(taken, 200.0 * n, most=50)
    config, ranker = load().scoring, Ranker(items.catalogue, [stats])
    profile = Profile(changed_s=changed_s)
    viewer, counts = Viewer(config, items, Shelf(lambda _: None), ranker), ranker.counts()  # type: ignore[arg-type, return-value]
    return viewer.look(part, Who("ann", ann, profile, {}, odds), counts > 0, counts), part


def test_without_a_change_all_of_the_past_speaks() -> None:
    sight, _ = seen(0.0)
    assert [share for share, _ in sight.pasts] == [1.0]
    assert sight.contest is None


def test_after_a_change_two_pasts_share_the_say() -> None:
    plain, _ = seen(0.0)
    recent, _ = seen(600.0, odds=50.0)
    sight, part = seen(600.0)
    assert [(share, past.tail) for share, past in sight.pasts] == [(0.5, [0, 1, 0, 2, 1, 2, 3]), (0.5, [3])]
    assert sight.z == pytest.approx((plain.z + recent.z) / 2)
    assert sight.facts == pytest.approx((plain.facts + recent.facts) / 2)
    weights = part.blend.weights_for(sight.facts)
    assert (weights * sight.z[:, 4]).sum() == pytest.approx(float((weights @ sight.z)[4]))


def test_what_was_before_the_change_is_no_habit_any_more() -> None:
    recent, _ = seen(600.0, odds=50.0)
    plain, _ = seen(0.0)
    assert int(np.argmax(plain.z[9])) in (0, 1, 2)  # bought before
    assert int(np.argmax(recent.z[9])) == 3


def test_the_contest_is_won_by_the_past_that_foretells() -> None:
    sight, _ = seen(600.0)
    assert sight.contest is not None
    assert sight.contest.gain(4) > 0 > sight.contest.gain(0)


@pytest.mark.parametrize(("changed_s", "odds"), [(0.0, 4.0), (600.0, -4.0), (-1.0, 0.0), (601.0, 0.0)])
def test_no_change_an_unlikely_one_and_one_out_of_sight_have_no_say(changed_s: float, odds: float) -> None:
    sight, _ = seen(changed_s, odds)
    assert len(sight.pasts) == 1


def test_the_odds_follow_the_blocks_and_begin_anew_with_the_next_change() -> None:
    person = Person(profile=Profile(changed_s=5.0))
    person.judge(Open("b", 6.0, n=4, gain=2.0))
    assert (person.odds, person.odds_under(Profile(changed_s=5.0))) == (1.0, 1.0)
    person.judge(Open("b", 7.0, n=1, gain=99.0))
    assert person.odds == 4.0
    person.adopt(Profile(changed_s=8.0))
    assert (person.odds, person.profile.changed_s) == (0.0, 8.0)
