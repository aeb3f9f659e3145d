"""What Meander's own processes say to each other: msgpack, columns where there are many values.

Each kind is an array on the wire whose first element is its tag with a format number (`"u1"`), so that a
change of format is refused instead of misread. Vectors are little-endian float32 bytes.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream.errors import BadRecord

Floats = NDArray[np.float32]


class Fresh(Struct, frozen=True, array_like=True):
    """An event that a user-states record has folded since the record before it."""

    event_id: str
    item_id: str  # "" where it is about no item
    at_s: float
    weight: float  # of its event type, see settings
    event: str
    offset: int = -1  # of the interaction


class UserState(Struct, array_like=True, tag="u1"):
    """A person as the interest consumer knows them. Topic user-states, key: user id.

    `fresh` are events of one block (`block`) that are already part of the rest. Never spans two blocks, and never
    events between which another user's event stood in the partition. Events about no item are in no block; what they
    and texts tell is in a record before that of the next event with an item, unless its block had begun. Records of
    older versions lack the three last fields.
    """

    user_id: str
    seq: int  # events folded so far; a gap between records' seq and fresh means that records were missed
    since_s: float  # event time of the first event of this life (after an erasure a new one begins)
    last_s: float  # newest event time
    space: str  # the drift space of slow and fast
    slow: bytes  # float32 (64,)
    fast: bytes  # float32 (64,)
    mass: dict[str, float]  # decayed mass of the top segments, as of last_s
    tail_items: list[str]  # oldest first, at most `users.tail`
    tail_gaps_s: list[int]  # their event times in whole seconds: the first since 1970, others since the one before
    detector: list[float]  # [newest interactions of the tail that are of one taste]; empty: all of them
    drift: list[float]  # [events left for which the detector rests, at_s of the alarm]; empty: it watches
    recent: list[bytes]  # hashes of recent event ids, against duplicates
    through: int  # offset of the newest interaction folded
    block: str
    fresh: list[Fresh]
    said: str = ""  # event id of the newest text, if nothing was folded after it and the record before lacked it
    attributes: dict[str, str] = {}  # what is known of the person beside what they did: country, age group …
    changed_s: float = 0.0  # event time from which interests are others, as lists follow it; 0: they never changed

    @property
    def tail_s(self) -> list[float]:
        """Event times of the tail, oldest first, in whole seconds since the epoch."""
        return [float(at_s) for at_s in accumulate(self.tail_gaps_s)]

    @property
    def segment(self) -> str:
        """The segment that holds most of the mass; "" while there is none."""
        return max(self.mass, key=lambda name: (self.mass[name], name), default="")


class ItemVector(Struct, frozen=True, array_like=True, tag="i1"):
    """An item in the base space of the frozen text encoder. Topic item-vectors, key: item id."""

    item_id: str
    vector: bytes  # float32 (base dim,), unit length
    title: str
    words: str  # title and categories, lower case, for naming segments
    categories: list[str]
    available: bool
    at_s: float  # when it came into the catalogue; 0 where unknown


class AdaptedVector(Struct, frozen=True, array_like=True, tag="x1"):
    """An item's vector under an adapter of the text encoder. Topic adapted-vectors, key: item id, a zero byte, adapter.

    Written for items that came, or changed, after the version that ships the others' vectors.
    """

    item_id: str
    adapter: str
    vector: bytes  # float32 (base dim,), unit length

    @property
    def key(self) -> bytes:
        """Of its record."""
        return f"{self.item_id}\x00{self.adapter}".encode()


class TextVector(Struct, frozen=True, array_like=True, tag="t1"):
    """A user's text in the base space. Topic text-vectors, same partition as its interaction, key: user id."""

    event_id: str
    user_id: str
    at_s: float
    vector: bytes  # float32 (base dim,), unit length


class DriftAlarm(Struct, frozen=True, array_like=True, tag="a1"):
    """A user's detector found a change. Topic drift-alarms, key: user id.

    Records of older versions lack the five last fields.
    """

    user_id: str
    at_s: float
    scope: str  # "user"
    signal: str  # what it watches: "likelihood", see stream.drift
    detector: str
    evidence: float  # the test statistic
    threshold: float
    seq: int  # the user's events at that time
    risen: list[str]  # segments that gained, strongest first
    fallen: list[str]  # segments that lost
    offset: int  # of the interaction that raised it
    began_s: float = 0.0  # event time at which the change most probably began; 0: too little was known to tell
    events: int = 0  # of the person since then, that of the alarm included
    before: dict[str, float] = {}  # shares of segments in their newest events before it, the largest first
    since: dict[str, float] = {}  # of the same segments since
    blamed: list[str] = []  # items since then that are least like what was before, the least first


class BlockLoss(Struct, frozen=True, array_like=True):
    """Mean loss per event of one tested block under several predictors, before learning it, in nats.

    The losses of `model` and `popularity` are log-losses, that of what is served is `stream.ranking.place_loss`. A gain
    is that of the blend with another version over the blend with the live one, in log rank per event
    (`stream.ranking.rank_gain`); negative: the other version is worse.
    """

    at_s: float
    n: int  # events that could be tested
    blend: float  # what is served: the logarithm of the place
    model: float  # the live next-item LM alone, softmax over the candidates
    popularity: float  # decayed popularity alone, as a distribution over the candidates
    parent: float | None = None  # gain of the blend with the live version's parent; on a hash-chosen share
    reference: float | None = None  # gain of the blend with the first published version; likewise
    shadow: float | None = None  # gain of the blend with the undecided candidate `ModelHealth.shadow`; on every block
    shadow_mrr: float | None = None  # reciprocal rank of the shadow's blend minus the live blend's
    drifted: bool = False  # the user is in the reaction phase of an alarm
    segment: str = ""  # the strongest of the user before the block; "" while none is known
    group: int = 0  # of the user, one of `stream.clusters.GROUPS`: what one person does hangs together


class ModelHealth(Struct, frozen=True, array_like=True, tag="h1"):
    """What the scorer saw since its last record. Topic model-health, key: partition number.

    One record for every `scoring.health_events` interactions of a partition, wherever batches end. Counters are
    cumulative within the partition.
    """

    partition: int
    at_s: float  # event time it speaks of
    through: int  # offset of the newest interaction included
    events: int  # interactions seen
    users: int
    tested: int
    hits: int  # hit@10 on arrival
    ndcg: float  # sum of NDCG@10 on arrival
    served_tested: int
    served_hits: int  # hit@10 of the list that lay on the topic
    popularity_hits: int  # hit@10 of decayed popularity, on arrival
    version: str  # live; "" while there is none
    shadow: str  # candidate in shadow; "" while there is none
    blocks: list[BlockLoss]
    new_items: int  # items first seen since the live version's horizon
    unknown: int = 0  # interactions with items that the version live at that time did not know


class TrainingJob(Struct, frozen=True, array_like=True, tag="j1"):
    """A decision to train. Topic training-jobs, key: job id."""

    job_id: str
    at_s: float  # event time of the decision; no fit uses later interactions
    kind: str  # "warm-up" or "refresh"
    trigger: str  # one of stream.policy.TRIGGERS
    evidence: dict[str, float]
    horizon: dict[int, int]  # interactions partition → first offset that is NOT part of the data
    since: dict[int, int]  # the same of the training before; empty for the first
    parent: str  # live version; "" for the first
    seed: int
    segment: str = ""  # whose people's news it learns, beside replay; "": everybody's
    began_s: float = 0.0  # event time at which what it answers began, as far as the evidence tells; 0: unknown
    text: bool = True  # the text encoder is adapted, too, where `training.text_adapter` is on
    changed_s: float = 0.0  # event time of the newest change of the population that a job answered; 0: there is none
    epochs: int = 0  # of a refresh; 0: as many as the settings say


class ModelVersion(Struct, frozen=True, array_like=True, tag="v1"):
    """The outcome of a training. Topic model-versions (compacted), key: the version's name."""

    version: str  # "v1", "v2", …
    verdict: str  # "promoted", "refused" or "undecided"
    parent: str
    at_s: float  # data horizon in event time
    live_at_s: float  # event time from which a scorer may swap it in; 0: at once
    horizon: dict[int, int]
    job_id: str
    trigger: str
    evidence: dict[str, float]
    path: str  # directory in the model store; "" for a refused version that was not kept
    checksum: str  # SHA-256 of its manifest
    space: str  # drift space that it ships; "" if none
    steps: int
    seconds: float
    examples: int
    gate: dict[str, float | str]  # the verdict's numbers and reason
    published_s: float  # wall time; 0 in replay
    adapter: str = ""  # of the text encoder, under which its item vectors are; "" if none
    detector: list[float] | None = None  # of `stream.drift`, from `live_at_s` on, whatever the verdict; None: as before


class Ruling(Struct, frozen=True, array_like=True, tag="r1"):
    """A decision about a published version. Topic model-versions, key: `v7/rollback` or `v7/shadow`."""

    version: str
    ruling: str  # "rollback", "promoted" or "refused" (the last two end a shadow)
    at_s: float
    live_at_s: float
    reason: str
    numbers: dict[str, float]

    @property
    def key(self) -> bytes:
        """Its key: a version has one ruling of each kind."""
        return f"{self.version}/{'rollback' if self.ruling == 'rollback' else 'shadow'}".encode()

    def ends_shadow_of(self, candidate: ModelVersion) -> bool:
        """Whether it decides about this candidate in shadow."""
        return self.version == candidate.version and self.ruling != "rollback"


Message = (
    UserState | ItemVector | AdaptedVector | TextVector | DriftAlarm | ModelHealth | TrainingJob | ModelVersion | Ruling
)
T = TypeVar("T", bound=Struct)

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[Struct], msgspec.msgpack.Decoder[Any]] = {}


def encode(message: Struct) -> bytes:
    """Write one inside record."""
    return _encoder.encode(message)


def decode(kind: type[T], value: bytes | None) -> T:
    """Read one inside record of a known kind.

    Raises:
        BadRecord: damaged, or of another format.

    >>> vector = as_bytes(np.ones(2, np.float32))
    >>> decode(TextVector, encode(TextVector("e1", "ann", 60.0, vector))).user_id
    'ann'
    """
    if value is None:
        raise BadRecord("value", f"a {kind.__name__}", None)
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        message: T = decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRecord("value", f"a {kind.__name__} in msgpack ({error})", value[:40]) from None
    return message


def decode_version(value: bytes | None) -> ModelVersion | Ruling:
    """Read a record of model-versions, which holds two kinds."""
    if value is None:
        raise BadRecord("value", "a ModelVersion or Ruling", None)
    try:
        return _version_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRecord("value", f"a ModelVersion or Ruling in msgpack ({error})", value[:40]) from None


_version_decoder: msgspec.msgpack.Decoder[ModelVersion | Ruling] = msgspec.msgpack.Decoder(ModelVersion | Ruling)


def as_bytes(vector: NDArray[Any]) -> bytes:
    """A vector as little-endian float32 bytes."""
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def as_vector(data: bytes) -> Floats:
    """The vector of `as_bytes`; read-only."""
    return np.frombuffer(data, dtype="<f4")
