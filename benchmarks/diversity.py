"""What the dial `scoring.diversity` costs in hits and gives in variety, several values in one replay; JSON on stdout.

    python benchmarks/diversity.py --dataset ml-100k --path DIR --limit 50000

One replay with the dial at 0 runs as always. Wherever it chooses a list, the other values choose theirs from the same
scores, and each is judged on the same events: `hit_rate_10` by the list made of all that is known when a block arrives,
over items with an earlier interaction; `served_hit_rate_10` by the list that would have lain on the topic. Diversity
within a list is 1 - mean cosine of the text vectors of its pairs, over all lists sent; coverage the share of items that
stood on one of them. The interval is of a paired bootstrap over users against the dial at 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.protocol import TELL_S, tell
from consumers.examiner import Examiner, Prepared
from consumers.lister import Lister
from consumers.replay import has_repeats
from consumers.replay import replay as play
from producers import datasets
from stream.events import NEWCOMER
from stream.settings import Settings, load

DIALS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
DRAWS = 2_000  # of the bootstrap
choose = Lister.choose


@dataclass(slots=True)
class Tried:
    """One value of the dial, and what its lists came to."""

    settings: Settings
    hits: list[bool] = field(default_factory=list)  # of every tested event
    served: list[bool] = field(default_factory=list)
    within: list[float] = field(default_factory=list)  # diversity of every list sent
    listed: set[int] = field(default_factory=set)
    chosen: int = 0  # lists, those for tests included
    seconds: float = 0.0

    def choose(self, lister: Lister, scores: Any, candidates: Any) -> list[int]:
        """The list of this value, with the time that it took."""
        began_s = time.perf_counter()
        best, _ = choose(replace(lister, settings=self.settings), scores, candidates)
        self.seconds += time.perf_counter() - began_s
        self.chosen += 1
        return best


@dataclass(slots=True)
class Trial:
    """Several values of the dial beside one replay, by standing in front of its lister and its examiner."""

    tried: list[Tried]
    users: list[str] = field(default_factory=list)  # of tested events
    made: list[list[int]] = field(default_factory=list)  # of the list that is being made, by value of the dial
    lain: dict[str, list[tuple[list[int], list[list[int]]]]] = field(default_factory=dict)  # served → by value
    prepared: Prepared | None = None
    arrival: list[list[int]] = field(default_factory=list)  # lists of what is prepared
    items: int = 0

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Try all values with whatever a replay lists and tests in here."""
        recommend, test = Lister.recommend, Examiner.test

        def on_choose(it: Lister, scores: Any, candidates: Any) -> Any:
            self.made = [one.choose(it, scores, candidates) for one in self.tried]
            return choose(it, scores, candidates)

        def on_recommend(it: Lister, part: Any, user_id: str, person: Any, answers: str) -> Any:
            out = recommend(it, part, user_id, person, answers)
            self.sent(it, user_id, person)
            return out

        def on_test(it: Examiner, part: Any, user_id: str, person: Any, opened: Any, item: int) -> None:
            self.tested(it, it._prepare(part, user_id, person, opened), user_id, opened.served, item)  # noqa: SLF001
            test(it, part, user_id, person, opened, item)

        with (
            patch.object(Lister, "choose", on_choose),
            patch.object(Lister, "recommend", on_recommend),
            patch.object(Examiner, "test", on_test),
        ):
            yield

    def sent(self, lister: Lister, user_id: str, person: Any) -> None:
        """Note the lists of all values; those stay that an open block is judged by."""
        lain = self.lain.get(user_id, [])
        held = lain if user_id == NEWCOMER else [p for p in lain if person.open and p[0] is person.open.served]
        self.lain[user_id] = [*held, (person.served, self.made)]
        self.items = len(lister.items.catalogue)
        vectors = lister.items.vectors.rows(self.items)
        for one, best in zip(self.tried, self.made, strict=True):
            one.listed.update(best)
            one.within.append(diversity(vectors[best]))

    def tested(self, examiner: Examiner, prepared: Prepared, user_id: str, served: list[int], item: int) -> None:
        """Judge all values by one event."""
        if prepared is not self.prepared:
            lister = Lister(self.tried[0].settings, examiner.items, examiner.shelf, examiner.ranker, examiner.viewer)
            self.prepared = prepared
            self.arrival = [one.choose(lister, prepared.expected.scores, prepared.headline) for one in self.tried]
        known = [*self.lain.get(user_id, []), *self.lain.get(NEWCOMER, [])]
        lain = next((lists for list_, lists in known if list_ is served), None)
        self.users.append(user_id)
        for i, one in enumerate(self.tried):
            one.hits.append(item in self.arrival[i])
            one.served.append(item in (lain[i] if lain else prepared.popular_list))

    def figures(self) -> dict[str, Any]:
        """By value of the dial."""
        _, users = np.unique(self.users, return_inverse=True)
        plain, out = np.array(self.tried[0].hits, float), dict[str, Any]()
        for one in self.tried:
            hits = np.array(one.hits, float)
            out[f"{one.settings.scoring.diversity:g}"] = {
                "hit_rate_10": rounded(hits.mean()),
                "hit_rate_10_minus_plain_ci95": interval(hits - plain, users),
                "served_hit_rate_10": rounded(np.mean(one.served)),
                "diversity_within": rounded(np.mean(one.within)),
                "coverage_10": rounded(len(one.listed) / self.items),
                "microseconds_per_list": round(1e6 * one.seconds / max(one.chosen, 1)),
            }
        return out


def diversity(vectors: NDArray[np.float32]) -> float:
    """1 - mean cosine of pairs of unit vectors (n, D); 0 for fewer than two.

    >>> diversity(np.eye(2, dtype=np.float32)), diversity(np.ones((2, 1), np.float32))
    (1.0, 0.0)
    """
    n = len(vectors)
    return 1.0 - float(vectors.sum(axis=0) @ vectors.sum(axis=0) - (vectors**2).sum()) / (n * (n - 1)) if n > 1 else 0.0


def interval(values: NDArray[np.float64], users: NDArray[np.int64]) -> list[float]:
    """95 % interval of a mean, users drawn with replacement."""
    sums, n = np.bincount(users, values), np.bincount(users)
    draws = np.random.default_rng(0).multinomial(len(n), np.full(len(n), 1 / len(n)), DRAWS)
    low, high = np.quantile((draws @ sums) / (draws @ n), (0.025, 0.975))
    return [rounded(low), rounded(high)]


def rounded(value: Any) -> float:
    """For the JSON."""
    return round(float(value), 5)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=datasets.NAMES, default=datasets.ONLINE_RETAIL)
    parser.add_argument("--path", type=Path, help="where the data set lies; ml-100k is not bundled")
    parser.add_argument("--repeats", action=argparse.BooleanOptionalAction, help="else as the log suggests")
    parser.add_argument("--limit", type=int, help="only so many interactions")
    parser.add_argument("--policy", default="never", help="of the trigger")
    parser.add_argument("--dials", type=float, nargs="*", default=DIALS, help="values to try, beside 0")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay once, print the figures of all values."""
    given = options(arguments)
    data = datasets.load(given.dataset, given.path)
    interactions = datasets.head(data.interactions, given.limit)
    repeats = has_repeats(interactions) if given.repeats is None else given.repeats
    scoring = {"repeats": repeats}
    trial = Trial([Tried(load(scoring={**scoring, "diversity": dial})) for dial in sorted({0.0, *given.dials})])
    told_s = time.perf_counter()

    def on_progress(done: int, in_all: int, _: object) -> None:
        nonlocal told_s
        if time.perf_counter() - told_s > TELL_S:
            told_s = time.perf_counter()
            tell(f"{done:,} of {in_all:,} events")

    settings = load(scoring=scoring, trigger={"policy": given.policy})
    with trial.beside():
        result = play(data.name, data.items, interactions, settings, on_progress=on_progress)
    kept = ("dataset", "repeats", "policy", "seed", "events", "tested", "hit_rate_10", "served_hit_rate_10")
    print(json.dumps({key: result[key] for key in kept} | {"dials": trial.figures()}, indent=2))


if __name__ == "__main__":
    main()
