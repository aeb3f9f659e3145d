"""How soon a change of the population is found, and how often one that is none; JSON on stdout.

    python benchmarks/population.py --seeds 0,1,2 --events 20000 --out runs/population > population.json

A made-up log per seed is replayed without refreshes, so that what the scorer tells of itself does not depend on what
the trigger makes of it. Up to the change the logs of all kinds are one: it is played once, and goes on as each of them.
The scorer's health records are written to `--out`, and not made again. The detectors of the trigger are then driven
with these records.

Told are, by kind of change and seed, the tested events from the change to the health record with which the first rise
is flagged, of everybody or of a segment, and the rises flagged before it and in logs without a change. As stationary
logs of hundreds of thousands of events take hours, blocks of one are also drawn anew, in runs of `RUN`, and the rises
found among them counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import worlds
from consumers.replay import Replay, _adapted, _runs, warm_up
from consumers.scorer import ScorerHandler
from stream import events, topics
from stream.events import Interaction
from stream.evidence import EVERYBODY, Population
from stream.messages import BlockLoss, ModelHealth
from stream.records import Output
from stream.settings import load
from stream.store import ModelStore

AFTER = 2_000  # interactions that are played after a change
RUN = 200  # blocks that stay together where they are drawn anew
BURN_IN = 1_500  # blocks before: the blend is still learning fast
STEP_S = 300.0  # event time between two blocks that are drawn anew
TIDY = 2_000


@dataclass(slots=True)
class Recorder:
    """Plays logs, and keeps what the scorer tells of itself; one folder for logs of one length."""

    folder: Path
    length: int

    def health(self, kind: str, seed: int) -> list[ModelHealth]:
        """The records of a log; every log that shares its beginning is played with it."""
        path = self._path(kind, seed)
        if not path.exists():
            self._play(kind, seed)
        found: list[ModelHealth] = msgspec.msgpack.decode(path.read_bytes(), type=list[ModelHealth])
        return found

    def _path(self, kind: str, seed: int) -> Path:
        return self.folder / f"{kind}.{seed}.{self.length}.health"

    def _play(self, kind: str, seed: int) -> None:
        made = worlds.world(kind, seed, self.length)
        log = list(made.interactions())
        together = [] if kind in worlds.APART else [k for k in worlds.PLANTS if k not in worlds.APART]
        with tempfile.TemporaryDirectory() as scratch, patch.object(ScorerHandler, "_listed", worlds.unlisted):
            _, before = warm_up(log, repeats=True)
            settings = _adapted(worlds.settings(seed, policy="never"), before, Path(scratch))
            run = Replay(settings, ModelStore(settings.store), None, worlds.Words())
            run.feed([Output(topics.ITEMS, i.item_id.encode(), events.encode(i)) for i in made.items])
            _feed(run, (event for event in log if event.at_s < worlds.CHANGE_S))
            for other in together:
                if not self._path(other, seed).exists():
                    self._branch(run, other, seed)
            rest = [event for event in log if event.at_s >= worlds.CHANGE_S]
            _feed(run, rest if kind in worlds.CALM else rest[:AFTER])
            self._keep(run, kind, seed)

    def _branch(self, run: Replay, kind: str, seed: int) -> None:
        """Go on as another log, in a process of its own."""
        child = os.fork()
        if not child:
            after = (e for e in worlds.world(kind, seed, self.length).interactions() if e.at_s >= worlds.CHANGE_S)
            _feed(run, [event for _, event in zip(range(AFTER), after, strict=False)])
            self._keep(run, kind, seed)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise RuntimeError(f"the replay of {kind}, seed {seed}, must end well; it did not")

    def _keep(self, run: Replay, kind: str, seed: int) -> None:
        path = self._path(kind, seed)
        path.with_suffix(".part").write_bytes(msgspec.msgpack.encode(run.health))
        path.with_suffix(".part").rename(path)
        print(f"{path.name}: {len(run.health)} records", file=sys.stderr)


def _feed(run: Replay, log: Iterable[Interaction]) -> None:
    for number, block in enumerate(_runs(log)):
        run.feed(block)
        if number % TIDY == TIDY - 1:
            run.tidy()


@dataclass(slots=True)
class Watched:
    """The rises that are flagged in a log, by how many tested events after the change."""

    population: Population
    before: int = 0  # events
    after: int = 0
    false: list[str] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)  # by stream, the first

    def feed(self, blocks: Iterable[BlockLoss], change_s: float) -> None:
        """Take the blocks of a health record, in order."""
        new: list[str] = []
        for block in blocks:
            changed = block.at_s >= change_s
            self.before, self.after = self.before + (not changed) * block.n, self.after + changed * block.n
            (new if changed else self.false).extend(self.population.update(block))
        for name in new:
            self.found.setdefault(name, self.after)


def watched(health: Sequence[ModelHealth], per: int, change_s: float = float("inf")) -> Watched:
    """What the detectors make of the records of a log."""
    out = Watched(Population(per))
    for record in health:
        if record.version:
            out.population.watch(record.version)
            out.feed(record.blocks, change_s)
    return out


def drawn(health: Sequence[ModelHealth], per: int, length: int, seed: int) -> Watched:
    """The same over `length` stationary events: blocks of a calm log, drawn anew in runs."""
    blocks = [block for record in health if record.version for block in record.blocks][BURN_IN:]
    if len(blocks) <= RUN:
        raise ValueError(f"a calm log must have over {BURN_IN + RUN} blocks after its warm-up, got {len(blocks)} more")
    random, out, at_s = np.random.default_rng(seed), Watched(Population(per)), 0.0
    out.population.watch("v1")
    while out.before < length:
        start, now_s = int(random.integers(len(blocks) - RUN)), at_s
        chosen = [
            msgspec.structs.replace(b, at_s=now_s + STEP_S * i) for i, b in enumerate(blocks[start : start + RUN])
        ]
        out.feed(chosen, float("inf"))
        at_s = now_s + STEP_S * RUN
    return out


def figures(health: Callable[[str, int], list[ModelHealth]], given: argparse.Namespace) -> dict[str, Any]:
    """All that is told, by kind."""
    out: dict[str, Any] = {"per": given.per, "seeds": given.seeds}
    for kind in given.kinds:
        seen = [watched(health(kind, seed), given.per, worlds.CHANGE_S) for seed in given.seeds]
        if kind in worlds.CALM:
            for one in seen:  # all of it is stationary, or recurs
                one.false += list(one.found)
            out[kind] = {"events": [w.before + w.after for w in seen], "false": [w.false for w in seen]}
            continue
        delays = [min(w.found.values(), default=None) for w in seen]
        out[kind] = {
            "delay_events": delays,
            "found_within_1000": sum(d is not None and d <= 1_000 for d in delays),
            "first": [min(w.found, key=lambda n: w.found[n]) or "everybody" if w.found else None for w in seen],
            "everybody": [w.found.get(EVERYBODY) for w in seen],
            "false_before": [w.false for w in seen],
        }
    if given.drawn and "null" in given.kinds:
        seen = [drawn(health("null", seed), given.per, given.drawn, seed) for seed in given.seeds]
        total = sum(w.before for w in seen)
        false = sum(len(w.false) for w in seen)
        out["drawn"] = {"events": total, "false": [len(w.false) for w in seen], "false_per_50000": false / total * 5e4}
    return out


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    kinds = ["null", *worlds.PLANTS, "weekend"]
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--kinds", default=",".join(kinds), help="of " + ", ".join(kinds))
    out.add_argument("--seeds", default="0", help="such as 0,1,2")
    out.add_argument("--events", type=int, default=20_000, help="of a log")
    out.add_argument("--drawn", type=int, default=50_000, help="stationary events drawn anew per seed; 0: none")
    out.add_argument("--per", type=int, default=load().trigger.false_trigger_events, help="events to a false alarm")
    out.add_argument("--out", type=Path, default=Path("runs/population"), help="where health records are kept")
    given = out.parse_args(arguments)
    given.kinds, given.seeds = given.kinds.split(","), [int(seed) for seed in given.seeds.split(",")]
    if wrong := set(given.kinds) - set(kinds):
        out.error(f"--kinds must be of {', '.join(kinds)}, got {min(wrong)!r}")
    return given


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Play what is missing, look at it, print."""
    given = parsed(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    found = figures(Recorder(given.out, given.events).health, given)
    print(json.dumps(found, indent=2))
    return found


if __name__ == "__main__":
    main()
