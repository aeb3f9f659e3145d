"""The encoder consumer: texts of items and of people in, vectors of the frozen text encoder out.

It holds nothing but a bounded cache of vectors by text, so it has no changelog and nothing to restore. What arrives in
a batch is encoded together by `snapshot`; a vector does not depend on its batch (see `stream.text`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.errors import BadRecord
from stream.events import Interaction, Item, seconds
from stream.events import decode as read
from stream.messages import ItemVector, TextVector, as_bytes, encode
from stream.records import Output, Record
from stream.settings import Settings
from stream.text import item_text
from stream.topics import INTERACTIONS, ITEM_VECTORS, ITEMS, TEXT_VECTORS

Floats = NDArray[np.float32]

CACHED_TEXTS = 8_192  # vectors of item texts kept: 12 MB with 384 dimensions
LONGEST_EMBEDDING = 8_192


class Encoder(Protocol):
    """What the handler needs of `stream.text.TextEncoder`."""

    dim: int

    def encode(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, dim); a row of zeros for an empty text."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A text in line, and what its vector becomes."""

    text: str
    kind: str  # "item" or "text"; vectors of items are cached
    made: Callable[[Floats], Output]


class EncoderHandler:
    """Turns items into item-vectors, and interactions that carry text into text-vectors.

    An item that comes again with the same text is not encoded again. An item's own `embedding`, of whatever length,
    is brought into the base space by a fixed random projection and to unit length, added to the text's vector, and the
    sum brought to unit length. Outputs keep the order and the partition of their inputs.

    >>> from stream.text import TextEncoder
    >>> handler = EncoderHandler(Settings(), TextEncoder.tiny())
    >>> _ = handler.on_record(Record("items", 0, 0, b"m", b'{"item_id": "m", "title": "Red mug"}'))
    >>> [(out.topic, out.key, out.partition) for out in handler.snapshot()]
    [('item-vectors', b'm', 0)]
    """

    inputs: ClassVar[tuple[str, ...]] = (ITEMS, INTERACTIONS)
    broadcasts: ClassVar[tuple[str, ...]] = ()
    changelogs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        self.journal: list[dict[str, object]] = []
        self._seed, self._encoder = settings.seed, encoder
        self._cache: OrderedDict[bytes, Floats] = OrderedDict()  # hash of an item's text → vector, oldest use first
        self._projections: dict[int, Floats] = {}  # length of an embedding → (length, dim)
        self._waiting: list[_Waiting] = []
        self._encoded = {"item": 0, "text": 0}

    def figures(self) -> Mapping[tuple[str, ...], float]:
        """Texts put through the encoder, by kind."""
        return {("encoded_total", kind): float(count) for kind, count in self._encoded.items()}

    def on_record(self, record: Record) -> Iterable[Output]:
        """Check a record and put it in line; `snapshot` answers it."""
        waiting = self._interaction(record) if record.topic == INTERACTIONS else self._item(record)
        if waiting is not None:
            self._waiting.append(waiting)
        return ()

    def snapshot(self) -> Iterable[Output]:
        """Encode what is in line and return the vectors in order of arrival."""
        waiting, self._waiting = self._waiting, []
        vectors = self._vectors(waiting)
        return [entry.made(vectors[entry.text]) for entry in waiting]

    def restore(self, record: Record) -> None:
        """Nothing: there are no changelogs."""

    def forget(self, user_id: str) -> Iterable[Output]:  # noqa: ARG002
        """Nothing is held about people."""
        return ()

    def _item(self, record: Record) -> _Waiting:
        partition = record.partition
        if record.value is None:
            if record.key is None:
                raise BadRecord("key", "the item's id in a tombstone", None)
            gone = Output(ITEM_VECTORS, record.key, None, partition)
            return _Waiting("", "item", lambda _: gone)
        item = read(Item, record.value)
        extra = None if item.embedding is None else self._projected(item.embedding)

        def made(vector: Floats) -> Output:
            joined = vector if extra is None else _unit(vector + extra)
            return Output(ITEM_VECTORS, item.item_id.encode(), encode(_message(item, joined)), partition)

        return _Waiting(item_text(item), "item", made)

    def _interaction(self, record: Record) -> _Waiting | None:
        try:
            event = read(Interaction, record.value)
        except BadRecord:
            return None  # interest reads the topic too, and parks it
        partition = record.partition
        if event.text is None or not event.text.strip():
            return None

        def made(vector: Floats) -> Output:
            message = TextVector(event.event_id, event.user_id, event.at_s, as_bytes(vector))
            return Output(TEXT_VECTORS, event.user_id.encode(), encode(message), partition)

        return _Waiting(event.text, "text", made)

    def _vectors(self, waiting: Sequence[_Waiting]) -> dict[str, Floats]:
        """A vector for each distinct text: from the cache, or encoded now."""
        out: dict[str, Floats] = {}
        missing: dict[str, str] = {}  # text → kind
        for entry in waiting:
            key = _hash(entry.text)
            if key in self._cache:
                self._cache.move_to_end(key)
                out[entry.text] = self._cache[key]
            elif missing.get(entry.text) != "item":
                missing[entry.text] = entry.kind
        for (text, kind), vector in zip(missing.items(), self._encoder.encode(list(missing)), strict=True):
            out[text] = vector
            self._encoded[kind] += bool(text)
            if kind == "item":
                self._cache[_hash(text)] = vector
        while len(self._cache) > CACHED_TEXTS:
            self._cache.popitem(last=False)
        return out

    def _projected(self, embedding: Sequence[float]) -> Floats:
        """An item's own vector in the base space, of unit length; distances survive it (Johnson & Lindenstrauss, 1984).

        Raises:
            BadRecord: it is empty, too long, has no direction, or holds what is no number.
        """
        m, dim = len(embedding), self._encoder.dim
        if not 0 < m <= LONGEST_EMBEDDING:
            raise BadRecord("embedding", f"a list of 1 to {LONGEST_EMBEDDING} numbers", embedding)
        if not all(math.isfinite(x) for x in embedding) or not any(embedding):
            raise BadRecord("embedding", "finite numbers that are not all zero", embedding)
        if m not in self._projections:
            rng = np.random.default_rng([self._seed, m, dim])
            self._projections[m] = (rng.standard_normal((m, dim)) / math.sqrt(dim)).astype(np.float32)
        vector = np.asarray(embedding, np.float64)
        return _unit((vector / np.linalg.norm(vector)).astype(np.float32) @ self._projections[m])


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


def _unit(vector: Floats) -> Floats:
    length = float(np.linalg.norm(vector))
    return vector if length == 0.0 else (vector / np.float32(length)).astype(np.float32)


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
