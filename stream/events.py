"""What comes in and goes out: JSON records of topics that other systems write or read.

Unknown fields are allowed and ignored; a missing or ill-typed one raises `BadRecord`. `SCHEMA_VERSION` is the
version of these schemas; a record may name one, and a newer one than this is refused.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from stream.errors import BadRecord

SCHEMA_VERSION = 1

Id = Annotated[str, Meta(min_length=1, max_length=256, description="a non-empty identifier of at most 256 characters")]
Time = Annotated[
    str | int | float, Meta(description="RFC 3339 with an offset (`2011-09-01T08:00:00Z`) or milliseconds since 1970")
]
Attribute = Annotated[str, Meta(min_length=1, max_length=64)]
Version = Annotated[int, Meta(ge=1, description="version of this schema")]


NEWCOMER = "~newcomer"  # in place of a user's id: the list for people who have none yet


class Interaction(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person did something, mostly with an item. Topic `interactions`, key: the user's id.

    An event about no item (a search, a chat turn, a sign-up) has no `item_id`, and carries `text` or `user`. It is in
    no block: it is neither tested nor learned, but tells what the person looks for.
    """

    event_id: Id
    user_id: Id
    item_id: Annotated[Id | None, Meta(description="what it is about; may be left out with `text` or `user`")] = None
    at: Time
    event: Annotated[str, Meta(min_length=1, max_length=64, description="view, click, cart, purchase, rating …")] = (
        "view"
    )
    value: Annotated[float | None, Meta(description="a rating, a quantity, a dwell time")] = None
    text: Annotated[
        Annotated[str, Meta(max_length=20_000)] | None, Meta(description="a review, a search, a chat turn")
    ] = None
    group: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        Meta(description="basket, order or page: tested as one block before it is learned"),
    ] = None
    user: Annotated[
        dict[Attribute, Attribute],
        Meta(max_length=16, description="what is known of the person: country, age group …; replaces what was"),
    ] = msgspec.field(default_factory=dict)
    schema_version: Version = SCHEMA_VERSION

    @property
    def at_s(self) -> float:
        """Event time in seconds since the epoch."""
        return seconds(self.at)

    @property
    def says(self) -> bool:
        """Whether there is text in it."""
        return self.text is not None and bool(self.text.strip())

    @property
    def block(self) -> str:
        """The block this event belongs to: its group, or its user's events of one timestamp."""
        return self.group if self.group is not None else f"@{self.at_s!r}"


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that can be recommended. Topic `items` (compacted), key: the item's id."""

    item_id: Id
    title: Annotated[str, Meta(max_length=2_000)] = ""
    text: Annotated[str, Meta(max_length=50_000, description="description, body, transcript")] = ""
    categories: list[str] = msgspec.field(default_factory=list)
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    domain: Annotated[str, Meta(description="kind of item, where there are several: product, article …")] = ""
    available: Annotated[bool, Meta(description="false: is not recommended")] = True
    at: Annotated[Time | None, Meta(description="when it came into the catalogue")] = None
    embedding: Annotated[
        list[float] | None, Meta(description="a vector of yours (picture, sound), joined to the text vector")
    ] = None
    schema_version: Version = SCHEMA_VERSION


class Erasure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person asks to be forgotten. Topic `erasures`, key: the user's id. Events up to `at` are dropped."""

    user_id: Id
    at: Time
    schema_version: Version = SCHEMA_VERSION

    @property
    def at_s(self) -> float:
        """Event time in seconds since the epoch."""
        return seconds(self.at)


class Recommended(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item of a list, with what speaks for it."""

    item_id: str
    score: Annotated[float, Meta(description="the blend's score: the sum of all contributions")]
    reasons: Annotated[
        dict[str, float], Meta(description="contribution of each feature to the score, strongest first; they sum to it")
    ] = msgspec.field(default_factory=dict)
    because: Annotated[list[str], Meta(description="items of the history that speak for it, those in `why` first")] = (
        msgspec.field(default_factory=list)
    )
    why: Annotated[str, Meta(description="the strongest reasons as a sentence in English, dates in UTC")] = ""


class Recommendation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The list that stands for a user. Topic `recommendations` (compacted), key: the user's id.

    The list under the key `~newcomer`, in each partition, is for people who have none yet; any of them will do.
    """

    user_id: Annotated[str, Meta(description="or `~newcomer`: for people who have no list yet")]
    at: Annotated[str, Meta(description="event time it was made for, RFC 3339")]
    model_version: str
    items: list[Recommended]
    answers: Annotated[str, Meta(description="event_id of the interaction that caused it")]
    horizon: Annotated[str, Meta(description="event time up to which the model's training data goes, RFC 3339")]
    drifted: Annotated[bool, Meta(description="the user is in the reaction phase after a drift alarm")] = False
    schema_version: Version = SCHEMA_VERSION


class DeadLetter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record that could not be processed. Topic `dead-letters`; key: `topic[partition]@offset`."""

    where: Annotated[str, Meta(description="topic[partition]@offset of the original")]
    consumer: str
    reason: Annotated[str, Meta(description="field, rule and value")]
    field: str
    key: Annotated[bytes | None, Meta(description="the original key, base64")] = None
    value: Annotated[bytes | None, Meta(description="the original bytes, base64")] = None
    schema_version: Version = SCHEMA_VERSION


T = TypeVar("T", bound=Struct)
_decoders: dict[type[Struct], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Interaction, Item, Erasure, Recommendation, DeadLetter)
}
_encoder = msgspec.json.Encoder()
_EARLIEST_S, _LATEST_S = -62135596800.0, 253402300799.0  # 0001-01-01 and 9999-12-31, what `rfc3339` can write


def decode(kind: type[T], value: bytes | None) -> T:
    """Read one outside record.

    Raises:
        BadRecord: it is no JSON, a field is missing or ill-typed, or it follows a newer schema.

    >>> decode(Interaction, b'{"event_id":"e1","user_id":"ann","item_id":"mug","at":1314864000000,"new":1}').at_s
    1314864000.0
    >>> decode(Interaction, b'{"event_id":"1","user_id":"ann","at":0}')
    Traceback (most recent call last):
    ...
    stream.errors.BadRecord: item_id must be present without text or user, got '{"event_id":"1","user_id":"ann","at":0}'
    """
    if value is None:
        raise BadRecord("value", f"a JSON {kind.__name__}", None)
    try:
        message: T = _decoders[kind].decode(value)
    except msgspec.ValidationError as error:
        raise _explain(error, value) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecord("value", f"JSON ({error})", value.decode("utf-8", "replace")) from None
    version = getattr(message, "schema_version", SCHEMA_VERSION)
    if version > SCHEMA_VERSION:
        raise BadRecord("schema_version", f"at most {SCHEMA_VERSION}", version)
    at = getattr(message, "at", None)
    if at is not None and not isinstance(message, Recommendation):
        seconds(at)
    number = getattr(message, "value", None)
    if isinstance(number, float) and not math.isfinite(number):
        raise BadRecord("value", "a finite number", number)
    if isinstance(message, Interaction) and message.user_id == NEWCOMER:
        raise BadRecord("user_id", "another one than that of the list for newcomers", NEWCOMER)
    if isinstance(message, Interaction) and message.item_id is None and not (message.user or message.says):
        raise BadRecord("item_id", "present without text or user", value.decode("utf-8", "replace"))
    return message


def encode(message: Struct) -> bytes:
    """Write one outside record as JSON."""
    return _encoder.encode(message)


def seconds(at: str | int | float) -> float:
    """Seconds since the epoch of an outside time.

    Raises:
        BadRecord: neither RFC 3339 with an offset nor milliseconds since 1970.

    >>> seconds("1970-01-01T00:01:00Z"), seconds(60_000)
    (60.0, 60.0)
    """
    if isinstance(at, str):
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            raise BadRecord("at", "RFC 3339 or epoch milliseconds", at) from None
        if moment.tzinfo is None:
            raise BadRecord("at", "RFC 3339 with an offset, such as a final Z", at)
        at_s = moment.timestamp()
        if not _EARLIEST_S <= at_s <= _LATEST_S:
            raise BadRecord("at", "between the years 1 and 9999 in UTC", at)
        return at_s
    if isinstance(at, bool) or not 0 <= at <= _LATEST_S * 1000:  # NaN compares false
        raise BadRecord("at", "RFC 3339 or epoch milliseconds", at)
    return at / 1000


def rfc3339(at_s: float) -> str:
    """Write seconds since the epoch as RFC 3339 in UTC.

    >>> rfc3339(60.5)
    '1970-01-01T00:01:00.500Z'
    """
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _explain(error: msgspec.ValidationError, value: bytes) -> BadRecord:
    """Turn the library's message into field, rule and value."""
    text = str(error)
    rule, _, place = text.partition(" - at `")
    path = place.rpartition("$.")[2].rstrip("`")
    shown = value.decode("utf-8", "replace")
    if "missing required field" in rule:
        return BadRecord(rule.split("`")[1], "present", shown)
    try:
        content = msgspec.json.decode(value)
        field = path.split(".")[0].split("[")[0]
        shown = content[field] if isinstance(content, dict) and field in content else shown
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # the rest of it is damaged too: show it whole
    rule = "a number in range" if "out of range" in rule else rule.removeprefix("Expected ").partition(", got ")[0]
    rule = f"an object whose names are {rule}" if place.startswith("key") else rule
    return BadRecord(path or "value", rule, shown)
