"""A replay with and without adapting the text encoder, on the same events; JSON on stdout.

    python benchmarks/adapter.py --dataset online-retail --limit 100000 --encoders minilm DIR > adapter.json

Hit rates on arrival, all of them and on two slices: events of the long tail, and of items first seen in the last seven
days, both as `benchmarks.analysis` has them. Differences are the adapted encoder's minus the frozen one's, with
intervals of a paired bootstrap over users.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.analysis import Analysis, mean, measured
from benchmarks.protocol import Log, Mask, Outcome, tell
from consumers import replay
from producers import datasets
from producers.datasets import Dataset
from stream import settings as settings_
from stream.text import TextEncoder


def played(data: Dataset, log: Log, given: argparse.Namespace, encoder: str, adapts: bool) -> Outcome:
    """One replay; prints its progress on stderr."""
    settings = settings_.load(
        trigger={"policy": given.policy} if given.policy else {},
        scoring={"repeats": log.repeats},
        model={"encoder": encoder},
        training={"text_adapter": adapts},
        seed=given.seed,
    )
    users, ranks, began_s = list[str](), list[int | None](), time.process_time()

    def on_tested(user_id: str, rank: int | None) -> None:
        users.append(user_id)
        ranks.append(rank)

    interactions = datasets.head(data.interactions, given.limit)
    result = replay.replay(data.name, data.items, interactions, settings, on_tested=on_tested)
    if users != [user for user, _ in log.events()]:
        raise RuntimeError("the replay must test the events of the log, in order")
    cpu_s = time.process_time() - began_s
    tell(f"{encoder}, {'adapted' if adapts else 'frozen'}: {result['hit_rate_10']} in {cpu_s:.0f} s of CPU time")
    kept = ("trainings", "rulings", "training_seconds", "served_hit_rate_10", "catalogue_hit_rate_10", "coverage_10")
    more = {"cpu_seconds": round(cpu_s, 1), **{key: result[key] for key in kept}}
    return Outcome(ranks, seconds=result["wall_seconds"], more=more)


def figures(slices: dict[str, Mask], outcome: Outcome) -> dict[str, Any]:
    """Hit rate and NDCG of each slice, and what the run cost."""
    hits, gains = measured(outcome.ranks)
    rates = {name: {"hit_rate_10": mean(hits[of]), "ndcg_10": mean(gains[of])} for name, of in slices.items()}
    return {**rates, "seconds": outcome.seconds, **outcome.more}


def options() -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=datasets.NAMES, default=datasets.ONLINE_RETAIL)
    parser.add_argument("--path", type=Path, help="where the data set lies; ml-100k is not bundled")
    parser.add_argument("--repeats", action=argparse.BooleanOptionalAction, help="else as the log suggests")
    parser.add_argument("--limit", type=int, help="only so many interactions")
    parser.add_argument("--policy", help="of the trigger")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoders", nargs="+", default=["minilm"], help="values of model.encoder")
    parser.add_argument("--tiny", type=Path, metavar="DIR", help="write a small untrained encoder there, and end")
    return parser.parse_args()


def main() -> None:
    """Run every encoder frozen and adapted, print the figures."""
    given = options()
    if given.tiny:
        TextEncoder.tiny(dim=64, seed=given.seed).save(given.tiny)
        return
    data = datasets.load(given.dataset, given.path)
    interactions = datasets.head(data.interactions, given.limit)
    repeats = replay.has_repeats(interactions) if given.repeats is None else given.repeats
    log = Log.of(interactions, repeats)
    analysis = Analysis(log, given.seed)
    every = np.ones(int(log.tested.sum()), bool)
    slices = {"all": every, "long_tail": analysis.long_tail, "new_items": analysis.new_item}
    out: dict[str, Any] = {"dataset": data.name, "repeats": repeats, "events": len(log.users), "seed": given.seed}
    out["tested"] = {name: int(of.sum()) for name, of in slices.items()}
    for encoder in given.encoders:
        frozen, adapted = (played(data, log, given, encoder, adapts) for adapts in (False, True))
        out[encoder] = {
            "frozen": figures(slices, frozen),
            "adapted": figures(slices, adapted),
            "difference": analysis.difference(adapted, frozen),
        }
    print(json.dumps(out, indent=2))


if __name__ == "__main__":
    main()
