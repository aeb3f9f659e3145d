"""Merging of events, and histories as columns."""

from __future__ import annotations

import numpy as np

from stream.history import Histories, LoggedEvent, merged


def event(user: str, item: str, at_s: float, block: str = "b") -> LoggedEvent:
    return LoggedEvent(user, item, at_s, block)


def test_events_come_in_order_of_time_and_once() -> None:
    window = [event("ann", "cup", 9.0, "basket"), event("bob", "cup", 5.0)]
    tail = [event("ann", "mug", 1.0), event("ann", "cup", 9.0, "@9.0")]
    log = merged([*window, *tail])
    assert [(e.user_id, e.item_id, e.at_s) for e in log] == [
        ("ann", "mug", 1.0),
        ("bob", "cup", 5.0),
        ("ann", "cup", 9.0),
    ]
    assert log[2].block == "basket"  # the source in front is the richer one


def test_equal_times_keep_their_order() -> None:
    log = merged([event("ann", item, 1.0) for item in ("c", "a", "b")])
    assert [e.item_id for e in log] == ["c", "a", "b"]


def test_without_repeats_the_first_stays() -> None:
    log = [event("ann", "mug", 3.0), event("ann", "mug", 1.0), event("bob", "mug", 2.0)]
    assert [(e.user_id, e.at_s) for e in merged(log, repeats=False)] == [("ann", 1.0), ("bob", 2.0)]


def test_columns_hold_person_after_person() -> None:
    log = [event("ann", "mug", 1.0), event("bob", "tin", 2.0), event("ann", "lid", 3.0), event("ann", "cup", 4.0)]
    histories = Histories.of(log, ["cup", "mug", "tin"], fresh_from_s=2.0)  # lid is in no catalogue
    assert histories.starts.tolist() == [0, 2, 3]
    assert histories.items.tolist() == [1, 0, 2]
    assert histories.times_s.tolist() == [1.0, 4.0, 2.0]
    assert histories.fresh.tolist() == [False, True, True]
    assert len(histories) == 3


def test_an_empty_log_is_no_histories() -> None:
    histories = Histories.of([], ["cup"], fresh_from_s=0.0)
    assert (len(histories), histories.starts.tolist()) == (0, [0])
    assert histories.items.dtype == np.int64
