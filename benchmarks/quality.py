"""Meander and what someone would build instead of it, in one run on one protocol; JSON on stdout.

    python benchmarks/quality.py --dataset ml-100k --path DIR > ml-100k.json

Test, then learn, in blocks: a block (one user and group, or one user's events of one timestamp) is ranked with what was
known before it, then learned. Candidates are all items with an earlier interaction; without repeats, less what the user
has, and only the first interaction of a user with an item counts. No sampled negatives; an item that is no candidate is
a miss. Of equals an item takes the middle place. All methods are tested on the same events, in the same order: that is
checked, and a difference ends the run. Intervals are of a bootstrap over users, paired where two methods are compared.
Coverage, Gini coefficient, novelty and diversity (see `benchmarks.lists`) are of lists of ten: of the others one for
each tested block, of Meander all that it sent. Seconds are a method's own, with what it fits or trains. Memory is what
can be told: of a baseline its arrays (`arrays_mb`), of a peer the peak of its process, which holds nothing else but its
libraries (`process_peak_rss_mb`), of Meander the peak of this process, baselines included (`peak_rss_mb`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import command, peers
from benchmarks.analysis import Analysis
from benchmarks.baselines import BASELINES, Baseline
from benchmarks.lists import Catalogue, Lists, Sent
from benchmarks.protocol import TELL_S, Log, Outcome, examine, tell
from consumers import examiner, measures, replay
from producers.datasets import Dataset
from stream import topics
from stream.events import Interaction, decode
from stream.records import Output
from stream.settings import Settings
from stream.text import TextEncoder

MEANDER = "meander"


@dataclass(slots=True)
class Recorder:
    """Notes what Meander's examiner tests and finds, by standing in front of it."""

    events: list[tuple[str, str]] = field(default_factory=list)  # (user, item), in order
    ranks: list[int | None] = field(default_factory=list)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note whatever a replay tests in here."""
        test, tested = examiner.Examiner.test, measures.Measures.tested

        def on_test(it: Any, part: Any, user_id: str, person: Any, opened: Any, item: int) -> None:
            self.events.append((user_id, it.items.catalogue.ids[item]))
            test(it, part, user_id, person, opened, item)

        def on_tested(it: Any, version: str, ranks: dict[str, int | None], losses: dict[str, float] | None) -> None:
            self.ranks.append(ranks["arrival"])
            tested(it, version, ranks, losses)

        with patch.object(examiner.Examiner, "test", on_test), patch.object(measures.Measures, "tested", on_tested):
            yield


@dataclass(slots=True)
class Listener:
    """Measures the lists that a replay sends, with what was known when it sent them."""

    log: Log
    catalogue: Catalogue
    lists: Lists = field(init=False)
    fed: int = 0  # rows of the log

    def __post_init__(self) -> None:
        self.lists = Lists(self.catalogue.vectors, np.zeros(len(self.catalogue.places)))

    def on_list(self, item_ids: list[str]) -> None:
        """Take in a list; a replay's `recommendations` hand it on."""
        self.lists.add([self.catalogue.places[item_id] for item_id in item_ids])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count the interactions that are fed in here."""
        feed = replay.Replay.feed

        def on_feed(it: replay.Replay, outputs: Sequence[Output]) -> None:
            for output in outputs:
                if output.topic == topics.INTERACTIONS and decode(Interaction, output.value).item_id is not None:
                    self.lists.counts[self.log.items[self.fed]] += self.log.counted[self.fed]
                    self.fed += 1
            feed(it, outputs)

        with patch.object(replay.Replay, "feed", on_feed):
            yield


def meander(
    data: Dataset,
    log: Log,
    interactions: Iterable[Interaction],
    settings: Settings,
    catalogue: Catalogue,
    encoder: TextEncoder | None = None,
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

    recorder, listener = Recorder(), Listener(log, catalogue)
    with recorder.recording(), listener.listening():
        result = replay.replay(
            data.name,
            data.items,
            interactions,
            settings,
            recommendations=Sent(listener.on_list),
            encoder=encoder,
            on_progress=on_progress,
        )
    check(recorder.events, recorder.ranks, log)
    lists = listener.lists
    kept = ("policy", "seed", "peak_rss_mb", "served_hit_rate_10", "catalogue_hit_rate_10", "versions_published")
    more = lists.figures() | {key: result[key] for key in kept}
    return Outcome(recorder.ranks, lists.shown[: len(log.item_ids)], result["wall_seconds"], more)


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


def options() -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--methods", nargs="*", choices=[*BASELINES, *peers.NAMES], help="in place of all there are")
    parser.add_argument("--no-meander", action="store_true", help="the others alone")
    given = parser.parse_args()
    there = peers.available()
    if given.methods is None:
        given.methods = [*BASELINES, *there]
        if not there:
            tell(f"without the peers {' and '.join(peers.NAMES)}: `make peers` installs them")
    elif missing := [name for name in given.methods if name in peers.NAMES and name not in there]:
        parser.error(f"--methods {' '.join(missing)} must be installed, by `make peers`")
    return given


def made(names: Sequence[str], log: Log, seed: int) -> dict[str, Baseline]:
    """Methods by name."""
    sizes = len(log.user_ids), len(log.item_ids), seed
    return {name: BASELINES[name](*sizes) if name in BASELINES else peers.Peer(name, *sizes) for name in names}


def main() -> None:
    """Run all methods, print their figures."""
    given = options()
    data = command.log(given)
    settings = command.settings(given, data)
    log = Log.of(data.interactions, settings.scoring.repeats)
    tell(f"{data.name}: {int(log.tested.sum()):,} of {len(log.users):,} events are tested")
    encoder = TextEncoder.load(settings.model)
    catalogue = Catalogue.of(data.items, log.item_ids, encoder)
    outcomes = examine(log, made(given.methods, log, given.seed), catalogue)
    if not given.no_meander:
        outcomes = {MEANDER: meander(data, log, data.interactions, settings, catalogue, encoder)} | outcomes
    print(json.dumps(result(data.name, log, outcomes, given.seed), indent=2))


def result(name: str, log: Log, outcomes: dict[str, Outcome], seed: int = 0) -> dict[str, Any]:
    """All that is printed."""
    analysis = Analysis(log, seed)
    out: dict[str, Any] = {
        "dataset": name,
        "repeats": log.repeats,
        "events": len(log.users),
        "tested": int(log.tested.sum()),
        "users": len(log.user_ids),
        "items": len(log.item_ids),
        "tested_users": int(analysis.users.max()) + 1,
        "tested_new_users": int(analysis.new_user.sum()),
        "tested_new_items": int(analysis.new_item.sum()),
        "tested_long_tail": int(analysis.long_tail.sum()),
        "methods": {method: analysis.figures(outcome) for method, outcome in outcomes.items()},
    }
    if one := outcomes.get(MEANDER):
        out["meander_minus"] = {k: analysis.difference(one, other) for k, other in outcomes.items() if k != MEANDER}
    return out


if __name__ == "__main__":
    main()
