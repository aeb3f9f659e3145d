"""People's past as columns: order, blocks, what is left out."""

from __future__ import annotations

from stream.baskets import Baskets, Took

IDS = ["mug", "cup", "hat"]


def test_each_persons_events_are_in_order_of_time() -> None:
    past = [Took("ann", "mug", 9.0, "b"), Took("bob", "hat", 5.0, "c"), Took("ann", "cup", 1.0, "a")]
    made = Baskets.of(past, IDS, before_s=10.0)
    assert made.starts.tolist() == [0, 2, 3]
    assert made.items.tolist() == [1, 0, 2]
    assert made.times_s.tolist() == [1.0, 9.0, 5.0]


def test_what_was_taken_together_has_one_number_and_no_two_people_share_one() -> None:
    past = [
        Took("ann", "mug", 1.0, "a"), Took("ann", "cup", 1.0, "a"),
        Took("ann", "hat", 2.0, "b"), Took("bob", "hat", 1.0, "b"),
    ]  # fmt: skip
    assert Baskets.of(past, IDS, before_s=10.0).blocks.tolist() == [0, 0, 1, 2]


def test_what_came_late_or_is_unknown_is_left_out() -> None:
    past = [Took("ann", "mug", 1.0, "a"), Took("ann", "cup", 9.0, "b"), Took("bob", "gone", 1.0, "c")]
    made = Baskets.of(past, IDS, before_s=9.0)
    assert (made.starts.tolist(), made.items.tolist()) == ([0, 1], [0])
