"""When training pays: the policies, and what holds a training back. Pure; the trigger consumer acts on it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log1p

from stream.evidence import AlarmShare, Limits, Population, Reading, readings
from stream.settings import Settings, Training, Trigger
from stream.worth import Worth

TRIGGERS = (  # all reasons for a training
    "warm-up", "population", "segment", "users", "new-items", "staleness", "clock", "continuous"
)  # fmt: skip
OF_TASTE = ("population", "segment", "users")  # reasons that say nothing about texts
OF_RISES = ("population", "segment")


@dataclass(frozen=True, slots=True)
class Counts:
    """Interactions, as far as they matter for a decision."""

    new: int  # since the last training
    learned: int  # the live version's data: all of it, or after a change of the population what it holds of that
    unlearned: int  # after them
    interval: int = 0  # between the last two trainings

    @property
    def age(self) -> float:
        """Of the live version, in e-folds by which the log has grown since its data ended.

        >>> round(Counts(new=10, learned=100, unlearned=100).age, 3)
        0.693
        """
        return log1p(self.unlearned / max(self.learned, 1))


def weigh(
    settings: Settings,
    population: Population,
    share: AlarmShare,
    unknown: float,
    counts: Counts,
    worth: Worth,
) -> list[Reading]:
    """What the configured policy looks at, as it stands; nothing at all under `never`.

    Under `drift` a reading counts as crossed if the evidence is there and a training for it is worth its price; and
    once the model is stale, whatever that is worth.

    Args:
        settings: the policy, and its limits.
        population: of block losses.
        share: of alarms.
        unknown: share of interactions about items that the live version does not know.
        counts: of interactions.
        worth: what earlier refreshes say.

    >>> settings = Settings(trigger=Trigger(policy="clock", clock_events=100))
    >>> worth, counts = Worth.of([], settings, 0.0), Counts(100, 800, 100)
    >>> found = weigh(settings, Population(50_000), AlarmShare(1000, 0.001), 0.0, counts, worth)
    >>> [(reading.trigger, reading.now, reading.threshold, reading.crossed) for reading in found]
    [('clock', 100.0, 100.0, True)]
    """
    trigger = settings.trigger
    if trigger.policy == "never":
        return []
    if trigger.policy != "drift":
        threshold = trigger.clock_events if trigger.policy == "clock" else trigger.min_new_events
        return [Reading(trigger.policy, float(counts.new), float(threshold), counts.new >= threshold)]
    limits = Limits(
        trigger.alarm_p_value, trigger.unknown_share, trigger.max_staleness_events, settings.drift.reaction_events
    )
    found = readings(population, share, unknown, limits, counts.new, counts.age)
    return [_weighed(reading, worth, counts, limits) for reading in found]


def _weighed(reading: Reading, worth: Worth, counts: Counts, limits: Limits) -> Reading:
    """With what it promises: for as long again as the last version has served, a rise no longer than it has been there.

    What came of a sudden is there for an interval even right after a training.
    """
    aged = reading.trigger == "staleness"
    events = counts.new if aged else max(counts.new, counts.interval)
    events = min(events, reading.since) if reading.trigger in OF_RISES else events
    gain = worth.gain(reading.trigger, reading.size, events)
    due = aged and counts.new >= limits.most
    return replace(reading, gain=gain, crossed=due or (reading.crossed and gain >= worth.price))


def epochs(training: Training, reading: Reading, price: float) -> int:
    """Of the refresh that answers it: the usual ones, after a rise as many as it promises to pay, as at first at most.

    What has changed is not refined but learned; how much there is to learn its promise tells.

    >>> small, large = (Reading("population", 0.5, 0.0, True, 0.5, gain) for gain in (100.0, 500.0))
    >>> [epochs(Training(epochs=2, warm_up_epochs=12), reading, 100.0) for reading in (small, large)]
    [2, 10]
    """
    if reading.trigger not in OF_RISES or price <= 0:
        return training.epochs
    return max(training.epochs, min(int(training.epochs * reading.gain / price), training.warm_up_epochs))


def strongest(found: Sequence[Reading]) -> Reading | None:
    """Of the readings that crossed, the one that promises most; the first of equal ones."""
    crossed = [reading for reading in found if reading.crossed]
    return max(crossed, key=lambda reading: reading.gain, default=None)


def obstacle(trigger: Trigger, reason: str, new_events: int, since_s: float, outstanding: bool) -> str:
    """What a training would have to wait for: a name, or "" if nothing is in its way.

    A rise of the loss is not answered for the sake of new interactions, and how often it is follows from how long it
    has been there (`stream.rises.Rise.due`).

    Args:
        trigger: the settings.
        reason: for the training, one of `TRIGGERS`.
        new_events: interactions since the last training was decided.
        since_s: event time since then.
        outstanding: a training has not ended yet.
    """
    if outstanding:
        return "outstanding"
    if trigger.policy != "clock" and reason not in OF_RISES and new_events < trigger.min_new_events:
        return "min_new_events"
    return "cool_down_s" if since_s < trigger.cool_down_s else ""


def seed_of(seed: int, job_id: str) -> int:
    """The seed of a training: it depends on the settings and the job alone.

    >>> seed_of(0, "j1") == seed_of(0, "j1") != seed_of(0, "j2")
    True
    """
    return zlib.crc32(f"{seed}/{job_id}".encode())
