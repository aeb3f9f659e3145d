"""When training pays: the policies, and what holds a training back. Pure; the trigger consumer acts on it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from stream.evidence import AlarmShare, Population, Reading, readings
from stream.settings import Trigger

TRIGGERS = ("warm-up", "population", "users", "staleness", "clock", "continuous")  # all reasons for a training


def weigh(trigger: Trigger, population: Population, share: AlarmShare, new_events: int) -> list[Reading]:
    """What the configured policy looks at, as it stands; nothing at all under `never`.

    >>> clock = Trigger(policy="clock", clock_events=100)
    >>> weigh(clock, Population(0.002), AlarmShare(1000, 0.001), new_events=100)
    [Reading(trigger='clock', now=100.0, threshold=100.0, crossed=True)]
    """
    if trigger.policy == "drift":
        return readings(population, share, trigger.alarm_p_value, new_events, trigger.max_staleness_events)
    if trigger.policy == "never":
        return []
    threshold = trigger.clock_events if trigger.policy == "clock" else trigger.min_new_events
    return [Reading(trigger.policy, float(new_events), float(threshold), new_events >= threshold)]


def strongest(found: Sequence[Reading]) -> Reading | None:
    """The first reading that crossed its threshold."""
    return next((reading for reading in found if reading.crossed), None)


def obstacle(trigger: Trigger, new_events: int, since_s: float, outstanding: bool, events: int = 0) -> str:
    """What a training would have to wait for, however good its reason: a name, or "" if nothing is in its way.

    A refresh costs about the same each time, and what it can add shrinks with what the model has learned already: so
    policy `drift` waits for a share of the log, and the number of trainings grows with the log's logarithm.

    Args:
        trigger: the settings.
        new_events: interactions since the last training was decided.
        since_s: event time since then.
        outstanding: a training has not ended yet.
        events: interactions in all.
    """
    if outstanding:
        return "outstanding"
    if trigger.policy != "clock" and new_events < trigger.min_new_events:
        return "min_new_events"
    if trigger.policy == "drift" and new_events < trigger.min_new_share * (events - new_events):
        return "min_new_share"
    return "cool_down_s" if since_s < trigger.cool_down_s else ""


def seed_of(seed: int, job_id: str) -> int:
    """The seed of a training: it depends on the settings and the job alone.

    >>> seed_of(0, "j1") == seed_of(0, "j1") != seed_of(0, "j2")
    True
    """
    return zlib.crc32(f"{seed}/{job_id}".encode())
