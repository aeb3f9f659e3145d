"""Hit rates on the honest protocol, held against floors that show whether the loop is wired right.

    python benchmarks/floors.py [--ml-100k DIR] [--policies drift never] [--out FILE]

Each line of the table is one `meander replay` of a whole log, in a process of its own; about five minutes each on two
quiet cores. Prints JSON: hit_rate_10 and ndcg_10 on arrival, the served hit rate, trainings and their verdicts, seconds
and memory, and whether the floor is met. The floors: .185 on ml-100k, .045 on Online Retail without repeats, .092
with; and policy `drift` not below policy `never`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {("ml-100k", False): 0.185, ("online-retail", False): 0.045, ("online-retail", True): 0.092}
KEPT = (
    "dataset", "policy", "repeats", "seed", "events", "users", "items", "warm_up_events", "tested", "hit_rate_10",
    "hit_rate_20", "ndcg_10", "mrr_20", "served_hit_rate_10", "catalogue_hit_rate_10", "popularity_hit_rate_10",
    "coverage_10", "cold_share", "alarms", "versions_published", "training_seconds", "wall_seconds",
    "events_per_second", "peak_rss_mb", "blend_weights",
)  # fmt: skip


def replayed(dataset: str, repeats: bool, policy: str, path: Path | None) -> dict[str, Any]:
    """The figures of one replay.

    Raises:
        subprocess.CalledProcessError: it failed; its message is on stderr.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "result.json"
        command = [sys.executable, "-m", "meander", "replay", "--dataset", dataset, "--policy", policy]
        command += ["--repeats" if repeats else "--no-repeats", "--json", str(out)]
        command += ["--path", str(path)] if path else []
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
        result: dict[str, Any] = json.loads(out.read_text())
    verdicts = [training["verdict"] for training in result["trainings"]]
    kept = {key: result[key] for key in KEPT}
    return kept | {"verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}}


def main() -> int:
    """Replay all, print the table; exit code 1 where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ml-100k", type=Path, help="folder of MovieLens-100k; left out without")
    parser.add_argument("--policies", nargs="+", default=["drift", "never"])
    parser.add_argument("--out", type=Path, help="write the JSON here, too")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for (dataset, repeats), floor in FLOORS.items():
        path = given.ml_100k if dataset == "ml-100k" else None
        if dataset == "ml-100k" and path is None:
            continue
        for policy in given.policies:
            row = replayed(dataset, repeats, policy, path)
            rows.append(row | {"floor": floor, "met": row["hit_rate_10"] >= floor})
    rates = {(row["dataset"], row["repeats"], row["policy"]): row["hit_rate_10"] for row in rows}
    pairs = [(d, r) for d, r, policy in rates if policy == "drift" and (d, r, "never") in rates]
    table = {
        "rows": rows,
        "drift_minus_never": {
            f"{d}, {'with' if r else 'without'} repeats": round(rates[d, r, "drift"] - rates[d, r, "never"], 5)
            for d, r in pairs
        },
    }
    text = json.dumps(table, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")
    return 0 if all(row["met"] for row in rows if row["policy"] == "drift") else 1


if __name__ == "__main__":
    sys.exit(main())
