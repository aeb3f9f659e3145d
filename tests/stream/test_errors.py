"""The tree of errors is the one drawn, and messages say field, rule and value."""

from __future__ import annotations

import re

import pytest

from stream import errors


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    real = {name for name, kind in vars(errors).items() if isinstance(kind, type) and kind is not errors.MeanderError}
    assert drawn == real
    assert all(issubclass(getattr(errors, name), errors.MeanderError) for name in real)


def test_bad_record_shortens_a_large_value() -> None:
    error = errors.BadRecord("title", "at most 2,000 characters", "a" * 5_000)
    assert str(error) == "title must be at most 2,000 characters, got '" + "a" * 76 + "..."
    assert error.value == "a" * 5_000
    assert not error.retriable


@pytest.mark.parametrize("retriable", [True, False])
def test_a_broker_error_says_whether_to_try_again(retriable: bool) -> None:
    assert errors.BrokerError("gone", retriable=retriable).retriable is retriable
