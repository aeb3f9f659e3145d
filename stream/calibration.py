"""Thresholds of the drift detectors, from the data: what they would have flagged had nobody drifted.

Shuffling a person's history keeps their taste and destroys drift, which gives the null. What was consumed at one
moment (a basket, a page) stays together, since such runs are alike without any drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from stream.decay import Decay, fold
from stream.drift import MIN_INSTANCES, SIGNALS, page_hinkley, rank_signal, shift_signal

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

EVENTS = 60_000  # of the null, at most: about 5 s; a cap in seconds would make thresholds depend on the machine
PER_PERSON = 300


def shuffled(items: Ints, times: Doubles, rng: np.random.Generator) -> Ints:
    """The items in another order: blocks of equal time are permuted, the order within stays.

    >>> shuffled(np.array([1, 2, 3, 4]), np.array([0.0, 0.0, 9.0, 9.0]), np.random.default_rng(3)).tolist()
    [3, 4, 1, 2]
    """
    if not len(items):
        return items
    blocks = np.split(items, np.flatnonzero(np.diff(times)) + 1)
    return np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])


def signals_of(
    items: Ints, times: Doubles, popular: Floats, slow_decay: Decay, fast_decay: Decay, peers: int
) -> Doubles:
    """Both signals at every event but the first (n - 1, 2), as `stream.profile` computes them without any alarm.

    Args:
        items: positions in the order of popularity (n,).
        times: event times, ascending (n,).
        popular: drift vectors in that order (N, D).
        slow_decay: of the slow state.
        fast_decay: of the fast state.
        peers: popularity-matched items that each is ranked among.
    """
    slow = fast = np.zeros(popular.shape[1], np.float32)
    last_s = -inf
    out: list[tuple[float, float]] = []
    for item, at_s in zip(items.tolist(), times.tolist(), strict=True):
        vector = popular[item]
        rank = rank_signal(popular, item, peers, vector, slow)
        slow = fold(slow, vector, *slow_decay.factors(last_s, at_s))
        fast = fold(fast, vector, *fast_decay.factors(last_s, at_s))
        if last_s != -inf:
            out.append((rank, shift_signal(fast, slow)))
        last_s = max(last_s, at_s)
    return np.array(out, np.float64).reshape(-1, 2)


def alarms(trace: Sequence[float], threshold: float, rest: int) -> list[int]:
    """Indices at which the detector of one signal flags; after each it rests for `rest` events and starts anew."""
    found: list[int] = []
    detector, skip = page_hinkley(threshold), 0
    for i, value in enumerate(trace):
        if skip:
            skip -= 1
            continue
        detector.update(value)  # type: ignore[no-untyped-call]
        if detector.drift_detected:
            found.append(i)
            detector, skip = page_hinkley(threshold), rest
    return found


def calibrate(
    histories: Sequence[tuple[Ints, Doubles]],
    popular: Floats,
    slow_decay: Decay,
    fast_decay: Decay,
    *,
    peers: int,
    false_alarms_per_1000: float,
    rest: int,
    seed: int,
) -> dict[str, float]:
    """Thresholds at which all signals together flag at most that often on shuffled histories.

    The budget is split evenly between the signals, and counted per 1,000 events that a detector could have flagged
    (those after its first `MIN_INSTANCES`). A signal gets no threshold (infinity) where too little was seen to
    know: less than ten alarms are expected.

    Args:
        histories: per person, positions of items in the order of popularity, and event times.
        popular: drift vectors in that order (N, D).
        slow_decay: of the slow state.
        fast_decay: of the fast state.
        peers: popularity-matched items that each is ranked among.
        false_alarms_per_1000: user alarms per 1,000 stationary events.
        rest: events of the reaction phase, during which detectors are off.
        seed: of the choice of people, and of the shuffles.
    """
    traces = _null(histories, popular, slow_decay, fast_decay, peers, seed)
    each = false_alarms_per_1000 / 1000 / len(SIGNALS)
    mature = sum(max(0, len(t) - MIN_INSTANCES) for t in traces)
    if mature * each * len(SIGNALS) < 10:
        return dict.fromkeys(SIGNALS, inf)
    return {name: _threshold([t[:, i].tolist() for t in traces], mature * each, rest) for i, name in enumerate(SIGNALS)}


def _null(
    histories: Sequence[tuple[Ints, Doubles]],
    popular: Floats,
    slow_decay: Decay,
    fast_decay: Decay,
    peers: int,
    seed: int,
) -> list[Doubles]:
    """Signals of shuffled histories of a random choice of people who have enough events."""
    rng = np.random.default_rng(seed)
    used, traces = 0, []
    for who in rng.permutation(len(histories)):
        items, times = (column[:PER_PERSON] for column in histories[who])
        if len(items) <= MIN_INSTANCES:
            continue
        traces.append(signals_of(shuffled(items, times, rng), times, popular, slow_decay, fast_decay, peers))
        used += len(items)
        if used >= EVENTS:
            break
    return traces


def _threshold(traces: list[list[float]], allowed: float, rest: int) -> float:
    """The smallest threshold with at most `allowed` alarms, by bisection."""
    low, high = 0.0, 32.0  # above any reachable statistic of a few hundred events in [0, 1] with delta .05
    for _ in range(9):
        middle = (low + high) / 2
        count = 0
        for trace in traces:
            count += len(alarms(trace, middle, rest))
            if count > allowed:
                break
        low, high = (middle, high) if count > allowed else (low, middle)
    return high
