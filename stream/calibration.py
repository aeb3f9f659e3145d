"""What the drift detector knows, from the warm-up: how others differ from oneself, and what it flags if nobody drifts.

Weights: people's own next items beside those of another person at that moment, without any label (noise-contrastive,
Gutmann & Hyvärinen 2010). Threshold: shuffling a person's history keeps their taste and destroys drift, which gives the
null; what was consumed at one moment (a basket, a page) stays together, since such runs are alike without any drift.
Both are learned on people whom the vectors have not seen: co-occurrence knows its own people too well. The few people
who have long histories by the end of the warm-up say little of the threshold, so each refresh finds it anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from stream.drift import LEAST, REFERENCE, WINDOW, Detector, Weights, evidence, features
from stream.settings import Drift, Users

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
History = tuple[Ints, Doubles]  # rows of items, event times, ascending

EVENTS = 120_000  # of the null, at most; a cap in seconds would make thresholds depend on the machine
PER_PERSON = 300
ROUNDS = 5
BLOCKS = (8, 4, 2)  # of a history in the null, at least: few can hardly be shuffled, so fewer only where needed
PAIRS = 600  # of people, in each part
FEWEST = 100  # of these; with less there are no weights
EXPECTED = 10  # false alarms on the null: with less, a threshold would be a guess
RIDGE = 10.0  # on standardised features, in pairs of events
NOTHING = Weights(0.0, 0.0, 0.0, 0.0, 0.5)  # knows nobody


@dataclass(frozen=True, slots=True)
class Part:
    """People, and vectors that were made without them, less their centre (N, D)."""

    people: Sequence[History]
    vectors: Floats


def shuffled(items: Ints, times: Doubles, rng: np.random.Generator) -> Ints:
    """The items in another order: blocks of equal time are permuted, the order within stays.

    >>> shuffled(np.array([1, 2, 3, 4]), np.array([0.0, 0.0, 9.0, 9.0]), np.random.default_rng(3)).tolist()
    [3, 4, 1, 2]
    """
    if not len(items):
        return items
    blocks = np.split(items, np.flatnonzero(np.diff(times)) + 1)
    return np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])


def learned(parts: Sequence[Part], seed: int) -> Weights:
    """Weights that tell people's own next items from those of others; `NOTHING` where there are too few people."""
    rng = np.random.default_rng(seed)
    repeats = any(len(np.unique(items)) < len(items) for part in parts for items, _ in part.people)
    own, other = (np.concatenate(rows) for rows in zip(*(_examples(part, repeats, rng) for part in parts), strict=True))
    if len(own) < FEWEST * WINDOW:
        return NOTHING
    x, y = np.concatenate([own, other]), np.repeat([0.0, 1.0], [len(own), len(other)])
    mean, deviation = x.mean(0), np.maximum(x.std(0), 1e-6)
    bias, *slopes = _logistic((x - mean) / deviation, y)
    text, together, repeat = (float(slope) for slope in slopes / deviation)
    found = Weights(float(bias - (slopes / deviation) @ mean), text, together, repeat, 0.0)
    usual = float(found.signals(own).mean())
    return Weights(found.bias, text, together, repeat, usual)


def threshold(traces: Sequence[Doubles], rest: int, false_alarms_per_1000: float) -> float:
    """The threshold at which the detector flags that often on traces of the null, per 1,000 events it looks at.

    Infinite where too little was seen to know: less than `EXPECTED` alarms are to be expected.

    Args:
        traces: see `null`.
        rest: events of the reaction phase, during which the detector is off.
        false_alarms_per_1000: alarms per 1,000 events.
    """
    allowed = sum(len(trace) for trace in traces) * false_alarms_per_1000 / 1000
    if allowed < EXPECTED:
        return inf
    low, high = 0.0, float(WINDOW)  # above any sum of signals
    for _ in range(20):
        middle = (low + high) / 2
        over = sum(alarms(trace, middle, rest) for trace in traces) > allowed
        low, high = (middle, high) if over else (low, middle)
    return high


def calibrated(parts: Sequence[Part], weights: Weights, users: Users, drift: Drift, seed: int) -> Detector:
    """The detector, its thresholds from the null of these people, of long histories where there are enough.

    A threshold is infinite where too little is known; see `threshold`.
    """
    wanted = [drift.false_alarms_per_1000, max(drift.false_reactions_per_1000, drift.false_alarms_per_1000)]
    found = [inf, inf]
    for blocks in BLOCKS if weights != NOTHING else ():
        traces = list(null(parts, weights, users.tail, seed, blocks=blocks))
        now = [threshold(traces, drift.reaction_events, rate) for rate in wanted]
        found = [old if old < inf else new for old, new in zip(found, now, strict=True)]
        if inf not in found:
            break
    return Detector(weights, *found)


def null(
    parts: Sequence[Part],
    weights: Weights,
    tail: int,
    seed: int,
    events: int = EVENTS,
    rounds: int = ROUNDS,
    blocks: int = BLOCKS[0],
) -> Iterator[Doubles]:
    """Traces of shuffled histories, person by person in random order.

    Args:
        parts: whose histories are shuffled, several times around if needed.
        weights: of the detector.
        tail: items that a state keeps.
        seed: of the choice of people, and of the shuffles.
        events: of the null, at most.
        rounds: how often a person may be shuffled, at most.
        blocks: of equal time that a history must have.
    """
    rng = np.random.default_rng(seed)
    who = [
        (part, person)
        for part in parts
        for person in part.people
        if len(person[0]) >= WINDOW + LEAST and len(np.unique(person[1])) >= blocks
    ]
    used = 0
    for _ in range(rounds):
        for i in rng.permutation(len(who)):
            if used >= events:
                return
            part, (items, times) = who[i]
            start = rng.integers(max(1, len(items) - PER_PERSON + 1))
            items, times = items[start : start + PER_PERSON], times[start : start + PER_PERSON]
            used += len(items)
            yield trace(shuffled(items, times, rng), part.vectors, weights, tail)


def trace(items: Ints, vectors: Floats, weights: Weights, tail: int) -> Doubles:
    """The detector's statistic at every event from the one on at which it first says something.

    Args:
        items: rows of a person's items in order (n,).
        vectors: of all items, less their centre (N, D).
        weights: of the detector.
        tail: items that a state keeps.
    """
    ends = np.arange(WINDOW + LEAST - 1, len(items))  # positions of the newest item (m,)
    if not len(ends) or tail < WINDOW + LEAST:
        return np.empty(0)
    reach = min(tail - WINDOW, REFERENCE)
    newest = ends[:, None] + np.arange(1 - WINDOW, 1)  # (m, W)
    before = ends[:, None] + np.arange(1 - WINDOW - reach, 1 - WINDOW)  # (m, R)
    there = before >= 0
    own = vectors[items]  # (n, D)
    sums = np.concatenate([np.zeros((1, own.shape[1])), np.cumsum(own, 0, dtype=np.float64)])
    low, high = np.maximum(ends + 1 - WINDOW - reach, 0), ends + 1 - WINDOW
    mean = (sums[high] - sums[low]) / (high - low)[:, None]
    same = items[newest][:, :, None] == np.where(there, items[np.maximum(before, 0)], -1)[:, None, :]
    return evidence(weights.signals(features(own[newest], mean, same.any(-1))), weights.usual)


def alarms(trace: Doubles, threshold: float, rest: int) -> int:
    """How often a statistic flags; after each alarm it rests for `rest` events.

    >>> alarms(np.array([0.0, 3.0, 3.0, 3.0, 0.0, 3.0]), 2.0, rest=2)
    2
    """
    found, free = 0, 0
    for i in np.flatnonzero(trace > threshold).tolist():
        if i >= free:
            found, free = found + 1, i + rest + 1
    return found


def _examples(part: Part, repeats: bool, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Features of people's own next items, and of others' in their place (each n, 3)."""
    starts = [_starts(times, WINDOW + LEAST) for _, times in part.people]
    able = np.flatnonzero([len(s) > 0 for s in starts])
    own, other = [np.empty((0, 3))], [np.empty((0, 3))]
    for _ in range(PAIRS if len(able) > 1 else 0):
        a, b = rng.choice(able, 2, replace=False)
        at, from_ = rng.choice(starts[a]), rng.choice(starts[b])
        (mine, _), (theirs, _) = part.people[a], part.people[b]
        before, theirs = mine[max(0, at - REFERENCE) : at], theirs[from_:]
        if not repeats:
            theirs = theirs[~np.isin(theirs, mine[:at])]
        if len(theirs) >= WINDOW:
            mean = part.vectors[before].mean(0)
            for rows, next_ in ((own, mine[at : at + WINDOW]), (other, theirs[:WINDOW])):
                rows.append(features(part.vectors[next_], mean, np.isin(next_, before)))
    return np.concatenate(own), np.concatenate(other)


def _starts(times: Doubles, least: int) -> Ints:
    """Where a block begins, with `least` events before it and `WINDOW` from it on."""
    at = np.flatnonzero(np.diff(times)) + 1
    return at[(at >= least) & (at <= len(times) - WINDOW)]


def _logistic(x: Doubles, y: Doubles) -> Doubles:
    """Bias and slopes of a ridge logistic regression, by Newton's method."""
    rows = np.column_stack([np.ones(len(x)), x])
    ridge = np.diag([0.0, *[RIDGE] * x.shape[1]]) + 1e-9 * np.eye(x.shape[1] + 1)
    found = np.zeros(rows.shape[1])
    for _ in range(15):
        p = 1.0 / (1.0 + np.exp(-rows @ found))
        hessian = (rows * (p * (1 - p))[:, None]).T @ rows + ridge
        found = found + np.linalg.solve(hessian, rows.T @ (y - p) - ridge @ found)
    return found
