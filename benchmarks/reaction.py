"""What the reaction to an alarm is worth: hit rates of people who switched, with and without it; JSON on stdout.

    python benchmarks/reaction.py --dataset ml-100k --path DIR > reaction.json

Switches are planted as `benchmarks.splice` says. One replay runs, policy never, so with the first version alone, test,
then learn; lists are not made. Everybody who is compared is ranked several times on the same events, with what the
product holds at that time, its weights included: without any alarm (`none`), with the product's alarms, and with an
alarm that comes n interactions after the switch and knows when it was (`told after n`). An alarm changes nothing in the
block in which it comes: a block is ranked with what was known before it. Calm people have switches that are none
(`mistaken`): what wrong alarms cost there. Intervals are of a paired bootstrap over people.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import command
from benchmarks.analysis import mean, measured
from benchmarks.protocol import TELL_S, tell
from benchmarks.splice import Spliced, splice
from consumers.examiner import Examiner, Prepared
from consumers.lister import Lister
from consumers.people import Open, Person
from consumers.replay import replay as play
from consumers.scorer import ScorerHandler
from consumers.sight import Who
from producers.datasets import Dataset
from stream.events import Recommendation
from stream.ranking import rank_of
from stream.settings import Settings
from stream.text import TextEncoder

NONE, PRODUCT = "none", "product"
WINDOWS = ((0, 20), (20, 60))  # tested interactions since the switch
NOTHING = Recommendation(user_id="", at="1970-01-01T00:00:00Z", model_version="", items=[], answers="", horizon="")


@dataclass(slots=True)
class Arm:
    """One way of reacting, with what it knows of each person."""

    after: int | None  # interactions from the switch to the alarm; None: there is none
    people: dict[str, Person] = field(default_factory=dict)
    open: dict[str, Open] = field(default_factory=dict)
    ranks: list[int | None] = field(default_factory=list)  # of every watched event

    def who(self, user_id: str, person: Person, switched_s: float, since: int) -> Who:
        """The person as this arm has them, `since` interactions after the switch."""
        own = self.people.setdefault(user_id, Person())
        told = self.after is not None and since >= self.after
        own.adopt(replace(person.profile, changed_s=switched_s if told else 0.0))
        return Who(user_id, person, own.profile, person.attributes, own.odds)


@dataclass(slots=True)
class Watch:
    """Ranks those who are compared once more for each arm, by standing in front of the product's parts."""

    spliced: Spliced
    arms: dict[str, Arm]
    users: list[str] = field(default_factory=list)  # of every watched event
    number: list[int] = field(default_factory=list)  # of it since the switch; negative: the person never switches
    alarmed: dict[str, int] = field(default_factory=dict)  # person → tested since the switch at their first alarm then
    product: list[int | None] = field(default_factory=list)
    since_s: dict[str, float] = field(init=False)
    _tested: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _since: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # interactions learned since the switch
    _prepared: Prepared | None = None
    _seen: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.since_s = self.spliced.since_s()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch whatever a replay tests and learns in here."""
        test, close = Examiner.test, ScorerHandler._close  # noqa: SLF001

        def on_test(it: Examiner, part: Any, user_id: str, person: Any, opened: Any, item: int) -> None:
            self.tested(it, part, user_id, person, opened, item)
            test(it, part, user_id, person, opened, item)

        def on_close(it: ScorerHandler, part: Any, user_id: str, person: Any) -> None:
            self.closed(user_id, person.open)
            close(it, part, user_id, person)

        def on_recommend(*given: Any) -> Recommendation:
            given[3].served = []  # the person: is told nothing
            return NOTHING

        with ExitStack() as stack:
            for of, name, stand_in in (
                (Examiner, "test", on_test), (ScorerHandler, "_close", on_close),
                (Lister, "recommend", on_recommend),
            ):  # fmt: skip
                stack.enter_context(patch.object(of, name, stand_in))
            yield

    def tested(self, it: Examiner, part: Any, user_id: str, person: Person, opened: Open, item: int) -> None:
        """Rank an event for each arm."""
        prepared = it._prepare(part, user_id, person, opened)  # noqa: SLF001
        switched_s = self.since_s.get(user_id, np.inf)
        after, changed_s = opened.at_s >= switched_s, person.profile.changed_s
        if not after and not changed_s:
            return self._note(user_id, -1, prepared, item, {})
        if prepared is not self._prepared:
            counts = it.ranker.counts()
            self._prepared, self._seen = prepared, {}
            for name, arm in self.arms.items():
                who = arm.who(user_id, person, switched_s if after else np.inf, self._since[user_id])
                sight = it.viewer.look(part, who, prepared.headline, counts)
                self._seen[name] = part.blend.weights_for(sight.facts) @ sight.z, sight.contest
        number = self._tested[user_id] if after else -1
        self._tested[user_id] += after
        if after and changed_s >= switched_s:
            self.alarmed.setdefault(user_id, number)
        for name, (_, contest) in self._seen.items():
            opened_there = self.arms[name].open.setdefault(user_id, Open(opened.block, opened.at_s))
            opened_there.n += bool(prepared.headline[item])
            opened_there.gain += contest.gain(item) if contest and prepared.headline[item] else 0.0
        return self._note(user_id, number, prepared, item, {name: scores for name, (scores, _) in self._seen.items()})

    def _note(self, user_id: str, number: int, prepared: Prepared, item: int, scores: dict[str, Any]) -> None:
        known = bool(prepared.headline[item])
        own = rank_of(prepared.expected.scores, item, prepared.headline) if known else None
        self.users.append(user_id)
        self.number.append(number)
        self.product.append(own)
        for name, arm in self.arms.items():
            differs = known and name in scores
            arm.ranks.append(rank_of(scores[name], item, prepared.headline) if differs else own)

    def closed(self, user_id: str, opened: Open | None) -> None:
        """A block is learned."""
        if opened is not None and opened.at_s >= self.since_s.get(user_id, np.inf):
            self._since[user_id] += len(opened.items)
        for arm in self.arms.values():
            mine = arm.open.pop(user_id, None)
            if mine is not None:
                arm.people[user_id].judge(mine)

    def figures(self, seed: int) -> dict[str, Any]:
        """All that is told."""
        users, number = np.array(self.users), np.array(self.number)
        switched, mistaken = (np.isin(users, list(group)) for group in (self.spliced.switched, self.spliced.calm))
        ranks = {name: arm.ranks for name, arm in self.arms.items()} | {PRODUCT: self.product}
        never = ~switched | (number < 0)
        out: dict[str, Any] = {
            "switched_people": len(self.spliced.switched),
            "mistaken_people": len(self.spliced.calm),
            "alarmed_within_20": sum(self.alarmed.get(u, 99) < 20 for u in self.spliced.switched),
            "alarmed_within_60": sum(self.alarmed.get(u, 99) < 60 for u in self.spliced.switched),
            "stationary, all events": _compared(ranks, never, users, seed, (PRODUCT,)),
        }
        told = [name for name in ranks if name not in (NONE, PRODUCT)]
        for low, high in WINDOWS:
            inside = (number >= low) & (number < high)
            out[f"switched, events {low + 1} to {high}"] = _compared(ranks, switched & inside, users, seed)
            out[f"mistaken, events {low + 1} to {high}"] = _compared(ranks, mistaken & inside, users, seed, told)
        first = np.array([self.alarmed.get(user, 10**9) for user in self.users])
        after = switched & (number >= first) & (number < first + 20)
        out["switched, the 20 events after the product's alarm"] = _compared(ranks, after, users, seed)
        return out


def _compared(
    ranks: dict[str, list[int | None]], rows: Any, users: Any, seed: int, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Figures of `none`, and of other arms what they gain on it."""
    chosen = np.flatnonzero(rows)
    found = {name: measured([of[row] for row in chosen]) for name, of in ranks.items()}
    plain = found[NONE]
    out: dict[str, Any] = {"events": len(chosen), "people": len(np.unique(users[chosen]))}
    out |= {"hit_rate_10": mean(plain[0]), "ndcg_10": mean(plain[1])}
    for name in names or [name for name in ranks if name != NONE]:
        out[name] = {
            measure: _relative(one, other, users[chosen], seed)
            for measure, one, other in zip(("hit_rate_10", "ndcg_10"), found[name], plain, strict=True)
        }
    return out


def _relative(one: Any, other: Any, users: Any, seed: int) -> dict[str, Any]:
    """What one gains on the other, as a share of it, with an interval."""
    if not other.sum():
        return {}
    who = np.unique(users, return_inverse=True)[1]
    gains, base = np.bincount(who, one - other), np.bincount(who, other)
    draws = np.random.default_rng(seed).multinomial(len(base), np.full(len(base), 1 / len(base)), 2_000)
    low, high = np.quantile((draws @ gains) / np.maximum(draws @ base, 1e-9), (0.025, 0.975))
    return {"gain": round(float(gains.sum() / base.sum()), 4), "ci95": [round(float(low), 4), round(float(high), 4)]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Plant, replay once, print."""
    parser = command.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=150, help="people who switch, at most")
    parser.add_argument("--dissimilar", action="store_true", help="to those who are least like them")
    parser.add_argument("--told-after", type=int, nargs="*", default=[1, 5, 10], metavar="N")
    given = parser.parse_args(arguments)
    data = command.log(given)
    spliced = splice(data.interactions, given.pairs, given.seed, dissimilar=given.dissimilar)
    found = compared(data, spliced, command.settings(given, data), given.told_after)
    print(json.dumps({"dissimilar": given.dissimilar} | found, indent=2))


def compared(
    data: Dataset, spliced: Spliced, settings: Settings, told_after: Sequence[int], encoder: TextEncoder | None = None
) -> dict[str, Any]:
    """Replay a spliced log of `data`, and tell what every arm came to."""
    settings = settings.model_copy(update={"trigger": settings.trigger.model_copy(update={"policy": "never"})})
    arms = {NONE: Arm(None)} | {f"told after {n}": Arm(n) for n in told_after}
    watch, told_s = Watch(spliced, arms), time.perf_counter()

    def on_progress(done: int, in_all: int, _: object) -> None:
        nonlocal told_s
        if time.perf_counter() - told_s > TELL_S:
            told_s = time.perf_counter()
            tell(f"{done:,} of {in_all:,} events")

    with watch.watching():
        result = play(data.name, data.items, spliced.interactions, settings, encoder=encoder, on_progress=on_progress)
    kept = {key: result[key] for key in ("dataset", "repeats", "seed", "events", "tested", "hit_rate_10", "alarms")}
    return kept | watch.figures(settings.seed)


if __name__ == "__main__":
    main()
