"""What a policy is worth: never, clock, continuous, drift, and clocks with as many trainings; JSON on stdout.

    python benchmarks/policies.py --log online-retail --log ml-100k --path DIR --out runs/policies > policies.json

Every arm is a whole replay: the same events, settings, seeds and gate, the same delay before a version goes live.
Lists are not made: what is compared is where people's next items stand, and no list changes that.
`matched` is a clock that trains as often as `drift` did, at even distances; it is played after `drift`. `blind` is the
same for whom nothing else follows from a change of the population either (`drift.follow_population`). An arm's ranks
are written to `--out` when it ends, and an arm that lies there is not played again, so a run that was stopped goes on.
`--limit`, `--events` and `--training` cut things short, for a look.

Compared are hits at 10 of the same tested events, over the whole log and, where a change was planted, in the `--after`
events that follow it; the interval is of a bootstrap over people with all their events (95 %), made-up people of
different seeds being different people. Training seconds are those of refreshes; the first training is the same for all.

A log called `…-relabelled` is a real one in which half of the items trade places (`benchmarks.splice`) at one of the
shares `CHANGES` of it: a change that is planted where people, baskets and popularity are real; where, and which items
do, follows from the seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import worlds
from benchmarks.splice import relabelled
from consumers.replay import replay as play
from consumers.scorer import ScorerHandler
from producers import datasets
from producers.datasets import Dataset
from stream.events import Interaction
from stream.settings import Settings, load

Doubles = NDArray[np.float64]

MATCHED, BLIND = "matched", "blind"
POLICIES = ("never", "clock", "continuous", "drift", MATCHED, BLIND)
PLANTED = "-relabelled"
CHANGES = 0.45, 0.75  # of a relabelled log lies before its change; one place would suit some clock
REAL = {"online-retail": (datasets.ONLINE_RETAIL, True), "online-retail-new": (datasets.ONLINE_RETAIL, False),
        "ml-100k": (datasets.ML_100K, False)}  # fmt: skip
LOGS = (*REAL, *(name + PLANTED for name in REAL), *worlds.PLANTS, *worlds.CALM)
TOLD = ("at", "trigger", "verdict", "steps", "seconds", "evidence", "gate")  # of each training
DRAWS = 2_000
K = 10


@dataclass(frozen=True, slots=True)
class Arm:
    """A log, a policy and a seed."""

    log: str
    policy: str
    seed: int

    @property
    def file(self) -> str:
        """What its outcome is called."""
        return f"{self.log}.{self.policy}.{self.seed}.json"


def data_of(arm: Arm, given: argparse.Namespace) -> Dataset:
    """The log of an arm."""
    if real := real_of(arm.log):
        whole = datasets.load(REAL[real][0], given.path if real == "ml-100k" else None)
        log = list(datasets.head(whole.interactions, given.limit))
        return Dataset(arm.log, whole.items, relabelled(log, change_of(arm, log), arm.seed) if planted(arm) else log)
    made = worlds.world(arm.log, arm.seed, given.events)
    return Dataset(arm.log, made.items, list(made.interactions()))


def real_of(log: str) -> str:
    """The real log that it is, with or without a change planted in it; "" for a made-up one."""
    name = log.removesuffix(PLANTED)
    return name if name in REAL else ""


def planted(arm: Arm) -> bool:
    """Whether a change is planted in its log."""
    return arm.log in worlds.PLANTS or arm.log.endswith(PLANTED)


def settings_of(arm: Arm, given: argparse.Namespace, every: int) -> Settings:
    """Its settings; `every` events for a clock, 0: the default."""
    policy = "clock" if arm.policy in (MATCHED, BLIND) else arm.policy
    trigger: dict[str, Any] = {"policy": policy, "go_live_delay_s": given.delay} | (
        {"clock_events": every} if every else {}
    )
    drift = {"follow_population": arm.policy != BLIND}
    if not (real := real_of(arm.log)):
        return worlds.settings(arm.seed, drift=drift, **trigger)
    training = {"max_refresh_steps": given.training} if given.training else {}
    return load(trigger=trigger, drift=drift, training=training, scoring={"repeats": REAL[real][1]}, seed=arm.seed)


def played(arm: Arm, given: argparse.Namespace) -> dict[str, Any]:
    """The outcome of an arm: as it lies in `--out`, or of a replay now."""
    path = given.out / arm.file
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    as_many = arm.policy in (MATCHED, BLIND)
    every = matched_every(Arm(arm.log, "drift", arm.seed), given) if as_many else 0
    if arm.policy == "clock" and not real_of(arm.log):
        every = given.events // 5
    data, users, ranks = data_of(arm, given), dict[str, int](), list[tuple[int, int]]()

    def on_tested(user: str, rank: int | None) -> None:
        ranks.append((users.setdefault(user, len(users)), -1 if rank is None else rank))

    encoder = None if real_of(arm.log) else worlds.Words()
    cpu_s = time.process_time()
    with patch.object(ScorerHandler, "_listed", worlds.unlisted):
        result = play(
            arm.log, data.items, data.interactions, settings_of(arm, given, every), encoder=encoder, on_tested=on_tested
        )
    refreshes = [t for t in result["trainings"] if t["parent"]]
    kept = {
        "log": arm.log, "policy": arm.policy, "seed": arm.seed, "clock_events": every, "events": result["events"],
        "warm_up_events": result["warm_up_events"], "hit_rate_10": result["hit_rate_10"], "ndcg_10": result["ndcg_10"],
        "refreshes": len(refreshes), "live": sum(t["live_at_s"] > 0 for t in refreshes),
        "training_seconds": round(sum(t["seconds"] for t in refreshes), 2), "steps": sum(t["steps"] for t in refreshes),
        "cpu_seconds": round(time.process_time() - cpu_s, 1), "wall_seconds": result["wall_seconds"],
        "trainings": [{name: t[name] for name in TOLD} for t in refreshes],
        "changed_at": changed_at(arm, data, result["warm_up_events"], result["repeats"]),
        "users": [user for user, _ in ranks], "ranks": [rank for _, rank in ranks],
    }  # fmt: skip
    path.with_suffix(".part").write_text(json.dumps(kept), encoding="utf-8")
    path.with_suffix(".part").rename(path)
    told = {k: kept[k] for k in ("hit_rate_10", "refreshes", "live", "training_seconds", "wall_seconds")}
    print(f"{arm.file}: {told}", file=sys.stderr)
    return kept


def matched_every(drift: Arm, given: argparse.Namespace) -> int:
    """Events between the trainings of a clock that trains as often as `drift` did, in whole health records.

    It counts from the record with which the first training was decided, up to the last record.
    """
    outcome, each = played(drift, given), load().scoring.health_events
    refreshes, whole = int(outcome["refreshes"]), int(outcome["events"]) // each
    records = whole + int(-outcome["warm_up_events"] // each)
    apart = records // (refreshes + 1) + 1  # one record less, and there would be one training more
    return max(apart if apart * refreshes <= records else records // refreshes, 1) * each


def change_of(arm: Arm, log: Sequence[Interaction]) -> int:
    """How many interactions lie before the planted change."""
    if real_of(arm.log):
        return int(np.random.default_rng(arm.seed).uniform(*CHANGES) * len(log))
    return sum(event.at_s < worlds.CHANGE_S for event in log)


def changed_at(arm: Arm, data: Dataset, before: int, repeats: bool) -> int | None:
    """Number of the first tested event after the planted change: tested is whatever counts, after the warm-up."""
    if not planted(arm):
        return None
    log, seen, tested = list(data.interactions), set[tuple[str, str | None]](), 0
    for number, event in enumerate(log[: change_of(arm, log)]):
        pair = event.user_id, event.item_id
        tested += number >= before and (repeats or pair not in seen)
        seen.add(pair)
    return tested


def compared(ones: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], after: int | None) -> dict[str, Any]:
    """Hit rates of two policies over the same logs, one per seed, their difference and ratio, with intervals."""
    hits, people, offset = [], [], 0
    for one, other in zip(ones, others, strict=True):
        start = 0 if after is None else one["changed_at"]
        chosen = slice(start, None if after is None else start + after)
        users = np.array(one["users"])
        if one["users"] != other["users"]:
            raise ValueError(f"{one['log']}: the arms must have tested the same events")
        hits.append(np.array([_hits(one["ranks"]), _hits(other["ranks"])])[:, chosen])
        people.append(users[chosen] + offset)
        offset += 0 if real_of(one["log"]) else int(users.max()) + 1
    taken = np.concatenate(hits, axis=1)  # (2, n)
    _, codes = np.unique(np.concatenate(people), return_inverse=True)
    sums = np.array([np.bincount(codes, row) for row in taken])  # (2, people)
    n = np.bincount(codes).astype(float)
    weights = np.random.default_rng(0).poisson(1.0, (DRAWS, len(n))).astype(float)
    drawn = weights @ sums.T / np.maximum(weights @ n, 1)[:, None]  # (draws, 2)
    return {
        "events": int(n.sum()),
        "hit_rate_10": [round(float(x), 5) for x in taken.mean(axis=1)],
        "difference": round(float(taken[0].mean() - taken[1].mean()), 5),
        "difference_ci95": _interval(drawn[:, 0] - drawn[:, 1]),
        "ratio": round(float(taken[0].mean() / max(taken[1].mean(), 1e-9)), 4),
        "ratio_ci95": _interval(drawn[:, 0] / np.maximum(drawn[:, 1], 1e-9)),
    }


def _hits(ranks: Sequence[int]) -> Doubles:
    places = np.array(ranks)
    return ((places >= 0) & (places < K)).astype(float)


def _interval(values: Doubles) -> list[float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return [round(float(low), 5), round(float(high), 5)]


def table(
    outcomes: dict[Arm, dict[str, Any]], logs: Sequence[str], policies: Sequence[str], after: int
) -> dict[str, Any]:
    """Figures of every log and policy, and `drift` against each other policy."""
    out: dict[str, Any] = {}
    for log in logs:
        by = {p: [o for arm, o in outcomes.items() if (arm.log, arm.policy) == (log, p)] for p in policies}
        out[log] = {"policies": {p: _summed(found) for p, found in by.items()}}
        for other in (p for p in policies if p != "drift" and "drift" in policies):
            out[log][f"drift against {other}"] = compared(by["drift"], by[other], None)
            if all(o["changed_at"] is not None for o in by["drift"]):
                out[log][f"drift against {other}, after the change"] = compared(by["drift"], by[other], after)
        if {"drift", "continuous"} <= by.keys():
            seconds = [sum(o["training_seconds"] for o in by[p]) for p in ("drift", "continuous")]
            out[log]["share_of_training_seconds"] = round(seconds[0] / max(seconds[1], 1e-9), 4)
    return out


def _summed(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("hit_rate_10", "ndcg_10", "refreshes", "live", "training_seconds", "steps", "cpu_seconds", "wall_seconds")
    out: dict[str, Any] = {name: round(float(np.mean([o[name] for o in found])), 5) for name in names}
    reasons = [t["trigger"] for o in found for t in o["trainings"]]
    return out | {"seeds": [o["seed"] for o in found], "reasons": {r: reasons.count(r) for r in sorted(set(reasons))}}


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--log", action="append", choices=LOGS, help="may be given often")
    out.add_argument("--path", type=Path, help="where ml-100k lies")
    out.add_argument("--policies", default=",".join(POLICIES), help="of " + ", ".join(POLICIES))
    out.add_argument("--seeds", default="0", help="such as 0,1,2")
    out.add_argument("--out", type=Path, default=Path("runs/policies"), help="where outcomes of arms are kept")
    out.add_argument("--limit", type=int, help="only so many interactions of a real log")
    out.add_argument("--events", type=int, default=20_000, help="of a made-up log")
    out.add_argument("--training", type=int, help="optimiser steps of a refresh on a real log, at most")
    out.add_argument("--delay", type=float, default=600.0, help="event time from a decision to its version going live")
    out.add_argument("--after", type=int, default=2_000, help="tested events after a planted change")
    given = out.parse_args(arguments)
    given.log, given.policies = given.log or ["tastes"], given.policies.split(",")
    if wrong := set(given.policies) - set(POLICIES):
        out.error(f"--policies must be of {', '.join(POLICIES)}, got {min(wrong)!r}")
    given.seeds = [int(seed) for seed in given.seeds.split(",")]
    return given


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Play what is missing, compare, print."""
    given = parsed(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    arms = [Arm(log, policy, seed) for log in given.log for seed in given.seeds for policy in given.policies]
    outcomes = {arm: played(arm, given) for arm in arms}
    found = table(outcomes, given.log, given.policies, given.after)
    print(json.dumps(found, indent=2))
    return found


if __name__ == "__main__":
    main()
