"""What the encoder reads of items: their text, and vectors of other sorts that they bring along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from stream.errors import BadRecord
from stream.events import Item

Floats = NDArray[np.float32]

LONGEST_EMBEDDING = 8_192
PRINT_BYTES = 8


def item_text(item: Item) -> str:
    """What the encoder reads of an item.

    >>> item_text(Item(item_id="1", title="Mug", categories=["Kitchen"], attributes={"size": "small"}, text="Of tin."))
    'Mug. Kitchen. size: small. Of tin.'
    """
    parts = [item.title, *item.categories, *(f"{name}: {value}" for name, value in item.attributes.items()), item.text]
    stripped = [part.strip() for part in parts]
    return ". ".join(part for part in stripped if part)


def fingerprint(item: Item) -> bytes:
    """Of all that an item's vector is made of: another text or embedding has another one."""
    said = blake2b(item_text(item).encode("utf-8", "surrogatepass"), digest_size=PRINT_BYTES)
    said.update(b"" if item.embedding is None else np.asarray(item.embedding, "<f8").tobytes())
    return said.digest()


class Embeddings:
    """Items' own embeddings, of whatever length, in the base space."""

    def __init__(self, seed: int, dim: int) -> None:
        self._seed, self._dim = seed, dim
        self._projections: dict[int, Floats] = {}  # length of an embedding → (length, dim)

    def of(self, item: Item) -> Floats | None:
        """An item's own vector (dim,), of unit length; distances survive it (Johnson & Lindenstrauss, 1984).

        Raises:
            BadRecord: it is empty, too long, has no direction, or holds what is no number.
        """
        embedding = item.embedding
        if embedding is None:
            return None
        m = len(embedding)
        if not 0 < m <= LONGEST_EMBEDDING:
            raise BadRecord("embedding", f"a list of 1 to {LONGEST_EMBEDDING} numbers", embedding)
        if not all(math.isfinite(x) for x in embedding) or not any(embedding):
            raise BadRecord("embedding", "finite numbers that are not all zero", embedding)
        if m not in self._projections:
            rng = np.random.default_rng([self._seed, m, self._dim])
            self._projections[m] = (rng.standard_normal((m, self._dim)) / math.sqrt(self._dim)).astype(np.float32)
        vector = np.asarray(embedding, np.float64)
        return _unit((vector / np.linalg.norm(vector)).astype(np.float32) @ self._projections[m])


def joined(vector: Floats, extra: Floats | None) -> Floats:
    """A text's vector and an item's own embedding in one; the text's alone where there is none."""
    return vector if extra is None else _unit(vector + extra)


@dataclass(frozen=True, slots=True, eq=False)
class Wording:
    """A catalogue as the encoder reads it: c items."""

    item_ids: list[str]
    texts: list[str]
    extra: Floats  # (c, dim) embeddings of their own; zeros where an item has none
    prints: NDArray[np.uint8]  # (c, PRINT_BYTES)

    @classmethod
    def of(cls, items: Sequence[Item], seed: int, dim: int) -> Wording:
        """The wording of items; one whose embedding breaks a rule is left out, as the encoder parks it."""
        embeddings, kept = Embeddings(seed, dim), list[tuple[Item, Floats | None]]()
        for item in items:
            try:
                kept.append((item, embeddings.of(item)))
            except BadRecord:
                continue
        extra = np.zeros((len(kept), dim), np.float32)
        for row, (_, own) in zip(extra, kept, strict=True):
            row[:] = 0.0 if own is None else own
        prints = np.frombuffer(b"".join(fingerprint(item) for item, _ in kept), np.uint8).reshape(-1, PRINT_BYTES)
        return cls([item.item_id for item, _ in kept], [item_text(item) for item, _ in kept], extra, prints)

    def join(self, vectors: Floats) -> Floats:
        """Vectors (c, dim) of the texts, with the embeddings."""
        return np.stack([joined(v, e if e.any() else None) for v, e in zip(vectors, self.extra, strict=True)])


def _unit(vector: Floats) -> Floats:
    length = float(np.linalg.norm(vector))
    return vector if length == 0.0 else (vector / np.float32(length)).astype(np.float32)
