from __future__ import annotations

import pytest

from stream.blend import FEATURES
from stream.explain import LIKE, NEXT, NOTHING, TOGETHER, VARIETY, WORDS, Explanation, Memory

DAY_S = 86_400.0
MAY_3 = 1_304_380_800.0  # 2011
TITLES = {0: "Red mug", 1: "Blue\n cup ", 2: "A" * 80}
WAYS = (TOGETHER, NEXT, LIKE)
MEMORY = Memory(["m", "c", "a", "x"], TITLES, {0: MAY_3, 1: MAY_3 + DAY_S, 3: MAY_3}, now_s=MAY_3 + 9 * DAY_S)


def told() -> Explanation:
    return Explanation(MEMORY, item=2)


def test_every_feature_has_words() -> None:
    assert set(FEATURES) - set(WORDS) == set()
    assert all(("{it}" in words) == (subject in WAYS) for subject, words in WORDS.values())


@pytest.mark.parametrize("feature", [*FEATURES, "phase of the moon"])
def test_every_feature_makes_a_sentence(feature: str) -> None:
    one = Explanation(MEMORY, 0)
    one.tell({feature: 1.0}, {way: [1] for way in WAYS})
    assert one.sentence[0].isupper()
    assert one.sentence.endswith(".")
    assert not set("{}") & set(one.sentence)
    named = WORDS.get(feature, ("", ""))[0] in WAYS
    assert ("Blue cup, which you chose on 4 May" in one.sentence) == named
    assert one.because == ([1] if named else [])


def test_a_feature_without_words_is_named() -> None:
    one = told()
    one.tell({"phase of the moon": 1.0}, {})
    assert one.sentence == "High in “phase of the moon”."


def test_two_reasons_and_the_day_of_the_first_item() -> None:
    one = told()
    one.tell({"bought next": 2.0, "bought by like people": 1.9, "recent popularity": 1.8}, {NEXT: [0], LIKE: [1, 0]})
    assert one.sentence == (
        "Often chosen after Red mug, which you chose on 3 May; often chosen by people who have Blue cup."
    )
    assert one.because == [0, 1]


def test_weak_reasons_are_left_out() -> None:
    one = told()
    one.tell({"interests": 2.0, "recent popularity": 0.49}, {})
    assert one.sentence == "Close to your interests."


def test_nothing_is_said_twice() -> None:
    one = told()
    one.tell(
        {"bought together": 2.0, "bought together, recent": 1.5, "bought next": 1.4, "all-time popularity": 1.0},
        {TOGETHER: [0, 1], NEXT: [0]},
    )
    assert one.sentence == (
        "Often chosen together with Red mug, which you chose on 3 May; one of the most chosen items of all."
    )
    assert one.because == [0, 1]


def test_what_a_person_comes_back_to() -> None:
    again, never = Explanation(MEMORY, 0), Explanation(MEMORY, 2)
    for one in (again, never):
        one.tell({"bought before": 2.0, "time since bought": 1.0, "language model": 0.9}, {})
    assert again.sentence == "You chose it before, last on 3 May; fits what you chose last."
    assert never.sentence == "Fits what you chose last."


def test_without_a_known_item_of_the_history() -> None:
    one = told()
    one.tell({"bought by like people": 1.0}, {LIKE: []})
    assert one.sentence == "Often chosen by people who have things that you have."
    assert one.because == []


def test_of_two_features_about_the_same_only_the_stronger_is_said() -> None:
    one = told()
    one.tell({"recent popularity": 3.0, "all-time popularity": 2.0, "interests": 1.5, "language model": 1.4}, {})
    assert one.sentence == "Popular these days; close to your interests."


def test_when_nothing_stands_out() -> None:
    one = told()
    one.tell({}, {TOGETHER: [0]})
    assert one.sentence == f"{NOTHING[0].upper()}{NOTHING[1:]}."
    assert one.because == []


def test_an_item_may_be_there_for_variety() -> None:
    one = Explanation(MEMORY, 2, varied=True)
    one.tell({"interests": 1.0}, {})
    assert one.sentence == f"Close to your interests; {VARIETY}."


def test_items_of_the_history_named_first_then_the_others_by_the_strength_of_their_way() -> None:
    one = told()
    one.tell({"bought together": 2.0, "bought next": 1.0}, {TOGETHER: [0, 1], NEXT: [3], LIKE: [2]})
    assert one.because == [0, 3, 1]


def test_titles_and_days() -> None:
    assert MEMORY.title(1) == "Blue cup"
    assert MEMORY.title(2) == "A" * 59 + "…"
    assert MEMORY.title(3) == "item x"
    assert MEMORY.day(1) == "4 May"
    later = Memory(MEMORY.ids, TITLES, MEMORY.chosen_s, MAY_3 + 301 * DAY_S)
    assert (later.day(0), later.day(1)) == ("3 May 2011", "4 May")  # 301 and 300 days ago
