"""Adapts the text encoder to what people do: LoRA on its attention projections, trained on history → next item.

Low-rank changes of frozen weights (Hu et al., LoRA, 2021) through `peft`, which only training needs: an adapter is
applied by adding its products to the weights. The loss is contrastive (van den Oord et al., 2018): the text of the
next item against texts of the other items of a step. Every item of a step comes next equally often, and is an
alternative equally often, so that popularity cancels; other features of the blend say it. A person is the decayed mean
of the vectors of what they had before; those vectors are as of when their item was last drawn (a memory bank; Wu et
al., 2018), so that a step reads the texts of its own items only. There is one adapter, which goes on from version to
version; a proximal term holds it near to where it was.

Letters: n items, b base width, m pairs, h items of a history, k items of a step, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn import functional

from stream.adapted import Adapted
from stream.errors import StoreError, TrainingError
from stream.history import Histories
from stream.settings import Training
from stream.text import TextEncoder

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Progress = Callable[[int, int, float], None]  # step, steps, loss

# names of attention projections, as models of `transformers` have them
ATTENTION = frozenset(
    {"query", "key", "value", "query_proj", "key_proj", "value_proj", "q_proj", "k_proj", "v_proj"}
    | {"q_lin", "k_lin", "v_lin", "q", "k", "v", "Wqkv"}
)
SCALE = 2  # of a product B @ A; peft's lora_alpha / r
ITEMS = 48  # k: items of a step, each the next one of PER_ITEM histories, drawn with replacement
PER_ITEM = 8
HISTORY = 20  # h: newest items of a history
DECAY = 0.9  # weight of an item against that of the one after it
TEMPERATURE = 0.07
PROXIMAL = 0.01  # times the squared distance to the adapter before
FLATTENING = 0.75  # items are drawn in proportion to count ** 0.75
WARM_UP_SHARE = 0.1  # of the steps: the learning rate rises


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """Low-rank changes of an encoder's weights, by their names: `X.A` (r, inputs) and `X.B` (outputs, r)."""

    weights: dict[str, Floats]

    @property
    def name(self) -> str:
        """Of the weights themselves: the same adapter has the same name."""
        digest = blake2b(digest_size=6)
        for name, weight in sorted(self.weights.items()):
            digest.update(name.encode() + weight.tobytes())
        return digest.hexdigest()

    def applied(self, encoder: TextEncoder) -> TextEncoder:
        """The encoder with these changes.

        Raises:
            StoreError: they are changes of another encoder.
        """
        modules = sorted(name.removesuffix(".A") for name in self.weights if name.endswith(".A"))
        try:
            return encoder.with_changes({
                f"{module}.weight": np.float32(SCALE) * (self.weights[f"{module}.B"] @ self.weights[f"{module}.A"])
                for module in modules
            })  # fmt: skip
        except (ValueError, KeyError) as error:
            raise StoreError(f"the adapter must fit model.encoder: {error}") from None

    def save(self, directory: Path) -> None:
        """Write adapter.safetensors into `directory`."""
        save_file(self.weights, directory / "adapter.safetensors")

    @classmethod
    def load(cls, directory: Path) -> Adapter | None:
        """Read what `save` wrote; None where nothing was.

        Raises:
            StoreError: the file is damaged.
        """
        path = directory / "adapter.safetensors"
        try:
            return cls(load_file(path)) if path.exists() else None
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{path} must hold an adapter: {error}") from None


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A finished training of an adapter."""

    adapter: Adapter
    steps: int
    first_loss: float  # mean over the first tenth of the steps, nats per pair
    loss: float  # over the last tenth


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Histories and what came next, in order of the latter.

    >>> events = np.array([2, 0, 1, 0]), np.array([0.0, 60.0, 60.0, 120.0])
    >>> pairs = Pairs.cut(Histories(np.array([0, 4]), *events, np.ones(4, bool)), np.ones(3, bool))
    >>> pairs.item.tolist(), pairs.history[:, :2].tolist()  # 3: nothing; an item that comes again is not in its history
    ([0, 0, 1], [[2, 3], [1, 2], [2, 3]])
    """

    item: Ints  # (m,)
    history: Ints  # (m, h) rows of items, newest first; n: none
    starts: Ints  # (n + 1,): item i has the pairs starts[i] to starts[i + 1]

    @classmethod
    def cut(cls, histories: Histories, worded: NDArray[np.bool_]) -> Pairs:
        """Pairs of `histories` over items of which some are `worded` (n,); a history ends with the block before."""
        n, back = len(worded), np.arange(HISTORY)
        rows, found = [np.zeros((0, HISTORY), np.int64)], [np.zeros(0, np.int64)]
        for lo, hi in zip(histories.starts[:-1], histories.starts[1:], strict=True):
            items, times_s = histories.items[lo:hi], histories.times_s[lo:hi]
            before = np.searchsorted(times_s, times_s, side="left") - 1
            at = before[:, None] - back  # (events, h)
            history = np.where(at >= 0, items[np.maximum(at, 0)], n)
            rows.append(_closed(np.where(history == items[:, None], n, history), n))
            found.append(items)
        item, history = np.concatenate(found), np.concatenate(rows)
        kept = np.flatnonzero(worded[item] & (history[:, 0] < n))
        kept = kept[np.argsort(item[kept], kind="stable")]
        counts = np.bincount(item[kept], minlength=n)
        return cls(item[kept], history[kept], np.concatenate([[0], np.cumsum(counts)]))


def fit(
    encoder: TextEncoder,
    texts: Sequence[str],
    vectors: Floats,
    histories: Histories,
    training: Training,
    *,
    seed: int,
    parent: Adapter | None = None,
    progress: Progress | None = None,
) -> Fit | None:
    """Train an adapter, from nothing or on from `parent`; None where there is nothing to learn from.

    Args:
        encoder: the base encoder.
        texts: of the n items of `histories`; "" where there is none.
        vectors: what those items' texts are before the training (n, b).
        histories: what people did; old events and new ones alike.
        training: `adapter_steps`, `adapter_rank`, `adapter_learning_rate` and `device` are used.
        seed: of all draws.
        parent: the adapter to go on from.
        progress: is told of each step.

    Raises:
        TrainingError: the encoder has no attention projections that are known, or the loss is no longer a number.
    """
    pairs = Pairs.cut(histories, np.array([bool(text.strip()) for text in texts]))
    if np.count_nonzero(np.diff(pairs.starts)) < 2:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(encoder, training, parent)
        run = _Run(encoder, network, texts, vectors, pairs, training, np.random.default_rng(seed))
        for step in range(training.adapter_steps):
            run.step()
            if progress:
                progress(step + 1, training.adapter_steps, run.losses[-1])
    tenth = max(len(run.losses) // 10, 1)
    first, last = float(np.mean(run.losses[:tenth])), float(np.mean(run.losses[-tenth:]))
    return Fit(Adapter(_weights(network)), len(run.losses), first, last)


def load(encoder: TextEncoder, directory: Path) -> tuple[TextEncoder, Adapted]:
    """The encoder under the adapter of the version in `directory`, and the vectors which that version ships.

    Raises:
        StoreError: the version has none, or one of another encoder.
    """
    adapter, shipped = Adapter.load(directory), Adapted.load(directory)
    if adapter is None or shipped is None:
        raise StoreError(f"{directory} must hold an adapter and the vectors under it")
    return adapter.applied(encoder), shipped


@dataclass(slots=True)
class _Run:
    """The steps of one training."""

    encoder: TextEncoder
    network: Any
    texts: Sequence[str]
    vectors: Floats
    pairs: Pairs
    training: Training
    rng: np.random.Generator
    losses: list[float] = field(default_factory=list)
    bank: Tensor = field(init=False)  # (n + 1, b); the last row, zeros: no item
    parameters: list[Tensor] = field(init=False)
    before: list[Tensor] = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    schedule: torch.optim.lr_scheduler.LRScheduler = field(init=False)
    chance: NDArray[np.float64] = field(init=False)  # (n,) that an item is the next one drawn

    def __post_init__(self) -> None:
        device, n = self.training.device, len(self.vectors)
        self.network.to(device)
        self.bank = torch.zeros(n + 1, self.vectors.shape[1], device=device)
        self.bank[:n] = torch.from_numpy(self.vectors)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.before = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.AdamW(self.parameters, self.training.adapter_learning_rate, weight_decay=0.0)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._rate)
        weights = np.diff(self.pairs.starts).astype(np.float64) ** FLATTENING
        self.chance = weights / weights.sum()

    def step(self) -> None:
        """One step: draw items, their histories, and bring the one nearer to the other."""
        drawable = int(np.count_nonzero(self.chance))
        drawn = self.rng.choice(len(self.chance), min(ITEMS, drawable), replace=False, p=self.chance)
        rows, column = self._histories(drawn)
        vectors = self._read(drawn)  # (k, b)
        loss = self._contrast(vectors, drawn, rows, column)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"loss of the adapter must stay finite, got {value} at step {len(self.losses) + 1}")
        moved = sum(((p - old) ** 2).sum() for p, old in zip(self.parameters, self.before, strict=True))
        self.optimiser.zero_grad()
        (loss + PROXIMAL * moved).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.bank[torch.from_numpy(drawn)] = vectors.detach()
        self.losses.append(value)

    def _histories(self, drawn: Ints) -> tuple[Ints, Ints]:
        """PER_ITEM histories (m, h) for each drawn item, and which of the drawn (m,) came next."""
        column = np.repeat(np.arange(len(drawn)), PER_ITEM)
        starts, stops = self.pairs.starts[drawn[column]], self.pairs.starts[drawn[column] + 1]
        at = starts + (self.rng.random(len(column)) * (stops - starts)).astype(np.int64)
        return self.pairs.history[at], column

    def _contrast(self, vectors: Tensor, drawn: Ints, rows: Ints, column: Ints) -> Tensor:
        """Mean loss of finding the drawn item that came next among all drawn ones that are not in the history."""
        device = vectors.device
        history = torch.from_numpy(rows).to(device)
        weights = DECAY ** torch.arange(rows.shape[1], device=device)
        people = functional.normalize((self.bank[history] * weights[None, :, None]).sum(1), dim=1)  # (m, b)
        scores = people @ vectors.T / TEMPERATURE  # (m, k)
        had = torch.from_numpy((rows[:, :, None] == drawn).any(axis=1)).to(device)  # (m, k)
        return functional.cross_entropy(scores.masked_fill(had, -torch.inf), torch.from_numpy(column).to(device))

    def _read(self, drawn: Ints) -> Tensor:
        """Unit vectors (k, b) of the texts of the drawn items, as `stream.text` makes them."""
        tokens = [self.encoder.tokens(self.texts[i]) for i in drawn]
        ids = torch.zeros(len(tokens), max(map(len, tokens)), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(tokens):
            ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
        ids, mask = ids.to(self.training.device), mask.to(self.training.device)
        hidden = self.network(input_ids=ids, attention_mask=mask).last_hidden_state  # (k, tokens, b)
        total = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return functional.normalize(total, dim=1)

    def _rate(self, step: int) -> float:
        """Rises over the first steps, then falls to a tenth as a cosine."""
        steps = self.training.adapter_steps
        rise = min(1.0, (step + 1) / (WARM_UP_SHARE * steps + 1))
        return rise * (0.55 + 0.45 * math.cos(math.pi * min(step / steps, 1.0)))


def _network(encoder: TextEncoder, training: Training, parent: Adapter | None) -> Any:
    """A copy of the encoder's network with LoRA in its attention, all else frozen."""
    from peft import LoraConfig, inject_adapter_in_model

    network = encoder.copied()
    targets = [
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in ATTENTION
    ]
    if not targets:
        raise TrainingError(f"model.encoder must have attention projections with a known name, got a {type(network)}")
    rank = training.adapter_rank
    known = parent.weights if parent else {}
    rank = next((len(weight) for name, weight in known.items() if name.endswith(".A")), rank)
    config = LoraConfig(r=rank, lora_alpha=SCALE * rank, lora_dropout=0.0, target_modules=targets, bias="none")
    inject_adapter_in_model(config, network)
    own = dict(network.named_parameters())
    for name, weight in known.items():
        place = own.get(_peft_name(name))
        if place is None or tuple(place.shape) != weight.shape:
            raise TrainingError(f"the adapter of the parent must fit model.encoder, got {name} {weight.shape}")
        with torch.no_grad():
            place.copy_(torch.from_numpy(weight))
    return network.eval()  # no dropout: a step has few texts


def _peft_name(name: str) -> str:
    module, _, half = name.rpartition(".")
    return f"{module}.lora_{half}.default.weight"


def _weights(network: Any) -> dict[str, Floats]:
    own: Mapping[str, Tensor] = dict(network.named_parameters())
    halves = {name: name.replace(".lora_", ".").removesuffix(".default.weight") for name in own if ".lora_" in name}
    return {short: own[name].detach().cpu().float().numpy().copy() for name, short in halves.items()}


def _closed(history: Ints, n: int) -> Ints:
    """Rows of items with the gaps (`n`) moved to the end."""
    return np.take_along_axis(history, np.argsort(history == n, axis=1, kind="stable"), axis=1)
