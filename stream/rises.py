"""Rises of a loss that are more than chance and no season: a change detector for a stream of blocks, as plain numbers.

River's Page-Hinkley runs over standardised means of `BATCH` blocks, which are nearly normal and nearly independent
where single blocks are neither. What it is held against is the mean of the stream's own past, over at most `LONGEST`
batches, so that what creeps is forgotten and what jumps is found; each value is put into units of its own prediction
error, so the first ones count no more than they should (self-starting CUSUM; Hawkins, *Self-starting cusum charts for
location and scale*, The Statistician 36, 1987). The threshold follows from how many events there may be to a false
alarm (Siegmund, *Corrected diffusion approximations in certain random walk problems*, 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import expm1, log, sqrt

from stream.drift import page_hinkley, sums_of

BATCH = 10  # blocks that make a value
LONGEST = 150  # values that the reference reaches back
FEWEST = 10  # values before anything is flagged
DELTA = 0.25  # a rise below this, in standard deviations of a value, is not looked for
WIDEST = 4.0  # standard deviations at which a value, and a block, is cut
TRIES = 3  # trainings that a rise may lead to
RECENT = 20  # values over which the level after a rise is taken
SLOTS = 28  # of a week: six hours each
WEEK_S = 7 * 86_400.0


def threshold(run: float, delta: float = DELTA) -> float:
    """What Page-Hinkley must reach so that there are `run` standard normal values to a false alarm, on average.

    >>> round(threshold(1_000), 1), round(threshold(50_000), 1)
    (8.6, 16.3)
    """
    wanted = 2 * delta * delta * max(run, 1.0)  # = exp(x) - x - 1 with x = 2 delta (threshold + 1.166)
    x = log(1 + wanted)
    for _ in range(20):
        x = log(1 + wanted + x)
    return max(x / (2 * delta) - 1.166, 1.0)


def false_per(limit: float, delta: float = DELTA) -> float:
    """Values to a false alarm at a threshold; the inverse of `threshold`.

    >>> round(false_per(threshold(1_000)))
    1000
    """
    x = 2 * delta * (limit + 1.166)
    return (expm1(x) - x) / (2 * delta * delta)


@dataclass(slots=True)
class Season:
    """What a time of the week usually adds to a loss: recurring rises are expected, and no news.

    A slot is learned when it is left, once per visit, so that no visit explains itself; a visit of fewer than `BATCH`
    blocks teaches nothing. Memory: `SLOTS` pairs.

    >>> season = Season()
    >>> for week in range(3):  # Monday mornings are worse by 1 nat
    ...     for slot in range(SLOTS):
    ...         for _ in range(BATCH):
    ...             season.learn(slot * 21_600.0 + week * WEEK_S, 1.0 if slot == 0 else 0.0)
    >>> season.usual(0.0), season.usual(21_600.0)
    (0.75, 0.0)
    """

    visits: list[int] = field(default_factory=lambda: [0] * SLOTS)
    means: list[float] = field(default_factory=lambda: [0.0] * SLOTS)  # of visits, drawn to 0 by one visit
    slot: int = -1  # the one that is being visited
    n: int = 0
    total: float = 0.0

    def usual(self, at_s: float) -> float:
        """What the time adds."""
        return self.means[_slot(at_s)]

    def learn(self, at_s: float, difference: float) -> None:
        """Take one block: its loss minus what losses are at other times."""
        slot = _slot(at_s)
        if slot != self.slot:
            self._leave()
            self.slot = slot
        self.n, self.total = self.n + 1, self.total + difference

    def _leave(self) -> None:
        if self.n >= BATCH:
            self.visits[self.slot] += 1
            step = 1 / min(self.visits[self.slot] + 1, 8)
            self.means[self.slot] += step * (self.total / self.n - self.means[self.slot])
        self.n, self.total = 0, 0.0

    def numbers(self) -> list[float]:
        """Everything, for a state record."""
        return [*self.visits, *self.means, self.slot, self.n, self.total]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Season:
        """Take back what `numbers` gave; nothing: a new one."""
        if not numbers:
            return cls()
        visits, means, (slot, n, total) = numbers[:SLOTS], numbers[SLOTS : 2 * SLOTS], numbers[2 * SLOTS :]
        return cls([int(v) for v in visits], list(means), int(slot), int(n), total)


@dataclass(slots=True)
class Rise:
    """Watches one stream; flags a rise of its mean, and keeps it for as long as it lasts.

    >>> import numpy as np
    >>> rng, rise = np.random.default_rng(0), Rise()
    >>> calm, worse = rng.normal(4.0, 2.0, 4_000).tolist(), rng.normal(4.6, 2.0, 1_000).tolist()
    >>> any(rise.update(x, float(i), 16.0) for i, x in enumerate(calm))
    False
    >>> next(i for i, x in enumerate(worse) if rise.update(x, 4_000.0 + i, 16.0))
    159
    >>> round(rise.size, 2), rise.began_s
    (0.58, 3750.0)
    """

    blocks: int = 0  # seen in all
    held: float = 0.0  # blocks of the open batch, and their sum
    total: float = 0.0
    n: float = 0.0  # values of the reference, and their mean
    mean: float = 0.0
    seen: float = 0.0  # values that made the variance
    variance: float = 0.0  # of a value
    sum: float = 0.0  # Page-Hinkley's, and its minimum
    low: float = 0.0
    began_s: float = 0.0  # when the sum was at its minimum, and the reference then
    before: float = 0.0
    after_n: float = 0.0  # values since then, at most `RECENT`, and their mean
    after: float = 0.0
    risen: bool = False
    answered: int = 0  # trainings that it has led to
    began: float = 0.0  # events tested when the sum was at its minimum, and at the newest of these trainings
    answered_at: float = 0.0

    @property
    def size(self) -> float:
        """How far the loss stands above the reference since the rise, in nats; 0 without one."""
        return max(self.after - self.mean, 0.0) if self.risen else 0.0

    @property
    def statistic(self) -> float:
        """Page-Hinkley's, as it stands."""
        return self.sum - self.low

    def due(self, events: int) -> bool:
        """Whether a training may answer it, again if twice as many events came since it began as the last one saw.

        >>> rise = Rise(risen=True, began=1_000.0)
        >>> rise.answer(1_500); rise.due(1_900), rise.due(2_000)
        (False, True)
        """
        return self.risen and (not self.answered or events - self.began >= 2 * (self.answered_at - self.began))

    def update(self, value: float, at_s: float, limit: float, events: int = 0) -> bool:
        """Take one block; returns whether a rise is flagged with it.

        Args:
            value: its loss.
            at_s: event time.
            limit: Page-Hinkley's threshold.
            events: tested so far, of this stream or another that they are counted in.
        """
        self.blocks += 1
        if self.n >= FEWEST:
            widest = WIDEST * sqrt(self.variance * BATCH)
            value = min(max(value, self.mean - widest), self.mean + widest)
        if not self.held and not self.statistic:
            self.began_s, self.before, self.after_n, self.after = at_s, self.mean, 0.0, 0.0
            self.began = float(events)
        self.held, self.total = self.held + 1, self.total + value
        if self.held < BATCH:
            return False
        mean, self.held, self.total = self.total / self.held, 0.0, 0.0
        return self._take(mean, limit)

    def swap(self) -> None:
        """Another model serves: its blocks are not mixed with those before, and what they are held against stands.

        A rise goes on until the loss is back where it was, since the new model may have seen little of it; and one that
        nobody has noticed yet is not forgotten. A better model lowers the level, which is learned like any other.
        """
        self.held = self.total = 0.0
        if self.risen:
            self.after_n = self.after = 0.0

    def restart(self) -> None:
        """Forget the level, and any rise."""
        self.n = self.mean = 0.0
        self._calm()

    def answer(self, events: int) -> None:
        """A training answers the rise. If that changes nothing, a later one may; after `TRIES` the level is usual."""
        self.answered += self.risen
        self.answered_at = float(events)
        if self.answered >= TRIES:
            self.n, self.mean = float(FEWEST), self.after
            self._calm()

    def _calm(self) -> None:
        self.sum = self.low = self.held = self.total = self.after_n = self.after = 0.0
        self.risen, self.answered = False, 0

    def _take(self, x: float, limit: float) -> bool:
        """One value: compare it with the reference, then let the reference learn it unless it is risen."""
        self.after_n = min(self.after_n + 1, RECENT)
        self.after += (x - self.after) / self.after_n
        if self.risen:
            deviation = sqrt(self.variance)
            self.risen = self.after > self.mean + DELTA * deviation or self.after_n < RECENT
            if not self.risen:
                self._calm()  # it has passed by itself
            return False
        flagged = False
        if self.n:
            error = (x - self.mean) * sqrt(self.n / (self.n + 1))
            if self.n >= FEWEST and self.variance > 0:
                flagged = self._hinkley(error / sqrt(self.variance), limit)
            self.seen = min(self.seen + 1, LONGEST)
            self.variance += (error * error - self.variance) / self.seen
        if flagged:
            self.risen, self.mean = True, self.before  # what it has learned of the rise is taken back
            return True
        self.n = min(self.n + 1, LONGEST)
        self.mean += (x - self.mean) / self.n
        return False

    def _hinkley(self, z: float, limit: float) -> bool:
        """One step of river's detector, of whose state two numbers matter: values come less their mean already."""
        # so many values of 0 that one more does not move their mean
        detector = page_hinkley(limit, 0.0, delta=DELTA, known=10**12, sums=(self.sum, self.low))
        detector.update(min(max(z, -WIDEST), WIDEST))  # type: ignore[no-untyped-call]
        self.sum, self.low = sums_of(detector)
        if self.sum == self.low:
            self.sum = self.low = 0.0
        return bool(detector.drift_detected)

    def numbers(self) -> list[float]:
        """Everything, for a state record."""
        return [float(getattr(self, name)) for name in self.__slots__]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Rise:
        """Take back what `numbers` gave."""
        made = cls()
        for name, number in zip(cls.__slots__, numbers, strict=True):
            setattr(made, name, type(getattr(made, name))(number))
        return made


def _slot(at_s: float) -> int:
    return int(at_s % WEEK_S / WEEK_S * SLOTS)
