"""Lists as they are made: how often an item stands on one, how well known it is, how alike those beside it are.

Letters: M items, those of a log first, then the rest of its catalogue; D dimensions.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.tails import Doubles, Floats, Ints
from stream import events
from stream.events import Item, Recommendation
from stream.item_text import item_text
from stream.text import TextEncoder


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is known of items from the beginning: the same for all methods."""

    places: dict[str, int]  # item → its row
    since_s: Doubles  # (M,), event time from which it may be recommended; inf: never
    vectors: Floats  # (M, D), of its text, unit length; zeros where there is none

    @classmethod
    def of(cls, items: Iterable[Item], item_ids: Sequence[str], encoder: TextEncoder | None = None) -> Catalogue:
        """Read a catalogue; items of `item_ids` come first, in that order. No encoder: no vectors."""
        described = {item.item_id: item for item in items}
        ids = dict.fromkeys((*item_ids, *described))
        known = [described.get(item_id) for item_id in ids]
        since_s = [_since_s(item) if item else np.inf for item in known]
        texts = [item_text(item) if item else "" for item in known]
        vectors = encoder.encode(texts) if encoder else np.zeros((len(ids), 0), np.float32)
        return cls({item_id: place for place, item_id in enumerate(ids)}, np.array(since_s, float), vectors)


def _since_s(item: Item) -> float:
    if not item.available:
        return np.inf
    return events.seconds(item.at) if item.at is not None else 0.0


@dataclass(slots=True)
class Lists:
    """Sums over lists, which are not kept.

    Novelty of an item is its self-information, -log2 of its share of all interactions when the list is made, each item
    counted once more than it was seen, since a list may hold what nobody had. Diversity of a list is 1 - cosine, mean
    over all pairs of those of its items that have a text.

    >>> lists = Lists(np.array([[1, 0], [0, 1], [0, 0]], np.float32), counts=np.array([1.0, 0.0, 4.0]))
    >>> lists.add([0, 1, 2]); lists.add([0])
    >>> lists.figures()["diversity_10"], lists.shown.tolist()  # vectors stand at right angles
    (1.0, [2, 1, 1])
    >>> lists.figures()["novelty_10"]  # shares 2/8, 1/8 and 5/8: (2 + 3 + .678) / 3 and 2
    1.94635
    """

    vectors: Floats  # (M, D)
    counts: Doubles  # (M,), interactions so far; whoever made it adds to it
    shown: Ints = field(init=False)  # (M,), lists that an item stood on
    made: int = 0
    novelty: float = 0.0
    compared: int = 0  # lists with two texts or more
    diversity: float = 0.0

    def __post_init__(self) -> None:
        self.shown = np.zeros(len(self.counts), np.int64)

    def add(self, items: Sequence[int]) -> None:
        """Take in a list of rows of the catalogue."""
        rows = np.array(items, np.int64)
        if not len(rows):
            return
        self.shown[rows] += 1
        self.made += 1
        self.novelty += float(np.log2((self.counts.sum() + len(self.counts)) / (self.counts[rows] + 1)).mean())
        vectors = self.vectors[rows]
        vectors = vectors[vectors.any(axis=1)].astype(float)
        if (n := len(vectors)) > 1:
            self.compared += 1
            self.diversity += 1 - float((vectors.sum(0) ** 2).sum() - (vectors**2).sum()) / (n * (n - 1))

    def figures(self) -> dict[str, float | None]:
        """Means over lists; None where there was nothing to take a mean of."""
        return {
            "novelty_10": round(self.novelty / self.made, 5) if self.made else None,
            "diversity_10": round(self.diversity / self.compared, 5) if self.compared else None,
        }


class Sent(io.BytesIO):
    """A file for a replay's recommendations that hands on the item ids of each and keeps nothing."""

    def __init__(self, on_list: Callable[[list[str]], None]) -> None:
        super().__init__()
        self.on_list = on_list

    def write(self, line: bytes, /) -> int:  # type: ignore[override]
        """Take a recommendation as a JSON line."""
        self.on_list([item.item_id for item in events.decode(Recommendation, line).items])
        return len(line)
