"""Which version is live, by name and by event time."""

from __future__ import annotations

import pytest

from stream import versions
from stream.errors import BadRecord
from stream.messages import ModelVersion, Ruling


def made(name: str, verdict: str = "promoted", parent: str = "", live_at_s: float = 0.0) -> ModelVersion:
    return ModelVersion(
        name, verdict, parent, 0.0, live_at_s, {0: 9}, "j1", "clock", {}, f"{name}-0", "c", "", 1, 1.0, 1, {}, 0.0
    )


def ruled(name: str, ruling: str, live_at_s: float = 0.0) -> Ruling:
    return Ruling(name, ruling, live_at_s, live_at_s, "", {})


LINE = [made("v1"), made("v2", parent="v1"), made("v3", parent="v2")]

CASES = [
    ([], None, None),
    ([made("v1", "refused")], None, None),
    (LINE, None, "v3"),
    (list(reversed(LINE)), None, "v3"),  # the order of records does not matter
    ([*LINE, ruled("v3", "rollback")], None, "v2"),
    ([*LINE, ruled("v2", "rollback")], None, "v1"),  # v3 descends from v2
    ([*LINE, ruled("v1", "rollback")], None, None),
    ([made("v9"), made("v10", parent="v9")], None, "v10"),  # by number, not by letters
    ([made("v1"), made("v2", "undecided", "v1")], None, "v1"),
    ([made("v1"), made("v2", "undecided", "v1"), ruled("v2", "promoted")], None, "v2"),
    ([made("v1"), made("v2", "undecided", "v1"), ruled("v2", "refused")], None, "v1"),
    ([made("v1"), made("v2", parent="v1", live_at_s=60.0)], 59.0, "v1"),
    ([made("v1"), made("v2", parent="v1", live_at_s=60.0)], 60.0, "v2"),
    ([*LINE, ruled("v3", "rollback", live_at_s=60.0)], 59.0, "v3"),
    ([*LINE, ruled("v3", "rollback", live_at_s=60.0)], 60.0, "v2"),
]


@pytest.mark.parametrize(("records", "now_s", "expected"), CASES)
def test_live(records: list[ModelVersion | Ruling], now_s: float | None, expected: str | None) -> None:
    found = versions.live(records, now_s)
    assert (found.version if found else None) == expected


def test_the_newer_record_of_a_version_counts() -> None:
    assert versions.live([made("v1"), made("v1", "refused")]) is None


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([made("v1"), made("v2", "undecided", "v1")], "v2"),
        ([made("v1"), made("v2", "undecided", "v1"), ruled("v2", "refused")], None),
        ([made("v1"), made("v2", "undecided", "v1"), made("v3", parent="v1")], None),  # v3 has overtaken it
        ([made("v1"), made("v2", "undecided", "v1"), made("v3", "refused", "v1")], "v2"),
        ([made("v1"), made("v2", parent="v1"), made("v3", "undecided", "v2"), ruled("v2", "rollback")], None),
    ],
)
def test_shadow(records: list[ModelVersion | Ruling], expected: str | None) -> None:
    found = versions.shadow(records)
    assert (found.version if found else None) == expected


def test_names_count_every_record_whatever_its_verdict() -> None:
    assert versions.next_name([]) == "v1"
    assert versions.next_name([made("v1"), made("v2", "refused"), ruled("v2", "rollback")]) == "v3"


def test_what_descends_from_a_version_that_was_rolled_back_does_not_stand() -> None:
    records: list[ModelVersion | Ruling] = [*LINE, ruled("v2", "rollback")]
    assert [versions.stands(records, name) for name in ("v1", "v2", "v3")] == [True, False, False]


def test_ancestors_end_where_records_end() -> None:
    assert versions.ancestors(LINE, "v3") == ["v2", "v1"]
    assert versions.ancestors([made("v3", parent="v2")], "v3") == ["v2"]
    assert versions.ancestors([made("v1", parent="v1")], "v1") == []  # a circle cannot hang it


def test_a_name_must_be_v_and_a_number() -> None:
    with pytest.raises(BadRecord, match="version must be v followed by a number, such as v7, got 'v0'"):
        versions.number("v0")
