"""Histories cut into windows and batches: what the network is shown, and what it is asked for.

What is learned is what is asked for later: the items of a block from everything before the block. So an event's
target position is the last event of its person's *previous* block, and nothing of its own block helps to predict it.

Letters: n items, W windows of at most T inputs, B of them in a batch, m targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stream.history import Histories
from stream.lm import NO_GAP, gap_buckets

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Inputs and targets cut out of histories.

    The start counts as a person's event -1. Window k holds events k * T/2 - 1 and the T - 1 after it, and is asked
    only for what window k - 1 did not reach, so that no target lacks context.
    """

    rows: Ints  # (W, T) items, n: the start or padding
    gaps: Ints  # (W, T) buckets of the gap before each input
    lengths: Ints  # (W,) inputs that are no padding
    window: Ints  # (m,) where each target is asked for …
    position: Ints  # (m,)
    item: Ints  # (m,) … and what it is
    fresh: NDArray[np.bool_]  # (m,) in the newest window of the log

    @classmethod
    def cut(cls, histories: Histories, context: int, n_items: int) -> Windows:
        """Cut histories into windows of at most `context` inputs."""
        inputs: list[tuple[Ints, Ints]] = []
        targets: list[Ints] = []  # (m_i, 4): window, position, item, fresh
        stride = context // 2
        for lo, hi in zip(histories.starts[:-1], histories.starts[1:], strict=True):
            items, times_s = histories.items[lo:hi], histories.times_s[lo:hi]
            before = np.searchsorted(times_s, times_s, side="left") - 1  # last event of the block before, or -1
            number = np.maximum(-((context - 2 - before) // stride), 0)  # the first window that reaches it
            asked = (len(inputs) + number, before - (number * stride - 1), items, histories.fresh[lo:hi])
            targets.append(np.stack([column.astype(np.int64) for column in asked], axis=1))
            inputs += [_window(items, times_s, k * stride - 1, context, n_items) for k in range(int(number.max()) + 1)]
        table = np.concatenate([np.zeros((0, 4), np.int64), *targets])
        return cls(
            rows=_padded([rows for rows, _ in inputs], context, n_items),
            gaps=_padded([gaps for _, gaps in inputs], context, NO_GAP),
            lengths=np.array([len(rows) for rows, _ in inputs], np.int64),
            window=table[:, 0],
            position=table[:, 1],
            item=table[:, 2],
            fresh=table[:, 3].astype(bool),
        )


def _window(items: Ints, times_s: NDArray[np.float64], start: int, context: int, n_items: int) -> tuple[Ints, Ints]:
    """Inputs and gaps of the window of `context` events from `start`; event -1 is the start."""
    stop = start + context
    if start >= 0:
        return items[start:stop], gap_buckets(times_s[start:stop])
    rows, gaps = items[:stop], gap_buckets(times_s[:stop])
    return np.concatenate([[n_items], rows]), np.concatenate([[NO_GAP], gaps])


def _padded(arrays: Sequence[Ints], width: int, fill: int) -> Ints:
    out = np.full((len(arrays), width), fill, np.int64)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One optimiser step's worth of windows and targets, as tensors."""

    rows: torch.Tensor  # (B, T)
    gaps: torch.Tensor  # (B, T)
    at: torch.Tensor  # (m,) flat position in (B * T)
    item: torch.Tensor  # (m,)

    def to(self, device: str) -> Batch:
        """The same on another device."""
        return Batch(self.rows.to(device), self.gaps.to(device), self.at.to(device), self.item.to(device))


def batches(windows: Windows, chosen: NDArray[np.bool_], size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """One epoch: the windows that have `chosen` targets (m,), `size` at a time, in random order.

    Windows of like length go together, so that little is computed for padding.
    """
    targets = np.flatnonzero(chosen)
    targets = targets[np.argsort(windows.window[targets], kind="stable")]
    used = np.unique(windows.window[targets])
    shuffled = rng.permutation(used)
    pools = [shuffled[i : i + 16 * size] for i in range(0, len(shuffled), 16 * size)]
    ordered = [pool[np.argsort(windows.lengths[pool], kind="stable")] for pool in pools]
    groups = [pool[i : i + size] for pool in ordered for i in range(0, len(pool), size)]
    left = np.searchsorted(windows.window[targets], used, side="left")
    right = np.searchsorted(windows.window[targets], used, side="right")
    spans = {int(w): targets[a:b] for w, a, b in zip(used, left, right, strict=True)}
    for g in rng.permutation(len(groups)):
        yield _batch(windows, groups[g], [spans[int(w)] for w in groups[g]])


def _batch(windows: Windows, group: Ints, spans: Sequence[Ints]) -> Batch:
    width = int(windows.lengths[group].max())
    at = np.concatenate([windows.position[span] + i * width for i, span in enumerate(spans)])
    return Batch(
        rows=torch.from_numpy(windows.rows[group, :width]),
        gaps=torch.from_numpy(windows.gaps[group, :width]),
        at=torch.from_numpy(at),
        item=torch.from_numpy(windows.item[np.concatenate(spans)]),
    )
