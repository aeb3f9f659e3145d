"""The frozen space in which drift is measured, so that a refresh of a model can never look like drift.

Letters: N items that the space was fitted with, B base dimensions (of the text encoder), D = 64 drift dimensions of
which T = 32 come from text and the rest from co-occurrence, K segments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from math import inf, isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stream import calibration, cooccurrence, segments, whitening
from stream.calibration import NOTHING, History, Part
from stream.decay import DEFAULT_FAST_S, VISITS_KEPT, Decay, auto_half_lives
from stream.drift import Detector, Weights
from stream.errors import StoreError
from stream.settings import Drift, Users

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

DIM = 64
TEXT_DIM = whitening.DIM
FORMAT = 3
PARTS = 5  # that people are dealt into, each looked at with vectors made without it
TENSORS, FACTS = "space.safetensors", "space.json"
_ARRAYS = ("mean", "basis", "popular", "centre", "centres")


@dataclass(frozen=True, slots=True)
class Space:
    """A drift space: how items and texts become vectors in it, and what was known when it was frozen.

    Attributes:
        name: a hash of the content; states and vectors carry it.
        mean, basis: a text vector x (B,) becomes (x - mean) @ basis (T,), or (D,) in a random space.
        items: the items it was fitted with, the most popular first (N).
        popular: their vectors, of unit length (N, D).
        centre: mean vector of what was consumed (D,).
        centres: of the segments (K, D).
        segments: their names (K).
        half_lives: event-time half-lives (slow, fast) that `auto` stands for, in seconds.
        weights: of the drift detector.
        threshold: of the drift detector; infinite: it is off.
        reacts: its threshold for lists alone.

    >>> space = Space.random(base_dim=384, seed=7)
    >>> space.vectors(["mug"], np.ones((1, 384), np.float32)).shape, space.threshold
    ((1, 64), inf)
    """

    name: str
    mean: Floats
    basis: Floats
    items: tuple[str, ...]
    popular: Floats
    centre: Floats
    centres: Floats
    segments: tuple[str, ...]
    half_lives: tuple[float, float]
    weights: Weights
    threshold: float
    reacts: float
    position: Mapping[str, int] = field(repr=False, compare=False)  # item -> row of `popular`

    @classmethod
    def random(cls, base_dim: int, seed: int) -> Space:
        """The space before there is any: a seeded random projection of text; no segments, no detectors.

        Distances survive it (Johnson & Lindenstrauss, 1984).
        """
        rng = np.random.default_rng([seed, base_dim])
        basis = (rng.standard_normal((base_dim, DIM)) / np.sqrt(DIM)).astype(np.float32)
        empty = np.zeros((0, DIM), np.float32)
        half_lives = (VISITS_KEPT * DEFAULT_FAST_S, DEFAULT_FAST_S)
        centre = np.zeros(DIM, np.float32)
        return _named(np.zeros(base_dim, np.float32), basis, (), empty, centre, empty, (), half_lives)

    @classmethod
    def fit(
        cls,
        item_ids: Sequence[str],
        base_vectors: Floats,
        words: Sequence[str],
        events: Sequence[NDArray[np.integer]],
        times: Sequence[Doubles],
        counts: NDArray[np.integer],
        seed: int,
        *,
        users: Users | None = None,
        drift: Drift | None = None,
    ) -> Space:
        """Fit and freeze a space on the warm-up; the same input gives the same space.

        Whitened PCA of the text vectors, joined with co-occurrence vectors (zero for items that nobody touched);
        both halves of unit length, co-occurrence shorter where little is known; the joined vector of unit length.

        Args:
            item_ids: of the catalogue (N).
            base_vectors: their text vectors (N, B); a zero row where there is none.
            words: title and categories of each, for naming the segments (N).
            events: per person, item indices in time order.
            times: per person, event times in seconds.
            counts: interactions per item (N,).
            seed: of k-means and of the calibration.
            users: half-lives and tails; the defaults if None.
            drift: the allowed false alarms; the defaults if None.

        Raises:
            ValueError: fewer than two items, or columns of different lengths.
        """
        _check(item_ids, base_vectors, words, events, times, counts)
        order = np.argsort(-np.asarray(counts), kind="stable")
        items = tuple(item_ids[i] for i in order)
        row = np.empty(len(order), np.int64)
        row[order] = np.arange(len(order))
        histories = [(row[np.asarray(e)], np.asarray(t, np.float64)) for e, t in zip(events, times, strict=True)]
        mean, basis = whitening.fit(base_vectors)
        text = whitening.project(base_vectors[order], mean, basis)
        popular, centre = _placed(text, histories)
        centres = segments.cluster(popular, segments.how_many(len(items)), seed)
        member = segments.assign(popular, centres)
        titles = tuple(segments.names([words[i] for i in order], member, len(centres)))
        half_lives = auto_half_lives(t for _, t in histories)
        space = _named(mean, basis, items, popular, centre, centres, titles, half_lives)
        return space.calibrated(_parts(text, histories, seed), users or Users(), drift or Drift(), seed)

    def calibrated(self, parts: Sequence[Part], users: Users, drift: Drift, seed: int) -> Space:
        """The same space with weights and threshold for the detector; see `stream.calibration`."""
        found = calibration.calibrated(parts, calibration.learned(parts, seed), users, drift, seed)
        return _renamed(replace(self, weights=found.weights, threshold=found.threshold, reacts=found.reacts))

    def detector_of(
        self, people: Sequence[History], vectors: Floats, users: Users, drift: Drift, seed: int
    ) -> Detector:
        """The detector as these people's past calibrates it; it is off where that says too little.

        The weights stay as they are, unless the warm-up could not tell any.

        Args:
            people: rows of `vectors`, and event times.
            vectors: of items in this space (n, D).
            users: for the length of tails.
            drift: the allowed false alarms.
            seed: of the shuffles.
        """
        part = Part(people, vectors - self.centre)
        weights = self.weights if self.weights != NOTHING else calibration.learned([part], seed)
        return calibration.calibrated([part], weights, users, drift, seed)

    def with_threshold(self, threshold: float) -> Space:
        """The same space with another threshold for alarms, at which lists react, too; infinity turns it off."""
        return _renamed(replace(self, threshold=threshold, reacts=threshold))

    def detector(self, drift: Drift) -> Detector:
        """The drift detector, with the threshold that is set or else the space's own."""
        if self.weights == NOTHING:
            return Detector(NOTHING)
        return Detector(self.weights, self.threshold, self.reacts).with_alarms_at(drift.threshold)

    def decays(self, users: Users) -> tuple[Decay, Decay]:
        """Decay of the slow and of the fast state: as set, or what the space was fitted with for `auto`."""
        slow_s, fast_s = self.half_lives
        return (
            Decay(slow_s if users.half_life_s == "auto" else users.half_life_s, users.half_life_events),
            Decay(fast_s if users.fast_half_life_s == "auto" else users.fast_half_life_s, users.fast_half_life_events),
        )

    def vectors(self, item_ids: Sequence[str], base_vectors: Floats) -> Floats:
        """Drift vectors of items, of unit length (n, D); those that the space was fitted with keep theirs."""
        out = self.texts(base_vectors)
        for i, item_id in enumerate(item_ids):
            row = self.position.get(item_id)
            if row is not None:
                out[i] = self.popular[row]
        return out

    def texts(self, base_vectors: Floats) -> Floats:
        """Texts, or items unknown at the fit, in drift space: the part from co-occurrence is zero (n, D)."""
        text = whitening.project(base_vectors, self.mean, self.basis)
        return whitening.joined(text, np.zeros((len(text), DIM - text.shape[1]), np.float32))

    def segment_of(self, vectors: Floats) -> Ints:
        """Index of the segment of each vector (n,).

        Raises:
            ValueError: a random space has no segments.
        """
        if not len(self.centres):
            raise ValueError(f"space must have segments, got {self.name!r}, a random one")
        return segments.assign(vectors, self.centres)

    def save(self, directory: Path) -> None:
        """Write `space.safetensors` and `space.json` into an existing directory."""
        save_file({name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}, directory / TENSORS)
        facts = {"format": FORMAT, "name": self.name, "items": self.items, "segments": self.segments,
                 "half_lives": self.half_lives, "weights": astuple(self.weights),
                 "threshold": _finite(self.threshold), "reacts": _finite(self.reacts)}  # fmt: skip
        (directory / FACTS).write_text(json.dumps(facts, ensure_ascii=False, allow_nan=False))

    @classmethod
    def load(cls, directory: Path) -> Space:
        """Read what `save` wrote.

        Raises:
            StoreError: missing, damaged, of another format, or not what its name says.
        """
        try:
            arrays = load_file(directory / TENSORS)
            facts = json.loads((directory / FACTS).read_text())
            if facts["format"] != FORMAT:
                raise StoreError(f"{directory / FACTS} must have format {FORMAT}, got {facts['format']!r}")
            slow_s, fast_s = facts["half_lives"]
            space = _named(
                arrays["mean"], arrays["basis"], tuple(facts["items"]), arrays["popular"], arrays["centre"],
                arrays["centres"], tuple(facts["segments"]), (slow_s, fast_s), Weights(*facts["weights"]),
                *(inf if facts[name] is None else float(facts[name]) for name in ("threshold", "reacts")),
            )  # fmt: skip
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{directory} must hold a drift space: {error}") from None
        if space.name != facts["name"]:
            raise StoreError(f"{directory} must hold the drift space {facts['name']!r}, its content is {space.name!r}")
        return space


def _named(
    mean: Floats,
    basis: Floats,
    items: tuple[str, ...],
    popular: Floats,
    centre: Floats,
    centres: Floats,
    titles: tuple[str, ...],
    half_lives: tuple[float, float],
    weights: Weights = NOTHING,
    threshold: float = inf,
    reacts: float = inf,
) -> Space:
    position = {item_id: row for row, item_id in enumerate(items)}
    return _renamed(
        Space(
            "", mean, basis, items, popular, centre, centres, titles, half_lives, weights, threshold, reacts, position
        )
    )


def _renamed(space: Space) -> Space:
    """The space under the hash of its content."""
    digest = hashlib.sha256()
    for name in _ARRAYS:
        digest.update(np.ascontiguousarray(getattr(space, name), "<f4").tobytes())
    facts = [space.items, space.segments, space.half_lives, astuple(space.weights), _finite(space.threshold),
             _finite(space.reacts)]  # fmt: skip
    digest.update(json.dumps(facts).encode())
    return replace(space, name=("s" if space.items else "r") + digest.hexdigest()[:8])


def _finite(threshold: float) -> float | None:
    """As JSON can say it."""
    return threshold if isfinite(threshold) else None


def _placed(text: Floats, histories: Sequence[History]) -> tuple[Floats, Floats]:
    """Vectors of all items (N, D) from text (N, T) and what people consumed, and the mean of what was consumed."""
    counts = np.bincount(np.concatenate([*(h for h, _ in histories), np.empty(0, np.int64)]), minlength=len(text))
    together = cooccurrence.vectors(len(text), [h for h, _ in histories], counts, DIM - TEXT_DIM)
    vectors = whitening.joined(text, together)
    return vectors, np.asarray(counts @ vectors.astype(np.float64) / max(1, counts.sum()), np.float32)


def _parts(text: Floats, histories: Sequence[History], seed: int) -> list[Part]:
    """People dealt into `PARTS`, each with vectors made from all others."""
    dealt = np.random.default_rng([seed, PARTS]).permutation(len(histories)) % PARTS
    out = []
    for part in range(PARTS):
        vectors, centre = _placed(text, [h for h, d in zip(histories, dealt, strict=True) if d != part])
        out.append(Part([h for h, d in zip(histories, dealt, strict=True) if d == part], vectors - centre))
    return out


def _check(
    item_ids: Sequence[str],
    base: Floats,
    words: Sequence[str],
    events: Sequence[NDArray[np.integer]],
    times: Sequence[Doubles],
    counts: NDArray[np.integer],
) -> None:
    if len(item_ids) < 2:
        raise ValueError(f"item_ids must hold at least two items, got {len(item_ids)}")
    for name, column in (("base_vectors", base), ("words", words), ("counts", counts)):
        if len(column) != len(item_ids):
            raise ValueError(f"{name} must have one row per item ({len(item_ids)}), got {len(column)}")
    if [len(e) for e in events] != [len(t) for t in times]:
        raise ValueError(f"times must have the shape of events, got {len(times)} and {len(events)} people")
