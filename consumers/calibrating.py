"""What a training does for the drift of single people: the first fits the space, a refresh calibrates the detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from consumers.training_worker import Plan
from stream.gathering import Gathered
from stream.settings import Settings
from stream.space import Space


def fitted(data: Gathered, plan: Plan, settings: Settings) -> str:
    """Fit the drift space and put it beside the model; its name, "" where two items are not to be had."""
    item_ids = sorted(data.items.keys() | set(plan.item_ids))
    if len(item_ids) < 2:
        return ""
    row = {item: i for i, item in enumerate(item_ids)}
    rows = np.array([row[item] for item in plan.item_ids], np.int64)
    h = plan.histories
    space = Space.fit(
        item_ids,
        data.vectors(item_ids),
        [data.items[item].words if item in data.items else "" for item in item_ids],
        [rows[h.items[a:b]] for a, b in zip(h.starts[:-1], h.starts[1:], strict=True)],
        [h.times_s[a:b] for a, b in zip(h.starts[:-1], h.starts[1:], strict=True)],
        np.bincount(rows[h.items], minlength=len(item_ids)),
        plan.seed,
        users=settings.users,
        drift=settings.drift,
    )
    space.save(plan.made)
    return space.name


def again(directory: Path, plan: Plan, settings: Settings) -> list[float] | None:
    """The detector in the space of `directory`, as numbers, calibrated with the past that a refresh learns from.

    None where that says too little.

    Raises:
        StoreError: there is no space in the directory.
    """
    space = Space.load(directory)
    vectors = space.vectors(plan.item_ids, plan.text)
    b = plan.baskets
    people = [(b.items[i:k], b.times_s[i:k]) for i, k in zip(b.starts[:-1], b.starts[1:], strict=True)]
    found = space.detector_of(people, vectors, settings.users, settings.drift, plan.seed)
    return found.numbers() if found.on else None
