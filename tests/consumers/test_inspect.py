from __future__ import annotations

import io

import numpy as np
import pytest
from msgspec.structs import replace
from rich.console import Console

from consumers.inspect import Person, describe, read_person, roll_back, version_lines
from consumers.tables import person_table, topic_table, version_table
from stream.admin import TopicState
from stream.bus import MemoryBus
from stream.errors import MeanderError, StoreError
from stream.events import Recommendation, Recommended
from stream.events import encode as encode_outside
from stream.messages import (
    DriftAlarm,
    ItemVector,
    ModelHealth,
    ModelVersion,
    Ruling,
    UserState,
    as_bytes,
    decode_version,
    encode,
)  # fmt: skip
from stream.records import Output

DAY_S = 86_400.0
ZERO = as_bytes(np.zeros(64, np.float32))
STATE = UserState("ann", 52, 0.0, 9 * DAY_S, "s", ZERO, ZERO, {"Toys": 1.0, "Garden": 3.0}, ["mug", "cup"],
                  [8 * 86_400, 86_400], [], [12.0, 7 * DAY_S], [], 3, "b", [], changed_s=9 * DAY_S)  # fmt: skip
LIST = Recommendation(
    user_id="ann", at="1970-01-10T00:00:00Z", model_version="v2", answers="e1", horizon="1970-01-09T00:00:00Z",
    items=[Recommended(item_id="pot", score=2.0, reasons={"bought together": 1.5, "interests": 0.4},
                       because=["mug"], why="Often chosen together with Red mug."),
           Recommended(item_id="x9", score=1.0)],
)  # fmt: skip
ALARM = DriftAlarm("ann", 7 * DAY_S, "user", "rank", "page_hinkley", 4.0, 3.0, 40, ["Garden"], ["Toys", "Books"], 2,
                   6 * DAY_S, 12, {"Toys": 0.8, "Garden": 0.1}, {"Garden": 0.75, "Toys": 0.0},
                   ["pot", "x9"])  # fmt: skip
NAMED = {"mug": "Red mug", "pot": "Flower pot [blue]"}


def version(name: str, verdict: str, parent: str = "") -> ModelVersion:
    return ModelVersion(name, verdict, parent, 3600.0, 0.0, {0: 9}, "j", "users", {"alarms": 7.0}, name, "", "", 4, 1.0,
                        9, {"lower": 0.0123456, "reason": "better"}, 0.0)  # fmt: skip


def shown(renderable: object) -> str:
    out = io.StringIO()
    Console(file=out, width=140, color_system=None).print(renderable)
    return out.getvalue()


def filled() -> MemoryBus:
    bus = MemoryBus(partitions=2)
    older = encode(UserState(**{**{f: getattr(STATE, f) for f in STATE.__struct_fields__}, "seq": 51}))
    bus.send([Output("user-states", b"ann", older), Output("user-states", b"bob", b"junk")])
    bus.send([Output("user-states", b"ann", encode(STATE))])
    bus.send([Output("recommendations", b"ann", encode_outside(LIST)), Output("drift-alarms", b"ann", encode(ALARM))])
    vectors = [ItemVector(item, b"", title, "", [], True, 0.0) for item, title in NAMED.items()]
    bus.send([Output("item-vectors", v.item_id.encode(), encode(v)) for v in vectors])
    return bus


def test_a_person_in_words() -> None:
    person = read_person(filled(), "ann")
    assert person.sentence == (
        "ann: 52 interactions from 1970-01-01 to 1970-01-10. Interests: Garden 75%, Toys 25%."
        " Interests moved on 1970-01-07, noticed 12 interactions later: towards Garden (10% → 75%)"
        " and away from Toys (80% → 0%), Books, most by Flower pot [blue], x9."
        " (scope user, signal rank, page_hinkley 4.00 over 3.00, interaction 40, 1970-01-08 00:00.)"
        " The newest interaction has a say of their own."
    )
    told = describe(replace(STATE, attributes={"country": "France", "age": "30s"}), None, None, {})
    assert "Known: age 30s, country France. Interests:" in told.sentence
    assert person.history == [("1970-01-10", "cup"), ("1970-01-09", "Red mug")]  # an item without title keeps its id
    assert [(i.title, i.why) for i in person.listed] == [
        ("Flower pot [blue]", "Often chosen together with Red mug."),
        ("x9", ""),
    ]
    assert person.made == "made for 1970-01-10 with v2"


def test_a_change_of_which_little_is_told() -> None:
    older = DriftAlarm("ann", 7 * DAY_S, "user", "rank", "page_hinkley", 4.0, 3.0, 40, ["Garden"], ["Toys", "Books"], 2)
    told = describe(replace(STATE, changed_s=0.0), None, older, {}).sentence
    assert " Interests moved on 1970-01-08 towards Garden and away from Toys, Books. (scope user" in told
    assert "say of their own" not in told


def test_a_person_with_a_state_only() -> None:
    person = describe(STATE, None, None, {})
    assert (person.listed, person.made, person.alarm) == ([], "", "")


def test_someone_unknown_or_forgotten() -> None:
    bus = filled()
    with pytest.raises(MeanderError, match="user 'zoe' is not known: topic user-states holds no state"):
        read_person(bus, "zoe")
    bus.send([Output("user-states", b"ann", None)])
    with pytest.raises(MeanderError, match="user 'ann' is not known"):
        read_person(bus, "ann")


def test_a_person_on_the_terminal_with_brackets_in_titles() -> None:
    text = shown(person_table(read_person(filled(), "ann")))
    assert "Flower pot [blue]" in text
    assert "Often chosen together with Red mug." in text
    assert shown(person_table(Person("a", 1, "d", "d", [], "", "", 0, [], [], ""))).startswith(
        "a: 1 interaction from d to d."
    )


def test_what_descends_from_a_version_that_was_rolled_back_is_shown_so() -> None:
    records: list[ModelVersion | Ruling] = [
        version("v1", "promoted"),
        version("v2", "promoted", "v1"),
        version("v3", "promoted", "v2"),
        version("v4", "refused", "v2"),
        Ruling("v2", "rollback", 9.0, 0.0, "worse", {}),
    ]
    states = [(line.version, line.state) for line in version_lines(records)]
    assert states == [("v4", "refused"), ("v3", "rolled back"), ("v2", "rolled back"), ("v1", "live")]


def test_versions_and_the_state_each_is_in() -> None:
    records: list[ModelVersion | Ruling] = [
        version("v1", "promoted"),
        version("v2", "promoted", "v1"),
        version("v3", "refused", "v1"),
        version("v4", "undecided", "v1"),
        Ruling("v2", "rollback", 9.0, 0.0, "worse", {}),
    ]
    lines = version_lines(records)
    assert [(line.version, line.state) for line in lines] == [
        ("v4", "in shadow"), ("v3", "refused"), ("v2", "rolled back"), ("v1", "live"),
    ]  # fmt: skip
    assert lines[-1].why == "users (alarms 7)"
    assert lines[-1].verdict == "promoted: lower 0.01235, better"
    assert lines[-1].horizon == "1970-01-01 01:00"
    assert "in shadow" in shown(version_table(lines))


def test_a_rollback_is_written_beside_the_version() -> None:
    bus = MemoryBus()
    bus.send([Output("model-versions", b"v1", encode(version("v1", "promoted")))])
    bus.send([Output("model-versions", b"v2", encode(version("v2", "promoted", "v1")))])
    health = ModelHealth(0, 7200.0, 9, 9, 1, 0, 0, 0.0, 0, 0, 0, "v2", "", [], 0)
    bus.send([Output("model-health", b"0", encode(health))])
    ruling = roll_back(bus, None, "complaints")
    assert (ruling.version, ruling.at_s, ruling.live_at_s, ruling.reason) == ("v2", 7200.0, 0.0, "complaints")
    record = list(bus.read("model-versions"))[-1]
    assert record.key == b"v2/rollback"
    assert decode_version(record.value) == ruling


@pytest.mark.parametrize(
    ("name", "reason"),
    [(None, "v1 cannot be rolled back: no version before it"), ("v9", "version must be one of v1, got 'v9'")],
)
def test_rollbacks_that_cannot_be(name: str | None, reason: str) -> None:
    bus = MemoryBus()
    with pytest.raises(StoreError, match="no live version"):
        roll_back(bus, name, "")
    bus.send([Output("model-versions", b"v1", encode(version("v1", "promoted")))])
    with pytest.raises(StoreError, match=reason):
        roll_back(bus, name, "")


def test_topics_with_lag_and_missing_ones() -> None:
    states = {"interactions": TopicState(2, {0: 1_200, 1: 40}, {"meander-interest": {0: 1_000, 1: 40}})}
    text = shown(topic_table(states, ["meander-interest", "meander-scorer"]))
    row = next(line for line in text.splitlines() if line.startswith("interactions"))
    assert "1,240" in row
    assert "meander-interest 200" in row
    assert "meander-scorer" not in text
    assert "missing" in next(line for line in text.splitlines() if line.startswith("items"))
