"""Where a change of one person's interests began, and from what to what it was.

Letters: T events of a tail, D dimensions of the drift space.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.places import Place

Floats = NDArray[np.float32]

LEAST = 3  # events on either side of a change
LONGEST = 20  # events since a change; an alarm comes sooner, or not at all
NAMED = 3  # segments and items told of


@dataclass(frozen=True, slots=True)
class Change:
    """What changed; shares are of events, of the `NAMED` largest segments before and of those since, each in both."""

    events: int = 0  # newest ones of the tail, since it began; 0: too few to tell
    before: dict[str, float] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    risen: tuple[str, ...] = ()  # segments whose share grew, the most first
    fallen: tuple[str, ...] = ()
    blamed: tuple[int, ...] = ()  # places in the tail of the new things that are least like what was before


def began(vectors: Floats) -> int:
    """How many of the events (T, D), oldest first, came since the likeliest late change of their mean; 0 for small T.

    The maximum-likelihood estimate for one change between two normal distributions with the same variance (Hinkley,
    "Inference about the change-point in a sequence of random variables", 1970): the split that explains most.

    >>> began(np.array([[0, 1], [0, 1], [1, 1], [0, 1], [1, 0], [2, 0], [1, 0]], np.float32))
    3
    """
    total = len(vectors)
    if total < 2 * LEAST:
        return 0
    sums = np.cumsum(vectors[::-1], axis=0, dtype=np.float64)  # of the k newest, in row k - 1
    k = np.arange(LEAST, min(total - LEAST, LONGEST) + 1)
    newer = sums[k - 1] / k[:, None]
    older = (sums[-1] - sums[k - 1]) / (total - k)[:, None]
    explained = k * (total - k) * ((newer - older) ** 2).sum(axis=1)
    return int(k[explained.argmax()])


def found(tail: Sequence[Place | None]) -> Change:
    """The likeliest change in a tail, oldest event first; events without a place are left out of it."""
    known = [at for at, place in enumerate(tail) if place is not None]
    places = [place for place in tail if place is not None]
    newer = began(np.stack([place.vector for place in places])) if places else 0
    if not newer:
        return Change()
    old, new = places[:-newer], places[-newer:]
    before, since = _shares(old), _shares(new)
    named = {*_largest(before), *_largest(since)}
    gained = {name: since.get(name, 0.0) - before.get(name, 0.0) for name in named}
    order = sorted(gained, key=lambda name: (-gained[name], name))
    likeness = np.stack([place.vector for place in new]) @ np.sum([place.vector for place in old], axis=0)
    return Change(
        events=len(tail) - known[-newer],
        before=_told(before, named),
        since=_told(since, named),
        risen=tuple(name for name in order[:NAMED] if gained[name] > 0),
        fallen=tuple(name for name in order[::-1][:NAMED] if gained[name] < 0),
        blamed=tuple(known[-newer + int(at)] for at in np.argsort(likeness, kind="stable")[:NAMED]),
    )


def _shares(places: Sequence[Place]) -> dict[str, float]:
    counts = Counter(place.segment for place in places if place.segment)
    return {name: count / counts.total() for name, count in counts.items()}


def _largest(shares: dict[str, float]) -> list[str]:
    return sorted(shares, key=lambda name: (-shares[name], name))[:NAMED]


def _told(shares: dict[str, float], named: set[str]) -> dict[str, float]:
    """The shares of some segments, the largest first."""
    return {name: round(shares.get(name, 0.0), 3) for name in sorted(named, key=lambda n: (-shares.get(n, 0.0), n))}
