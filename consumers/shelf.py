"""The versions a scorer holds: the one that serves, its parent, the reference, a candidate in shadow.

A new version is loaded into a standby copy by the loader's own thread; the swap flips one reference between two
events, once the version's event time has come and a canary batch has been scored.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.errors import StoreError
from stream.linear import Placed
from stream.messages import ModelVersion, Ruling
from stream.prequential import Model
from stream.rows import Rows
from stream.versions import live, number, shadow

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

KEPT_USERS = 4_096  # user vectors kept per version, the least recently used goes first
RESULTS = ("swapped", "refused", "rolled_back")
STARTUP_S = 120.0  # how long a scorer that has just started waits for the model that was live


class NextItem(Model, Protocol):
    """What the scorer needs of a next-item language model; see `stream.lm.NextItemLM`."""

    @property
    def item_ids(self) -> Sequence[str]:
        """The items that it was trained on."""
        ...

    @property
    def base_dim(self) -> int:
        """Width of the base vectors that it was trained on."""
        ...


ModelLoader = Callable[[ModelVersion], "Future[NextItem]"]


@dataclass(slots=True)
class Slot:
    """One loaded version, its item vectors beside it."""

    version: ModelVersion
    model: NextItem
    rows: Rows = field(default_factory=lambda: Rows(0))  # item vectors (N, d) of the catalogue
    done: int = 0  # vectors changed so far that `rows` has seen
    users: OrderedDict[bytes, Floats] = field(default_factory=OrderedDict)  # user vectors (d,) by history
    placed: Placed | None = field(init=False)  # the version's linear model, over the catalogue
    known: frozenset[str] = field(init=False)  # the items that it was trained on

    def __post_init__(self) -> None:
        self.known = frozenset(self.model.item_ids)
        self.placed = Placed(self.model.linear) if self.model.linear else None

    @property
    def matrix(self) -> Floats:
        """Item vectors (N, d) of the catalogue."""
        return self.rows.upto(len(self.rows))

    def linear(self, owned: Iterable[int]) -> Doubles | None:
        """Scores (3, N) of the linear models for a person who has these items (ordinals), the newest last."""
        return self.placed.scores(list(owned)) if self.placed else None

    def logits(self, tail: Sequence[int], tail_s: Sequence[float]) -> Floats:
        """Logits (N,) of every item after a history (ordinals, oldest first)."""
        out: Floats = self.matrix @ self.user(tail, tail_s)
        return out

    def user(self, tail: Sequence[int], tail_s: Sequence[float]) -> Floats:
        """The user vector (d,) of a history; kept, since a list is made of the history that is tested next."""
        items, times_s = np.asarray(tail, np.int64), np.asarray(tail_s, np.float64)
        key = items.tobytes() + times_s.tobytes()
        vector = self.users.pop(key, None)
        if vector is None:
            vector = self.model.user_vector(self.matrix[items], times_s)
            if len(self.users) >= KEPT_USERS:
                self.users.popitem(last=False)
        self.users[key] = vector
        return vector


@dataclass(slots=True)
class Vectors:
    """Base vectors of the catalogue, and when each changed.

    >>> vectors = Vectors()
    >>> vectors.put(1, np.ones(2, np.float32)); vectors.rows(3).tolist()
    [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    >>> vectors.changed(0, 3).tolist()
    [1]
    """

    data: Rows = field(default_factory=lambda: Rows(0))  # (rows, base dim)
    stamps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (rows,); 0: never set
    now: int = 0  # changes so far

    def put(self, ordinal: int, vector: Floats) -> None:
        """Set the vector of an item."""
        if not self.now:
            self.data = Rows(len(vector))
        if ordinal >= len(self.stamps):
            self.stamps = np.pad(self.stamps, (0, max(ordinal + 1 - len(self.stamps), len(self.stamps) // 2)))
        self.now += 1
        self.data.upto(ordinal + 1)[ordinal], self.stamps[ordinal] = vector, self.now

    def rows(self, n: int) -> Floats:
        """Vectors (n, base dim) of the first `n` items; zeros where there is none."""
        return self.data.upto(n)

    def changed(self, since: int, n: int) -> NDArray[np.int64]:
        """Ordinals below `n` whose vector was set after change number `since`."""
        return np.flatnonzero(self.stamps[:n] > since)


@dataclass(slots=True)
class Shelf:
    """Which version serves, and when the next one does.

    `advance(now_s)` is called before every event; it is cheap unless something is to be done. Memory: four models
    and their item vectors.
    """

    loader: ModelLoader
    records: dict[str, ModelVersion | Ruling] = field(default_factory=dict)  # by key, as on the topic
    slots: dict[str, Slot] = field(default_factory=dict)
    futures: dict[str, Future[NextItem]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # version → why
    live: Slot | None = None
    shadow_name: str = ""  # the candidate in shadow, "" while there is none
    swaps: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))
    journal: list[dict[str, object]] = field(default_factory=list)
    _look: bool = False  # something changed since the last advance
    _next_s: float = float("inf")  # event time at which the next version may go live

    def on_version(self, key: str, record: ModelVersion | Ruling) -> None:
        """Take note of a record of model-versions; start loading what may be needed."""
        self.records[key] = record
        self._look = True
        if isinstance(record, ModelVersion) and record.verdict != "refused" and record.version not in self.futures:
            coming = shadow(self._usable())
            if record.version in (self._target(float("inf")), coming and coming.version):
                self._start(record)

    def advance(self, now_s: float) -> bool:
        """Swap in what is live in event time `now_s`; True when something was swapped."""
        if not self._look and now_s < self._next_s:
            return False
        self._look = False
        self._next_s = min((r.live_at_s for r in self.records.values() if r.live_at_s > now_s), default=float("inf"))
        candidate = shadow(self._usable(), now_s)
        self.shadow_name = candidate.version if candidate else ""
        target = self._target(now_s)
        if target is None or (self.live is not None and self.live.version.version == target):
            self._tidy()
            return False
        slot = self._load(target, wait=self.live is None)
        if slot is None:
            self._look = True  # still loading, or refused: look again at the next event
            return False
        before = self.live.version.version if self.live else ""
        self.live = slot
        self.swaps["rolled_back" if before and number(target) < number(before) else "swapped"] += 1
        self.journal.append({"event": "swapped", "version": target, "before": before, "path": slot.version.path})
        self._tidy()
        return True

    def companion(self, role: str) -> Slot | None:
        """The live version's "parent", the "reference" (first version), or the "shadow" candidate, if loaded."""
        if self.live is None:
            return None
        name = {"parent": self.live.version.parent, "reference": self._reference(), "shadow": self.shadow_name}[role]
        if not name or name == self.live.version.version:
            return None
        return self._load(name, wait=False)

    def _usable(self) -> list[ModelVersion | Ruling]:
        return [r for r in self.records.values() if r.version not in self.refused]

    def _target(self, now_s: float) -> str | None:
        found = live(self._usable(), now_s)
        return found.version if found else None

    def _reference(self) -> str:
        names = [r.version for r in self.records.values() if isinstance(r, ModelVersion) and r.verdict == "promoted"]
        return names[0] if names else ""

    def _start(self, record: ModelVersion) -> None:
        self.futures[record.version] = self.loader(record)

    def _load(self, name: str, wait: bool) -> Slot | None:
        """The slot of a version, if its standby copy is ready and sound."""
        if name in self.slots:
            return self.slots[name]
        record = self.records.get(name)
        if name in self.refused or not isinstance(record, ModelVersion) or not record.path:
            return None
        if name not in self.futures:
            self._start(record)
        future = self.futures[name]
        if not future.done() and not wait:
            return None
        try:
            model = future.result(timeout=STARTUP_S)
            slot = Slot(record, model)
            _canary(model)
        except (StoreError, ValueError, TimeoutError) as error:
            self.refused[name] = str(error)
            self.swaps["refused"] += 1
            self._look = True
            self.journal.append({"event": "swap refused", "version": name, "reason": str(error)})
            return None
        self.slots[name] = slot
        return slot

    def _tidy(self) -> None:
        """Let go of versions that nothing needs any more."""
        if self.live is None:
            return
        needed = {self.live.version.version, self.live.version.parent, self._reference(), self.shadow_name}
        needed |= {r.version for r in self.records.values() if r.live_at_s >= self._next_s}
        for held in (self.slots, self.futures):
            for name in [n for n in held if n not in needed]:
                del held[name]


@dataclass(slots=True)
class Newer:
    """Vectors under one adapter, of the few items that came after the version which ships the others'.

    >>> newer = Newer(2)
    >>> newer.put(1, np.ones(2, np.float32)); newer.rows(3).tolist(), newer.changed(0, 3).tolist()
    ([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]], [1])
    """

    width: int  # base dim
    found: dict[int, tuple[int, Floats]] = field(default_factory=dict)  # ordinal → (change number, vector)
    now: int = 0  # changes so far

    def put(self, ordinal: int, vector: Floats) -> None:
        """Set the vector of an item."""
        self.now += 1
        self.found[ordinal] = self.now, vector

    def rows(self, n: int) -> Floats:
        """Vectors (n, base dim) of the first `n` items; zeros where there is none."""
        out = np.zeros((n, self.width), np.float32)
        for ordinal, (_, vector) in self.found.items():
            if ordinal < n:
                out[ordinal] = vector
        return out

    def changed(self, since: int, n: int) -> NDArray[np.int64]:
        """Ordinals below `n` whose vector was set after change number `since`."""
        chosen = [ordinal for ordinal, (number, _) in self.found.items() if ordinal < n and number > since]
        return np.array(sorted(chosen), np.int64)


def stale(vectors: Vectors | Newer, since: int, have: int, n: int) -> NDArray[np.int64]:
    """Ordinals below `n` to be made anew by who has `have` of them, as of change number `since`."""
    return np.union1d(vectors.changed(since, have), np.arange(have, n))


def fill(slot: Slot, item_ids: Sequence[str], vectors: Vectors | Newer) -> None:
    """Bring the item vectors of `slot` up to date with the catalogue; `vectors` are those under its adapter."""
    n, have = len(item_ids), len(slot.rows)
    if slot.placed:
        slot.placed.extend(item_ids)
    if have == n and slot.done == vectors.now:
        return
    slot.users.clear()
    rows = stale(vectors, slot.done, have, n)
    made = slot.model.item_matrix([item_ids[i] for i in rows], vectors.rows(n)[rows])
    if not have:
        slot.rows = Rows(made.shape[1])
    slot.rows.upto(n)[rows] = made
    slot.done = vectors.now


def _canary(model: NextItem) -> None:
    """Score a few histories before a version may serve.

    Raises:
        StoreError: it answers with something that is not a number.
    """
    items = model.item_matrix([f"canary-{i}" for i in range(4)], np.eye(4, model.base_dim, dtype=np.float32))
    for t in (1, 4):
        logits = items @ model.user_vector(items[:t], np.arange(t, dtype=np.float64))
        if not np.isfinite(logits).all():
            raise StoreError("the canary batch must score finite numbers; the version is damaged")
