"""Made-up logs with one planted change each, and what plays many of them cheaply."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.scorer import ScorerHandler
from producers.synthetic import DAY_S, START_S, Plan, World
from stream import topics
from stream.records import Output
from stream.settings import Settings, load

Floats = NDArray[np.float32]

DAYS, CHANGE_DAY = 90.0, 60.0
CHANGE_S = START_S + CHANGE_DAY * DAY_S
BASE = Plan(users=300, items=400, events=20_000, days=DAYS, swaps=0.0, gradual=0.0, styles=3)
PLANTS: dict[str, dict[str, Any]] = {
    "users": {"swaps": 0.2, "swap_day": CHANGE_DAY},  # 20 % of the users, each to another topic
    "category": {"category_day": CHANGE_DAY},  # all users of a topic to another
    "segment": {"segment_day": CHANGE_DAY},  # what goes with what within a topic
    "population": {"population_day": CHANGE_DAY},  # what is popular within each topic
    "tastes": {"tastes_day": CHANGE_DAY},  # what goes with what, everywhere
    "sequence": {"sequence": 0.7, "sequence_day": CHANGE_DAY},  # what comes after what
    "arrivals": {"arrivals_day": CHANGE_DAY},  # new items
}
APART = ("arrivals", "sequence", "weekend")  # of all kinds: these differ from the others before the change, too
CALM: dict[str, dict[str, Any]] = {"null": {}, "weekend": {"weekend": 0.4}}  # nothing to be found


def world(kind: str, seed: int, events: int) -> World:
    """A log of one kind; up to the change it is that of `null`, but for `APART`."""
    return World(replace(BASE, events=events, seed=seed, **(PLANTS | CALM)[kind]))


def settings(seed: int, drift: Mapping[str, Any] | None = None, **trigger: Any) -> Settings:
    """For logs of this size: shorter trainings, and a tenth of the events between two of them."""
    cheap = {"max_steps": 400, "max_refresh_steps": 200}
    return load(trigger={"min_new_events": 500, **trigger}, drift=dict(drift or {}), training=cheap, seed=seed)


def unlisted(handler: ScorerHandler, number: int, part: Any, user_id: str, *_: Any) -> Output:  # noqa: ARG001
    """In place of a list, which nobody reads here."""
    return Output(topics.RECOMMENDATIONS, user_id.encode(), None, number)


class Words:
    """A text encoder for made-up titles: each word has a direction of its own, and a text is their mean."""

    dim = 48

    def encode(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, dim); zeros for a text without words."""
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in re.findall("[a-z]+", text.lower()):
                row += _direction(word)
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        return np.asarray(out / np.where(norms > 0, norms, 1), np.float32)


@cache
def _direction(word: str) -> Floats:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(Words.dim).astype(np.float32)
