"""Meander and what someone would build instead of it, in one run on one protocol; JSON on stdout.

    python benchmarks/quality.py --dataset ml-100k --path DIR > ml-100k.json

Test, then learn, in blocks: a block (one user and group, or one user's events of one timestamp) is ranked with what was
known before it, then learned. Candidates are all items with an earlier interaction; without repeats, less what the user
has, and only the first interaction of a user with an item counts. No sampled negatives; an item that is no candidate is
a miss. Of equals an item takes the middle place. All methods are tested on the same events, in the same order: that is
checked, and a difference ends the run. Intervals are of a bootstrap over users, paired where two methods are compared.
Coverage and Gini coefficient are of lists of ten: of the baselines one for each tested block, of Meander all that it
sent. Seconds are a method's own, with what it fits or trains.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.baselines import BASELINES
from benchmarks.protocol import TELL_S, K, Log, Mask, Outcome, examine, tell
from benchmarks.tails import Doubles, Ints
from consumers import examiner, measures, replay
from producers import datasets
from producers.datasets import Dataset
from stream import settings as settings_
from stream.events import Interaction
from stream.ranking import Tally
from stream.settings import Settings
from stream.text import TextEncoder

MEANDER = "meander"
CURVE = 5_000  # tested events per point
NEW_USER_EVENTS = 5
NEW_ITEM_S = 7 * 86_400.0
DRAWS = 2_000  # of the bootstrap


@dataclass(slots=True)
class Recorder:
    """Notes what Meander's examiner tests and finds, by standing in front of it."""

    events: list[tuple[str, str]] = field(default_factory=list)  # (user, item), in order
    ranks: list[int | None] = field(default_factory=list)
    listed: Counter[str] = field(default_factory=Counter)  # item → lists it was sent out on

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note whatever a replay tests in here."""
        make, test, tested = replay.Replay, examiner.Examiner.test, measures.Measures.tested

        def on_make(*args: Any) -> replay.Replay:
            made = make(*args)
            self.listed = made.listed
            return made

        def on_test(it: Any, part: Any, user_id: str, person: Any, opened: Any, item: int) -> None:
            self.events.append((user_id, it.items.catalogue.ids[item]))
            test(it, part, user_id, person, opened, item)

        def on_tested(it: Any, version: str, ranks: dict[str, int | None], losses: dict[str, float] | None) -> None:
            self.ranks.append(ranks["arrival"])
            tested(it, version, ranks, losses)

        with (
            patch.object(replay, "Replay", on_make),
            patch.object(examiner.Examiner, "test", on_test),
            patch.object(measures.Measures, "tested", on_tested),
        ):
            yield


def meander(
    data: Dataset, log: Log, interactions: Iterable[Interaction], settings: Settings, encoder: TextEncoder | None = None
) -> Outcome:
    """Replay through the product's own handlers.

    Raises:
        RuntimeError: it tested other events than the baselines are tested on, or in another order.
    """
    told_s = time.perf_counter()

    def on_progress(done: int, in_all: int, _: object) -> None:
        nonlocal told_s
        if time.perf_counter() - told_s > TELL_S:
            told_s = time.perf_counter()
            tell(f"meander: {done:,} of {in_all:,} events")

    recorder = Recorder()
    with recorder.recording():
        result = replay.replay(data.name, data.items, interactions, settings, encoder=encoder, on_progress=on_progress)
    check(recorder.events, recorder.ranks, log)
    shown = np.array([recorder.listed[item_id] for item_id in log.item_ids], np.int64)
    kept = ("policy", "seed", "peak_rss_mb", "served_hit_rate_10", "catalogue_hit_rate_10", "versions_published")
    return Outcome(recorder.ranks, shown, result["wall_seconds"], {key: result[key] for key in kept})


def check(events: Sequence[tuple[str, str]], ranks: Sequence[int | None], log: Log) -> None:
    """Refuse to compare what was not tested alike; raises RuntimeError."""
    expected = log.events()
    if len(events) != len(ranks):
        raise RuntimeError(f"Meander's examiner must count each event that it tests: {len(events)}, got {len(ranks)}")
    for number, (one, other) in enumerate(zip(events, expected, strict=False)):
        if one != other:
            raise RuntimeError(f"tested event {number} must be (user, item) {other}, Meander tested {one}")
    if len(events) != len(expected):
        raise RuntimeError(f"Meander must test the {len(expected)} events of the baselines, it tested {len(events)}")


@dataclass(slots=True)
class Analysis:
    """Figures of outcomes, all over the same tested events."""

    log: Log
    seed: int = 0
    users: Ints = field(init=False)  # of tested events
    new_user: Mask = field(init=False)
    new_item: Mask = field(init=False)
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


def options() -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=datasets.NAMES, default=datasets.ONLINE_RETAIL)
    parser.add_argument("--path", type=Path, help="where the data set lies; ml-100k is not bundled")
    parser.add_argument("--interactions", type=Path, help="an event log, in place of a data set")
    parser.add_argument("--items", type=Path, help="items, if they are not in that log")
    parser.add_argument("--repeats", action=argparse.BooleanOptionalAction, help="else as the log suggests")
    parser.add_argument("--limit", type=int, help="only so many interactions")
    parser.add_argument("--policy", help="of Meander's trigger")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", choices=[*BASELINES], default=[*BASELINES], help="baselines")
    parser.add_argument("--no-meander", action="store_true", help="baselines alone")
    return parser.parse_args()


def main() -> None:
    """Run all methods, print their figures."""
    given = options()
    data = (
        datasets.from_files(given.interactions, given.items)
        if given.interactions
        else datasets.load(given.dataset, given.path)
    )
    interactions = datasets.head(data.interactions, given.limit)
    repeats = replay.has_repeats(interactions) if given.repeats is None else given.repeats
    log = Log.of(interactions, repeats)
    tell(f"{data.name}: {int(log.tested.sum()):,} of {len(log.users):,} events are tested")
    methods = {name: BASELINES[name](len(log.user_ids), len(log.item_ids), given.seed) for name in given.methods}
    outcomes = examine(log, methods)
    if not given.no_meander:
        trigger = {"policy": given.policy} if given.policy else {}
        settings = settings_.load(trigger=trigger, scoring={"repeats": repeats}, seed=given.seed)
        outcomes = {MEANDER: meander(data, log, interactions, settings)} | outcomes
    analysis = Analysis(log, given.seed)
    result: dict[str, Any] = {
        "dataset": data.name,
        "repeats": repeats,
        "events": len(log.users),
        "tested": int(log.tested.sum()),
        "users": len(log.user_ids),
        "items": len(log.item_ids),
        "tested_users": int(analysis.users.max()) + 1,
        "tested_new_users": int(analysis.new_user.sum()),
        "tested_new_items": int(analysis.new_item.sum()),
        "methods": {name: analysis.figures(outcome) for name, outcome in outcomes.items()},
    }
    if MEANDER in outcomes:
        result["meander_minus"] = {name: analysis.difference(outcomes[MEANDER], outcomes[name]) for name in methods}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
