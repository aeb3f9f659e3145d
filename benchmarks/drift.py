"""Drift of single people, planted in real histories: what the detector finds, and what it flags where there is nothing.

    python benchmarks/drift.py --dataset ml-100k --path DIR > drift-ml-100k.json
    python benchmarks/drift.py --pairs 100 --seeds 1

The first 20 % of the log fit the drift space, its weights and its thresholds; as refreshes do, `--again` calibrates
thresholds anew with what lies before such shares of the log, for what comes after them. Then `stream.profile` folds
made histories. People have at least 60 events, 30 of them after the warm-up; at a block after
the warm-up A goes on as B ("random": anyone; "dissimilar": one of the tenth least like A), or with items of the
segment that A has least of ("category"), or little by little as B ("gradual", over 20 events). Beside each stands A as
they went on. All of it in the order of the log, in which people also drift by themselves ("natural"), and with blocks
shuffled, so that nothing but the planted change is one ("shuffled"). AUC, and rates of detection at 1 and 5 % false
alarms, compare the statistic of both; alarms are what the product flags with its own threshold. Where repeats do not
count, items that A already has are left out.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import command
from benchmarks.protocol import tell
from consumers.calibrate import Crowd, Person
from stream import profile
from stream.calibration import shuffled
from stream.drift import LEAST, WINDOW, Detector, Found, evidence
from stream.messages import UserState
from stream.places import Places
from stream.profile import Event, Rules
from stream.settings import Settings

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
History = tuple[Ints, Doubles]  # rows of the catalogue, event times

WARM_UP = 0.2
AT = (5, 10, 20)  # events after the change
BEFORE, AFTER = 100, 40  # events of a stream on either side of the change, at most
KINDS = ("random", "dissimilar", "category", "gradual")
NULL_EVENTS = 100_000


def encoded(texts: list[str], settings: Settings) -> NDArray[np.float32]:
    """Vectors of texts; kept in the directory for temporary files, as they take a while."""
    digest = hashlib.sha256("\0".join([settings.model.encoder, *texts]).encode()).hexdigest()[:16]
    cache = Path(tempfile.gettempdir()) / f"meander-drift-{digest}.npy"
    if not cache.exists():
        from stream.text import TextEncoder

        np.save(cache, TextEncoder.load(settings.model).encode(texts))
    found: NDArray[np.float32] = np.load(cache)
    return found


def able(world: Crowd) -> list[Person]:
    """People with enough history."""
    return [person for person in world.people if len(person[0]) >= 60 and len(person[0]) - person[2] >= 30]


@dataclass(slots=True)
class Watcher:
    """Folds streams as the interest consumer does, and notes what its detector sees."""

    world: Crowd
    settings: Settings
    again: Sequence[float] = ()  # shares of the log at which thresholds are calibrated anew
    seconds: float = 0.0
    events: int = 0
    _later: list[tuple[float, Rules]] = field(default_factory=list)  # from when on, ascending
    _begun: dict[tuple[bool, bytes, bytes], bytes] = field(default_factory=dict)
    _places: Places = field(init=False)
    _rules: Rules = field(init=False)

    def __post_init__(self) -> None:
        self._places, self._rules = Places(self.world.space), Rules.of(self.settings, self.world.space)
        for item, vector in zip(self.world.ids, self.world.base, strict=True):
            self._places.put(item, vector)
        times = np.sort(np.concatenate([times for _, times, _ in self.world.people]))
        vectors, settings = self.world.vectors(), self.settings
        for from_s in (float(times[int(share * len(times))]) for share in self.again):
            people = [(rows[at < from_s], at[at < from_s]) for rows, at, _ in self.world.people]
            found = self.world.space.detector_of(people, vectors, settings.users, settings.drift, settings.seed)
            if found.on:
                self._later.append((from_s, replace(self._rules, detector=found)))

    def thresholds(self) -> list[float]:
        """Of alarms, one after the other."""
        return [round(rules.detector.threshold, 4) for rules in (self._rules, *(rules for _, rules in self._later))]

    def _now(self, at_s: float) -> Rules:
        return next((rules for from_s, rules in reversed(self._later) if at_s >= from_s), self._rules)

    def alarms(self, stream: History, since: int = 0) -> list[int]:
        """Events, from `since` on, at which the product raises an alarm."""
        state, began_s = self._before(stream, since, self._rules), time.process_time()
        found = [n for n in range(since, len(stream[0])) if (flagged := self._fold(state, stream, n)) and flagged.alarm]
        self.seconds += time.process_time() - began_s
        self.events += len(stream[0]) - since
        return found

    def statistics(self, stream: History, since: int) -> Doubles:
        """The statistic at the `max(AT)` events from `since` on, had nothing been flagged before."""
        detector, usual = self._rules.detector, self._rules.detector.weights.usual
        rules, out = replace(self._rules, detector=Detector(detector.weights)), []
        state = self._before(stream, since, rules)
        for n in range(since, since + max(AT)):
            profile.fold(state, self._event(stream, n), self._places, rules)
            items, vectors = self._places.gather(profile.seen(state))
            signals = detector.signals(items, vectors - self.world.space.centre)
            out.append(float(evidence(np.array(signals), usual)))
        return np.array(out)

    def _fold(self, state: UserState, stream: History, n: int) -> Found | None:
        event = self._event(stream, n)
        return profile.fold(state, event, self._places, self._now(event.at_s))

    def _event(self, stream: History, n: int) -> Event:
        return Event(str(n), self.world.ids[int(stream[0][n])], float(stream[1][n]), 1.0, n)

    def _before(self, stream: History, since: int, rules: Rules) -> UserState:
        """The state that the events before `since` leave; the newest few are kept, since streams begin alike."""
        key = (rules.detector.on, stream[0][:since].tobytes(), stream[1][:since].tobytes())
        if key not in self._begun:
            state = profile.newcomer("someone", 0.0)
            state.space = self.world.space.name
            for n in range(since):
                profile.fold(state, self._event(stream, n), self._places, rules)
            self._begun = dict([*self._begun.items(), (key, profile.pack(state))][-4:])
        return profile.unpack(self._begun[key])


@dataclass(frozen=True, slots=True)
class Planted:
    """A history in which something changes, and the same without."""

    changed: History
    as_it_was: History
    at: int  # events before the change


def planted(world: Crowd, settings: Settings, kind: str, pairs: int, order: str, seed: int) -> list[Planted]:
    """Up to `pairs` histories with a change of one kind."""
    rng = np.random.default_rng([seed, KINDS.index(kind), order == "shuffled"])
    people = [(shuffled(rows, times, rng) if order == "shuffled" else rows, times, n) for rows, times, n in able(world)]
    vectors, out = world.vectors(), list[Planted]()
    tastes = np.stack([vectors[rows].mean(0) for rows, _, _ in people])
    tastes /= np.maximum(np.linalg.norm(tastes, axis=1, keepdims=True), 1e-9)
    for a in rng.permutation(len(people)).tolist():
        rows, times, n = people[a]
        starts = [s for s in starts_of(times) if max(n, 30) <= s <= len(rows) - max(AT)]
        if len(out) == pairs or not starts:
            continue
        at = int(rng.choice(starts))
        begin = max(0, at - BEFORE)
        other = drawn(world, kind, people, tastes, a, rng)
        theirs = other if settings.scoring.repeats else other[~np.isin(other, rows[:at])]
        own = rows[at : at + AFTER]
        if len(theirs) < max(AT):
            continue
        size = min(len(own), len(theirs))
        turned = np.arange(size) >= (rng.uniform(0, 20, size) if kind == "gradual" else 0)
        after = np.where(turned, theirs[:size], own[:size])
        out.append(
            Planted(
                (np.concatenate([rows[begin:at], after]), times[begin : at + size]),
                (rows[begin : at + size], times[begin : at + size]),
                at - begin,
            )
        )
    return out


def starts_of(times: Doubles) -> list[int]:
    """Where a block begins, but the first."""
    return (np.flatnonzero(np.diff(times)) + 1).tolist()


def drawn(
    world: Crowd, kind: str, people: Sequence[Person], tastes: Any, a: int,
    rng: np.random.Generator,
) -> Ints:  # fmt: skip
    """What another person does from one of their blocks on, or popular things of a segment."""
    if kind == "category":
        segment = world.space.segment_of(world.vectors())
        mine = np.bincount(segment[people[a][0]], minlength=len(world.space.segments))
        popular = np.array([world.space.position[item] for item in world.ids])  # rank in the warm-up
        inside = np.flatnonzero(segment == mine.argmin())
        weight = 1.0 / (10.0 + popular[inside])
        size = min(len(inside), AFTER)
        return rng.choice(inside, size, replace=False, p=weight / weight.sum())
    alike = tastes @ tastes[a]
    alike[a] = inf
    others = np.argsort(alike)[: max(1, len(people) // 10)] if kind == "dissimilar" else np.flatnonzero(alike < inf)
    rows, times, n = people[int(rng.choice(others))]
    starts = [s for s in starts_of(times) if max(n, 1) <= s <= len(rows) - max(AT)] or [max(0, len(rows) - AFTER)]
    return rows[int(rng.choice(starts)) :]


def measured(watcher: Watcher, made: Sequence[Planted]) -> dict[str, Any]:
    """Figures of one kind of change."""
    last = max(AT)
    changed = np.stack([watcher.statistics(p.changed, p.at) for p in made])  # (pairs, last)
    before = np.stack([watcher.statistics(p.as_it_was, p.at) for p in made])
    alarms = [[n - p.at for n in watcher.alarms(p.changed, p.at)] for p in made]
    others = [[n - p.at for n in watcher.alarms(p.as_it_was, p.at)] for p in made]
    first = [next((n + 1 for n in found if n >= 0), inf) for found in alarms]
    within = {f"alarmed_within_{n}": share(f <= n for f in first) for n in AT}
    return {
        "streams": len(made),
        **{f"auc_after_{n}": round(auc(changed[:, n - 1], before[:, n - 1]), 4) for n in AT},
        **{
            f"detected_after_{n}_at_{rate}_percent": share(
                changed[:, n - 1] > np.quantile(before[:, n - 1], 1 - rate / 100)
            )
            for n in (10, 20)
            for rate in (1, 5)
        },
        **within,
        f"alarmed_within_{last}_without_change": share(any(0 <= n < last for n in found) for found in others),
        "delay_median_events": float(np.median([f for f in first if f <= last] or [-1])),
    }


def auc(changed: Doubles, before: Doubles) -> float:
    """How often the statistic of a changed history is above that of another one; ties count half.

    >>> auc(np.array([2.0, 1.0]), np.array([1.0, 0.0]))
    0.875
    """
    above = np.sign(changed[:, None] - before[None, :])
    return float((above + 1).mean() / 2)


def share(which: Any) -> float:
    """Of those that are."""
    return round(float(np.mean(list(which))), 4)


def null(watcher: Watcher, seeds: Sequence[int]) -> dict[str, Any]:
    """Alarms where nothing was planted: with blocks shuffled, once per seed, and in the order of the log."""
    out: dict[str, Any] = {"configured_per_1000": watcher.settings.drift.false_alarms_per_1000}
    found = [flagged(watcher, "shuffled", seed) for seed in seeds]
    natural, raised = flagged(watcher, "natural", seeds[0])
    return out | {
        "shuffled_per_1000": round(1000 * sum(n for _, n in found) / max(1, sum(events for events, _ in found)), 4),
        "shuffled_per_1000_of_seeds": [round(1000 * n / max(1, events), 4) for events, n in found],
        "shuffled_events": sum(events for events, _ in found),
        "natural_per_1000": round(1000 * raised / max(1, natural), 4),
        "natural_events": natural,
    }


def flagged(watcher: Watcher, order: str, seed: int) -> tuple[int, int]:
    """Events that the detector looked at in histories as they are, or shuffled, and alarms."""
    rng = np.random.default_rng([seed, 99])
    people, looked, raised = able(watcher.world), 0, 0
    for i in rng.permutation(len(people)).tolist():
        rows, times, _ = people[i]
        rows = shuffled(rows, times, rng) if order == "shuffled" else rows
        raised += len(watcher.alarms((rows[:300], times[:300])))
        looked += max(0, min(300, len(rows)) - (WINDOW + LEAST - 1))
        if looked >= NULL_EVENTS:
            break
    return looked, raised


def discoveries(watcher: Watcher, pairs: int, seed: int, rate: float = 0.1) -> dict[str, Any]:
    """People told of by Benjamini & Hochberg (1995) at `rate`, half of whom were swapped 20 events ago.

    p-values come from the null of others.
    """
    made = planted(watcher.world, watcher.settings, "dissimilar", pairs, "shuffled", seed)

    def highest(history: History, at: int) -> float:
        return float(watcher.statistics(history, at).max())

    nulls = np.sort([highest(p.as_it_was, p.at) for p in made[::2]])
    tested = [(highest(p.changed, p.at), True) for p in made[1::4]] + [
        (highest(p.as_it_was, p.at), False) for p in made[3::4]
    ]
    p_values = np.array([(1 + len(nulls) - np.searchsorted(nulls, x)) / (1 + len(nulls)) for x, _ in tested])
    order = np.argsort(p_values)
    good = np.flatnonzero(p_values[order] <= rate * np.arange(1, len(order) + 1) / len(order))
    told = order[: good.max() + 1] if len(good) else order[:0]
    wrong = sum(not tested[i][1] for i in told)
    return {
        "rate": rate, "people": len(tested), "told": len(told), "wrong": wrong,
        "found": round((len(told) - wrong) / max(1, sum(swapped for _, swapped in tested)), 4),
    }  # fmt: skip


def compared(
    it: Crowd, settings: Settings, pairs: int, seeds: Sequence[int], kinds: Sequence[str] = KINDS,
    again: Sequence[float] = (),
) -> dict[str, Any]:  # fmt: skip
    """All figures of a log; each change as the mean over seeds."""
    watcher = Watcher(it, settings, again)
    orders: dict[str, dict[str, Any]] = {}
    for order in ("shuffled", "natural"):
        orders[order] = {}
        for kind in kinds:
            runs = [measured(watcher, planted(it, settings, kind, pairs, order, seed)) for seed in seeds]
            orders[order][kind] = {name: round(float(np.mean([run[name] for run in runs])), 4) for name in runs[0]}
            orders[order][kind]["auc_after_10_of_seeds"] = [run["auc_after_10"] for run in runs]
            tell(f"{order} {kind}: AUC after ten events {orders[order][kind]['auc_after_10']}")
    return {
        "people": len(able(it)),
        "thresholds": watcher.thresholds(),
        "weights": {name: round(weight, 4) for name, weight in asdict(it.space.weights).items()},
        "changes": orders,
        "null": null(watcher, seeds),
        "false_discovery": [discoveries(watcher, 4 * pairs, seed) for seed in seeds],
        "microseconds_per_event": round(1e6 * watcher.seconds / max(1, watcher.events), 1),
    }


def main() -> None:
    """Fit the beginning of a log, plant changes in the rest, print what is found."""
    parser = command.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=300, help="histories of each kind of change and seed, at most")
    parser.add_argument("--seeds", type=int, default=3, help="how many times they are drawn")
    parser.add_argument("--again", type=float, nargs="*", default=[0.4, 0.8], help="shares of the log")
    given = parser.parse_args()
    data = command.log(given)
    settings = command.settings(given, data)
    it = Crowd.of(list(data.items), data.interactions, settings, WARM_UP, lambda texts: encoded(texts, settings))
    seeds = range(given.seed, given.seed + given.seeds)
    print(json.dumps({"dataset": data.name, **compared(it, settings, given.pairs, seeds, again=given.again)}, indent=2))


if __name__ == "__main__":
    main()
