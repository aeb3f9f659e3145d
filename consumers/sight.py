"""How a person looks to the blend: by their whole past, and by what came since a change of interests.

After an alarm two pasts speak for a person. Nobody knows yet whether the alarm is right, so their features are averaged
with shares; how much better one of them foretold what the person did next moves the shares (a mixture of two experts,
each weighted by its likelihood). Letters: F features, C facts, N items, D dimensions of the drift space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.items import Items
from consumers.people import Part, Profile
from consumers.shelf import Shelf, Slot
from stream.blend import OF_VERSION, Contest, Expectation, best_of, of_version, standardise
from stream.ranker import Past, Ranker, View
from stream.settings import Scoring

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Who(NamedTuple):
    """Whom to look at."""

    user_id: str
    past: Past
    profile: Profile
    attributes: Mapping[str, str]
    odds: float  # that the newest change of their interests is one, as a logarithm


@dataclass(frozen=True, slots=True)
class Sight:
    """A person before the blend."""

    z: Doubles  # (F, N)
    facts: Doubles  # (C,)
    popular: Doubles  # (N,), decayed counts
    logits: Floats | None  # (N,), of the live model after the whole past
    candidates: Mask  # (N,)
    pasts: list[tuple[float, Past]]  # with their shares: the whole one, and after a change what was since
    contest: Contest | None  # of the two pasts; its gain is that of the newer one

    def scores_under(self, slot: Slot, live: Expectation) -> Doubles:
        """Scores (N,) with another version in place of the live one, by what differs from what is expected under it."""
        changed: Doubles = live.weights[OF_VERSION] @ (self._said_by(slot) - self.z[OF_VERSION])
        return live.scores + changed

    def under(self, slot: Slot) -> Doubles:
        """The person's `z` with another version in place of the live one."""
        out = self.z.copy()
        if self.logits is not None:  # without a history no version has anything to say
            out[OF_VERSION] = self._said_by(slot)
        return out

    def _said_by(self, slot: Slot) -> Doubles:
        """The z-scored features `OF_VERSION` (4, N) of a version."""
        return _averaged(
            [
                (share, of_version(slot.logits(past.tail, past.tail_s), slot.linear(past.owned), self.candidates))
                for share, past in self.pasts
            ]
        )


@dataclass(frozen=True, slots=True)
class Viewer:
    """Looks at people, with everything that a scorer holds; keeps nothing of its own."""

    config: Scoring
    items: Items
    shelf: Shelf
    ranker: Ranker

    def look(self, part: Part, who: Who, candidates: Mask, counts: Doubles) -> Sight:
        """A person as of now, among these candidates (N,); `counts` (N,) are those of the ranker."""
        self.ranker.space = self.items.in_space()
        pasts = who.past.speaking(who.profile.changed_s, who.odds)
        logits = [self._logits(past) for _, past in pasts]
        raw = [self._features(part, who, past, of, counts) for (_, past), of in zip(pasts, logits, strict=True)]
        popular = np.expm1(raw[0][0])  # before it is standardised, in place
        each = [standardise(one, candidates) for one in raw]
        facts = [past.facts(part.clock_s, self.config.repeats) for _, past in pasts]
        shares = [share for share, _ in pasts]
        return Sight(
            _averaged(list(zip(shares, each, strict=True))),
            _averaged(list(zip(shares, facts, strict=True))),
            popular,
            logits[0],
            candidates,
            pasts,
            _contest(part, each, facts, candidates) if len(pasts) > 1 else None,
        )

    def _features(self, part: Part, who: Who, past: Past, logits: Floats | None, counts: Doubles) -> Doubles:
        """Raw features (F, N) of one past, after which the live model has these logits (N,)."""
        live, owned = self.items.filled(self.shelf.live), list(past.owned)
        linear = live.linear(owned) if live else None
        peers = part.peers.scores(who.user_id, owned, part.clock_s, len(counts))
        view = self._view(part, who, past)
        return self.ranker.features(view, part.clock_s, logits, linear, peers, counts)

    def _view(self, part: Part, who: Who, past: Past) -> View:
        profile, repeats = who.profile, self.config.repeats
        slow = fast = None
        if self.items.space is not None and profile.space == self.items.space.name:
            slow = profile.slow if past is who.past else self.ranker.space[past.tail].sum(axis=0)
            fast = profile.fast
        return View(
            past.tail,
            past if repeats else None,
            part.peers.rates(past.owned) if repeats else None,
            slow,
            fast,
            who.attributes,
            len(who.past.owned),
        )

    def _logits(self, past: Past) -> Floats | None:
        live = self.items.filled(self.shelf.live)
        return live.logits(past.tail, past.tail_s) if live and past.tail else None


def _averaged(parts: list[tuple[float, Doubles]]) -> Doubles:
    """The sum of arrays, each with its share."""
    if len(parts) == 1:
        return parts[0][1]
    (one, whole), (other, recent) = parts
    return one * whole + other * recent


def _contest(part: Part, each: list[Doubles], facts: list[Doubles], candidates: Mask) -> Contest:
    whole, recent = (part.blend.weights_for(known) @ z for known, z in zip(facts, each, strict=True))
    return Contest.of(whole, recent, best_of(whole, candidates), best_of(recent, candidates))
