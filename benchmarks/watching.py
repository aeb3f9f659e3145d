"""What watching costs a scorer: microseconds of a list, of a test, milliseconds of a scrape, as JSON.

Run it on a quiet machine: `python benchmarks/watching.py`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import generate_latest

sys.path.insert(0, str(Path(__file__).parents[1]))

from consumers.measures import Measures
from consumers.watch import Watch
from stream.records import Output, Record, Since

BATCH = 500
RECORDS = [Record("user-states", 0, i, b"ann", b"x") for i in range(BATCH)]
LISTS = [Output("recommendations", b"ann", b"x", 0, since=Since(0.0, 1)) for _ in range(BATCH)]


def seconds(call: Callable[[], object], times: int) -> float:
    """Of one call: the best of five rounds, each of `times` calls."""
    rounds = []
    for _ in range(5):
        began_s = time.perf_counter()
        for _ in range(times):
            call()
        rounds.append((time.perf_counter() - began_s) / times)
    return min(rounds)


def main() -> None:
    """Measure, and print."""
    watch, measures = Watch("scorer"), Measures()
    ranks, losses = {"arrival": 3, "served": None, "popularity": 30}, {"arrival": 1.0, "popularity": 2.0}
    found = {
        "batch_us_per_list": seconds(lambda: watch.committed(RECORDS, LISTS, watch.now_s()), 50) / BATCH * 1e6,
        "test_us": seconds(lambda: measures.tested("v1", ranks, losses), 5_000) * 1e6,
        "list_us": seconds(lambda: measures.listed(range(10)), 5_000) * 1e6,
    }
    watch.metrics.figures.show(measures.figures())
    found["scrape_ms"] = seconds(lambda: generate_latest(watch.metrics.registry), 20) * 1e3
    found["scrape_bytes"] = float(len(generate_latest(watch.metrics.registry)))
    print(json.dumps({name: round(value, 3) for name, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
