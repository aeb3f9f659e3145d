"""Baselines that fit weights: EASE in closed form and online BPR; see `benchmarks.baselines`.

Letters: N items, U users, D dimensions.
"""

from __future__ import annotations

import numpy as np

from benchmarks.tails import Floats, Ints, Tails


class EASE:
    """Linear autoencoder in closed form (Steck 2019), refitted every 5,000 events over all that was learned.

    Args:
        recency: below 1, a user is their tail, each item that much lighter than the next; 1: all that they have, alike.
    """

    def __init__(
        self, n_users: int, n_items: int, every: int = 5_000, ridge: float = 200.0, recency: float = 1.0
    ) -> None:
        self.every, self.ridge, self.recency = every, ridge, recency
        self.gram = np.zeros((n_items, n_items), np.float32)
        self.weights = np.zeros((n_items, n_items), np.float32)
        self.owned: list[list[int]] = [[] for _ in range(n_users)]
        self.tails = Tails(n_users)
        self.learned, self.fitted = 0, -1

    def scores(self, user: int, _now_s: float) -> Floats:
        """See `Baseline`; fits where that is due, so that nothing is fitted before it is asked for."""
        if self.learned // self.every != self.fitted:
            self.fit()
        held = self.tails.of(user) if self.recency < 1 else np.array(self.owned[user], np.int64)
        weights = np.float32(self.recency) ** np.arange(len(held), dtype=np.float32)[::-1]
        return np.asarray(weights @ self.weights[held])

    def fit(self) -> None:
        """Weights of everything learned so far."""
        self.fitted = self.learned // self.every
        seen = np.flatnonzero(self.gram.diagonal() > 0)
        gram = self.gram[np.ix_(seen, seen)]
        gram[np.diag_indices_from(gram)] += self.ridge
        inverse = np.linalg.inv(gram)
        weights = -inverse / inverse.diagonal()
        np.fill_diagonal(weights, 0.0)
        self.weights[np.ix_(seen, seen)] = weights

    def learn(self, user: int, _at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        owned = self.owned[user]
        self.tails.items[user].extend(items.tolist())
        for item in items.tolist():
            self.learned += 1
            if item not in owned:
                self.gram[item, owned] += 1
                self.gram[owned, item] += 1
                self.gram[item, item] += 1
                owned.append(item)


class OnlineBPR:
    """Matrix factorisation by pairwise ranking (Rendle 2009): steps on a block, on earlier ones, on the user's newest.

    Negatives are drawn from the items that have been seen.
    """

    REPLAYED = 4  # earlier interactions, of anyone, per new one
    OWN = 12  # newest items of the user, once more
    DIM, RATE, DECAY = 32, 0.1, 0.01

    def __init__(self, n_users: int, n_items: int, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.users = self.random.normal(0, 0.1, (n_users, self.DIM)).astype(np.float32)
        self.items = self.random.normal(0, 0.1, (n_items, self.DIM)).astype(np.float32)
        self.bias = np.zeros(n_items, np.float32)
        self.seen: list[int] = []
        self.known: set[int] = set()
        self.log = np.zeros((1_024, 2), np.int64)  # (user, item)
        self.learned = 0
        self.tails = Tails(n_users, self.OWN)

    def scores(self, user: int, _now_s: float) -> Floats:
        """See `Baseline`."""
        return np.asarray(self.items @ self.users[user] + self.bias)

    def learn(self, user: int, _at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        fresh = [i for i in dict.fromkeys(items.tolist()) if i not in self.known]
        self.known.update(fresh)
        self.seen += fresh
        if self.learned + len(items) > len(self.log):
            self.log = np.concatenate((self.log, np.zeros((len(self.log) + len(items), 2), np.int64)))
        new = slice(self.learned, self.learned + len(items))
        self.log[new, 0], self.log[new, 1] = user, items
        self.learned += len(items)
        drawn = self.random.integers(0, self.learned, self.REPLAYED * len(items))
        self._step(np.concatenate((self.log[new], self.log[drawn])))
        self.tails.items[user].extend(items.tolist())
        own = self.tails.of(user)
        self._step(np.stack((np.full(len(own), user), own), axis=1))

    def _step(self, pairs: Ints) -> None:
        users, liked = pairs.T
        seen = np.asarray(self.seen)
        other = seen[self.random.integers(0, len(seen), len(users))]
        p, better, worse = self.users[users], self.items[liked], self.items[other]
        margin = (p * (better - worse)).sum(1) + self.bias[liked] - self.bias[other]
        pull = (1 / (1 + np.exp(margin)))[:, None]  # gradient of -log sigmoid
        rate, decay = np.float32(self.RATE), np.float32(self.DECAY)
        np.add.at(self.users, users, rate * (pull * (better - worse) - decay * p))
        np.add.at(self.items, liked, rate * (pull * p - decay * better))
        np.add.at(self.items, other, rate * (-pull * p - decay * worse))
        np.add.at(self.bias, liked, rate * pull[:, 0])
        np.add.at(self.bias, other, -rate * pull[:, 0])
