"""A person, the versions and the live one, from the topics into words; nothing here prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from consumers import alarms
from consumers.alarms import day
from consumers.summary import read_versions
from stream import topics
from stream.bus import Bus
from stream.errors import MeanderError, StoreError
from stream.events import Recommendation, rfc3339
from stream.events import decode as decode_outside
from stream.messages import DriftAlarm, ItemVector, ModelHealth, ModelVersion, Ruling, UserState, decode, encode
from stream.records import Output
from stream.versions import live, shadow, stands

LAST = 8  # newest interactions shown


@dataclass(frozen=True, slots=True)
class Listed:
    """One recommended item in words."""

    title: str
    score: float
    why: str  # "Often chosen after Red mug, which you chose on 3 May; close to your interests."


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of a user, and what is recommended to them."""

    user_id: str
    events: int
    since: str  # dates
    last: str
    interests: list[tuple[str, float]]  # segment and its share, strongest first; empty without segments
    alarm: str  # a sentence on the newest drift alarm; "" if there was none
    numbers: str  # of that alarm: what flagged, and by how much
    newer: int  # newest interactions that speak for them beside all others, since their interests moved; 0: none
    history: list[tuple[str, str]]  # day and title, newest first
    listed: list[Listed]
    made: str  # for which event time the list was made, and by which version; "" if there is none
    attributes: dict[str, str] = field(default_factory=dict)  # what is known beside what they did

    @property
    def sentence(self) -> str:
        """Who this is, in one or two sentences."""
        plural = "" if self.events == 1 else "s"
        text = f"{self.user_id}: {self.events} interaction{plural} from {self.since} to {self.last}."
        if self.attributes:
            text += " Known: " + ", ".join(f"{name} {value}" for name, value in sorted(self.attributes.items())) + "."
        if self.interests:
            text += " Interests: " + ", ".join(f"{name} {share:.0%}" for name, share in self.interests) + "."
        if self.alarm:
            text += f" {self.alarm} ({self.numbers}.)"
        if self.newer:
            some = "interaction has" if self.newer == 1 else f"{self.newer} interactions have"
            text += f" The newest {some} a say of their own."
        return text


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version in words."""

    version: str
    state: str  # live, promoted, in shadow, refused, rolled back, undecided
    horizon: str
    why: str
    parent: str
    verdict: str  # of the gate, with its numbers


def read_person(bus: Bus, user_id: str) -> Person:
    """Read a person's state, alarms and list from the topics.

    Raises:
        MeanderError: there is no state of that user.
    """
    state = newest(bus, topics.USER_STATES, user_id)
    if state is None:
        raise MeanderError(f"user {user_id!r} is not known: topic {topics.USER_STATES} holds no state")
    listed = newest(bus, topics.RECOMMENDATIONS, user_id)
    alarm = newest(bus, topics.DRIFT_ALARMS, user_id)
    return describe(
        decode(UserState, state),
        decode_outside(Recommendation, listed) if listed else None,
        decode(DriftAlarm, alarm) if alarm else None,
        titles(bus),
    )


def newest(bus: Bus, topic: str, key: str) -> bytes | None:
    """The value of the newest record with that key; None if there is none, or if it is a tombstone."""
    wanted, value = key.encode(), None
    for record in bus.read(topic):  # a key stays in its partition
        if record.key == wanted:
            value = record.value
    return value


def titles(bus: Bus) -> dict[str, str]:
    """Item id → title."""
    vectors = (decode(ItemVector, record.value) for record in bus.read(topics.ITEM_VECTORS) if record.value)
    return {item.item_id: item.title for item in vectors if item.title}


def describe(
    state: UserState, listed: Recommendation | None, alarm: DriftAlarm | None, named: Mapping[str, str]
) -> Person:
    """Put a state, a list and the newest alarm into words; `named` has the titles of items."""
    whole = sum(state.mass.values())
    interests = sorted(((name, mass / whole) for name, mass in state.mass.items() if mass), key=lambda pair: -pair[1])
    tail = list(zip(state.tail_s, state.tail_items, strict=True))
    newer = sum(at_s >= state.changed_s for at_s, _ in tail) if state.changed_s else 0
    return Person(
        user_id=state.user_id,
        events=state.seq,
        since=day(state.since_s),
        last=day(state.last_s),
        interests=interests,
        alarm=alarms.sentence(alarm, named) if alarm else "",
        numbers=alarms.numbers(alarm) if alarm else "",
        newer=newer if newer < len(tail) else 0,
        attributes=state.attributes,
        history=[(day(at_s), named.get(item, item)) for at_s, item in tail[: -LAST - 1 : -1]],
        listed=in_words(listed, named) if listed else [],
        made=f"made for {listed.at[:10]} with {listed.model_version or 'no model yet'}" if listed else "",
    )


def in_words(listed: Recommendation, named: Mapping[str, str]) -> list[Listed]:
    """The items of a list with their titles, and a sentence on each."""
    return [Listed(named.get(i.item_id, i.item_id), i.score, i.why) for i in listed.items]


def version_lines(records: Iterable[ModelVersion | Ruling]) -> list[VersionLine]:
    """All versions, newest first, with the state that each is in."""
    records = list(records)
    serving, waiting = live(records), shadow(records)
    rulings = {(r.version, r.ruling) for r in records if isinstance(r, Ruling)}
    lines = []
    for version in (r for r in records if isinstance(r, ModelVersion)):
        ruled = next((name for of, name in sorted(rulings) if of == version.version), version.verdict)
        state = ruled if ruled == "refused" or stands(records, version.version) else "rolled back"
        if version is serving:
            state = "live"
        elif version is waiting:
            state = "in shadow"
        evidence = _numbers(version.evidence)
        lines.append(
            VersionLine(
                version=version.version,
                state=state,
                horizon=rfc3339(version.at_s)[:16].replace("T", " "),
                why=f"{version.trigger} ({evidence})" if evidence else version.trigger,
                parent=version.parent,
                verdict=f"{version.verdict}: {_numbers(version.gate)}" if version.gate else version.verdict,
            )
        )
    return lines[::-1]


def roll_back(bus: Bus, version: str | None, reason: str) -> Ruling:
    """Write the ruling that takes `version` (the live one if None) out of service; returns it.

    Raises:
        StoreError: there is no such version that serves, or none to go back to.
    """
    versions, rulings = read_versions(bus)
    serving = live([*versions, *rulings])
    if serving is None:
        raise StoreError("there is no live version to roll back")
    name = version or serving.version
    if name not in {v.version for v in versions}:
        raise StoreError(f"version must be one of {', '.join(v.version for v in versions)}, got {name!r}")
    now_s = max((decode(ModelHealth, r.value).at_s for r in bus.read(topics.MODEL_HEALTH) if r.value), default=0.0)
    ruling = Ruling(name, "rollback", max(now_s, serving.at_s), 0.0, reason, {})
    if live([*versions, *rulings, ruling]) is None:
        raise StoreError(f"{name} cannot be rolled back: no version before it could serve")
    bus.send([Output(topics.MODEL_VERSIONS, ruling.key, encode(ruling))])
    return ruling


def _numbers(values: Mapping[str, float | str]) -> str:
    """`lower bound 0.0041, reason better`."""
    shown = [f"{k.replace('_', ' ')} {v:.4g}" if isinstance(v, float | int) else str(v) for k, v in values.items()]
    return ", ".join(text for text in shown if text)
