"""The benchmark's peers: their clock and what they answer, with a made one; the real ones where they are installed."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.peer_worker import END, HEAD, LEARN, SCORE, Doubles, Ints, serve
from benchmarks.peer_worker import Peer as Worker

needs_peers = pytest.mark.skipif(not peers.available(), reason="needs RecTools and implicit: make peers")


class Last(Worker):
    """Says that whoever had an item wants it again; notes how much each fit saw."""

    name = "numpy"
    settings = {"made": True}  # noqa: RUF012
    growth = 0.5

    def __init__(self) -> None:
        super().__init__(3, 5, seed=0)
        self.saw: list[int] = []

    def fit(self, users: Ints, items: Ints) -> None:
        assert len(users) == len(items)
        self.saw.append(len(items))

    def told(self, held: list[int]) -> Doubles:
        return np.asarray(np.eye(5)[held[-1]])


def test_a_peer_is_fitted_when_the_log_has_grown() -> None:
    peer = Last()
    for _ in range(10):
        peer.learn(0, [1])
        peer.scores(0)
    assert peer.saw == [2, 3, 5, 8]  # the first that is at least half as much again


def test_what_the_fit_does_not_know_comes_last() -> None:
    peer = Last()
    peer.learn(0, [1, 2])
    assert np.argmax(peer.scores(0)) == 2
    peer.growth = 100.0  # no other fit
    peer.learn(0, [4, 3, 3, 1])
    assert np.argsort(-peer.scores(0), kind="stable").tolist() == [1, 2, 3, 4, 0]
    assert peer.scores(1).tolist() == [0, 2, 1, 2, 1]  # someone unknown gets what is popular
    peer.learn(1, [3])
    assert peer.scores(1).tolist() == [0, 2, 1, 3, 1]  # and so does someone of whom only an unknown item is known


def test_messages() -> None:
    items = np.array([1, 2])
    sent = HEAD.pack(LEARN, 2, 2) + items.tobytes() + HEAD.pack(SCORE, 2, 0) + HEAD.pack(END, 0, 0)
    answers = io.BytesIO()
    serve(Last(), io.BytesIO(sent), answers)
    scores, line = answers.getvalue()[:40], answers.getvalue()[40:]
    assert np.frombuffer(scores).argmax() == 2
    figures = json.loads(line)
    assert (figures["fits"], figures["refit_at_growth"], figures["settings"]) == (1, 0.5, {"made": True})
    assert figures["process_peak_rss_mb"] > 0


def test_a_process_that_ends_is_an_error() -> None:
    peer = peers.Peer("als", 2, 3, python=Path(shutil.which("false") or ""))
    with pytest.raises(RuntimeError, match="peer als must answer, its process ended with 1"):
        peer.scores(0, 0.0)


@needs_peers
@pytest.mark.slow
@pytest.mark.parametrize("name", peers.NAMES)
def test_real_peers_learn_who_likes_what(name: str) -> None:
    peer, random = peers.Peer(name, 301, 20), np.random.default_rng(0)
    for user in range(300):
        peer.learn(user, 0.0, random.permutation(10)[:8] + 10 * (user % 2))
    peer.scores(0, 0.0)
    peer.learn(300, 0.0, np.array([12, 15]))  # someone new since the fit
    best = np.argsort(-peer.scores(300, 0.0))[:3]
    assert peer.figures()["fits"] == 1
    assert best.min() >= 10
