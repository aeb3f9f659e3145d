"""The protocol of `benchmarks.quality`: a log as arrays, and baselines tested and taught on it block by block."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import Baseline
from benchmarks.tails import Doubles, Ints
from consumers.replay import warm_up
from stream.events import Interaction
from stream.ranking import top

Mask = NDArray[np.bool_]

K = 10
TELL_S = 10.0  # between two lines of progress


@dataclass(frozen=True, slots=True)
class Log:
    """A log as arrays, one row per interaction, in order of arrival."""

    users: Ints
    items: Ints
    blocks: Ints
    clock_s: Doubles  # newest event time so far
    counted: Mask  # is tested and learned
    tested: Mask
    user_ids: list[str]
    item_ids: list[str]
    repeats: bool

    @classmethod
    def of(
        cls, interactions: Iterable[Interaction], repeats: bool, warm_up_share: float = 0.2, timeout_s: float = 60.0
    ) -> Log:
        """Read a log; a block also ends where nothing was added to it for `timeout_s`.

        Raises:
            LogError: the log is empty.
        """
        _, before = warm_up(interactions, repeats, warm_up_share)
        users, items, seen = dict[str, int](), dict[str, int](), set[tuple[int, int]]()
        opened: dict[int, tuple[str, int, float]] = {}  # user → the newest block, its number, its newest time
        rows, n_blocks = list[tuple[int, int, int, float, bool]](), 0
        for event in interactions:
            if event.item_id is None:
                continue
            user, item = users.setdefault(event.user_id, len(users)), items.setdefault(event.item_id, len(items))
            block, number, newest_s = opened.get(user, ("", -1, -np.inf))
            if number < 0 or block != event.block or event.at_s - newest_s >= timeout_s:
                number, n_blocks = n_blocks, n_blocks + 1
            opened[user] = event.block, number, max(event.at_s, newest_s)
            rows.append((user, item, number, event.at_s, repeats or (user, item) not in seen))
            seen.add((user, item))
        by_user, by_item, blocks, at_s, counted = (np.array(column) for column in zip(*rows, strict=True))
        tested = counted & (np.arange(len(rows)) >= before)
        clock_s = np.maximum.accumulate(at_s)
        return cls(by_user, by_item, blocks, clock_s, counted, tested, list(users), list(items), repeats)

    def events(self) -> list[tuple[str, str]]:
        """User and item of all that is tested."""
        return [
            (self.user_ids[u], self.item_ids[i])
            for u, i in zip(self.users[self.tested], self.items[self.tested], strict=True)
        ]

    def runs(self) -> Iterator[tuple[int, int, bool]]:
        """Consecutive rows of one block: from, to, and whether the block ends with them."""
        starts = np.flatnonzero(np.r_[True, self.blocks[1:] != self.blocks[:-1]])
        ends = np.r_[starts[1:], len(self.blocks)]
        newest = np.zeros(self.blocks.max() + 1, np.int64)
        newest[self.blocks] = np.arange(len(self.blocks))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            yield start, end, bool(newest[self.blocks[start]] == end - 1)


@dataclass(slots=True)
class Outcome:
    """What came of a method."""

    ranks: list[int | None] = field(default_factory=list)  # of every tested event; None: no candidate
    shown: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,) lists that an item stood on
    seconds: float = 0.0
    more: dict[str, Any] = field(default_factory=dict)


def ranks_of(scores: Doubles, items: Ints, candidates: Mask) -> list[int | None]:
    """`stream.ranking.rank_of` for several items at once; None for those that are no candidates.

    >>> ranks_of(np.array([3.0, 2.0, 2.0, 9.0]), np.array([0, 1, 3]), np.array([True, True, True, False]))
    [0, 1, None]
    """
    inside = np.sort(scores[candidates])
    above, upto = np.searchsorted(inside, scores[items], "left"), np.searchsorted(inside, scores[items], "right")
    ranks = len(inside) - upto + np.maximum(upto - above - 1, 0) // 2
    return [int(rank) if known else None for rank, known in zip(ranks, candidates[items], strict=True)]


def examine(log: Log, methods: dict[str, Baseline]) -> dict[str, Outcome]:
    """Test and teach all methods, block by block."""
    n_items = len(log.item_ids)
    outcomes = {name: Outcome(shown=np.zeros(n_items, np.int64)) for name in methods}
    known = np.zeros(n_items, bool)
    pending: dict[int, list[int]] = {}  # block → its items so far
    owned: dict[int, list[int]] = {}
    told_s = time.perf_counter()
    for start, end, closes in log.runs():
        user, block, now_s = int(log.users[start]), int(log.blocks[start]), float(log.clock_s[end - 1])
        targets = log.items[start:end][log.tested[start:end]]
        if len(targets):
            candidates = known.copy()
            candidates[[] if log.repeats else owned.get(user, [])] = False
            for name, method in methods.items():
                _test(outcomes[name], method, user, now_s, targets, candidates)
        pending.setdefault(block, []).extend(log.items[start:end][log.counted[start:end]].tolist())
        if closes and (items := np.array(pending.pop(block), np.int64)).size:
            known[items] = True
            owned.setdefault(user, []).extend(items.tolist())
            for name, method in methods.items():
                began_s = time.perf_counter()
                method.learn(user, now_s, items)
                outcomes[name].seconds += time.perf_counter() - began_s
        if time.perf_counter() - told_s > TELL_S:
            told_s = time.perf_counter()
            tell(f"baselines: {end:,} of {len(log.users):,} events")
    for name, method in methods.items():
        arrays = [x for x in vars(method).values() if isinstance(x, np.ndarray)]
        outcomes[name].more["arrays_mb"] = round(sum(x.nbytes for x in arrays) / 2**20, 1)
    return outcomes


def _test(outcome: Outcome, method: Baseline, user: int, now_s: float, targets: Ints, candidates: Mask) -> None:
    began_s = time.perf_counter()
    scores = np.asarray(method.scores(user, now_s), np.float64)
    outcome.ranks += ranks_of(scores, targets, candidates)
    outcome.shown[top(scores, candidates, K)] += 1
    outcome.seconds += time.perf_counter() - began_s


def tell(line: str) -> None:
    """Progress, on stderr."""
    print(line, file=sys.stderr, flush=True)
