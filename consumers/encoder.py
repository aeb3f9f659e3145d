"""The encoder consumer: texts of items and of people in, vectors of the frozen text encoder out.

It holds nothing but a bounded cache of vectors by text, the newest items, and the adapters of versions that serve or
may, so it has no changelog and nothing to restore. What arrives in a batch is encoded together by `snapshot`; a vector
does not depend on its batch (see `stream.text`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from stream import versions
from stream.adapted import Adapted
from stream.errors import BadRecord, StoreError
from stream.events import Interaction, Item, seconds
from stream.events import decode as read
from stream.item_text import Embeddings, fingerprint, item_text, joined
from stream.messages import (
    AdaptedVector,
    ItemVector,
    ModelVersion,
    Ruling,
    TextVector,
    as_bytes,
    decode_version,
    encode,
)
from stream.records import Output, Record
from stream.settings import Settings
from stream.topics import ADAPTED_VECTORS, INTERACTIONS, ITEM_VECTORS, ITEMS, MODEL_VERSIONS, TEXT_VECTORS

Floats = NDArray[np.float32]

CACHED_TEXTS = 8_192  # vectors of item texts kept: 12 MB with 384 dimensions
RECENT_ITEMS = 2_048  # newest items kept, for an adapter whose training had begun before they came
ADAPTERS = 4  # held at most, the newest


class Encoder(Protocol):
    """What the handler needs of `stream.text.TextEncoder`."""

    dim: int

    def encode(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, dim); a row of zeros for an empty text."""
        ...


@dataclass(frozen=True, slots=True)
class Under:
    """The encoder under an adapter, and the vectors that the adapter's version ships."""

    encoder: Encoder
    shipped: Adapted


LoadAdapter = Callable[[ModelVersion], Under]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A text in line, and what its vector becomes."""

    text: str
    kind: str  # "item" or "text"; vectors of items are cached
    made: Callable[[Floats], Output]
    adapter: str = ""
    encoder: Encoder | None = None  # under that adapter


class EncoderHandler:
    """Turns items into item-vectors, and interactions that carry text into text-vectors.

    An item that comes again with the same text is not encoded again. An item's own `embedding`, of whatever length,
    is brought into the base space by a fixed random projection and to unit length, added to the text's vector, and the
    sum brought to unit length. Outputs keep the order and the partition of their inputs.

    Where a version that serves, or may, has an adapter of the text encoder, an item that this version does not ship as
    it now is goes into adapted-vectors, too; so do the newest `RECENT_ITEMS` when such a version appears.

    >>> from stream.text import TextEncoder
    >>> handler = EncoderHandler(Settings(), TextEncoder.tiny())
    >>> _ = handler.on_record(Record("items", 0, 0, b"m", b'{"item_id": "m", "title": "Red mug"}'))
    >>> [(out.topic, out.key, out.partition) for out in handler.snapshot()]
    [('item-vectors', b'm', 0)]
    """

    inputs: ClassVar[tuple[str, ...]] = (ITEMS, INTERACTIONS)
    broadcasts: ClassVar[tuple[str, ...]] = (MODEL_VERSIONS,)
    changelogs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Settings, encoder: Encoder, load: LoadAdapter | None = None) -> None:
        self.journal: list[dict[str, object]] = []
        self._encoder, self._load = encoder, load
        self._cache: OrderedDict[bytes, Floats] = OrderedDict()  # hash of an item's text → vector, oldest use first
        self._embeddings = Embeddings(settings.seed, encoder.dim)
        self._records: dict[str, ModelVersion | Ruling] = {}  # by key of model-versions
        self._under: dict[str, Under] = {}  # by adapter
        self._refused: set[str] = set()  # adapters that cannot be loaded
        self._recent: OrderedDict[str, tuple[Item, int]] = OrderedDict()  # by item id, with the partition
        self._waiting: list[_Waiting] = []
        self._encoded = {"item": 0, "text": 0}

    def figures(self) -> Mapping[tuple[str, ...], float]:
        """Texts put through the encoder, by kind."""
        return {("encoded_total", kind): float(count) for kind, count in self._encoded.items()}

    def on_record(self, record: Record) -> Iterable[Output]:
        """Check a record and put it in line; `snapshot` answers it."""
        if record.topic == MODEL_VERSIONS:
            self._version(record)
        elif record.topic == INTERACTIONS:
            self._interaction(record)
        else:
            self._item(record)
        return ()

    def snapshot(self) -> Iterable[Output]:
        """Encode what is in line and return the vectors in order of arrival."""
        waiting, self._waiting = self._waiting, []
        vectors = self._vectors(waiting)
        return [entry.made(vectors[entry.adapter, entry.text]) for entry in waiting]

    def restore(self, record: Record) -> None:
        """Nothing: there are no changelogs."""

    def forget(self, user_id: str) -> Iterable[Output]:  # noqa: ARG002
        """Nothing is held about people."""
        return ()

    def _item(self, record: Record) -> None:
        partition = record.partition
        if record.value is None:
            if record.key is None:
                raise BadRecord("key", "the item's id in a tombstone", None)
            self._gone(record.key, partition)
            return
        item = read(Item, record.value)
        extra = self._embeddings.of(item)

        def made(vector: Floats) -> Output:
            value = encode(_message(item, joined(vector, extra)))
            return Output(ITEM_VECTORS, item.item_id.encode(), value, partition)

        self._waiting.append(_Waiting(item_text(item), "item", made))
        self._recent[item.item_id] = item, partition
        self._recent.move_to_end(item.item_id)
        if len(self._recent) > RECENT_ITEMS:
            self._recent.popitem(last=False)
        for adapter in self._under:
            self._adapt(adapter, item, partition)

    def _gone(self, key: bytes, partition: int) -> None:
        """Tombstones for an item, under adapters, too."""
        self._recent.pop(key.decode("utf-8", "replace"), None)
        outputs = [Output(ITEM_VECTORS, key, None, partition)]
        outputs += [Output(ADAPTED_VECTORS, key + b"\x00" + name.encode(), None, partition) for name in self._under]
        self._waiting += [_Waiting("", "item", _always(output)) for output in outputs]

    def _interaction(self, record: Record) -> None:
        try:
            event = read(Interaction, record.value)
        except BadRecord:
            return  # interest reads the topic too, and parks it
        partition = record.partition
        if not event.says:
            return

        def made(vector: Floats) -> Output:
            message = TextVector(event.event_id, event.user_id, event.at_s, as_bytes(vector))
            return Output(TEXT_VECTORS, event.user_id.encode(), encode(message), partition)

        self._waiting.append(_Waiting(event.text or "", "text", made))

    # ------------------------------------------------------------------ adapters

    def _version(self, record: Record) -> None:
        """Take note of a version or ruling; load adapters that are needed now, let go of the others."""
        key = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            self._records.pop(key, None)
        else:
            self._records[key] = decode_version(record.value)
        wanted = self._wanted()
        for name in self._under.keys() - wanted:
            del self._under[name]
        for name, version in wanted.items():
            if name in self._under or name in self._refused or self._load is None:
                continue
            try:
                self._under[name] = self._load(version)
            except StoreError as error:
                self._refused.add(name)
                self.journal.append({"event": "adapter-refused", "version": version.version, "reason": str(error)})
                continue
            for item, partition in self._recent.values():
                self._adapt(name, item, partition)

    def _wanted(self) -> dict[str, ModelVersion]:
        """Adapters of the live version, its parent, and what is newer and was not refused; at most `ADAPTERS`."""
        known = self._records.values()
        live = versions.live(known)
        if live is None:
            return {}
        made = [v for v in known if isinstance(v, ModelVersion) and v.adapter and v.verdict != "refused"]
        newest = sorted(made, key=lambda v: versions.number(v.version), reverse=True)
        rank = versions.number(live.version)
        kept = [v for v in newest if versions.number(v.version) >= rank or v.version == live.parent]
        return {version.adapter: version for version in kept[:ADAPTERS]}

    def _adapt(self, adapter: str, item: Item, partition: int) -> None:
        """Put an item in line under an adapter, unless the adapter's version ships it as it is."""
        under = self._under[adapter]
        if under.shipped.print_of(item.item_id) == fingerprint(item):
            return
        extra = self._embeddings.of(item)

        def made(vector: Floats) -> Output:
            message = AdaptedVector(item.item_id, adapter, as_bytes(joined(vector, extra)))
            return Output(ADAPTED_VECTORS, message.key, encode(message), partition)

        self._waiting.append(_Waiting(item_text(item), "item", made, adapter, under.encoder))

    # ------------------------------------------------------------------ vectors

    def _vectors(self, waiting: Sequence[_Waiting]) -> dict[tuple[str, str], Floats]:
        """A vector for each distinct adapter and text: from the cache, or encoded now."""
        out: dict[tuple[str, str], Floats] = {}
        missing: dict[str, dict[str, str]] = {}  # adapter → text → kind
        encoders = {entry.adapter: entry.encoder or self._encoder for entry in waiting}
        for entry in waiting:
            key = _hash(entry.adapter, entry.text)
            texts = missing.setdefault(entry.adapter, {})
            if key in self._cache:
                self._cache.move_to_end(key)
                out[entry.adapter, entry.text] = self._cache[key]
            elif texts.get(entry.text) != "item":
                texts[entry.text] = entry.kind
        for adapter, texts in missing.items():
            for (text, kind), vector in zip(texts.items(), encoders[adapter].encode(list(texts)), strict=True):
                out[adapter, text] = vector
                self._encoded[kind] += bool(text)
                if kind == "item":
                    self._cache[_hash(adapter, text)] = vector
        while len(self._cache) > CACHED_TEXTS:
            self._cache.popitem(last=False)
        return out


def _message(item: Item, vector: Floats) -> ItemVector:
    return ItemVector(
        item_id=item.item_id,
        vector=as_bytes(vector),
        title=item.title,
        words=" ".join((item.title, *item.categories)).lower(),
        categories=item.categories,
        available=item.available,
        at_s=0.0 if item.at is None else seconds(item.at),
    )


def _always(output: Output) -> Callable[[Floats], Output]:
    return lambda _: output


def _hash(adapter: str, text: str) -> bytes:
    return blake2b(f"{adapter}\x00{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
