"""What someone would build instead of Meander, each in a screenful of numpy: counting methods, EASE, online BPR.

All have one shape: `scores` ranks all items for a user with what has been learned, `learn` takes a block of that user.
Users and items are ordinals. None falls back to another: a neighbourhood knows nothing of who has no history.
Half-lives come in two sizes; the ridge of `ease-recency` and the steps of BPR were chosen on the first 10,000 tested
events of ml-100k, the rest are customary values. The modules `fitted` and `tails` belong to this one.

Letters: N items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from benchmarks.fitted import EASE, OnlineBPR
from benchmarks.tails import TAIL, Doubles, Floats, Ints, Tails

DAY_S = 86_400.0


class Baseline(Protocol):
    """A recommender that learns block by block."""

    def scores(self, user: int, now_s: float) -> Floats | Doubles:
        """Scores (N,) of all items for a user at `now_s`; higher is better."""
        ...

    def learn(self, user: int, at_s: float, items: Ints) -> None:
        """Take in a block of a user, in order."""
        ...


class Popularity:
    """Interactions per item.

    >>> popularity = Popularity(1, 3)
    >>> popularity.learn(0, 0.0, np.array([2, 2, 1]))
    >>> popularity.scores(0, 0.0).tolist()
    [0.0, 1.0, 2.0]
    """

    def __init__(self, _n_users: int, n_items: int) -> None:
        self.counts = np.zeros(n_items)

    def scores(self, _user: int, _now_s: float) -> Doubles:
        """See `Baseline`."""
        return self.counts

    def learn(self, _user: int, _at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        np.add.at(self.counts, items, 1.0)


class DecayedPopularity:
    """Interactions per item, each worth half after `half_life_s`.

    >>> decayed = DecayedPopularity(1, 2, half_life_s=10.0)
    >>> decayed.learn(0, 0.0, np.array([0])); decayed.learn(0, 10.0, np.array([1]))
    >>> decayed.scores(0, 20.0).tolist()
    [0.5, 1.0]
    """

    def __init__(self, _n_users: int, n_items: int, half_life_s: float) -> None:
        self.half_life_s = half_life_s
        self.counts = np.zeros(n_items)  # as of newest_s
        self.newest_s = -np.inf

    def scores(self, _user: int, _now_s: float) -> Doubles:
        """See `Baseline`; decay is the same for all items, so the order does not depend on the time."""
        return self.counts

    def learn(self, _user: int, at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        if at_s > self.newest_s:
            self.counts *= 2.0 ** ((self.newest_s - at_s) / self.half_life_s)
            self.newest_s = at_s
        np.add.at(self.counts, items, 2.0 ** ((at_s - self.newest_s) / self.half_life_s))


class OwnPast:
    """What a user took before, most often first; of equals, and after those, what all take.

    Hard to beat where people come back to the same things (GP-TopFreq of Li et al. 2021, "A Next Basket Recommendation
    Reality Check").

    >>> own = OwnPast(2, 3)
    >>> own.learn(0, 0.0, np.array([1, 2, 2])); own.learn(1, 0.0, np.array([0]))
    >>> (-own.scores(0, 0.0)).argsort().tolist()
    [2, 1, 0]
    """

    def __init__(self, n_users: int, n_items: int) -> None:
        self.everyone = Popularity(n_users, n_items)
        self.taken: dict[int, dict[int, int]] = {}  # user → item → times

    def scores(self, user: int, now_s: float) -> Doubles:
        """See `Baseline`."""
        popular = self.everyone.scores(user, now_s)
        out = popular / (popular.sum() + 1)  # below 1
        own = self.taken.get(user, {})
        out[list(own)] += list(own.values())
        return np.asarray(out)

    def learn(self, user: int, at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        self.everyone.learn(user, at_s, items)
        own = self.taken.setdefault(user, {})
        for item in items.tolist():
            own[item] = own.get(item, 0) + 1


class ItemKNN:
    """Items that stand together within a user's tail, shrunk cosine: together / sqrt((n + 10) (m + 10)).

    Args:
        recency: weight of an item of the tail by its place, newest first; 1 counts all alike.
    """

    def __init__(self, n_users: int, n_items: int, recency: float = 1.0, shrinkage: float = 10.0) -> None:
        self.recency, self.shrinkage = recency, shrinkage
        self.counts = np.zeros(n_items, np.float32)
        self.together = np.zeros((n_items, n_items), np.float32)
        self.tails = Tails(n_users)

    def scores(self, user: int, _now_s: float) -> Floats:
        """See `Baseline`."""
        tail = self.tails.of(user)
        norm = 1 / np.sqrt(self.counts + self.shrinkage)
        weights = norm[tail] * np.float32(self.recency) ** np.arange(len(tail), dtype=np.float32)[::-1]
        return np.asarray((weights @ self.together[tail]) * norm)

    def learn(self, user: int, _at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        for item, before in self.tails.extend(user, items):
            self.counts[item] += 1
            self.together[item, before] += 1
            self.together[before, item] += 1


class SequentialRules:
    """How often an item came d steps after another, weight 1 / d, for d up to 10 (Ludewig & Jannach 2018)."""

    STEPS = 10

    def __init__(self, n_users: int, n_items: int) -> None:
        self.counts = np.zeros(n_items, np.float32)
        self.follows = np.zeros((n_items, n_items), np.float32)  # [a, b]: b came after a
        self.tails = Tails(n_users, self.STEPS)

    def scores(self, user: int, _now_s: float) -> Floats:
        """See `Baseline`."""
        tail = self.tails.of(user)
        recency = np.float32(0.7) ** np.arange(len(tail), dtype=np.float32)[::-1]
        return np.asarray((recency / (self.counts[tail] + 5)) @ self.follows[tail])

    def learn(self, user: int, _at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        for item, before in self.tails.extend(user, items):
            self.counts[item] += 1
            np.add.at(self.follows[:, item], before, 1 / np.arange(len(before), 0, -1, dtype=np.float32))


class SessionKNN:
    """V-SKNN over the newest 1,500 blocks: those that share items with the user's tail vote for what they hold.

    A block counts with the summed weights of the items that it shares, over the square root of its length. Item ids lie
    one after the other in a buffer, with the number of the block that each belongs to.
    """

    def __init__(self, n_users: int, n_items: int, blocks: int = 1_500, recency: float = 0.95) -> None:
        self.n_items, self.recency = n_items, recency
        self.tails = Tails(n_users)
        self.lengths: deque[int] = deque(maxlen=blocks)
        self.items = np.zeros(1_024, np.int64)
        self.owners = np.zeros(1_024, np.int64)  # number of the block
        self.start = self.end = 0
        self.first = 0  # number of the oldest block kept

    def scores(self, user: int, _now_s: float) -> Doubles:
        """See `Baseline`."""
        tail = self.tails.of(user)
        wanted = np.zeros(self.n_items)
        wanted[tail] = self.recency ** np.arange(len(tail))[::-1]  # of equal items the newest counts
        items, owners = self.items[self.start : self.end], self.owners[self.start : self.end] - self.first
        alike = np.bincount(owners, wanted[items], len(self.lengths)) / np.sqrt(np.array(self.lengths, float))
        return np.asarray(np.bincount(items, alike[owners], self.n_items), np.float64)

    def learn(self, user: int, _at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        self.tails.items[user].extend(items.tolist())
        if len(self.lengths) == self.lengths.maxlen:
            self.start += self.lengths.popleft()
            self.first += 1
        held = np.unique(items)
        if self.end + len(held) > len(self.items):
            self._make_room(len(held))
        new = slice(self.end, self.end + len(held))
        self.items[new], self.owners[new] = held, self.first + len(self.lengths)
        self.lengths.append(len(held))
        self.end += len(held)

    def _make_room(self, more: int) -> None:
        kept = slice(self.start, self.end)
        room = np.zeros(2 * (self.end - self.start + more), np.int64)
        self.items, self.owners = (np.concatenate((x[kept], room)) for x in (self.items, self.owners))
        self.start, self.end = 0, self.end - self.start


class UserKNN:
    """Users of the newest 1,500 blocks: those whose tails share items with the user's vote for what they hold."""

    def __init__(self, n_users: int, n_items: int, blocks: int = 1_500, recency: float = 0.95) -> None:
        self.n_items, self.recency = n_items, recency
        self.tails = np.full((n_users, TAIL), n_items)  # newest last; n_items stands for none
        self.recent: deque[int] = deque(maxlen=blocks)  # users of the newest blocks

    def scores(self, user: int, _now_s: float) -> Doubles:
        """See `Baseline`."""
        own = self.tails[user]
        wanted = np.zeros(self.n_items + 1)
        wanted[own] = self.recency ** np.arange(TAIL)[::-1]
        wanted[-1] = 0.0
        others = np.unique(np.array(self.recent, int))
        held = self.tails[others[others != user]]
        alike = wanted[held].sum(1) / np.sqrt(np.maximum((held < self.n_items).sum(1), 1))
        return np.asarray(np.bincount(held.ravel(), np.repeat(alike, TAIL), self.n_items + 1)[:-1], np.float64)

    def learn(self, user: int, _at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        self.tails[user] = np.concatenate((self.tails[user], items))[-TAIL:]
        self.recent.append(user)


BASELINES: dict[str, Callable[[int, int, int], Baseline]] = {  # of users, items and a seed
    "popularity": lambda users, items, _: Popularity(users, items),
    "popularity-3d": lambda users, items, _: DecayedPopularity(users, items, 3 * DAY_S),
    "popularity-30d": lambda users, items, _: DecayedPopularity(users, items, 30 * DAY_S),
    "own-past": lambda users, items, _: OwnPast(users, items),
    "item-knn": lambda users, items, _: ItemKNN(users, items),
    "item-knn-recency": lambda users, items, _: ItemKNN(users, items, recency=0.9),
    "user-knn": lambda users, items, _: UserKNN(users, items),
    "v-sknn": lambda users, items, _: SessionKNN(users, items),
    "sequential-rules": lambda users, items, _: SequentialRules(users, items),
    "ease": lambda users, items, _: EASE(users, items, ridge=200.0),
    "ease-recency": lambda users, items, _: EASE(users, items, ridge=500.0, recency=0.9),
    "bpr": OnlineBPR,
}
