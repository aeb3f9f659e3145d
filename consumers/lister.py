"""The list that stands for a person: the best of all candidates, each with what speaks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.items import Items
from consumers.people import Part, Person
from consumers.shelf import Shelf
from consumers.sight import Viewer, Who
from stream import events
from stream.blend import FEATURES
from stream.diversity import POOL, diversified
from stream.events import Recommendation, Recommended
from stream.explain import LIKE, NEXT, TOGETHER, Explanation, Memory
from stream.fatigue import REASON, penalties
from stream.ranker import Ranker
from stream.ranking import top
from stream.settings import Settings
from stream.speakers import followed, strongest, together

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

NAMES = (*FEATURES, REASON)  # of contributions
LOOKED_AT = 100  # newest things of a person that the linear model is asked about for an explanation


@dataclass(frozen=True, slots=True)
class Lister:
    """Makes lists of what the scorer holds; keeps nothing of its own.

    Args:
        settings: lengths of lists and tails, the dials, and whether what a person has may be listed.
        viewer: shows it a person as the tests see them.
    """

    settings: Settings
    items: Items
    shelf: Shelf
    ranker: Ranker
    viewer: Viewer

    def recommend(self, part: Part, user_id: str, person: Person, answers: str) -> Recommendation:
        """The list of a person with everything known now, their open block included; they are taken to be served it.

        `answers` is the event_id of the interaction that caused it.
        """
        config, longest = self.settings.scoring, self.settings.users.tail
        opened = person.open
        more = opened.items if opened else []
        past = person.with_block(more, opened.at_s if opened else 0.0, longest)
        profile = opened.profile if opened else person.profile
        live = self.shelf.live
        taken = [] if config.repeats else past.owned
        candidates = self.items.available(part.clock_s, taken)
        owned = list(past.owned)
        counts = self.ranker.counts()
        odds = person.odds_under(profile)
        sight = self.viewer.look(part, Who(user_id, past, profile, person.attributes, odds), candidates, counts)
        z, weights = sight.z, part.blend.weights_for(sight.facts)
        passed = {item: n for item, n in person.ignored.items() if item not in more}
        lost = penalties(passed, len(candidates), config.fatigue)
        best, varied = self.choose(weights @ z - lost, candidates)
        person.served = best
        memory = Memory(self.items.catalogue.ids, self.items.titles, past.bought_s, part.clock_s)
        speakers = self._speakers(best, past.tail, owned, counts)
        told = (Explanation(memory, item, item in varied) for item in best)
        return Recommendation(
            user_id=user_id,
            at=events.rfc3339(part.clock_s),
            model_version=live.version.version if live else "",
            items=[
                _explained(one, weights, z[:, one.item], float(lost[one.item]), spoken)
                for one, spoken in zip(told, speakers, strict=True)
            ],
            answers=answers,
            horizon=events.rfc3339(live.version.at_s if live else 0.0),
            drifted=profile.drifted,
        )

    def choose(self, scores: Doubles, candidates: Mask) -> tuple[list[int], set[int]]:
        """The list, and which of it stand there because they differ from the rest.

        They differ by vectors in drift space, of text and of who has them; by text alone while there is no such space.
        """
        k, dial = self.settings.scoring.k, self.settings.scoring.diversity
        if not dial:
            return top(scores, candidates, k), set()
        pool = top(scores, candidates, max(POOL, 2 * k))
        vectors = self.items.in_space() if self.items.space else self.items.vectors.rows(len(scores))
        best = [pool[place] for place in diversified(scores[pool], vectors[pool], k, dial)]
        return best, set(best).difference(pool[:k])

    def _speakers(
        self, best: list[int], tail: list[int], owned: list[int], counts: Doubles
    ) -> Iterator[dict[str, list[int]]]:
        """For each item of the list: those of the history that speak for it, by the way in which they do."""
        live, newest = self.shelf.live, owned[-LOOKED_AT:]
        tables = self.ranker.tables
        ways = {TOGETHER: together(tables, tail, best), NEXT: followed(tables, counts, tail, best)}
        if live and live.placed:
            ways[LIKE] = strongest(live.placed.weights(newest, best), newest, best)
        for row in range(len(best)):
            yield {way: found[row] for way, found in ways.items()}


def _explained(
    told: Explanation, weights: Doubles, z: Doubles, lost: float, speakers: dict[str, list[int]]
) -> Recommended:
    """An item with its contributions, and these in words; `z` are its features (F,), `lost` what it loses beside."""
    shares = weights * z
    told.tell(_named(np.where(z > 0, np.maximum(shares, 0), 0)), speakers)
    ids = told.memory.ids
    return Recommended(
        item_id=ids[told.item],
        score=round(float(weights @ z) - lost, 4),
        reasons=_named(np.append(shares, -lost)),
        because=[ids[i] for i in told.because],
        why=told.sentence,
    )


def _named(shares: Doubles) -> dict[str, float]:
    """Contributions, in the order of NAMES, strongest first, without those that are nothing."""
    strongest_first = np.argsort(-np.abs(shares), kind="stable")
    return {NAMES[f]: round(float(shares[f]), 4) for f in strongest_first if shares[f]}
