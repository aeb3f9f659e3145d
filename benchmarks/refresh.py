"""How fast a decision to train becomes recommendations, and what scoring feels of it; JSON on stdout.

    python benchmarks/refresh.py --refreshes 5
    python benchmarks/refresh.py --bootstrap 127.0.0.1:9092      # a broker of your own in place of the embedded one

Five real processes over a broker; the log's first interactions are sent as fast as they are worked off, the first
training is waited for, and then interactions arrive evenly, `--rate` in a second. A refresh is decided after every
`--every` interactions, and the gate is set so that about any candidate goes live: what is measured here is time alone.

`to_lists_s` runs from the record that the decision rests on (the newest model-health record before the job) to the
first list on `recommendations` that names the new version; all times are the brokers' timestamps of records.
`delay_ms` is from an interaction's record to that of the list that answers it, while a job is being worked on and else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import command
from benchmarks.protocol import tell
from consumers.running import Running, running
from producers.datasets import Dataset
from producers.replay import Backpressure, produce
from stream import events, messages, topics, versions
from stream.bus import Bus
from stream.events import Interaction, Recommendation
from stream.messages import ModelVersion
from stream.records import Output, Record
from stream.settings import Settings

Doubles = NDArray[np.float64]

FIRST_TRAINING_S = 600.0
TICK_S = 0.1  # between two sends


@dataclass(frozen=True, slots=True)
class Refresh:
    """One refresh: when each step of it had come about, in wall seconds."""

    version: str
    verdict: str
    evidence_s: float
    decided_s: float
    trained_s: float  # the worker had saved the candidate
    judged_s: float
    listed_s: float  # nan: it never served
    training_seconds: float


def steady(bus: Bus, log: Sequence[Interaction], rate: float, over: threading.Event) -> int:
    """Send interactions, `rate` in a second, until all are sent or `over` is set; how many were sent."""
    began_s, sent = time.monotonic(), 0
    while sent < len(log) and not over.is_set():
        due = min(int((time.monotonic() - began_s) * rate) + 1, len(log))
        bus.send([Output(topics.INTERACTIONS, e.user_id.encode(), events.encode(e)) for e in log[sent:due]])
        sent = due
        over.wait(TICK_S)
    return sent


def until(what: str, all_of_it: Running, condition: Any, limit_s: float) -> None:
    """Wait, and tell how it stands now and then."""
    told_s = began_s = time.monotonic()
    while not condition():
        all_of_it.supervisor.check()
        now_s = time.monotonic()
        if now_s - began_s > limit_s:
            raise SystemExit(f"{what} did not come about within {limit_s:.0f} s")
        if now_s - told_s > 20:
            told_s = now_s
            tell(f"waiting for {what}, {now_s - began_s:.0f} s")
        time.sleep(0.25)


def run(all_of_it: Running, given: argparse.Namespace) -> dict[str, Any]:
    """Play the log and read off the topics what came of it."""
    bus, data = all_of_it.bus, command.log(given)
    log = list(islice(data.interactions, given.warm_up + given.most))
    lag = lambda: all_of_it.behind()  # noqa: E731
    produce(
        bus, data.items, log[: given.warm_up], pressure=Backpressure(lag, 20_000),
        between=lambda: until(
            "the catalogue's vectors", all_of_it,
            lambda: sum(bus.ends(topics.ITEM_VECTORS).values()) >= len(data.items), FIRST_TRAINING_S),
    )  # fmt: skip
    until("the first version", all_of_it, lambda: versions.live(_versions(bus)), FIRST_TRAINING_S)
    over, rest = threading.Event(), log[given.warm_up :]
    sender = threading.Thread(target=steady, args=(bus, rest, given.rate, over), daemon=True)
    sender.start()
    wanted = given.refreshes + 1  # and the first version
    until("the refreshes", all_of_it, lambda: len(_served(bus)) >= wanted or not sender.is_alive(), given.limit_s)
    over.set()
    sender.join()
    until("the consumers", all_of_it, lambda: all_of_it.behind() == 0, FIRST_TRAINING_S)
    return figures(bus)


def _versions(bus: Bus) -> list[Any]:
    return [messages.decode_version(r.value) for r in bus.read(topics.MODEL_VERSIONS) if r.value is not None]


def _served(bus: Bus) -> set[str]:
    """Promoted versions on record; the lists are looked at once, at the end."""
    return {v.version for v in _versions(bus) if isinstance(v, ModelVersion) and v.verdict == "promoted"}


def figures(bus: Bus) -> dict[str, Any]:
    """Seconds of every refresh, and delays of lists, from the topics' timestamps."""
    lists = list(bus.read(topics.RECOMMENDATIONS))
    refreshes = _refreshes(bus, lists)
    live = [r for r in refreshes if np.isfinite(r.listed_s)]
    took = np.array([r.listed_s - r.evidence_s for r in live])
    spans = [(r.decided_s, r.judged_s) for r in refreshes]
    training, calm = _delays_ms(bus, lists, spans)
    return {
        "refreshes": [_row(r) for r in refreshes],
        "to_lists_s": _quantiles(took, (50, 100)),
        "delay_ms": {"while training": _quantiles(training, (50, 99, 100)), "else": _quantiles(calm, (50, 99, 100))},
        "lists": {"while training": len(training), "else": len(calm)},
        "cores": len(os.sched_getaffinity(0)),
    }


def _refreshes(bus: Bus, lists: list[Record]) -> list[Refresh]:
    health_s = np.array([r.timestamp_ms / 1e3 for r in bus.read(topics.MODEL_HEALTH)])
    first: dict[str, float] = {}
    for record in lists:
        if record.value is not None:
            first.setdefault(events.decode(Recommendation, record.value).model_version, record.timestamp_ms / 1e3)
    jobs = {messages.decode(messages.TrainingJob, r.value).job_id: r for r in bus.read(topics.TRAINING_JOBS)}
    out = []
    for record in bus.read(topics.MODEL_VERSIONS):
        version = messages.decode_version(record.value)
        if isinstance(version, ModelVersion) and version.parent:
            decided_s = jobs[version.job_id].timestamp_ms / 1e3
            out.append(
                Refresh(
                    version.version, version.verdict, float(health_s[health_s <= decided_s].max(initial=-np.inf)),
                    decided_s, version.published_s, record.timestamp_ms / 1e3,
                    first.get(version.version, np.nan), version.seconds,
                )
            )  # fmt: skip
    return out


def _delays_ms(bus: Bus, lists: list[Record], spans: list[tuple[float, float]]) -> tuple[Doubles, Doubles]:
    """Delays of the lists made from the first refresh's decision on, within the spans and outside of them."""
    arrived = {}
    for record in bus.read(topics.INTERACTIONS):
        arrived[events.decode(Interaction, record.value).event_id] = record.timestamp_ms
    found: tuple[list[float], list[float]] = [], []
    begin_s = min((a for a, _ in spans), default=np.inf)
    for record in lists:
        if record.value is None:
            continue
        at_ms = arrived.get(events.decode(Recommendation, record.value).answers)
        if at_ms is not None and at_ms / 1e3 >= begin_s:
            inside = any(a <= at_ms / 1e3 <= b for a, b in spans)
            found[0 if inside else 1].append(record.timestamp_ms - at_ms)
    return np.array(found[0]), np.array(found[1])


def _row(refresh: Refresh) -> dict[str, Any]:
    r = refresh
    steps = {
        "decide": r.decided_s - r.evidence_s, "gather and train": r.trained_s - r.decided_s,
        "judge and publish": r.judged_s - r.trained_s, "load and list": r.listed_s - r.judged_s,
    }  # fmt: skip
    seconds = {name: round(value, 2) for name, value in steps.items() if np.isfinite(value)}
    return {"version": r.version, "verdict": r.verdict, "training_seconds": round(r.training_seconds, 2), **seconds}


def _quantiles(values: Doubles, of: tuple[int, ...]) -> dict[str, float]:
    if not len(values):
        return {}
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in of} | {"n": len(values)}


def settings(given: argparse.Namespace, data: Dataset) -> Settings:
    """Meander's own, but for the pace of refreshes, and a gate that lets nearly everything through."""
    made = command.settings(given, data)
    trigger = {"policy": "clock", "clock_events": given.every, "warm_up_events": given.warm_up - 1_000}
    gate = {"confidence": 0.501, "mrr_margin": 0.99}
    scoring = {"warm_up_events": given.warm_up}
    kafka = {"bootstrap": given.bootstrap} if given.bootstrap else {}
    parts = {"trigger": trigger, "gate": gate, "scoring": scoring, "kafka": kafka}
    return made.model_copy(update={k: getattr(made, k).model_copy(update=v) for k, v in parts.items()})


def main() -> None:
    """Run, and print."""
    parser = command.parser(__doc__)
    parser.add_argument("--bootstrap", help="a broker; the embedded one if none is named")
    parser.add_argument("--refreshes", type=int, default=5, help="promoted ones that are waited for")
    parser.add_argument("--rate", type=float, default=30.0, help="interactions in a second, beside the trainings")
    parser.add_argument("--every", type=int, default=3_000, help="interactions between two decisions")
    parser.add_argument("--warm-up", type=int, default=30_000)
    parser.add_argument("--most", type=int, default=60_000, help="interactions after the warm-up")
    parser.add_argument("--limit-s", type=float, default=1_800.0)
    given = parser.parse_args()
    made = settings(given, command.log(given))
    with TemporaryDirectory(prefix="meander-refresh-") as scratch:
        directory = Path(scratch)
        if given.bootstrap:
            made = made.model_copy(update={"store": made.store.model_copy(update={"path": str(directory / "models")})})
        with running(made, directory, embedded=not given.bootstrap, console=Console(stderr=True, quiet=True)) as all_:
            result = run(all_, given)
    print(json.dumps({"dataset": given.dataset, "rate": given.rate, "every": given.every, **result}, indent=2))


if __name__ == "__main__":
    main()
