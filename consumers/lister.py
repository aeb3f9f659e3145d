"""The list that stands for a person: the best of all candidates, each with what speaks for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.examiner import Examiner
from consumers.items import Items
from consumers.people import Part, Person
from consumers.shelf import Shelf
from stream import events
from stream.blend import FEATURES, standardise
from stream.events import Recommendation, Recommended
from stream.messages import UserState
from stream.ranker import Ranker, facts
from stream.ranking import top
from stream.settings import Settings

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lister:
    """Makes lists of what the scorer holds; keeps nothing of its own.

    Args:
        settings: lengths of lists and tails, and whether what a person has may be listed.
        examiner: shows it a person as the tests see them.
    """

    settings: Settings
    items: Items
    shelf: Shelf
    ranker: Ranker
    examiner: Examiner

    def recommend(self, part: Part, state: UserState, person: Person) -> Recommendation:
        """The list of a person with everything known now, their open block included; they are taken to be served it."""
        config, longest = self.settings.scoring, self.settings.users.tail
        opened = person.open
        more = opened.items if opened else []
        tail = (person.tail + more)[-longest:]
        tail_s = (person.tail_s + [opened.at_s if opened else 0.0] * len(more))[-longest:]
        profile = opened.profile if opened else person.profile
        view = self.examiner.view(person, profile, tail, more, part.clock_s)
        live = self.items.filled(self.shelf.live)
        logits = live.logits(tail, tail_s) if live and tail else None
        taken = [] if config.repeats else [*person.owned, *more]
        candidates = self.items.available(part.clock_s, taken)
        owned = person.owned.keys() | more
        linear = live.linear(owned) if live else None
        z = standardise(self.ranker.features(view, part.clock_s, logits, linear), candidates)
        known = facts(len(tail), len(owned), part.clock_s - tail_s[-1] if tail_s else 0.0)
        weights = part.blend.weights_for(known)
        best = top(weights @ z, candidates, config.k)
        person.served = best
        return Recommendation(
            user_id=state.user_id,
            at=events.rfc3339(part.clock_s),
            model_version=live.version.version if live else "",
            items=self._explained(best, weights, z, tail),
            answers=state.fresh[-1].event_id,
            horizon=events.rfc3339(live.version.at_s if live else 0.0),
            drifted=profile.drifted,
        )

    def _explained(self, best: list[int], weights: Doubles, z: Doubles, tail: list[int]) -> list[Recommended]:
        ids = self.items.catalogue.ids
        because = self.ranker.because(tail, best)
        return [
            Recommended(
                item_id=ids[item],
                score=round(float(weights @ z[:, item]), 4),
                reasons=_reasons(weights * z[:, item]),
                because=[ids[i] for i in reasons],
            )
            for item, reasons in zip(best, because, strict=True)
        ]


def _reasons(shares: Doubles) -> dict[str, float]:
    """Contributions (F,) by name, strongest first, without those that are nothing."""
    strongest = np.argsort(-np.abs(shares), kind="stable")
    return {FEATURES[f]: round(float(shares[f]), 4) for f in strongest if shares[f]}
