"""How soon is a bad version that was forced live rolled back, and how often a good one? JSON on stdout.

    python benchmarks/rollback.py --dataset ml-100k --path DIR --first 20000 > rollback.json

A log is replayed until its first version has served for a while. From there the run goes on several times (by fork),
each time with another second version forced live past the gate: damaged weights (`benchmarks.damage`), a training on
shuffled labels, an exact copy, and trainings on the same data with other seeds, which are as good on average. Reported
of each: interactions and blocks until the trigger rolled it back, and the hit rate meanwhile.

`wrong`: what those as good as the first have gained or lost, block by block, is played to the same test again many
times: the log begins at another block each time, and the signs of each group of people are drawn anew, so that neither
version is better. The share that is rolled back within as many blocks has a Clopper-Pearson interval (95 %).

`cost`: processor time of the chain per interaction with every block scored with the parent, and with the share alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import command
from benchmarks.damage import DAMAGES, damaged, shuffled
from benchmarks.protocol import tell
from consumers.replay import Replay, _adapted, _runs
from consumers.training_worker import Outcome, Plan, in_process
from consumers.tuner import TunerHandler
from stream import events, topics
from stream.lm import NextItemLM
from stream.messages import BlockLoss, ModelVersion, Ruling, encode
from stream.records import Output
from stream.rollback import Watch
from stream.settings import Settings
from stream.store import ModelStore

CHUNK = 100  # interactions between two looks at whether there is a ruling


def main() -> None:
    """Read the command line, run, print."""
    args = command.parser(__doc__)
    args.add_argument("--first", type=int, default=20_000, help="interactions before the first version is trained")
    args.add_argument("--settle", type=int, default=3_000, help="interactions that the first version serves")
    args.add_argument("--after", type=int, default=5_000, help="interactions in which a bad one must be noticed")
    args.add_argument("--seeds", type=int, default=4, help="versions that are as good")
    args.add_argument("--kinds", nargs="*", default=[*DAMAGES, "shuffled"], help="of bad versions")
    args.add_argument("--runs", type=int, default=2_000, help="of the test over blocks that say nothing")
    given = args.parse_args()
    given.policy = "never"
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="meander-rollback-") as at:
        out = measured(given, Path(at))
    out["seconds"] = round(time.perf_counter() - began_s, 1)
    json.dump(out, sys.stdout, indent=2)
    print()


def measured(given: argparse.Namespace, at: Path) -> dict[str, Any]:
    """Everything on one log."""
    data = command.log(given)
    settings = _adapted(command.settings(given, data), given.first, at / "models")
    past = Past(settings, at)
    past.run.feed([Output(topics.ITEMS, item.item_id.encode(), events.encode(item)) for item in data.items])
    blocks = _runs(data.interactions)
    played = past.play(blocks, given.first + given.settle)
    rest = past.ahead(blocks, given.after + CHUNK)
    tell(f"rollback: {played:,} interactions played, v1 serves")
    bad = {kind: past.tried(kind, rest, given.seed) for kind in given.kinds}
    good = [past.tried(f"seed {number}", rest, number) for number in range(1, given.seeds + 1)]
    same = past.tried("copy", rest, given.seed)
    share = past.tried("copy", rest, given.seed, probation_events=0)
    confidence = settings.gate.rollback_confidence
    pools = [[BlockLoss(*row) for row in one.pop("blocks")] for one in good]
    for one in (*bad.values(), same, share):
        one.pop("blocks")
    return {
        "dataset": data.name, "repeats": settings.scoring.repeats, "first": given.first, "after": given.after,
        "bad": bad, "as_good": good,
        "wrong": wrong(pools, confidence, given.runs, given.seed),
        "cost": {"copy": same, "ms_per_interaction_probation": same["ms_per_interaction"],
                 "ms_per_interaction_share": share["ms_per_interaction"]},
    }  # fmt: skip


@dataclass(slots=True)
class Past:
    """A replay up to where versions are tried; every trial starts from here, in a process of its own."""

    settings: Settings
    at: Path
    run: Replay = field(init=False)
    plan: Plan | None = None

    def __post_init__(self) -> None:
        self.run = Replay(self.settings, ModelStore(self.settings.store))
        for stage in self.run.stages:
            if stage.name == "tuner":
                stage.handler = TunerHandler(self.settings, self.run.bus, self.run.store, self._train)

    def play(self, blocks: Iterator[list[Output]], most: int) -> int:
        """Feed so many interactions; how many it were."""
        done, told_s = 0, time.perf_counter()
        for number, block in enumerate(blocks):
            self.run.feed(block)
            done += len(block)
            if number % 2_000 == 1_999:
                self.run.tidy()
            if time.perf_counter() - told_s > 30:
                told_s = time.perf_counter()
                tell(f"rollback: {done:,} of {most:,} interactions")
            if done >= most:
                break
        return done

    def ahead(self, blocks: Iterator[list[Output]], most: int) -> list[list[Output]]:
        """The interactions that come next."""
        out: list[list[Output]] = []
        while sum(map(len, out)) < most and (block := next(blocks, None)) is not None:
            out.append(block)
        return out

    def tried(self, kind: str, rest: Sequence[list[Output]], seed: int, **scoring: Any) -> dict[str, Any]:
        """What comes of a second version, in a child process."""
        found = apart(lambda: self._tried(kind, rest, seed, scoring))
        shown = {k: v for k, v in found.items() if k != "blocks"}
        tell(f"rollback: {kind}: {json.dumps(shown)}")
        return found

    def _tried(self, kind: str, rest: Sequence[list[Output]], seed: int, scoring: dict[str, Any]) -> dict[str, Any]:
        run, part = self.run, self.run.scorer.parts[0]
        examiner = run.scorer.examiner
        examiner.config = examiner.config.model_copy(update=scoring)
        self._force(self._version(kind, seed))
        before, health, began_s = (part.arrival.tested, part.arrival.hits_10), len(run.health), time.process_time()
        done, ruled_after = 0, None
        for block in rest:
            run.feed(block)
            done += len(block)
            if ruled_after is None and any(isinstance(v, Ruling) for v in run.versions):
                ruled_after = done
                if kind in DAMAGES or kind == "shuffled":
                    break
        tested = part.arrival.tested - before[0]
        blocks = [b for h in run.health[health:] if h.version == "v2" for b in h.blocks if b.parent is not None]
        watch = Watch("v2")
        for b in blocks:
            watch.update(b.parent or 0.0, b.n, b.group)
        return {
            "interactions": done, "rolled_back_after": ruled_after, "blocks_compared": watch.blocks,
            "parent_gain": round(watch.mean, 5),
            "hit_rate_10": round((part.arrival.hits_10 - before[1]) / max(tested, 1), 4),
            "ms_per_interaction": round((time.process_time() - began_s) / max(done, 1) * 1000, 3),
            "blocks": [(0.0, b.n, 0.0, 0.0, 0.0, b.parent, None, None, None, False, "", b.group) for b in blocks],
        }  # fmt: skip

    def _version(self, kind: str, seed: int) -> Path:
        """The directory of a second version."""
        live, rng = self.run.scorer.shelf.live, np.random.default_rng(seed)
        if live is None or self.plan is None:
            raise ValueError("--first must leave room for a first version, got no version that serves")
        directory = Path(tempfile.mkdtemp(dir=self.at))
        lm = NextItemLM.load(self.run.store.fetch(live.version))
        if kind == "copy":
            lm.save(directory / "made")
        elif kind in DAMAGES:
            damaged(lm, kind, rng).save(directory / "made")
        else:
            plan = replace(self.plan, directory=directory, seed=self.plan.seed + seed)
            in_process(shuffled(plan, rng, directory) if kind == "shuffled" else plan, lambda *_: None)
        return directory / "made"

    def _force(self, made: Path) -> None:
        published, now_s = self.run.store.publish(made, "v2"), self.run.scorer.parts[0].clock_s
        version = ModelVersion(
            "v2", "promoted", "v1", now_s, now_s, {}, "forced", "clock", {}, published.path, published.checksum, "",
            1, 1.0, 1, {}, 0.0,
        )  # fmt: skip
        self.run.feed([Output(topics.MODEL_VERSIONS, b"v2", encode(version))])

    def _train(self, plan: Plan, progress: Any) -> Outcome:
        self.plan = plan
        return in_process(plan, progress)


def apart(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of `work` in a copy of this process, which it cannot change.

    Raises:
        ChildProcessError: it failed; its own words are on stderr.
    """
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(read)
            with os.fdopen(write, "w") as out:
                json.dump(work(), out)
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)  # nothing of the parent's is tidied up here
    os.close(write)
    with os.fdopen(read) as told:
        found = told.read()
    if os.waitpid(pid, 0)[1]:
        raise ChildProcessError("a trial failed")
    result: dict[str, Any] = json.loads(found)
    return result


def wrong(pools: Sequence[Sequence[BlockLoss]], confidence: float, runs: int, seed: int) -> dict[str, Any]:
    """Share of runs without any difference that are rolled back, with its interval."""
    rng, found = np.random.default_rng(seed), 0
    for run in range(runs):
        pool = pools[run % len(pools)]
        begin, signs = int(rng.integers(len(pool))), rng.choice([-1.0, 1.0], 256)
        watch = Watch("v2")
        for block in (*pool[begin:], *pool[:begin]):
            watch.update(signs[block.group] * (block.parent or 0.0), block.n, block.group)
            if watch.lower(confidence) > 0:
                found += 1
                break
    low, high = beta.ppf(0.025, found, runs - found + 1), beta.ppf(0.975, found + 1, runs - found)
    return {
        "runs": runs, "blocks_each": round(float(np.mean([len(pool) for pool in pools]))), "rolled_back": found,
        "share": found / runs, "interval": [0.0 if found == 0 else round(float(low), 5), round(float(high), 5)],
    }  # fmt: skip


if __name__ == "__main__":
    main()
