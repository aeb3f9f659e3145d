"""Records and outputs."""

from __future__ import annotations

import dataclasses

import pytest

from stream.records import Output, Record


def test_a_record_says_where_it_stood() -> None:
    assert Record("user-states", 3, 0, b"ann", None).where == "user-states[3]@0"


@pytest.mark.parametrize("thing", [Record("t", 0, 0, None, b""), Output("t", None, b"")])
def test_neither_can_be_changed(thing: Record | Output) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        thing.topic = "u"  # type: ignore[misc]


def test_an_output_leaves_the_partition_to_the_bus_unless_told() -> None:
    assert Output("recommendations", b"ann", None).partition is None
    assert Output("recommendations", b"ann", None, 2).partition == 2
