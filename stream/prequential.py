"""A paired test-then-learn run over a log: the blend with a candidate against the blend with the live model.

The gate's own experiment. Both arms see the same blocks in the same order, share statistics and start from the same
blend weights; only the language model's feature differs. Nothing of a block is learned before it has been tested, and
neither model has been trained on the blocks that count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.blend import Blend, standardise, with_version
from stream.gate import PairedBlocks
from stream.groups import stage
from stream.history import LoggedEvent
from stream.linear import LinearModel, Placed
from stream.peers import Peers
from stream.ranker import Past, Ranker, View
from stream.ranking import rank_gain, rank_of
from stream.settings import Settings
from stream.statistics import Catalogue, ItemStats

Floats = NDArray[np.float32]

HISTORY_EVENTS = 60_000  # newest events before the hold-out that fill the statistics
BURN_IN_BLOCKS = 400  # blocks before the hold-out on which the blend's weights settle, with the live model
MOST_BLOCKS = 4_000  # newest blocks of the hold-out that are tested


class Model(Protocol):
    """A next-item model as the blend uses it; see `stream.lm.NextItemLM`."""

    @property
    def linear(self) -> LinearModel | None:
        """The linear item model of the same version, if it has one."""
        ...

    @property
    def adapter(self) -> str:
        """The adapter of its text vectors; "": they are base vectors."""
        ...

    def item_matrix(self, item_ids: Sequence[str], vectors: Floats) -> Floats:
        """Item vectors (n, d) from ids and base vectors (n, base dim), or such under its adapter."""
        ...

    def user_vector(self, item_vectors: Floats, times_s: NDArray[np.float64]) -> Floats:
        """User vector (d,) from the tail's item vectors (t, d), oldest first."""
        ...


@dataclass(slots=True)
class _Arm:
    """The blend with one model."""

    model: Model | None
    matrix: Floats
    placed: Placed | None  # the linear model
    blend: Blend
    ranks: list[float] = field(default_factory=list)  # reciprocal, mean per block

    def logits(self, person: Past) -> Floats | None:
        if self.model is None or not person.tail:
            return None
        user = self.model.user_vector(self.matrix[person.tail], np.asarray(person.tail_s))
        out: Floats = self.matrix @ user
        return out

    def linear(self, person: Past) -> NDArray[np.float64] | None:
        return self.placed.scores(list(person.owned)) if self.placed else None


def paired_losses(
    log: Sequence[LoggedEvent],
    hold_out_from_s: float,
    candidate: Model,
    live: Model | None,
    item_vectors: dict[str, Floats],
    settings: Settings,
) -> PairedBlocks:
    """Test the hold-out's blocks with both models.

    Args:
        log: events in order of time, of people with a live state.
        hold_out_from_s: event time; blocks that begin at or after it are tested and count.
        candidate: the model that asks to go live.
        live: the model that it would replace; None: the blend has no model.
        item_vectors: base vectors (base dim,) by item id; a model with an adapter uses those that it ships instead.
        settings: `scoring` and `users` are used.

    Returns:
        One entry per tested block, in order of time.
    """
    catalogue = Catalogue()
    for item_id in item_vectors:
        catalogue.add(item_id)
    for event in log:
        catalogue.add(event.item_id)
    base_dim = len(next(iter(item_vectors.values()))) if item_vectors else 1
    vectors = np.zeros((len(catalogue), base_dim), np.float32)
    for item_id, vector in item_vectors.items():
        vectors[catalogue.ordinals[item_id]] = vector

    run = _Run(
        settings, catalogue, _arm(candidate, catalogue, vectors, settings), _arm(live, catalogue, vectors, settings)
    )
    begin = next((i for i, e in enumerate(log) if e.at_s >= hold_out_from_s), len(log))
    before = list(_blocks(log[max(0, begin - HISTORY_EVENTS) : begin]))
    for block in before[:-BURN_IN_BLOCKS]:
        run.learn(block)
    for block in before[-BURN_IN_BLOCKS:]:
        run.test(block, burn_in=True)
        run.learn(block)
    run.candidate.blend = run.live.blend.copy()
    held_out = list(_blocks(log[begin:]))
    for block in held_out[:-MOST_BLOCKS]:
        run.learn(block)
    for block in held_out[-MOST_BLOCKS:]:
        run.test(block)
        run.learn(block)
    return run.outcome()


@dataclass(slots=True)
class _Run:
    settings: Settings
    catalogue: Catalogue
    candidate: _Arm
    live: _Arm
    stats: ItemStats = field(init=False)
    ranker: Ranker = field(init=False)
    people: dict[str, Past] = field(default_factory=dict)
    peers: Peers = field(default_factory=Peers)
    users: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)  # in log rank, mean per block
    drifted: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        c = self.settings.scoring
        self.stats = ItemStats(c.short_half_life_s, c.long_half_life_s, c.neighbours)
        self.ranker = Ranker(self.catalogue, [self.stats])

    def items(self, block: Sequence[LoggedEvent], person: Past) -> list[int]:
        """Ordinals that count: all, or first ones only where repeats do not."""
        items = [self.catalogue.ordinals[e.item_id] for e in block]
        if self.settings.scoring.repeats:
            return items
        return [i for i in dict.fromkeys(items) if i not in person.owned]

    def test(self, block: Sequence[LoggedEvent], burn_in: bool = False) -> None:
        """Rank a block's items in both arms and teach each arm's weights; with `burn_in` in the live arm alone."""
        person = self.people.setdefault(block[0].user_id, Past())
        repeats = self.settings.scoring.repeats
        counts = self.ranker.counts()
        headline = counts > 0
        if not repeats:
            headline[list(person.owned)] = False
        items = [i for i in self.items(block, person) if headline[i]]
        if not items:
            return
        rates = self.peers.rates(person.owned) if repeats else None
        view = View(person.tail, person if repeats else None, rates, owned=len(person.owned))
        peers = self.peers.scores(block[0].user_id, list(person.owned), block[0].at_s, len(counts))
        z = standardise(self.ranker.features(view, block[0].at_s, None, peers=peers, counts=counts), headline)
        known = person.facts(block[0].at_s, repeats)
        tested: list[list[int]] = []  # ranks, by arm
        for arm in (self.live,) if burn_in else (self.live, self.candidate):
            own = with_version(z, arm.logits(person), arm.linear(person), headline)
            expected = arm.blend.expect(own, headline, known)
            if not burn_in:
                tested.append([rank_of(expected.scores, i, headline) for i in items])
                arm.ranks.append(float(np.mean([1.0 / (r + 1) for r in tested[-1]])))
            arm.blend.learn(expected.gradient_of(items))
        if not burn_in:
            self.gains.append(float(np.mean([rank_gain(*ranks) for ranks in zip(*tested, strict=True)])))
            self.users.append(block[0].user_id)
            self.sizes.append(len(items))
            self.drifted.append(block[0].drifted)

    def learn(self, block: Sequence[LoggedEvent]) -> None:
        """Fold a block into statistics and its person's history."""
        person = self.people.setdefault(block[0].user_id, Past())
        items = self.items(block, person)
        if not items:
            return
        at_s = block[-1].at_s
        self.stats.learn(at_s, person.tail, items, stage(len(person.owned)))
        person.take(items, at_s, self.settings.users.tail)
        self.peers.put(block[0].user_id, person, dict.fromkeys(items, 1))

    def outcome(self) -> PairedBlocks:
        """What the candidate gained and both arms ranked, block by block."""
        return PairedBlocks(
            users=np.array(self.users, dtype=str),
            n=np.array(self.sizes, np.int64),
            gain=np.array(self.gains),
            live_rr=np.array(self.live.ranks),
            candidate_rr=np.array(self.candidate.ranks),
            drifted=np.array(self.drifted, bool),
        )


def _arm(model: Model | None, catalogue: Catalogue, vectors: Floats, settings: Settings) -> _Arm:
    own = np.zeros_like(vectors) if model and model.adapter else vectors
    matrix = model.item_matrix(catalogue.ids, own) if model else np.zeros((0, 0), np.float32)
    placed = Placed(model.linear) if model and model.linear else None
    if placed:
        placed.extend(catalogue.ids)
    return _Arm(model, matrix, placed, Blend(settings.scoring.blend_prior))


def _blocks(log: Sequence[LoggedEvent]) -> Iterator[list[LoggedEvent]]:
    """Runs of events of one user and block."""
    for _, events in groupby(log, key=lambda e: (e.user_id, e.block)):
        yield list(events)
