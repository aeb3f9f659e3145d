"""Bad versions on purpose: weights damaged in several ways, and trainings on labels that were shuffled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.training_worker import Plan
from stream.baskets import Baskets
from stream.history import Histories
from stream.linear import LinearModel
from stream.lm import NextItemLM

Damage = str
DAMAGES = ("noise", "zeroed", "layer gone", "items permuted", "linear items permuted", "everything permuted")
BASKETS = ("starts", "items", "blocks", "times_s")


def damaged(lm: NextItemLM, kind: Damage, rng: np.random.Generator) -> NextItemLM:
    """A copy with damaged weights.

    `noise`: to every weight of the next-item LM as much noise as it has spread. `zeroed`: its item ids say nothing.
    `layer gone`: attention of one layer is drawn anew, a hundred times too strong. `items permuted`: item rows of the
    LM belong to other items. `linear items permuted`: those of the linear models. `everything permuted`: both.
    """
    weights, linear = dict(lm.weights), lm.linear
    if kind == "noise":
        weights = {name: _noisy(w, rng) for name, w in weights.items()}
    elif kind == "zeroed":
        weights["id.weight"] = np.zeros_like(weights["id.weight"])
    elif kind == "layer gone":
        name = f"gpt2.h.{int(rng.integers(lm.shape.layers))}.attn.c_proj.weight"
        weights[name] = rng.normal(0, 100 * float(weights[name].std()) + 1e-6, weights[name].shape).astype(np.float32)
    if kind in ("items permuted", "everything permuted"):
        weights["id.weight"] = rng.permutation(weights["id.weight"])
    if linear and kind in ("linear items permuted", "everything permuted"):
        linear = LinearModel(tuple(rng.permutation(linear.item_ids).tolist()), linear.alike, linear.after)
    return NextItemLM(lm.shape, lm.item_ids, weights, linear, lm.adapted)


def shuffled(plan: Plan, rng: np.random.Generator, directory: Path) -> Plan:
    """The same training on shuffled labels: who did something, and when, stays; what they took is another event's."""
    h, b = plan.histories, plan.baskets
    return replace(
        plan,
        directory=directory,
        histories=Histories(h.starts, rng.permutation(h.items), h.times_s, h.fresh),
        baskets=Baskets(b.starts, rng.permutation(b.items), b.blocks, b.times_s),
    )


def _noisy(weight: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    spread: Any = weight.std() if weight.size > 1 else 0.0
    return (weight + rng.normal(0, spread + 1e-6, weight.shape)).astype(np.float32)
