"""The interest consumer: interactions in; people's states and drift alarms out. Imports no torch.

It holds per-user state only, and its changelog is user-states itself: between runs of events a person's state lives
as the bytes of its own record. Memory: 1.5 to 2 KB per person with a live state, four bytes per base dimension and
item (1.5 KB with MiniLM), and one number per erasure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from consumers.stages import Stage, Stages
from stream import change, profile, topics
from stream.drift import DETECTOR, REFERENCE, WINDOW, Detector, Found
from stream.errors import BadRecord, StateError, StoreError
from stream.events import Erasure, Interaction
from stream.events import decode as read
from stream.messages import (
    DriftAlarm,
    Fresh,
    ItemVector,
    ModelVersion,
    TextVector,
    UserState,
    decode,
    decode_version,
    encode,
)
from stream.records import Output, Record, Since
from stream.settings import Settings
from stream.space import Space

SpaceLoader = Callable[[ModelVersion], Space | None]

COUNTERS = ("events_total", "late_total", "duplicate_total", "unvectored_total", "erased_total", "reactions_total",
            "alarms_total")  # fmt: skip


@dataclass(slots=True)
class Part:
    """One assigned partition."""

    states: dict[str, bytes] = field(default_factory=dict)  # user id -> packed state
    size: int = 0  # bytes of all of them
    stage: int = 0  # index of the space and detector in use
    newest_s: float = 0.0  # event time, of all that was folded

    def put(self, user_id: str, packed: bytes) -> None:
        """Keep a state."""
        self.size += len(packed) - len(self.states.get(user_id, b""))
        self.states[user_id] = packed

    def drop(self, user_id: str) -> bool:
        """Let a state go; whether there was one."""
        packed = self.states.pop(user_id, None)
        self.size -= len(packed or b"")
        return packed is not None


@dataclass(slots=True)
class Run:
    """The open run: consecutive events of one person and block, folded but not written yet."""

    partition: int
    state: UserState
    dirty: bool = False  # something was folded since it was opened
    newest: Since | None = None  # its newest interaction or text


class InterestHandler:
    """Folds interactions into people's states, and watches them for drift.

    Consecutive events of one (user, block) become one user-states record, written when the run breaks or the batch
    ends. Texts and events about no item are in no block and break no run; a block that begins after them does, as its
    events are to be tested with what they told. A new space takes over, partition by partition, at the first
    interaction whose event time has reached the version's `live_at_s`; a person's state is then rebuilt from its tail
    when it is next touched. A detector that a refresh calibrated anew takes over in the same way, in the space that is.

    An interaction is dropped as a duplicate when its event id is among the person's recent ones, or its offset is
    not above the newest one folded (after a crash on a broker without transactions it is read again).
    """

    inputs: ClassVar[tuple[str, ...]] = (topics.INTERACTIONS, topics.TEXT_VECTORS)
    broadcasts: ClassVar[tuple[str, ...]] = (topics.ITEM_VECTORS, topics.MODEL_VERSIONS, topics.ERASURES)
    changelogs: ClassVar[tuple[str, ...]] = (topics.USER_STATES,)

    def __init__(self, settings: Settings, space_loader: SpaceLoader) -> None:
        self.journal: list[dict[str, object]] = []
        self._settings, self._load = settings, space_loader
        self._parts: dict[int, Part] = {}
        self._stages = Stages(settings)
        self._erased: dict[str, float] = {}  # user id -> newest erasure, event time
        self._run: Run | None = None
        self._counts = dict.fromkeys(COUNTERS, 0)
        self._newest_s = 0.0
        self._verbs: dict[str, Callable[[Record], Iterable[Output]]] = {
            topics.INTERACTIONS: self._interaction,
            topics.TEXT_VECTORS: self._text,
            topics.ITEM_VECTORS: self._item,
            topics.MODEL_VERSIONS: self._version,
            topics.ERASURES: self._erasure,
        }

    def figures(self) -> Mapping[tuple[str, ...], float]:
        """Counters since the start of this handler, and gauges."""
        out: dict[tuple[str, ...], float] = {(name,): self._counts[name] for name in COUNTERS[:-1]}
        out["alarms_total", "user", DETECTOR] = self._counts["alarms_total"]
        out["users",] = sum(len(part.states) for part in self._parts.values())
        out["state_bytes",] = sum(part.size for part in self._parts.values())
        out["items",] = self._stages.items
        out["event_timestamp_seconds",] = self._newest_s
        return out

    def on_record(self, record: Record) -> Iterable[Output]:
        """Fold one record; returns alarms, tombstones, and the state of a run that it breaks."""
        return self._verbs[record.topic](record)

    def snapshot(self) -> Iterable[Output]:
        """The state of the open run."""
        return self._close()

    def restore(self, record: Record) -> None:
        """Take back one state, or its tombstone."""
        part = self._parts.setdefault(record.partition, Part())
        user_id = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            part.drop(user_id)
            return
        try:
            state = profile.unpack(record.value)
        except BadRecord as error:
            raise StateError(f"{record.where} must be a user state: {error}") from None
        part.newest_s = max(part.newest_s, state.last_s)
        part.put(state.user_id, profile.pack(state))

    def forget(self, user_id: str) -> Iterable[Output]:
        """Drop the person's state; the tombstone goes to its own partition."""
        if self._run is not None and self._run.state.user_id == user_id:
            self._parts[self._run.partition].put(user_id, b"")  # known, though never written
            self._run = None
        return [
            Output(topics.USER_STATES, user_id.encode(), None, partition)
            for partition, part in self._parts.items()
            if part.drop(user_id)
        ]

    # interactions and texts

    def _interaction(self, record: Record) -> Iterable[Output]:
        said = read(Interaction, record.value)
        at_s = said.at_s
        part = self._parts.setdefault(record.partition, Part())
        if at_s <= self._erased.get(said.user_id, -1.0):
            return []
        about = said.item_id or ""
        out, self._run = self._open(record.partition, said.user_id, said.block if about else None, at_s, said.user)
        state = self._run.state
        if record.offset <= state.through or profile.remembered(state, said.event_id):
            self._counts["duplicate_total"] += 1
            return out
        self._run.dirty = True
        stage = self._stage(part, at_s)
        self._align(state, stage)
        self._counts["events_total"] += 1
        self._counts["late_total"] += at_s < state.last_s
        self._newest_s = max(self._newest_s, at_s)
        users = self._settings.users
        weight = users.weights.get(said.event, users.default_weight) if about else 0.0
        place = stage.places.find(about)
        self._counts["unvectored_total"] += place is None and weight > 0
        event = profile.Event(said.event_id, about, at_s, weight, record.offset)
        found = profile.fold(state, event, stage.places, stage.rules)
        self._run.newest = Since(at_s, record.timestamp_ms)
        state.fresh.append(Fresh(said.event_id, about, at_s, weight, said.event, record.offset))
        state.said, state.attributes = "", said.user or state.attributes
        return [*out, *self._react(state, found, event, stage, record)] if found else out

    def _text(self, record: Record) -> Iterable[Output]:
        said = decode(TextVector, record.value)
        part = self._parts.setdefault(record.partition, Part())
        if said.at_s <= self._erased.get(said.user_id, -1.0) or not self._stages.items:
            return []
        vector = self._stages.checked(said.vector)
        out, self._run = self._open(record.partition, said.user_id, None, said.at_s)
        state = self._run.state
        mark = "text of " + said.event_id  # its interaction has the same id
        if profile.remembered(state, mark):
            self._counts["duplicate_total"] += 1
            return out
        self._run.dirty = True
        stage = self._stage(part, said.at_s)
        self._align(state, stage)
        profile.remember(state, mark, self._settings.users.recent_ids)
        profile.fold_text(state, stage.rules.space.texts(vector[None])[0], said.at_s, stage.rules)
        self._run.newest = Since(said.at_s, record.timestamp_ms)
        state.said = said.event_id
        return out

    def _open(
        self, partition: int, user_id: str, block: str | None, at_s: float, told: Mapping[str, str] | None = None
    ) -> tuple[list[Output], Run]:
        """The person's run, and what closing the one that it breaks writes.

        Without a block, any block will do; attributes that are told anew end a run, so that all of it has the same.
        """
        run = self._run
        if run is not None and run.partition == partition and run.state.user_id == user_id:
            begun = run.state.block == block and (not run.dirty or any(event.item_id for event in run.state.fresh))
            alike = not told or not run.state.fresh or told == run.state.attributes
            if alike and (block is None or begun):
                return [], run
        out = self._close()
        packed = self._parts[partition].states.get(user_id)
        state = profile.newcomer(user_id, at_s) if packed is None else profile.unpack(packed)
        state.block = state.block if block is None else block
        return out, Run(partition, state)

    def _close(self) -> list[Output]:
        """Write the open run's state, and keep it."""
        run, self._run = self._run, None
        if run is None or not run.dirty:
            return []
        user_id = run.state.user_id
        record = profile.pack(run.state)
        self._parts[run.partition].put(user_id, profile.pack(profile.settled(run.state)))
        arrived_ms = run.newest.arrived_ms if run.newest else None
        return [Output(topics.USER_STATES, user_id.encode(), record, run.partition, arrived_ms, run.newest)]

    def _react(
        self, state: UserState, found: Found, event: profile.Event, stage: Stage, record: Record
    ) -> list[Output]:
        """Note when the person's interests changed, unless that is noted; tell of it if it is sure enough.

        One change is found again and again while what was before it is among what is looked at.
        """
        noted_in = change.LONGEST if found.alarm else WINDOW + REFERENCE
        times_s = state.tail_s
        reacting = state.changed_s >= times_s[-noted_in:][0]
        if reacting and not found.alarm:
            return []
        changed = change.found([stage.places.find(item_id) for item_id in state.tail_items])
        if changed.events and not reacting:
            state.changed_s = times_s[-changed.events]
            self._counts["reactions_total"] += 1
        return [self._alarm(state, found, event, changed, record)] if found.alarm else []

    def _alarm(
        self, state: UserState, found: Found, event: profile.Event, changed: change.Change, record: Record
    ) -> Output:
        self._counts["alarms_total"] += 1
        self.journal.append(
            {"event": "drift-alarm", "user": state.user_id, "signal": found.signal,
             "evidence": round(found.evidence, 3), "threshold": round(found.threshold, 3),
             "risen": list(changed.risen), "fallen": list(changed.fallen), "events": changed.events}
        )  # fmt: skip
        began_s = state.tail_s[-changed.events] if changed.events else 0.0
        alarm = DriftAlarm(
            state.user_id, event.at_s, "user", found.signal, DETECTOR, found.evidence, found.threshold, state.seq,
            list(changed.risen), list(changed.fallen), event.offset, began_s,
            changed.events, changed.before, changed.since, [state.tail_items[at] for at in changed.blamed],
        )  # fmt: skip
        since = Since(event.at_s, record.timestamp_ms)
        return Output(topics.DRIFT_ALARMS, state.user_id.encode(), encode(alarm), record.partition, since=since)

    # spaces

    def _stage(self, part: Part, at_s: float) -> Stage:
        """The space and the detector that serve this partition from here on."""
        before, part.newest_s = part.stage, max(part.newest_s, at_s)
        part.stage = self._stages.due(before, part.newest_s)
        stage = self._stages.at(part.stage)
        if part.stage != before:
            detector = stage.rules.detector
            limits = {name: round(of, 4) for name, of in detector.limits().items()}
            self.journal.append({"event": "space-adopted", "space": stage.rules.space.name, **limits})
        return stage

    @staticmethod
    def _align(state: UserState, stage: Stage) -> None:
        """Bring a state into the space that serves."""
        if state.space != stage.rules.space.name:
            profile.rebuild(state, stage.places, stage.rules)

    def _item(self, record: Record) -> Iterable[Output]:
        if record.value is not None:  # an item taken away is still part of people's past
            item = decode(ItemVector, record.value)
            self._stages.put(item.item_id, self._stages.checked(item.vector))
        return []

    def _version(self, record: Record) -> Iterable[Output]:
        version = decode_version(record.value) if record.value is not None else None
        if not isinstance(version, ModelVersion):
            return []
        if version.space and not self._stages.knows(version.space):
            self._space(version)
        if version.detector:
            detector = Detector.of(version.detector).with_alarms_at(self._settings.drift.threshold)
            self._stages.calibrate(detector, version.live_at_s)
        return []

    def _space(self, version: ModelVersion) -> None:
        """Take in the space that a version ships."""
        try:
            space = self._load(version)
            why = "" if space else "there is none in its directory"
        except StoreError as error:
            space, why = None, str(error)
        if space is None or space.name != version.space or not self._stages.add(space, version.live_at_s):
            why = why or "its name or the size of its base vectors is another"
            self.journal.append({"event": "space-refused", "version": version.version, "because": why})

    # erasure

    def _erasure(self, record: Record) -> Iterable[Output]:
        if record.value is None:
            return []
        asked = read(Erasure, record.value)
        self._erased[asked.user_id] = max(asked.at_s, self._erased.get(asked.user_id, -1.0))
        if not any(state.since_s <= asked.at_s for state in self._states_of(asked.user_id)):
            return []
        self._counts["erased_total"] += 1
        self.journal.append({"event": "erased", "at_s": asked.at_s})
        return self.forget(asked.user_id)

    def _states_of(self, user_id: str) -> Iterable[UserState]:
        if self._run is not None and self._run.state.user_id == user_id:
            yield self._run.state
            return
        for part in self._parts.values():
            packed = part.states.get(user_id)
            if packed is not None:
                yield profile.unpack(packed)
