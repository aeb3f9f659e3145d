"""Figures of what came of methods, all over the same tested events, with intervals of a bootstrap over users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import K, Log, Mask, Outcome
from benchmarks.tails import Doubles, Ints
from stream.ranking import Tally

CURVE = 5_000  # tested events per point
NEW_USER_EVENTS = 5
NEW_ITEM_S = 7 * 86_400.0
DRAWS = 2_000  # of the bootstrap


@dataclass(slots=True)
class Analysis:
    """Figures of outcomes, all over the same tested events."""

    log: Log
    seed: int = 0
    users: Ints = field(init=False)  # of tested events
    new_user: Mask = field(init=False)
    new_item: Mask = field(init=False)
    long_tail: Mask = field(init=False)
    draws: Doubles = field(init=False)  # (DRAWS, users): how often a draw holds a user

    def __post_init__(self) -> None:
        log, n = self.log, np.zeros(len(self.log.user_ids), np.int64)
        earlier, first_s = np.zeros(len(log.users), np.int64), np.full(len(log.item_ids), np.inf)
        for row, (user, item) in enumerate(zip(log.users.tolist(), log.items.tolist(), strict=True)):
            earlier[row] = n[user]
            n[user] += log.counted[row]
            first_s[item] = min(first_s[item], log.clock_s[row])
        self.new_user = (earlier < NEW_USER_EVENTS)[log.tested]
        self.new_item = (log.clock_s - first_s[log.items] <= NEW_ITEM_S)[log.tested]
        self.long_tail = log.long_tail()
        _, self.users = np.unique(log.users[log.tested], return_inverse=True)
        n_users = int(self.users.max()) + 1
        random = np.random.default_rng(self.seed)
        self.draws = random.multinomial(n_users, np.full(n_users, 1 / n_users), DRAWS).astype(float)

    def figures(self, outcome: Outcome) -> dict[str, Any]:
        """All figures of a method."""
        tally = Tally()
        for rank in outcome.ranks:
            tally.add(rank)
        rates, (hits, gains) = tally.rates(), measured(outcome.ranks)
        by_user = np.bincount(self.users, hits) / np.bincount(self.users)
        points = range(0, len(hits), CURVE)
        return {
            **{name: round(rates[name], 5) for name in ("hit_rate_10", "ndcg_10", "mrr_20", "cold_share")},
            "hit_rate_10_ci95": self.interval(hits),
            "ndcg_10_ci95": self.interval(gains),
            "hit_rate_10_new_users": mean(hits[self.new_user]),
            "hit_rate_10_new_items": mean(hits[self.new_item]),
            "hit_rate_10_long_tail": mean(hits[self.long_tail]),
            "hit_rate_10_per_user": mean(by_user),
            "coverage_10": mean(outcome.shown > 0),
            "gini_10": round(gini(outcome.shown), 5),
            "seconds": round(outcome.seconds, 2),
            **outcome.more,
            "curve_hit_rate_10": [mean(hits[start : start + CURVE]) for start in points],
            "curve_ndcg_10": [mean(gains[start : start + CURVE]) for start in points],
        }

    def interval(self, values: Doubles) -> list[float]:
        """95 % interval of the mean of a value of every tested event, users drawn with replacement."""
        sums, n = np.bincount(self.users, values), np.bincount(self.users)
        low, high = np.quantile((self.draws @ sums) / (self.draws @ n), (0.025, 0.975))
        return [round(float(low), 5), round(float(high), 5)]

    def difference(self, one: Outcome, other: Outcome) -> dict[str, Any]:
        """The one minus the other, with intervals."""
        out: dict[str, Any] = {}
        names = ("hit_rate_10", "ndcg_10")
        for name, a, b in zip(names, measured(one.ranks), measured(other.ranks), strict=True):
            out |= {name: mean(a - b), f"{name}_ci95": self.interval(a - b)}
        return out


def measured(ranks: Sequence[int | None]) -> tuple[Doubles, Doubles]:
    """Hit at 10, and gain of NDCG at 10, of every event.

    >>> [values.round(2).tolist() for values in measured([0, 2, 10, None])]
    [[1.0, 1.0, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0]]
    """
    places = np.array([np.inf if rank is None else rank for rank in ranks])
    hits = places < K
    return hits.astype(float), np.where(hits, 1 / np.log2(places + 2), 0.0)


def gini(shown: Ints) -> float:
    """Of how exposure is spread over items: 0 all alike, towards 1 all on one.

    >>> gini(np.array([2, 2])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    n, total = len(shown), int(shown.sum())
    places = np.arange(1, n + 1)
    return float(((2 * places - n - 1) * np.sort(shown)).sum() / (n * max(total, 1)))


def mean(values: NDArray[Any]) -> float | None:
    """Rounded for the JSON; None of nothing."""
    return round(float(values.mean()), 5) if len(values) else None
