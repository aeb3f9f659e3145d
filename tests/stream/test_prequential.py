from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stream import prequential
from stream.history import LoggedEvent
from stream.settings import load

VECTORS = {f"i{n}": np.eye(8, dtype=np.float32)[n] for n in range(8)}


class Favourite:
    """A model that expects one item."""

    linear = None
    adapter = ""

    def __init__(self, item: int) -> None:
        self.item = item

    def item_matrix(self, item_ids: Sequence[str], vectors: Any) -> Any:
        return np.asarray(vectors, np.float32)

    def user_vector(self, item_vectors: Any, times_s: Any) -> Any:
        return 5.0 * np.eye(8, dtype=np.float32)[self.item]


def log(n: int, seed: int = 0, late: int = 0) -> list[LoggedEvent]:
    """Random purchases; in the last `late` blocks everyone buys i3."""
    rng = np.random.default_rng(seed)
    out = []
    for t in range(n):
        item = 3 if t >= n - late else int(rng.integers(8))
        user = f"u{rng.integers(6)}"
        out.append(LoggedEvent(user, f"i{item}", 60.0 * t, f"b{t}"))
    return out


def test_the_model_that_expects_what_comes_loses_less() -> None:
    events = log(300, late=60)
    pairs = prequential.paired_losses(events, 60.0 * 240, Favourite(3), Favourite(5), VECTORS, load())
    assert len(pairs) == 60
    assert (pairs.gain[:10] >= 0).all()
    assert pairs.gain[:10].mean() > 0.1
    assert pairs.candidate_rr.mean() > pairs.live_rr.mean()
    assert pairs.n.tolist() == [1] * 60


def test_a_model_against_itself_differs_by_nothing() -> None:
    pairs = prequential.paired_losses(log(200), 60.0 * 150, Favourite(3), Favourite(3), VECTORS, load())
    assert not pairs.gain.any()
    assert pairs.candidate_rr.tolist() == pairs.live_rr.tolist()


def test_a_first_version_is_held_against_a_blend_without_a_model() -> None:
    pairs = prequential.paired_losses(log(200, late=50), 60.0 * 150, Favourite(3), None, VECTORS, load())
    assert pairs.gain[0] > 0


def test_nothing_after_the_hold_out_begins_is_known_before_it_is_tested() -> None:
    """An item that the hold-out brings is no candidate until it has been learned."""
    events = [*log(100), LoggedEvent("u0", "new", 6000.0, "x"), LoggedEvent("u1", "new", 6060.0, "y")]
    pairs = prequential.paired_losses(events, 6000.0, Favourite(3), None, VECTORS, load())
    assert pairs.users.tolist() == ["u1"]


def test_without_repeats_only_first_interactions_are_tested() -> None:
    events = [*log(100), LoggedEvent("v", "i1", 6000.0, "x"), LoggedEvent("v", "i1", 6060.0, "y")]
    pairs = prequential.paired_losses(events, 6000.0, Favourite(3), None, VECTORS, load(scoring={"repeats": False}))
    assert len(pairs) == 1


def test_long_hold_outs_are_tested_in_their_newest_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prequential, "MOST_BLOCKS", 20)
    pairs = prequential.paired_losses(log(200), 60.0 * 100, Favourite(3), None, VECTORS, load())
    assert len(pairs) == 20


def test_drifted_users_are_marked() -> None:
    events = [*log(100), LoggedEvent("v", "i1", 6000.0, "x", drifted=True)]
    pairs = prequential.paired_losses(events, 6000.0, Favourite(3), None, VECTORS, load())
    assert pairs.drifted.tolist() == [True]
