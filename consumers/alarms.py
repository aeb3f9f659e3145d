"""Alarms for people to read: a sentence, the numbers behind it, rows of a report, and whom a training concerns most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stream.events import rfc3339
from stream.messages import DriftAlarm, TrainingJob

SHOWN = 12  # alarms in a report
CONCERNED = 5  # people told of with a training
OF_PEOPLE = ("population", "segment", "users")  # reasons for a training that people's changes stand behind


def sentence(alarm: DriftAlarm, named: Mapping[str, str]) -> str:
    """When interests moved, from where to where, and by what; `named` has the titles of items.

    >>> alarm = DriftAlarm("ann", 172800.0, "user", "rank", "page_hinkley", 4.0, 3.0, 40, ["Garden"], ["Toys"], 7,
    ...                    86400.0, 12, {"Toys": 0.8, "Garden": 0.1}, {"Garden": 0.75, "Toys": 0.0}, ["spade"])
    >>> print(sentence(alarm, {"spade": "Red spade"}))
    Interests moved on 1970-01-02, noticed 12 interactions later: towards Garden (10% → 75%) and away from Toys \
(80% → 0%), most by Red spade.
    """
    to, away = (", ".join(_share(alarm, name) for name in names[:2]) for names in (alarm.risen, alarm.fallen))
    said = " and".join(part for part in (f" towards {to}" if to else "", f" away from {away}" if away else "") if part)
    if not alarm.events:
        return f"Interests moved on {day(alarm.at_s)}{said}."
    plural = "" if alarm.events == 1 else "s"
    most = f", most by {', '.join(blamed(alarm, named))}" if alarm.blamed else ""
    later = f"noticed {alarm.events} interaction{plural} later"
    return f"Interests moved on {day(alarm.began_s)}, {later}{':' if said else ''}{said}{most}."


def numbers(alarm: DriftAlarm) -> str:
    """What flagged, by how much, and when.

    >>> numbers(DriftAlarm("ann", 172800.0, "user", "rank", "page_hinkley", 4.0, 3.0, 40, [], [], 7))
    'scope user, signal rank, page_hinkley 4.00 over 3.00, interaction 40, 1970-01-03 00:00'
    """
    return (
        f"scope {alarm.scope}, signal {alarm.signal}, {alarm.detector} {alarm.evidence:.2f} over "
        f"{alarm.threshold:.2f}, interaction {alarm.seq}, {rfc3339(alarm.at_s)[:16].replace('T', ' ')}"
    )


def blamed(alarm: DriftAlarm, named: Mapping[str, str]) -> list[str]:
    """Titles of the things that are least like what was before, each once."""
    return list(dict.fromkeys(named.get(item_id, item_id) for item_id in alarm.blamed))


def strength(alarm: DriftAlarm) -> float:
    """How many times the threshold the evidence is."""
    return alarm.evidence / alarm.threshold if alarm.threshold else 0.0


def rows(alarms: Iterable[DriftAlarm], named: Mapping[str, str], most: int = SHOWN) -> list[dict[str, Any]]:
    """The strongest alarms, as `replay --json` and the report have them."""
    chosen = sorted(alarms, key=lambda alarm: (-strength(alarm), alarm.at_s, alarm.user_id))[:most]
    return [
        {
            "user": alarm.user_id,
            "at": rfc3339(alarm.at_s),
            "began": rfc3339(alarm.began_s) if alarm.events else "",
            "says": sentence(alarm, named),
            "scope": alarm.scope,
            "signal": alarm.signal,
            "detector": alarm.detector,
            "evidence": round(alarm.evidence, 3),
            "threshold": round(alarm.threshold, 3),
            "interaction": alarm.seq,
            "since": alarm.events,
        }
        for alarm in chosen
    ]


def concerned(alarms: Iterable[DriftAlarm], job: TrainingJob | None) -> list[dict[str, Any]]:
    """The people whose alarms stand most behind a training: since what it answers began, and of its segment."""
    if job is None or job.trigger not in OF_PEOPLE:
        return []
    strongest: dict[str, DriftAlarm] = {}
    for alarm in alarms:
        known = strongest.get(alarm.user_id)
        touched = not job.segment or job.segment in {*alarm.risen, *alarm.fallen, *alarm.before, *alarm.since}
        if job.began_s <= alarm.at_s <= job.at_s and touched and (known is None or strength(known) < strength(alarm)):
            strongest[alarm.user_id] = alarm
    order = sorted(strongest.values(), key=lambda alarm: (-strength(alarm), alarm.user_id))[:CONCERNED]
    return [{"user": a.user_id, "times_threshold": round(strength(a), 2), "at": rfc3339(a.at_s)} for a in order]


def day(at_s: float) -> str:
    """The date of an event time."""
    return rfc3339(at_s)[:10]


def _share(alarm: DriftAlarm, name: str) -> str:
    """A segment, with its shares before and since where they are known."""
    if name not in alarm.before or name not in alarm.since:
        return name
    return f"{name} ({alarm.before[name]:.0%} → {alarm.since[name]:.0%})"
