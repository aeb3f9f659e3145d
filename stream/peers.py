"""What like people took lately: neighbours by what they have, then their newest things, fading with time.

User-based nearest neighbours (Resnick et al., "GroupLens", 1994) with rare items counting more, and decay of what the
neighbours took, as in time-aware session neighbours (Ludewig & Jannach, "Evaluation of session-based recommendation
algorithms", 2018). Letters: p people, N items of a catalogue.

    likeness of v   = sum over shared items of 1 / sqrt(owners + 5), / sqrt(number of v's items + 10)
    score of j      = sum over the `NEIGHBOURS` most alike of likeness * 2 ** (-age of v's taking j / half-life)
                      / (owners of j + 20) ** .25
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from stream.ranker import Past

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

NEIGHBOURS = 400
NEWEST = 100  # things of a person that are looked at, as the one who asks and as a neighbour
LOOKED_UP = 100_000  # owners that are looked at for one person, those of the rarest of their things first
OLD = 12  # half-lives after which a taking counts for nothing
AGAIN = 2.0, 10.0  # of an item of which nothing is known: so many of so many visits are repeats
HALF_LIFE_S = 10 * 86_400.0
_GROW = 1024


@dataclass(slots=True)
class Peers:
    """The people of a partition by what they have; a function of their pasts, in whatever order those came.

    Memory: 12 x NEWEST + 32 bytes per person, and 4 bytes for each thing that anybody has.

    >>> peers = Peers()
    >>> for name, items in (("ann", [0, 1]), ("bob", [0, 2]), ("eve", [3])):
    ...     past = Past(); past.take(items, 60.0, most=9); peers.put(name, past, past.owned)
    >>> peers.scores("ann", [0, 1], 60.0, 4).round(3).tolist()  # bob has 0, too
    [0.05, 0.0, 0.051, 0.0]
    """

    rows: dict[str, int] = field(default_factory=dict)  # person → row
    used: int = 0  # rows, those of the forgotten included
    owners: list[array[int]] = field(default_factory=list)  # by item: rows of the people who have it
    count: Doubles = field(default_factory=lambda: np.zeros(0))  # (N,): number of owners
    times: Doubles = field(default_factory=lambda: np.zeros(0))  # (N,): visits with it
    newest: NDArray[np.int32] = field(default_factory=lambda: np.full((0, NEWEST), -1, np.int32))  # (p, NEWEST)
    taken_s: Doubles = field(default_factory=lambda: np.full((0, NEWEST), -np.inf))  # likewise
    norm: Doubles = field(default_factory=lambda: np.zeros(0))  # (p,): 1 / sqrt(number of things + 10); 0: forgotten
    tie: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # (p,): decides between equals

    def put(self, user_id: str, past: Past, added: Mapping[int, int]) -> None:
        """Take note of a person's past; `added` are items, and visits with them since the last time."""
        row = self._row(user_id)
        for item, times in added.items():
            self._reserve(item)
            self.times[item] += times
            if past.owned[item] == times:
                self.owners[item].append(row)
                self.count[item] += 1
        kept = list(islice(reversed(past.owned), NEWEST))
        self.newest[row, : len(kept)] = kept
        self.taken_s[row, : len(kept)] = [past.bought_s[item] for item in kept]
        self.norm[row] = 1.0 / sqrt(len(past.owned) + 10.0) if past.owned else 0.0

    def drop(self, user_id: str, past: Past) -> None:
        """Forget a person."""
        row = self.rows.pop(user_id, None)
        if row is not None:
            self.norm[row], self.newest[row], self.taken_s[row] = 0.0, -1, -np.inf
            for item in past.owned:
                self.owners[item].remove(row)
                self.count[item] -= 1
                self.times[item] -= past.owned[item]

    def rates(self, items: Collection[int]) -> Doubles:
        """How often each of `items` is taken again: the share of visits with it that were not the person's first."""
        asked = np.fromiter(items, np.int64, len(items))
        known = asked < len(self.count)
        times, owners = np.zeros(len(asked)), np.zeros(len(asked))
        times[known], owners[known] = self.times[asked[known]], self.count[asked[known]]
        return (times - owners + AGAIN[0]) / (times + AGAIN[1])

    def scores(self, user_id: str, owned: Sequence[int], now_s: float, n: int) -> Doubles:
        """Scores (n,) of all items for a person who has these (ordinals), the newest last."""
        out = np.zeros(n)
        like = self._likeness(user_id, owned)
        near = np.flatnonzero(like > 0)
        if not len(near):
            return out
        near = near[np.lexsort((self.tie[near], -like[near]))[:NEIGHBOURS]]
        taken_s = self.taken_s.take(near, axis=0).ravel()  # (neighbours x NEWEST,)
        lately = np.flatnonzero(taken_s > now_s - OLD * HALF_LIFE_S)  # not where there is nothing
        who, place = near.take(lately // NEWEST), lately % NEWEST
        age_s = np.maximum(now_s - taken_s.take(lately), 0.0)
        weight = like.take(who) * np.exp2(-age_s / HALF_LIFE_S)
        out += np.bincount(self.newest.ravel().take(who * NEWEST + place), weights=weight, minlength=n)[:n]
        found = np.flatnonzero(out)
        out[found] /= (self.count[found] + 20.0) ** 0.25
        return out

    def _likeness(self, user_id: str, owned: Sequence[int]) -> Doubles:
        """(p,), zero for the person and for who is forgotten."""
        mine = [i for i in islice(reversed(owned), NEWEST) if i < len(self.owners) and len(self.owners[i])]
        mine.sort(key=lambda item: len(self.owners[item]))
        counts = np.array([len(self.owners[i]) for i in mine], np.int64)
        counts = counts[np.cumsum(counts) <= LOOKED_UP]
        if not len(counts):
            return np.zeros(len(self.norm))
        rows = np.concatenate([np.frombuffer(self.owners[i], np.int32) for i in mine[: len(counts)]])
        shared = np.bincount(rows, np.repeat(1.0 / np.sqrt(counts + 5.0), counts), minlength=len(self.norm))
        like: Doubles = shared * self.norm
        if user_id in self.rows:
            like[self.rows[user_id]] = 0.0
        return like

    def _reserve(self, item: int) -> None:
        """Make room for an item."""
        while item >= len(self.owners):
            self.owners.append(array("i"))
        have = len(self.count)
        if item >= have:
            more = np.zeros(max(item + 1 - have, have // 2, _GROW))
            self.count, self.times = np.concatenate([self.count, more]), np.concatenate([self.times, more])

    def _row(self, user_id: str) -> int:
        """The row of a person, a new one if they have none."""
        row = self.rows.get(user_id)
        if row is not None:
            return row
        if self.used == len(self.norm):
            more = max(self.used // 2, _GROW)
            self.newest = np.vstack([self.newest, np.full((more, NEWEST), -1, np.int32)])
            self.taken_s = np.vstack([self.taken_s, np.full((more, NEWEST), -np.inf)])
            self.norm = np.concatenate([self.norm, np.zeros(more)])
            self.tie = np.concatenate([self.tie, np.zeros(more, np.int64)])
        row = self.rows[user_id] = self.used
        self.tie[row] = zlib.crc32(user_id.encode())
        self.used += 1
        return row
