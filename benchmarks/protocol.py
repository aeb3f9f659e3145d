"""The protocol of `benchmarks.quality`: a log as arrays, and baselines tested and taught on it block by block."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import Baseline
from benchmarks.lists import Catalogue, Lists
from benchmarks.peers import Peer
from benchmarks.tails import Doubles, Ints
from consumers.replay import warm_up
from stream.events import Interaction
from stream.ranking import Tally, top

Mask = NDArray[np.bool_]

K = 10
HEAD = 0.2  # the share of items that is not the long tail
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

    def runs(self) -> Iterator[tuple[int, int, Ints]]:
        """Consecutive rows of one block: from, to, and what is learned then: the whole block if it ends here."""
        starts = np.flatnonzero(np.r_[True, self.blocks[1:] != self.blocks[:-1]])
        ends = np.r_[starts[1:], len(self.blocks)]
        newest = np.zeros(self.blocks.max() + 1, np.int64)
        newest[self.blocks] = np.arange(len(self.blocks))
        pending: dict[int, list[int]] = {}  # block → its items so far
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            block = int(self.blocks[start])
            pending.setdefault(block, []).extend(self.items[start:end][self.counted[start:end]].tolist())
            closes = newest[block] == end - 1
            yield start, end, np.array(pending.pop(block) if closes else [], np.int64)

    def long_tail(self) -> Mask:
        """Tested rows (n,) whose item has at least `HEAD` of the items known then before it in popularity."""
        counts, out = np.zeros(len(self.item_ids)), np.zeros(len(self.items), bool)
        for start, end, learned in self.runs():
            rows = start + np.flatnonzero(self.tested[start:end])
            if len(rows):
                known = np.sort(counts[counts > 0])
                before = len(known) - np.searchsorted(known, counts[self.items[rows]], "right")
                out[rows] = before >= HEAD * len(known)
            np.add.at(counts, learned, 1)
        return out[self.tested]


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


def examine(log: Log, methods: Mapping[str, Baseline], catalogue: Catalogue | None = None) -> dict[str, Outcome]:
    """Test and teach all methods, block by block; without a catalogue its items have no text and are no candidates."""
    n_items = len(log.item_ids)
    catalogue = catalogue or Catalogue.of([], log.item_ids)
    counts = np.zeros(len(catalogue.places))
    tests = {name: _Test(method, Lists(catalogue.vectors, counts)) for name, method in methods.items()}
    known, owned = np.zeros(n_items, bool), dict[int, list[int]]()
    told_s = time.perf_counter()
    for start, end, learned in log.runs():
        user, now_s = int(log.users[start]), float(log.clock_s[end - 1])
        targets = log.items[start:end][log.tested[start:end]]
        if len(targets):
            candidates, available = known.copy(), known | (catalogue.since_s[:n_items] <= now_s)
            for mask in (candidates, available):
                mask[[] if log.repeats else owned.get(user, [])] = False
            for test in tests.values():
                test.rank(user, now_s, targets, candidates, available)
        if learned.size:
            known[learned] = True
            np.add.at(counts, learned, 1)
            owned.setdefault(user, []).extend(learned.tolist())
            for test in tests.values():
                test.learn(user, now_s, learned)
        if time.perf_counter() - told_s > TELL_S:
            told_s = time.perf_counter()
            tell(f"baselines: {end:,} of {len(log.users):,} events")
    return {name: test.outcome(n_items) for name, test in tests.items()}


@dataclass(slots=True)
class _Test:
    """One method under test."""

    method: Baseline
    lists: Lists
    ranks: list[int | None] = field(default_factory=list)
    catalogue: Tally = field(default_factory=Tally)  # over the whole available catalogue
    seconds: float = 0.0

    def rank(self, user: int, now_s: float, targets: Ints, candidates: Mask, available: Mask) -> None:
        began_s = time.perf_counter()
        scores = np.asarray(self.method.scores(user, now_s), np.float64)
        self.ranks += ranks_of(scores, targets, candidates)
        listed = top(scores, candidates, K)
        self.seconds += time.perf_counter() - began_s
        self.lists.add(listed)
        for rank in ranks_of(scores, targets, available):
            self.catalogue.add(rank)

    def learn(self, user: int, now_s: float, items: Ints) -> None:
        began_s = time.perf_counter()
        self.method.learn(user, now_s, items)
        self.seconds += time.perf_counter() - began_s

    def outcome(self, n_items: int) -> Outcome:
        """What came of it; ends a peer."""
        more: dict[str, Any] = {"catalogue_hit_rate_10": round(self.catalogue.rates()["hit_rate_10"], 5)}
        if isinstance(self.method, Peer):
            more |= self.method.figures()
        else:
            arrays = [x for x in vars(self.method).values() if isinstance(x, np.ndarray)]
            more["arrays_mb"] = round(sum(x.nbytes for x in arrays) / 2**20, 1)
        return Outcome(self.ranks, self.lists.shown[:n_items], self.seconds, self.lists.figures() | more)


def tell(line: str) -> None:
    """Progress, on stderr."""
    print(line, file=sys.stderr, flush=True)
