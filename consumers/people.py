"""What a scorer remembers of people and partitions, and how it writes that to its changelogs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream.blend import FACTS, FEATURES, Blend
from stream.errors import StateError
from stream.evidence import Population, Watched
from stream.messages import BlockLoss, as_bytes, as_vector
from stream.peers import Peers
from stream.ranker import Past
from stream.ranking import Tally
from stream.statistics import Catalogue, ItemStats

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(slots=True)
class Profile:
    """The part of a user-states record that a scorer uses: interests in drift space."""

    space: str = ""
    slow: Floats | None = None
    fast: Floats | None = None
    drifted: bool = False
    changed_s: float = 0.0  # see stream.messages.UserState


def zeros() -> Doubles:
    """No gradient (C, F)."""
    return np.zeros((len(FACTS), len(FEATURES)))


@dataclass(slots=True)
class Open:
    """A block that has been tested, in part or whole, and is not learned yet."""

    block: str
    at_s: float  # newest event time
    items: list[int] = field(default_factory=list)
    served: list[int] = field(default_factory=list)  # the list that lay on the topic when the block began
    profile: Profile = field(default_factory=Profile)  # after the block's newest event
    gradient: Doubles = field(default_factory=zeros)  # sum over tested events
    n: int = 0  # tested events that had a rank
    losses: Doubles = field(default_factory=lambda: np.zeros(7))  # sums: see LOSSES; nan: not taken
    drifted: bool = False
    segment: str = ""  # the strongest of the person when it began
    gain: float = 0.0  # nats by which what they did since their interests changed foretold it better, summed
    shadow_gradient: Doubles = field(default_factory=zeros)  # the sum under the candidate in shadow and its weights


LOSSES = ("blend", "model", "popularity", "parent", "reference", "shadow", "shadow_mrr")
SUREST = 4.0  # odds of a change, as a logarithm: nobody is ever surer, so that they may turn
COMPANIONS = slice(3, 7)  # of them: what other versions than the live one would have done
OF_SHADOW = slice(5, 7)


@dataclass(slots=True)
class Person(Past):
    """One user of a partition. Memory: O(tail + items owned)."""

    seq: int = 0  # newest sequence number seen
    served: list[int] = field(default_factory=list)  # the list that lies on the topic
    ignored: dict[int, int] = field(default_factory=dict)  # see stream.fatigue; empty while the dial is 0
    attributes: dict[str, str] = field(default_factory=dict)  # what is known of them beside what they did
    profile: Profile = field(default_factory=Profile)  # before the open block
    segment: str = ""  # the strongest, as of the newest record
    odds: float = 0.0  # that the newest change of interests is one, as a logarithm: what they did since decides
    open: Open | None = None

    def adopt(self, profile: Profile) -> None:
        """Take over newer interests; of a newer change nothing is known yet."""
        self.odds = self.odds_under(profile)
        self.profile = profile

    def odds_under(self, profile: Profile) -> float:
        """The odds of the change that these interests speak of."""
        return self.odds if profile.changed_s == self.profile.changed_s else 0.0

    def judge(self, opened: Open) -> None:
        """Let the odds follow what a block told; as its events are not independent, it counts as their root."""
        if opened.n:
            self.odds = min(max(self.odds + opened.gain / sqrt(opened.n), -SUREST), SUREST)


class Learned(NamedTuple):
    """A block as the statistics learned it."""

    at_s: float
    tail: list[int]  # before it
    items: list[int]
    attributes: dict[str, str]  # of the person


@dataclass(slots=True)
class Part:
    """One partition's own state, beside its people and item statistics."""

    blend: Blend
    stats: ItemStats
    population: Population  # the loss of what is served here: everybody's alone
    clock_s: float = 0.0  # newest event time
    through: int = -1  # interactions offset
    events: int = 0
    learned: int = 0
    untested: int = 0
    since_health: list[BlockLoss] = field(default_factory=list)
    arrival: Tally = field(default_factory=Tally)
    catalogue: Tally = field(default_factory=Tally)  # ranked among the whole available catalogue
    served: Tally = field(default_factory=Tally)
    popularity: Tally = field(default_factory=Tally)
    people: dict[str, Person] = field(default_factory=dict)
    peers: Peers = field(default_factory=Peers)  # not saved: derived from the people
    new_items: int = 0
    unknown: int = 0  # interactions with items that the live version did not know
    version: str = ""  # that serves
    since_swap: int = 0  # interactions since it does
    shadow: str = ""  # the candidate in shadow …
    shadow_blend: Blend | None = None  # … and the weights that it would have: it came with those of `blend`
    newcomers: list[int] = field(default_factory=list)  # the list that lies on the topic for people who have none
    # not saved: derived, or written at once
    dirty: set[str] = field(default_factory=set)
    log: list[Learned] = field(default_factory=list)  # blocks learned since the last commit
    changed: set[int] = field(default_factory=set)  # item rows changed since they were last written whole
    generation: int = 0
    segment: int = 0  # log records since the rows were last written whole
    deadlines: list[tuple[float, str]] = field(default_factory=list)  # heap of open blocks

    def serve(self, version: str, shadow: str) -> bool:
        """Count an interaction under `version`, with a candidate in shadow or none (""); True if that is another one.

        What was compared with another one before says nothing of it. A candidate that leaves the shadow to serve keeps
        the weights with which it won.
        """
        if version != self.version:
            if version == self.shadow and self.shadow_blend:
                self.blend = self.shadow_blend
            self.version, self.since_swap = version, 0
            self.population.watch(version)
            self.since_health = [
                msgspec.structs.replace(block, parent=None, reference=None, shadow=None, shadow_mrr=None)
                for block in self.since_health
            ]
            for opened in self._opened():
                opened.losses[COMPANIONS] = np.nan
        turned = shadow != self.shadow
        if turned:
            self.shadow, self.shadow_blend = shadow, self.blend.copy() if shadow else None
            for opened in self._opened():
                opened.shadow_gradient, opened.losses[OF_SHADOW] = zeros(), np.nan
        self.since_swap += 1
        return turned

    def _opened(self) -> Iterator[Open]:
        """Every open block, to be changed."""
        for user_id, person in self.people.items():
            if person.open:
                self.dirty.add(user_id)
                yield person.open

    def learn(self, opened: Open) -> None:
        """Let the weights follow a block, and those that a candidate in shadow would have."""
        self.blend.learn(opened.gradient)
        if self.shadow_blend:
            self.shadow_blend.learn(opened.shadow_gradient)

    def reopen(self) -> None:
        """See `stream.blend.Blend.reopen`."""
        self.blend.reopen()
        if self.shadow_blend:
            self.shadow_blend.reopen()


class SavedOpen(Struct, array_like=True):
    """`Open` on the wire."""

    block: str
    at_s: float
    items: list[str]
    served: list[str]
    profile: tuple[str, bytes, bytes, bool]
    gradient: list[float]
    n: int
    losses: list[float | None]
    drifted: bool
    segment: str = ""
    changed_s: float = 0.0  # of the profile
    gain: float = 0.0
    shadow_gradient: list[float] = []  # empty: zeros


class SavedPerson(Struct, array_like=True, tag="p5"):
    """`Person` on the wire. Topic scorer-states, key `u/USER`."""

    seq: int
    tail: list[str]
    tail_s: list[float]
    owned: dict[str, tuple[int, float, float, int]]  # visits, newest and first event time, visits before the first
    visits: int
    served: list[str]
    profile: tuple[str, bytes, bytes, bool]
    open: SavedOpen | None
    attributes: dict[str, str] = {}
    ignored: dict[str, int] = {}
    segment: str = ""
    changed_s: float = 0.0  # of the profile
    odds: float = 0.0


class SavedPart(Struct, array_like=True, tag="s6"):
    """`Part` on the wire. Topic scorer-states, key `part`."""

    weights: list[float]
    curvature: bytes  # float64, the upper triangle
    clock_s: float
    through: int
    events: int
    learned: int
    untested: int
    since_health: list[BlockLoss]
    tallies: list[tuple[int, int, int, float, float, int]]
    new_items: int
    generation: int
    segment: int
    unknown: int = 0
    version: str = ""
    since_swap: int = 0
    newcomers: list[str] = []
    population: Watched = ("", 0, 0, 0), [], {}, None
    shadow: str = ""
    shadow_weights: list[float] = []
    shadow_curvature: bytes = b""


class SavedRow(Struct, array_like=True, tag="w1"):
    """Counters and neighbours of an item, whole. Topic item-stats, key `i/ITEM`."""

    item_id: str
    ordinal: int
    counters: tuple[float, float, float, float]  # count, short, long, newest_s
    neighbours: list[str]
    neighbour_weights: list[float]
    followers: list[str]
    follower_weights: list[float]
    groups_s: float = 0.0  # event time as of which the next are
    groups: dict[str, dict[str, float]] = {}  # counts by attribute and value, see stream.groups


class SavedLog(Struct, array_like=True, tag="l1"):
    """Blocks learned since the rows were written whole. Topic item-stats, key `log/SEGMENT`."""

    generation: int
    segment: int
    blocks: list[tuple[float, list[str], list[str]]]  # event time, tail before, items
    attributes: list[dict[str, str]] = []  # of the person of each block; empty in records of older versions


_encode = msgspec.msgpack.Encoder().encode
_states = msgspec.msgpack.Decoder(SavedPerson | SavedPart)
_stats = msgspec.msgpack.Decoder(SavedRow | SavedLog)


def read_state(value: bytes) -> SavedPerson | SavedPart:
    """Read a record of scorer-states; raises StateError."""
    try:
        out: SavedPerson | SavedPart = _states.decode(value)
    except msgspec.DecodeError as error:
        raise StateError(f"scorer-states must be of this version's format: {error}") from None
    return out


def read_stats(value: bytes) -> SavedRow | SavedLog:
    """Read a record of item-stats; raises StateError."""
    try:
        out: SavedRow | SavedLog = _stats.decode(value)
    except msgspec.DecodeError as error:
        raise StateError(f"item-stats must be of this version's format: {error}") from None
    return out


def save_person(person: Person, ids: list[str]) -> bytes:
    """Write a person."""
    opened = person.open
    return _encode(
        SavedPerson(
            person.seq,
            [ids[i] for i in person.tail],
            person.tail_s,
            {
                ids[i]: (n, person.bought_s[i], person.first_s[i], person.first_visit[i])
                for i, n in person.owned.items()
            },
            person.visits,
            [ids[i] for i in person.served],
            _save_profile(person.profile),
            _save_open(opened, ids) if opened else None,
            person.attributes,
            {ids[i]: n for i, n in person.ignored.items()},
            person.segment,
            person.profile.changed_s,
            person.odds,
        )
    )


def load_person(saved: SavedPerson, catalogue: Catalogue) -> Person:
    """The person of `save_person`."""
    add = catalogue.add
    person = Person([add(i) for i in saved.tail], list(saved.tail_s), seq=saved.seq)
    for item_id, (n, newest_s, first_s, before) in saved.owned.items():
        item = add(item_id)
        person.owned[item], person.bought_s[item] = n, newest_s
        person.first_s[item], person.first_visit[item] = first_s, before
    person.visits = saved.visits
    person.served = [add(i) for i in saved.served]
    person.ignored = {add(i): n for i, n in saved.ignored.items()}
    person.profile, person.attributes = _load_profile(saved.profile, saved.changed_s), saved.attributes
    person.segment, person.odds = saved.segment, saved.odds
    if saved.open:
        o = saved.open
        person.open = Open(
            o.block,
            o.at_s,
            [add(i) for i in o.items],
            [add(i) for i in o.served],
            _load_profile(o.profile, o.changed_s),
            np.array(o.gradient).reshape(len(FACTS), len(FEATURES)),
            o.n,
            np.array([np.nan if x is None else x for x in o.losses]),
            o.drifted,
            o.segment,
            o.gain,
        )
        if o.shadow_gradient:
            person.open.shadow_gradient = np.array(o.shadow_gradient).reshape(len(FACTS), len(FEATURES))
    return person


def save_part(part: Part, ids: list[str]) -> bytes:
    """Write what is one per partition."""
    tallies = [part.arrival, part.catalogue, part.served, part.popularity]
    shadow = _save_blend(part.shadow_blend) if part.shadow_blend else ([], b"")
    return _encode(
        SavedPart(
            *_save_blend(part.blend),
            part.clock_s,
            part.through,
            part.events,
            part.learned,
            part.untested,
            part.since_health,
            [(t.tested, t.hits_10, t.hits_20, t.ndcg_10, t.mrr_20, t.cold) for t in tallies],
            part.new_items,
            part.generation,
            part.segment,
            part.unknown,
            part.version,
            part.since_swap,
            [ids[i] for i in part.newcomers],
            part.population.numbers(),
            part.shadow,
            *shadow,
        )
    )


def load_part(saved: SavedPart, part: Part, catalogue: Catalogue) -> None:
    """Fill `part` with what `save_part` wrote."""
    part.blend = _load_blend(part.blend.prior, saved.weights, saved.curvature)
    part.shadow = saved.shadow
    if saved.shadow_weights:
        part.shadow_blend = _load_blend(part.blend.prior, saved.shadow_weights, saved.shadow_curvature)
    part.clock_s, part.through, part.events = saved.clock_s, saved.through, saved.events
    part.learned, part.untested, part.new_items = saved.learned, saved.untested, saved.new_items
    part.since_health = list(saved.since_health)
    part.arrival, part.catalogue, part.served, part.popularity = (Tally(*t) for t in saved.tallies)
    part.generation, part.segment, part.unknown = saved.generation, saved.segment, saved.unknown
    part.version, part.since_swap = saved.version, saved.since_swap
    part.newcomers = [catalogue.add(i) for i in saved.newcomers]
    part.population = Population.of(part.population.per, saved.population)


def _save_blend(blend: Blend) -> tuple[list[float], bytes]:
    """Weights, and the upper triangle of the curvature."""
    return blend.weights.ravel().tolist(), blend.curvature[np.triu_indices(blend.weights.size)].tobytes()


def _load_blend(prior: float, weights: list[float], curvature: bytes) -> Blend:
    blend = Blend(prior, np.array(weights).reshape(len(FACTS), len(FEATURES)))
    upper = np.triu_indices(blend.weights.size)
    blend.curvature[upper] = blend.curvature[upper[::-1]] = np.frombuffer(curvature)
    return blend


def save_row(stats: ItemStats, item: int, ids: list[str]) -> bytes:
    """Write one item's counters and rows."""
    near, near_weights = stats.neighbours.row(item)
    after, after_weights = stats.followers.row(item)
    counters = (stats.count[item], stats.short[item], stats.long[item], stats.newest_s[item])
    return _encode(
        SavedRow(
            ids[item],
            item,
            tuple(float(x) for x in counters),  # type: ignore[arg-type]
            [ids[i] for i in near],
            near_weights,
            [ids[i] for i in after],
            after_weights,
            *stats.groups.row(item),
        )
    )


def load_row(saved: SavedRow, stats: ItemStats, catalogue: Catalogue) -> None:
    """Put one item's counters and rows."""
    item = catalogue.add(saved.item_id)
    stats.reserve(item + 1)
    stats.count[item], stats.short[item], stats.long[item], stats.newest_s[item] = saved.counters
    stats.neighbours.put(item, [catalogue.add(i) for i in saved.neighbours], saved.neighbour_weights)
    stats.followers.put(item, [catalogue.add(i) for i in saved.followers], saved.follower_weights)
    stats.groups.put(item, saved.groups_s, saved.groups)


def save_log(part: Part, ids: list[str]) -> bytes:
    """Write the blocks learned since the last commit."""
    blocks = [(block.at_s, [ids[i] for i in block.tail], [ids[i] for i in block.items]) for block in part.log]
    return _encode(SavedLog(part.generation, part.segment, blocks, [block.attributes for block in part.log]))


def load_log(saved: SavedLog, stats: ItemStats, catalogue: Catalogue) -> set[int]:
    """Learn the blocks of `save_log` again; return the rows that changed."""
    changed: set[int] = set()
    whose = saved.attributes or [{}] * len(saved.blocks)
    for (at_s, tail, items), attributes in zip(saved.blocks, whose, strict=True):
        changed |= stats.learn(at_s, [catalogue.add(i) for i in tail], [catalogue.add(i) for i in items], attributes)
    return changed


def _save_open(opened: Open, ids: list[str]) -> SavedOpen:
    return SavedOpen(
        opened.block,
        opened.at_s,
        [ids[i] for i in opened.items],
        [ids[i] for i in opened.served],
        _save_profile(opened.profile),
        opened.gradient.ravel().tolist(),
        opened.n,
        [None if np.isnan(x) else x for x in opened.losses.tolist()],
        opened.drifted,
        opened.segment,
        opened.profile.changed_s,
        opened.gain,
        opened.shadow_gradient.ravel().tolist() if opened.shadow_gradient.any() else [],
    )


def _save_profile(profile: Profile) -> tuple[str, bytes, bytes, bool]:
    slow = b"" if profile.slow is None else as_bytes(profile.slow)
    fast = b"" if profile.fast is None else as_bytes(profile.fast)
    return profile.space, slow, fast, profile.drifted


def _load_profile(saved: tuple[str, bytes, bytes, bool], changed_s: float) -> Profile:
    space, slow, fast, drifted = saved
    return Profile(space, as_vector(slow) if slow else None, as_vector(fast) if fast else None, drifted, changed_s)
