"""Cold start in numbers: new items, new users, and people who said what they look for; JSON on stdout.

    python benchmarks/coldstart.py --dataset ml-100k --path DIR --limit 30000 > cold-ml-100k.json
    python benchmarks/coldstart.py --says > cold-says.json

Each arm is a whole replay over the same tested events, in the same order (that is checked): the log as it is, and with
something taken from it: the text of items; what people said; their attributes. Slices: items in their first week, a
user's first five events, and the five events after something that a person said. Beside the headline stand the hit rate
among the whole available catalogue, of the list that lay on the topic, and of decayed popularity. Intervals are of a
bootstrap over users, paired where two arms are compared. `--says` plays a made log in which those who turn to another
topic search for it before.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import command
from benchmarks.analysis import Analysis, mean, measured
from benchmarks.protocol import K, Log, Mask, tell
from benchmarks.quality import Recorder, check
from benchmarks.tails import Doubles
from consumers import examiner, measures
from consumers import replay as replay_
from producers import synthetic
from producers.datasets import Dataset
from stream.events import Interaction, Item
from stream.settings import Settings
from stream.text import TextEncoder

AFTER = 5  # events of a person after a text that are looked at
AS_IT_IS = "as it is"
TAKEN = ("text of items", "text of people", "attributes of people")


@dataclass(frozen=True, slots=True)
class Changed:
    """Interactions, each as `change` gives it, without those for which that is None."""

    interactions: Iterable[Interaction]
    change: Callable[[Interaction], Interaction | None]

    def __iter__(self) -> Iterator[Interaction]:
        return (made for event in self.interactions if (made := self.change(event)) is not None)


def bare(item: Item) -> Item:
    """The item without anything that can be read."""
    return Item(item_id=item.item_id, available=item.available, at=item.at)


def silent(event: Interaction) -> Interaction | None:
    """The event without text; None if nothing is left of it."""
    return None if event.item_id is None and not event.user else replace(event, text=None)


def nobody(event: Interaction) -> Interaction | None:
    """The event without attributes of the person; None if nothing is left of it."""
    return None if event.item_id is None and not event.says else replace(event, user={})


def arms(data: Dataset, without: Sequence[str]) -> dict[str, Dataset]:
    """The log as it is, and without each of what it has."""
    items, events = data.items, data.interactions
    found = {
        TAKEN[0]: any(bare(item) != item for item in items),
        TAKEN[1]: any(event.says for event in events),
        TAKEN[2]: any(event.user for event in events),
    }
    made = {
        TAKEN[0]: Dataset(data.name, [bare(item) for item in items], events),
        TAKEN[1]: Dataset(data.name, items, Changed(events, silent)),
        TAKEN[2]: Dataset(data.name, items, Changed(events, nobody)),
    }
    return {AS_IT_IS: data} | {f"without {name}": made[name] for name in without if found[name]}


@dataclass(slots=True)
class Watcher(Recorder):
    """Notes hits beside the ranks on arrival, one for each tested event."""

    hits: dict[str, list[bool]] = field(default_factory=lambda: {"catalogue": [], "served": [], "popularity": []})

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note whatever a replay tests in here."""
        with self.recording():
            test, tested = examiner.Examiner.test, measures.Measures.tested

            def on_test(it: Any, part: Any, *args: Any) -> None:
                before = part.catalogue.hits_10
                test(it, part, *args)
                self.hits["catalogue"].append(part.catalogue.hits_10 > before)

            def on_tested(it: Any, version: str, ranks: dict[str, int | None], losses: Any) -> None:
                for name in ("served", "popularity"):
                    rank = ranks[name]
                    self.hits[name].append(rank is not None and rank < K)
                tested(it, version, ranks, losses)

            with patch.object(examiner.Examiner, "test", on_test), patch.object(measures.Measures, "tested", on_tested):
                yield


def played(name: str, data: Dataset, settings: Settings, log: Log, encoder: TextEncoder | None = None) -> Watcher:
    """One arm; raises RuntimeError if it tested other events than `log` holds."""
    watcher = Watcher()
    with watcher.watching():
        result = replay_.replay(data.name, data.items, data.interactions, settings, encoder=encoder)
    check(watcher.events, watcher.ranks, log)
    tell(f"{data.name}, {name}: hit rate {result['hit_rate_10']}, {result['wall_seconds']} s")
    return watcher


def after_text(events: Iterable[Interaction], log: Log) -> Mask:
    """Of the tested events: those among a person's `AFTER` next ones after a text."""
    left, rows = dict[str, int](), list[bool]()
    for event in events:
        if event.item_id is not None:
            rows.append(left.get(event.user_id, 0) > 0)
            left[event.user_id] = left.get(event.user_id, 0) - 1
        if event.says:
            left[event.user_id] = AFTER
    return np.array(rows)[log.tested]


def interval(values: Doubles, inside: Mask, analysis: Analysis) -> list[float]:
    """95 % interval of the mean of a value over the tested events `inside`, users drawn with replacement."""
    sums, n = np.bincount(analysis.users, values * inside), np.bincount(analysis.users, inside)
    low, high = np.quantile((analysis.draws @ sums) / np.maximum(analysis.draws @ n, 1), (0.025, 0.975))
    return [round(float(low), 5), round(float(high), 5)]


def figures(watcher: Watcher, inside: Mask, analysis: Analysis) -> dict[str, Any]:
    """Figures of an arm over the tested events `inside`."""
    hits, gains = measured(watcher.ranks)
    return {
        "hit_rate_10": mean(hits[inside]),
        "hit_rate_10_ci95": interval(hits, inside, analysis),
        "ndcg_10": mean(gains[inside]),
        **{f"{name}_hit_rate_10": mean(np.array(found)[inside]) for name, found in watcher.hits.items()},
    }


def difference(one: Watcher, other: Watcher, inside: Mask, analysis: Analysis) -> dict[str, Any]:
    """The one minus the other over the tested events `inside`, on arrival and among the whole catalogue."""
    out: dict[str, Any] = {}
    catalogues = (np.array(w.hits["catalogue"]).astype(float) for w in (one, other))
    (hits, gains), (other_hits, other_gains) = measured(one.ranks), measured(other.ranks)
    pairs = {"hit_rate_10": (hits, other_hits), "ndcg_10": (gains, other_gains)}
    for name, (a, b) in (pairs | {"catalogue_hit_rate_10": tuple(catalogues)}).items():
        out |= {name: mean((a - b)[inside]), f"{name}_ci95": interval(a - b, inside, analysis)}
    return out


def compared(
    data: Dataset, settings: Settings, without: Sequence[str] = TAKEN, encoder: TextEncoder | None = None
) -> dict[str, Any]:
    """All arms over a log, slice by slice."""
    log = Log.of(data.interactions, settings.scoring.repeats)
    analysis = Analysis(log, settings.seed)
    watchers = {name: played(name, arm, settings, log, encoder) for name, arm in arms(data, without).items()}
    whole = {"all": np.ones(len(analysis.users), bool), "new users": analysis.new_user, "new items": analysis.new_item}
    slices = {
        name: inside
        for name, inside in (whole | {"after a text": after_text(data.interactions, log)}).items()
        if inside.any()
    }
    return {
        "dataset": data.name,
        "repeats": log.repeats,
        "events": len(log.users),
        "tested": {name: int(inside.sum()) for name, inside in slices.items()},
        "arms": {
            name: {part: figures(watcher, inside, analysis) for part, inside in slices.items()}
            for name, watcher in watchers.items()
        },
        "as_it_is_minus": {
            name: {part: difference(watchers[AS_IT_IS], watcher, inside, analysis) for part, inside in slices.items()}
            for name, watcher in watchers.items()
            if name != AS_IT_IS
        },
    }


def made(seed: int, limit: int | None = None) -> Dataset:
    """A small log of people who turn to another topic, and search for it before."""
    plan = synthetic.Plan(users=150, items=400, events=5_000, days=60, swaps=0.6, gradual=0.0, says=1.0, seed=seed)
    world = synthetic.World(plan)
    return Dataset("made", world.items, list(world.interactions())[:limit])


def options() -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--says", action="store_true", help="a made log with searches, in place of a data set")
    parser.add_argument("--without", nargs="*", choices=TAKEN, default=TAKEN, help="what is taken away, by turns")
    return parser.parse_args()


def main() -> None:
    """Replay all arms, print their figures."""
    given = options()
    data = made(given.seed, given.limit) if given.says else command.log(given)
    settings = command.settings(given, data)
    print(json.dumps(compared(data, settings, given.without), indent=2))


if __name__ == "__main__":
    main()
