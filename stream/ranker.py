"""Features of every item for one person at one time: the one place where statistics, model and profile meet.

Letters in shapes: F features, N items of the catalogue, T items of a history tail, D dimensions of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import exp, log1p

import numpy as np
from numpy.typing import NDArray

from stream.blend import ALIKE, FEATURES, LINEAR, PEERS, REPEATS, STAGE
from stream.groups import affinity, stage
from stream.statistics import FOLLOW, TAIL, Catalogue, ItemStats

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

RECENCY = 0.9  # weight of the k-th newest item of a tail: RECENCY ** k
NEXT = 0.7  # the same for sequential rules
DAY_S = 86_400.0
SHRINK = 10.0  # added to counts under the root of the cosine
SETTLED = 0.05  # a change of interests that is less likely than this was none
AGAIN = 3.0, 10.0  # of a person of whom nothing is known: so many of so many takings are repeats


@dataclass(frozen=True, slots=True)
class View:
    """One person as the ranker sees them."""

    tail: Sequence[int] = ()  # ordinals, oldest first
    past: Past | None = None  # what they have; None where it is not to be recommended again
    rates: Doubles | None = None  # (number of things they have,): see `stream.peers.Peers.rates`
    slow: Floats | None = None  # (D,) in drift space
    fast: Floats | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)  # what is known beside what they did
    owned: int = 0  # number of different things that they have


@dataclass(slots=True)
class Past:
    """What has been learned of one person's consumption.

    >>> past = Past()
    >>> past.take([7, 8, 7], 60.0, most=2)
    >>> past.tail, past.owned, past.bought_s[7]
    ([8, 7], {7: 1, 8: 1}, 60.0)
    """

    tail: list[int] = field(default_factory=list)  # ordinals learned, oldest first
    tail_s: list[float] = field(default_factory=list)  # their event times
    owned: dict[int, int] = field(default_factory=dict)  # ordinal → visits with it, the one taken last at the end
    bought_s: dict[int, float] = field(default_factory=dict)  # ordinal → newest event time
    first_s: dict[int, float] = field(default_factory=dict)  # ordinal → event time of the first
    first_visit: dict[int, int] = field(default_factory=dict)  # ordinal → visits before the first
    visits: int = 0

    def since(self, at_s: float) -> Past | None:
        """What was taken from then on; None where that is nothing, or all that the tail holds.

        >>> past = Past()
        >>> for n, items in enumerate(([7], [8, 9], [8])):
        ...     past.take(items, 60.0 * n, most=9)
        >>> past.since(60.0).tail, past.since(60.0).owned, past.since(0.0)
        ([8, 9, 8], {9: 1, 8: 2}, None)
        """
        rows = [row for row, taken_s in enumerate(self.tail_s) if taken_s >= at_s]
        if not 0 < len(rows) < len(self.tail):
            return None
        out = Past()
        for taken_s, block in groupby(rows, key=self.tail_s.__getitem__):
            out.take([self.tail[row] for row in block], taken_s, len(rows))
        return out

    def speaking(self, changed_s: float, odds: float) -> list[tuple[float, Past]]:
        """The pasts that speak for a person, and with what share: all of it, and after a change what was since.

        Args:
            changed_s: event time at which interests changed; 0: they did not.
            odds: that they really did, as a logarithm.
        """
        share = 1 / (1 + exp(-odds))
        recent = self.since(changed_s) if changed_s and share > SETTLED else None
        return [(1.0, self)] if recent is None else [(1.0 - share, self), (share, recent)]

    def facts(self, now_s: float, repeats: bool) -> Doubles:
        """See `facts`; without `repeats` nobody takes anything again, and the share says nothing."""
        idle_s = now_s - self.tail_s[-1] if self.tail_s else 0.0
        return facts(len(self.tail), len(self.owned), idle_s, self.again if repeats else None)

    @property
    def again(self) -> float:
        """Of what was taken after the first visit, the share that they had before, shrunk towards the usual one.

        >>> past = Past()
        >>> for items in ([7, 8], [7, 9]):  # one of two
        ...     past.take(items, 60.0, most=9)
        >>> past.again == (1 + 3) / (2 + 10)
        True
        """
        taken, begun = sum(self.owned.values()), sum(not before for before in self.first_visit.values())
        repeats, of = AGAIN
        return (taken - len(self.owned) + repeats) / (taken - begun + of)

    def take(self, items: Sequence[int], at_s: float, most: int) -> None:
        """Add the items of a block; the tail keeps the newest `most`."""
        for item in items:
            self.tail.append(item)
            self.tail_s.append(at_s)
        for item in dict.fromkeys(items):
            self.owned[item] = self.owned.pop(item, 0) + 1
            self.bought_s[item] = at_s
            self.first_s.setdefault(item, at_s)
            self.first_visit.setdefault(item, self.visits)
        self.visits += 1
        del self.tail[:-most], self.tail_s[:-most]

    def with_block(self, items: Sequence[int], at_s: float, most: int) -> Past:
        """Another one, to which a block was added."""
        out = Past(
            list(self.tail), list(self.tail_s), dict(self.owned), dict(self.bought_s), dict(self.first_s),
            dict(self.first_visit), self.visits,
        )  # fmt: skip
        if items:
            out.take(items, at_s, most)
        return out


def facts(history: int, owned: int, idle_s: float, again: float | None = None) -> Doubles:
    """What is known of a person beside their taste (C,), about as large as 1, in the order of `stream.blend.FACTS`.

    Args:
        history: length of the tail.
        owned: different items that they have.
        idle_s: since their last visit.
        again: share of what they take that they had before; None where that says nothing.

    >>> facts(0, 0, 0.0).tolist()
    [1.0, -0.5, -0.5, -0.5, 0.0]
    """
    days = max(idle_s, 0.0) / DAY_S
    more = 0.0 if again is None else 2 * (again - AGAIN[0] / AGAIN[1])
    return np.array([1.0, log1p(history) / 4 - 0.5, log1p(owned) / 5 - 0.5, log1p(days) / 4 - 0.5, more])


@dataclass(slots=True)
class Ranker:
    """Statistics of one or more partitions, summed at read, with item vectors in drift space.

    `tables` are read as they are; whoever owns them learns into them.
    """

    catalogue: Catalogue
    tables: list[ItemStats]
    space: Floats = field(default_factory=lambda: np.zeros((0, 1), np.float32))  # (N, D), rows of unit length or zero
    repeat_half_life_s: float = 30 * 86_400.0

    def counts(self) -> Doubles:
        """All-time counts (N,)."""
        n = len(self.catalogue)
        total = np.zeros(n)
        for table in self.tables:
            table.reserve(n)
            total += table.count[:n]
        return total

    def features(
        self,
        view: View,
        now_s: float,
        model: Floats | None,
        linear: Doubles | None = None,
        peers: Doubles | None = None,
        counts: Doubles | None = None,
    ) -> Doubles:
        """Raw features (F, N).

        Args:
            view: the person.
            now_s: event time.
            model: the language model's logits (N,); None where there is none.
            linear: the linear item models' scores (3, N); None where there are none.
            peers: what like people took lately (N,), see `stream.peers`; None where that is not known.
            counts: what `counts()` gives, if it is known already.
        """
        n = len(self.catalogue)
        counts = self.counts() if counts is None else counts
        out = np.zeros((len(FEATURES), n))
        for table in self.tables:
            short, long = table.popularity(now_s, n)
            out[0] += short
            out[1] += long
        out[2] = counts
        np.log1p(out[:3], out=out[:3])
        if view.tail:
            self._neighbours(view.tail, counts, out)
        if model is not None:
            out[6] = model
        groups = [table.groups for table in self.tables]
        if view.attributes:
            out[ALIKE] = affinity(groups, view.attributes, now_s, n)
        out[STAGE] = affinity(groups, stage(view.owned), now_s, n)
        if linear is not None:
            out[LINEAR] = linear
        if peers is not None:
            out[PEERS] = peers
        if view.slow is not None and view.fast is not None and len(self.space):
            out[7] = self.space @ view.slow
            out[8] = self.space @ view.fast
        if view.past and view.past.owned:
            items, again = _repeats(view.past, now_s, self.repeat_half_life_s)
            for feature, values in zip(REPEATS, [*again, 0.0 if view.rates is None else view.rates], strict=True):
                out[feature, items] = values
        return out

    def _neighbours(self, tail: Sequence[int], counts: Doubles, out: Doubles) -> None:
        n = out.shape[1]
        newest = np.array(tail[: -TAIL - 1 : -1], np.int64)  # (T,), newest first
        norm = 1.0 / np.sqrt(counts + SHRINK)  # (N,)
        plain = norm[newest]
        recent = plain * RECENCY ** np.arange(len(newest))
        last = newest[:FOLLOW]
        follow = NEXT ** np.arange(len(last)) / (counts[last] + SHRINK / 2)
        for table in self.tables:
            near, all_ = table.neighbours.score(newest, [recent, plain], n)
            out[3] += near
            out[4] += all_
            out[5] += table.followers.score(last, [follow], n)[0]
        out[3:5] *= norm


def _repeats(past: Past, now_s: float, half_life_s: float) -> tuple[Ints, Doubles]:
    """The things that a person has, and of each (4, things): times, freshness, share of visits since, is it due.

    A thing is due as far as the time since it was taken last is like the mean pause between the times it was taken
    (like the half-life where there was one time only), both as logarithms of days.
    """
    n = len(past.owned)
    items = np.fromiter(past.owned, np.int64, n)
    times = np.fromiter(past.owned.values(), np.float64, n)
    newest_s, first_s, first_visit = (
        np.fromiter((values[item] for item in past.owned), np.float64, n)
        for values in (past.bought_s, past.first_s, past.first_visit)
    )
    age_s = np.maximum(now_s - newest_s, 0.0)
    pause_s = np.where(times > 1, np.maximum(newest_s - first_s, 0.0) / np.maximum(times - 1, 1), half_life_s)
    share = (times + 0.5) / (past.visits - first_visit + 1)
    due = np.exp(-np.abs(np.log1p(age_s / DAY_S) - np.log1p(pause_s / DAY_S)))
    return items, np.stack([np.log1p(times), np.exp2(-age_s / half_life_s), share, due])
