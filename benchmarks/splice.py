"""Changes planted in a real log: one person goes on as another one, or items trade places.

`splice`: from some event on, one person does what another one does.

The later events of A are those of B, at B's own times and in B's own blocks, under A's name and with what is known of
A; what A did later and what B did before are left out. B begins again only after A has ended, so nothing comes before
its time, and no B is tested in their own right. Whom to join is decided on the whole log; nothing tested sees it.

`relabelled`: from some event on, half of the items stand for others about as popular. Who comes, when, and how much
they take stays as it was; what goes with what does not, so all that was learned of these items is wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.cooccurrence import vectors
from stream.events import Interaction

Floats = NDArray[np.float32]

LEAST = 20  # interactions before a switch, and after it
LEARNED = 0.25  # of the log: nobody switches before
DIMENSIONS = 32  # of the vectors by which people are told to be unlike
BAND = 20  # items that follow each other in popularity, among which some trade places


@dataclass(frozen=True, slots=True)
class Spliced:
    """A log with switches, and where they are."""

    interactions: list[Interaction]
    switched: dict[str, int]  # person → their interactions before the switch
    calm: dict[str, int]  # other people → likewise, of a switch that was none

    def since_s(self) -> dict[str, float]:
        """Event time of the first interaction after the switch, or after what was none, by person."""
        before, seen, out = self.switched | self.calm, defaultdict[str, int](int), dict[str, float]()
        for event in self.interactions:
            if before.get(event.user_id) == seen[event.user_id]:
                out[event.user_id] = event.at_s
            seen[event.user_id] += 1
        return out


def splice(interactions: Iterable[Interaction], pairs: int, seed: int, *, dissimilar: bool = False) -> Spliced:
    """Join up to `pairs` people with others, drawn at random or, of those that fit, the least alike.

    >>> def event(n: int, user: str) -> Interaction:
    ...     return Interaction(event_id=str(n), user_id=user, item_id=f"{user}{n % 9}", at=n * 1000)
    >>> made = splice([event(n, "ab"[n % 2]) for n in range(200)], pairs=1, seed=0)
    >>> len(made.switched), len({e.user_id for e in made.interactions}), len(made.interactions)
    (1, 1, 100)
    """
    log = [event for event in interactions if event.item_id is not None]
    rows = defaultdict[str, list[int]](list)
    for row, event in enumerate(log):
        rows[event.user_id].append(row)
    halves = {
        user: at
        for user, own in rows.items()
        if (at := _half(log, own)) and log[own[at]].at_s > log[int(len(log) * LEARNED)].at_s
    }
    users = list(halves)
    np.random.default_rng(seed).shuffle(users)
    taste = _tastes(log, rows, halves) if dissimilar else {}
    joined: dict[str, str] = {}
    for user in users:
        if len(joined) == pairs:
            break
        ended_s, used = log[rows[user][halves[user] - 1]].at_s, {*joined, *joined.values()}
        others = [b for b in users if b not in used and b != user and log[rows[b][halves[b]]].at_s > ended_s]
        if user not in used and others:
            joined[user] = min(others, key=lambda b: float(taste[user][0] @ taste[b][1])) if dissimilar else others[0]
    left = [user for user in users if user not in {*joined, *joined.values()}][:pairs]
    return Spliced(
        _joined(log, rows, halves, joined),
        {user: halves[user] for user in joined},
        {user: halves[user] for user in left},
    )


def relabelled(interactions: Sequence[Interaction], at: int, seed: int, share: float = 0.5) -> list[Interaction]:
    """The log, in which from event `at` on a share of the items known by then trade places with each other.

    >>> log = [Interaction(event_id=str(n), user_id="a", item_id=str(n % 9), at=n * 1000) for n in range(90)]
    >>> made = relabelled(log, at=45, seed=0)
    >>> made[:45] == log[:45], sorted({e.item_id for e in made[45:]}) == sorted({e.item_id for e in log[45:]})
    (True, True)
    >>> {one.item_id for one, other in zip(made, log) if one.item_id != other.item_id} <= set("012345678")
    True
    """
    counts = Counter(event.item_id for event in interactions[:at] if event.item_id is not None)
    known = sorted(counts, key=lambda item: (-counts[item], item))
    rng, now = np.random.default_rng([seed, at]), dict[str | None, str]()
    for begin in range(0, len(known), BAND):
        chosen = [item for item in known[begin : begin + BAND] if rng.random() < share]
        now |= dict(zip(chosen, [*chosen[1:], *chosen[:1]], strict=True))
    return [
        *interactions[:at],
        *(msgspec.structs.replace(event, item_id=now.get(event.item_id, event.item_id)) for event in interactions[at:]),
    ]


def _half(log: list[Interaction], own: list[int]) -> int:
    """The number of a person's interactions at the end of a block near to half of them; 0 where one side is short."""
    ends = [n for n in range(LEAST, len(own) - LEAST + 1) if log[own[n]].block != log[own[n - 1]].block]
    return min(ends, key=lambda n: abs(n - len(own) / 2), default=0)


def _joined(
    log: list[Interaction], rows: dict[str, list[int]], halves: dict[str, int], joined: dict[str, str]
) -> list[Interaction]:
    left_out, others = set[int](), dict[int, str]()
    for one, other in joined.items():
        left_out.update(rows[one][halves[one] :], rows[other][: halves[other]])
        others |= dict.fromkeys(rows[other][halves[other] :], one)
    out = []
    for row, event in enumerate(log):
        if row in others:
            known = log[rows[others[row]][0]].user
            event = msgspec.structs.replace(event, user_id=others[row], user=known)
        if row not in left_out:
            out.append(event)
    return out


def _tastes(
    log: list[Interaction], rows: dict[str, list[int]], halves: dict[str, int]
) -> dict[str, tuple[Floats, Floats]]:
    """What each of them took before and after their half, as directions of co-occurrence."""
    place: dict[str, int] = {}
    items = np.array([place.setdefault(event.item_id or "", len(place)) for event in log])
    found = vectors(len(place), [items[own] for own in rows.values()], np.bincount(items), DIMENSIONS)

    def direction(own: list[int]) -> Floats:
        mean = found[items[own]].mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)

    return {user: (direction(rows[user][:at]), direction(rows[user][at:])) for user, at in halves.items()}
