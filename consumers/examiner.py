"""How an event is tested: ranked with what is known before its block, by the blend and by everything beside it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consumers.items import Items
from consumers.measures import Measures
from consumers.people import LOSSES, Open, Part, Person
from consumers.shelf import Shelf
from consumers.sight import Sight, Viewer, Who
from stream.blend import Contest, Expectation, log_sum_exp
from stream.ranker import Ranker
from stream.ranking import place_loss, rank_gain, rank_of, top
from stream.settings import Scoring

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

Tested = Callable[[str, int | None], None]  # user, rank of what they took; None: it was no candidate

SMOOTHING = 0.1  # added to every decayed count where popularity is taken as a distribution
BLEND, MODEL_ALONE, POPULARITY, SHADOW, SHADOW_MRR = (
    LOSSES.index(name) for name in ("blend", "model", "popularity", "shadow", "shadow_mrr")
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the events of one block are ranked with."""

    headline: Mask  # (N,): items with an earlier interaction, the candidates of the headline figures
    catalogue: Mask  # (N,): those, and the whole available catalogue
    expected: Expectation
    total: float  # log-sum-exp of the blend's scores over the headline candidates
    popular: Doubles  # (N,), decayed counts
    popular_total: float  # log of their smoothed sum
    logits: NDArray[np.float32] | None  # (N,), of the live model
    model_total: float  # log-sum-exp of the logits over the headline candidates
    popular_list: list[int]  # what a site shows before there is any list: what is popular
    change: Contest | None  # of all that is known of the person and what they did since their interests changed
    companions: dict[int, Doubles]  # by column of LOSSES: scores (N,)
    shadow: Expectation | None  # under the candidate in shadow, with the weights that it would have


@dataclass(slots=True)
class Examiner:
    """Tests events; keeps what a block is ranked with for as long as `epoch` stands.

    Nothing in it outlives a restart, nor needs to: it is a function of the state.
    """

    config: Scoring
    items: Items
    shelf: Shelf
    ranker: Ranker
    measures: Measures = field(default_factory=Measures)
    on_tested: Tested | None = None  # told of every event that is tested, in order
    epoch: int = 0  # counts everything that changes what an event is ranked with
    viewer: Viewer = field(init=False)
    _key: tuple[object, ...] | None = None
    _prepared: Prepared | None = field(default=None)

    def __post_init__(self) -> None:
        self.viewer = Viewer(self.config, self.items, self.shelf, self.ranker)

    def test(self, part: Part, user_id: str, person: Person, opened: Open, item: int) -> None:
        """Rank `item` in the open block; add to the partition's tallies and to the block's losses and gradient."""
        prepared = self._prepare(part, user_id, person, opened)
        scores, headline = prepared.expected.scores, prepared.headline
        known = bool(headline[item])
        rank = rank_of(scores, item, headline) if known else None
        part.arrival.add(rank)
        part.catalogue.add(rank_of(scores, item, prepared.catalogue) if prepared.catalogue[item] else None)
        popular = rank_of(prepared.popular, item, headline) if known else None
        part.popularity.add(popular)
        list_ = opened.served or prepared.popular_list
        served = list_.index(item) if item in list_ else None
        part.served.add(served)
        found: dict[str, float] | None = None
        if rank is not None:
            opened.gradient = opened.gradient + prepared.expected.gradient(item, opened.items)
            if prepared.shadow:
                opened.shadow_gradient = opened.shadow_gradient + prepared.shadow.gradient(item, opened.items)
            opened.n += 1
            opened.gain += prepared.change.gain(item) if prepared.change else 0.0
            losses = _losses(prepared, item, rank)
            opened.losses = losses if opened.n == 1 else opened.losses + losses
            found = {"arrival": prepared.total - float(scores[item]), "popularity": float(losses[POPULARITY])}
        version = self.shelf.live.version.version if self.shelf.live else ""
        self.measures.tested(version, {"arrival": rank, "served": served, "popularity": popular}, found)
        if self.on_tested:
            self.on_tested(user_id, rank)

    def _prepare(self, part: Part, user_id: str, person: Person, opened: Open) -> Prepared:
        probation = part.since_swap <= self.config.probation_events
        key = (id(part), user_id, opened.block, part.clock_s, self.epoch, probation)
        if self._prepared is not None and self._key == key:
            return self._prepared
        counts = self.ranker.counts()
        headline = counts > 0
        taken = [] if self.config.repeats else list(person.owned)
        headline[taken] = False
        if not headline.any():
            headline = counts >= 0
        who = Who(user_id, person, person.profile, person.attributes, person.odds)
        sight = self.viewer.look(part, who, headline, counts)
        expected, popular, logits = part.blend.expect(sight.z, headline, sight.facts), sight.popular, sight.logits
        shadow = self._shadow(part, sight)
        self._key, self._prepared = key, Prepared(
            headline=headline,
            catalogue=headline | self.items.available(part.clock_s, taken),
            expected=expected,
            total=log_sum_exp(expected.scores[headline]),
            popular=popular,
            popular_total=float(np.log((popular[headline] + SMOOTHING).sum())),
            logits=logits,
            model_total=log_sum_exp(logits[headline].astype(np.float64)) if logits is not None else 0.0,
            popular_list=top(popular, headline, self.config.k) if not opened.served else [],
            change=sight.contest,
            companions=self._companions(self._roles(user_id, opened, probation), sight, expected, shadow),
            shadow=shadow,
        )  # fmt: skip
        return self._prepared

    def _roles(self, user_id: str, opened: Open, probation: bool) -> list[str]:
        """Which other versions a block is scored with: on a share all, on probation the parent always."""
        chosen = zlib.crc32(f"{user_id}|{opened.block}".encode()) / 2**32 < self.config.shadow_share
        roles = {"parent": chosen or probation, "reference": chosen}
        return [role for role, wanted in roles.items() if wanted]

    def _shadow(self, part: Part, sight: Sight) -> Expectation | None:
        """What is expected under the candidate in shadow, if there is one; it has weights of its own.

        Those of the live version are fitted to what that one says. After a change, when its model is worth little,
        they would let no other model say anything.
        """
        if part.shadow_blend is None:
            return None
        slot = self.items.filled(self.shelf.companion("shadow"))
        return part.shadow_blend.expect(sight.under(slot), sight.candidates, sight.facts) if slot else None

    def _companions(
        self, roles: list[str], sight: Sight, expected: Expectation, shadow: Expectation | None
    ) -> dict[int, Doubles]:
        """The blend with another version in place of the live one; nothing where no version has anything to say."""
        if sight.logits is None:
            return {}
        out: dict[int, Doubles] = {SHADOW: shadow.scores} if shadow else {}
        for role in roles:
            slot = self.items.filled(self.shelf.companion(role))
            if slot is not None:
                out[LOSSES.index(role)] = sight.scores_under(slot, expected)
        return out


def _losses(prepared: Prepared, item: int, rank: int) -> Doubles:
    """Losses (7,) of one event, and gains of companions, in the order of LOSSES; nan where not taken."""
    losses = np.full(len(LOSSES), np.nan)
    losses[BLEND] = place_loss(rank)
    losses[POPULARITY] = prepared.popular_total - float(np.log(prepared.popular[item] + SMOOTHING))
    losses[MODEL_ALONE] = losses[POPULARITY]  # without a history the model has no say
    if prepared.logits is not None:
        losses[MODEL_ALONE] = prepared.model_total - float(prepared.logits[item])
    for column, scores in prepared.companions.items():
        theirs = rank_of(scores, item, prepared.headline)
        losses[column] = rank_gain(rank, theirs)
        if column == SHADOW:
            losses[SHADOW_MRR] = 1 / (theirs + 1) - 1 / (rank + 1)
    return losses
