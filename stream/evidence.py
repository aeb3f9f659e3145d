"""Evidence for a training, gathered over the whole population: pure, and all of it can be written down as numbers.

A single person's drift is barely detectable from ten events, so trainings need aggregated evidence: the language
model's loss rises against that of a reference that always adapts (`Population`), or more people raise alarms than
chance allows (`AlarmShare`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, fsum, lgamma, log

import numpy as np
from river import drift

KEPT = 2_048  # block losses that a full window is cut back to; at most twice as many are held


@dataclass(frozen=True, slots=True)
class Reading:
    """One kind of evidence as it stands: what it measures now, and what it is held against."""

    trigger: str
    now: float
    threshold: float
    crossed: bool


def poisson_tail(count: int, mean: float) -> float:
    """P(X >= count) of a Poisson variable: how improbable that many alarms are where `mean` are expected.

    >>> round(poisson_tail(1, 1.0), 4)  # 1 - exp(-1)
    0.6321
    >>> f"{poisson_tail(30, 5.0):.1e}"
    '2.8e-14'
    """
    if count <= 0:
        return 1.0
    if mean <= 0:
        return 0.0

    def probability(k: int) -> float:
        return exp(k * log(mean) - mean - lgamma(k + 1))

    if count <= mean:
        return max(0.0, 1.0 - fsum(probability(k) for k in range(count)))
    total, k = 0.0, count
    while (term := probability(k)) > total * 1e-17:
        total, k = total + term, k + 1
    return min(1.0, total)


@dataclass(slots=True)
class AlarmShare:
    """Alarms among the newest `window` events, against a rate that stationary people would raise.

    >>> share = AlarmShare(window=1000, per_event=0.001)
    >>> for _ in range(10):
    ...     share.add(events=200, alarms=2)
    >>> share.events, share.alarms, f"{share.p_value:.0e}"  # 10 alarms where 1 is expected
    (1000, 10, '1e-07')
    """

    window: int
    per_event: float
    buckets: deque[tuple[int, int]] = field(default_factory=deque)  # (events, alarms), oldest first
    events: int = 0
    alarms: int = 0

    def add(self, events: int, alarms: int) -> None:
        """Take a stretch of events; whole stretches are let go while the window is full without them."""
        self.buckets.append((events, alarms))
        self.events, self.alarms = self.events + events, self.alarms + alarms
        while self.buckets and self.events - self.buckets[0][0] >= self.window:
            gone = self.buckets.popleft()
            self.events, self.alarms = self.events - gone[0], self.alarms - gone[1]

    def clear(self) -> None:
        """Start anew: what was counted has had its consequence."""
        self.buckets.clear()
        self.events = self.alarms = 0

    @property
    def p_value(self) -> float:
        """How probable at least so many alarms are, if nobody drifts."""
        return poisson_tail(self.alarms, self.per_event * self.events)


@dataclass(slots=True)
class Population:
    """ADWIN over per-block differences, the model's loss minus popularity's; only rises count.

    Decayed popularity adapts at once, so a season that is hard for everybody cancels out. Bifet & Gavaldà, *Learning
    from time-changing data with adaptive windowing*, SDM 2007. river's object cannot be written down: the values
    since its last detection are, and a detector fed with them again is the same. At `2 * KEPT` values it is fed anew
    with the newest `KEPT`, so it remembers no further back; both happen alike with and without a restart.

    >>> population = Population(delta=0.002)
    >>> rng = np.random.default_rng(12345)
    >>> blocks = [*rng.normal(-1.0, 1.0, 1000), *rng.normal(-0.3, 1.0, 1000)]
    >>> [i for i, x in enumerate(blocks) if population.update(x)]
    [1087]
    >>> round(population.before, 1), round(population.after, 1)
    (-0.9, -0.4)
    """

    delta: float
    version: str = ""  # whose losses they are
    values: list[float] = field(default_factory=list)  # since the last detection, rounded to float32
    rises: int = 0  # counted over all versions
    risen: bool = False  # a rise was found, and has had no consequence yet
    before: float = 0.0  # mean loss before the newest rise, and after it
    after: float = 0.0
    _adwin: drift.ADWIN = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._adwin = self._fed(self.values)

    def watch(self, version: str) -> None:
        """Start anew when another version serves: its losses are no continuation."""
        if version != self.version:
            self.version, self.values, self.risen = version, [], False
            self._adwin = self._fed(())

    def update(self, difference: float) -> bool:
        """Take one block; returns whether a rise was found with it."""
        before = self._adwin.estimation
        self.values.append(float(np.float32(difference)))
        self._adwin.update(self.values[-1])  # type: ignore[no-untyped-call]
        found = False
        if self._adwin.drift_detected:
            found = self._adwin.estimation > before
            if found:
                self.rises, self.risen = self.rises + 1, True
                self.before, self.after = before, self._adwin.estimation
            self.values, self._adwin = [], self._fed(())
        elif len(self.values) >= 2 * KEPT:
            self.values = self.values[-KEPT:]
            self._adwin = self._fed(self.values)
        return found

    def settle(self) -> None:
        """The newest rise has had its consequence."""
        self.risen = False

    @property
    def mean(self) -> float:
        """Mean difference in the current window."""
        return float(self._adwin.estimation)

    def _fed(self, values: Iterable[float]) -> drift.ADWIN:
        adwin = drift.ADWIN(delta=self.delta)  # type: ignore[no-untyped-call]
        for value in values:
            adwin.update(value)  # type: ignore[no-untyped-call]
        return adwin


def readings(population: Population, share: AlarmShare, p_value: float, new_events: int, most: int) -> list[Reading]:
    """All evidence of policy `drift`, strongest kind first.

    Args:
        population: of the live model's losses; its reading is the newest rise in nats, 0 without one.
        share: of alarmed people.
        p_value: the largest at which the share counts.
        new_events: interactions since the last training.
        most: interactions after which the model is stale.
    """
    rise = population.after - population.before if population.risen else 0.0
    return [
        Reading("population", rise, 0.0, population.risen),
        Reading("users", share.p_value, p_value, share.p_value <= p_value),
        Reading("staleness", float(new_events), float(most), new_events >= most),
    ]


def numbers(found: Sequence[Reading]) -> dict[str, float]:
    """Readings as they go into a job's record and into the log.

    >>> numbers([Reading("staleness", 20.0, 10.0, True)])
    {'staleness': 20.0, 'staleness_threshold': 10.0}
    """
    out: dict[str, float] = {}
    for reading in found:
        out[reading.trigger], out[reading.trigger + "_threshold"] = reading.now, reading.threshold
    return out
