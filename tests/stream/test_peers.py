"""People with like things: who they are, what they took lately, what is forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from stream import peers as peers_
from stream.peers import AGAIN, HALF_LIFE_S, Peers
from stream.ranker import Past

History = list[tuple[float, list[int]]]


def past(history: History) -> Past:
    made = Past()
    for at_s, items in history:
        made.take(items, at_s, most=50)
    return made


def of(people: dict[str, History]) -> Peers:
    """Put block by block, in order of time."""
    made, pasts = Peers(), {name: Past() for name in people}
    blocks = sorted((at_s, name, items) for name, history in people.items() for at_s, items in history)
    for at_s, name, items in blocks:
        pasts[name].take(items, at_s, most=50)
        made.put(name, pasts[name], dict.fromkeys(items, 1))
    return made


PEOPLE: dict[str, History] = {
    "ann": [(0.0, [0, 1])],
    "bob": [(0.0, [0, 1]), (10.0, [2])],
    "cid": [(0.0, [0, 5, 6, 7]), (5.0, [3, 0])],
    "dan": [(0.0, [8, 9])],
}


def test_scores_follow_the_formula() -> None:
    now_s = 10.0 + HALF_LIFE_S
    found = of(PEOPLE).scores("ann", [0, 1], now_s, 12)
    rare = {0: 1 / np.sqrt(3 + 5), 1: 1 / np.sqrt(2 + 5)}
    bob, cid = (rare[0] + rare[1]) / np.sqrt(3 + 10), rare[0] / np.sqrt(5 + 10)
    fade = {at_s: 2.0 ** (-(now_s - at_s) / HALF_LIFE_S) for at_s in (0.0, 5.0, 10.0)}
    assert found[2] == pytest.approx(bob * fade[10.0] / 21**0.25)
    assert found[3] == pytest.approx(cid * fade[5.0] / 21**0.25)
    assert found[0] == pytest.approx((bob * fade[0.0] + cid * fade[5.0]) / 23**0.25)  # cid took it again
    assert not found[[4, 8, 9, 10, 11]].any()


def test_the_order_in_which_people_were_put_does_not_matter() -> None:
    again = Peers()
    for name in reversed(PEOPLE):  # as after a restart: each whole, in another order
        person = past(PEOPLE[name])
        again.put(name, person, person.owned)
    assert of(PEOPLE).scores("ann", [0, 1], 20.0, 12).tobytes() == again.scores("ann", [0, 1], 20.0, 12).tobytes()


def test_who_is_forgotten_counts_for_nothing() -> None:
    left = of({name: history for name, history in PEOPLE.items() if name != "bob"})
    dropped = of(PEOPLE)
    dropped.drop("bob", past(PEOPLE["bob"]))
    dropped.drop("bob", past(PEOPLE["bob"]))  # twice is as once
    assert dropped.scores("ann", [0, 1], 20.0, 12).tobytes() == left.scores("ann", [0, 1], 20.0, 12).tobytes()
    dropped.put("bob", past([(30.0, [0, 4])]), {0: 1, 4: 1})
    assert dropped.scores("ann", [0, 1], 30.0, 12)[4] > 0


def test_rates_count_visits_after_the_first() -> None:
    made = of(PEOPLE)
    (nothing_known,) = made.rates([99])
    assert nothing_known == pytest.approx(AGAIN[0] / AGAIN[1])
    of_0, of_1 = made.rates([0, 1])  # 0: four visits of three people; 1: two of two
    assert of_0 == pytest.approx((4 - 3 + AGAIN[0]) / (4 + AGAIN[1]))
    assert of_1 == pytest.approx(AGAIN[0] / (2 + AGAIN[1]))
    made.drop("cid", past(PEOPLE["cid"]))
    assert made.rates([0]).item() == pytest.approx(AGAIN[0] / (2 + AGAIN[1]))


def test_a_stranger_and_someone_with_unknown_things_have_no_peers() -> None:
    made = of(PEOPLE)
    assert not made.scores("new", [], 0.0, 12).any()
    assert not made.scores("new", [11], 0.0, 12).any()
    assert made.scores("new", [0], 0.0, 12).any()  # known by what they have, not by their name


def test_only_the_most_alike_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_, "NEIGHBOURS", 1)
    assert np.flatnonzero(of(PEOPLE).scores("ann", [0, 1], 20.0, 12)).tolist() == [0, 1, 2]


def test_things_that_too_many_have_are_left_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_, "LOOKED_UP", 2)
    assert np.flatnonzero(of(PEOPLE).scores("eve", [0, 1], 20.0, 12)).tolist() == [0, 1, 2]  # through 1 alone


@pytest.mark.parametrize("item", [0, 1, 1_023, 1_024, 5_000])
def test_any_item_may_come_first(item: int) -> None:
    made = of({"ann": [(0.0, [item, 2 * item + 1])], "bob": [(0.0, [item])]})
    assert np.flatnonzero(made.scores("bob", [item], 1.0, 20_000)).tolist() == [item, 2 * item + 1]


def test_many_people_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_, "_GROW", 2)
    made = of({f"u{n}": [(float(n), [n % 3])] for n in range(9)})
    assert np.flatnonzero(made.scores("eve", [1], 20.0, 3)).tolist() == [1]
