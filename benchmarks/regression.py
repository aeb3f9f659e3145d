"""The first 30,000 events of Online Retail, as `tests/test_quality.py` holds them against what was measured before.

    python benchmarks/regression.py            # the figures of this tree beside those stored, as JSON
    python benchmarks/regression.py --renew    # and store them; say why in docs/LOG.md

One replay, policy drift, with the text encoder as it ships and trainings of few steps (a minute in all), and the
counting baselines on the same events. What is stored are hits and gains of each user, so that a difference is paired:
its noise is that between two versions of Meander, not that between users.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.analysis import Analysis, measured
from benchmarks.baselines import BASELINES
from benchmarks.protocol import Log, Outcome, examine
from benchmarks.quality import MEANDER, Recorder, check
from benchmarks.tails import Doubles
from consumers.replay import has_repeats, replay
from producers import datasets
from stream.settings import load

STORED = Path(__file__).with_suffix(".json")
EVENTS = 30_000
RIVALS = ("popularity-3d", "popularity-30d", "own-past", "item-knn", "item-knn-recency", "user-knn")
MEASURES = ("hit_rate_10", "ndcg_10")
STEPS = {"max_steps": 100, "max_refresh_steps": 60}  # of trainings


@dataclass(slots=True)
class Run:
    """All methods over the same events."""

    log: Log
    outcomes: dict[str, Outcome]
    result: dict[str, Any]  # of the replay
    analysis: Analysis = field(init=False)

    def __post_init__(self) -> None:
        self.analysis = Analysis(self.log)

    def sums(self) -> dict[str, Doubles]:
        """Sum of each measure over the events of each user, as it is stored."""
        values, users = measured(self.outcomes[MEANDER].ranks), self.analysis.users
        return {name: np.round(np.bincount(users, v), 3) for name, v in zip(MEASURES, values, strict=True)}

    def figures(self) -> dict[str, dict[str, float]]:
        """Means over all events, by method."""
        return {
            method: {name: round(float(v.mean()), 5) for name, v in zip(MEASURES, measured(o.ranks), strict=True)}
            for method, o in self.outcomes.items()
        }

    def minus(self, stored: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Of each measure: this run less what was stored, and the standard error of that, by bootstrap over users.

        Raises:
            ValueError: what is stored is of other users.
        """
        events, out = np.bincount(self.analysis.users), dict[str, tuple[float, float]]()
        for name, now in self.sums().items():
            then = np.array(stored["by_user"][name])
            if then.shape != now.shape:
                raise ValueError(f"{STORED.name} must hold {len(now)} users, got {len(then)}; renew it")
            means = (self.analysis.draws @ (now - then)) / (self.analysis.draws @ events)
            out[name] = float((now - then).sum() / events.sum()), float(means.std())
        return out


def run() -> Run:
    """Replay the slice, and run the baselines over it."""
    data = datasets.load(datasets.ONLINE_RETAIL)
    interactions = datasets.head(data.interactions, EVENTS)
    held = {event.item_id for event in interactions}
    log = Log.of(interactions, has_repeats(interactions))
    settings = load(training=STEPS, scoring={"repeats": log.repeats})
    recorder = Recorder()
    with recorder.recording():
        items = [item for item in data.items if item.item_id in held]
        result = replay(data.name, items, interactions, settings)
    check(recorder.events, recorder.ranks, log)
    rivals = {name: BASELINES[name](len(log.user_ids), len(log.item_ids), 0) for name in RIVALS}
    return Run(log, {MEANDER: Outcome(recorder.ranks)} | examine(log, rivals), result)


def stored() -> dict[str, Any]:
    """What was measured before."""
    out: dict[str, Any] = json.loads(STORED.read_text())
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, compare, and store if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renew", action="store_true", help="store the figures of this tree")
    renew = parser.parse_args(arguments).renew
    now = run()
    told: dict[str, Any] = {"figures": now.figures()}
    if STORED.exists():
        told["minus_stored"] = {
            name: {"difference": round(difference, 5), "standard_error": round(error, 5)}
            for name, (difference, error) in now.minus(stored()).items()
        }
    print(json.dumps(told, indent=2))
    if renew:
        lines = [f'    "{name}": [{", ".join(f"{x:g}" for x in sums)}]' for name, sums in now.sums().items()]
        figures = json.dumps(now.figures()[MEANDER])
        STORED.write_text(f'{{\n  "figures": {figures},\n  "by_user": {{\n' + ",\n".join(lines) + "\n  }\n}\n")


if __name__ == "__main__":
    main()
