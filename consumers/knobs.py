"""The few settings that matter to `meander tune`: where each is looked for, and a piece of meander.toml with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream.settings import DAY_S, Settings


@dataclass(frozen=True, slots=True)
class Range:
    """Where a setting is looked for; by its logarithm, unless `even`."""

    low: float
    high: float
    even: bool = False


SPACE = {
    "scoring.blend_prior": Range(5.0, 500.0),
    "scoring.short_half_life_s": Range(DAY_S / 24, 14 * DAY_S),
    "scoring.long_half_life_s": Range(4 * DAY_S, 365 * DAY_S),
    "training.linear_ridge": Range(10.0, 3_000.0),
    "training.learning_rate": Range(5e-4, 1e-2),
    "model.dropout": Range(0.1, 0.7, even=True),
    "users.half_life_events": Range(10.0, 300.0),
}


def space(settings: Settings) -> dict[str, Range]:
    """The ranges of `SPACE`, widened to hold what is set; without those that are set to no number ("auto").

    >>> space(Settings(training={"linear_ridge": 5.0}))["training.linear_ridge"].low
    5.0
    """
    out: dict[str, Range] = {}
    for name, range_ in SPACE.items():
        value = _get(settings, name)
        if isinstance(value, int | float):
            out[name] = Range(min(range_.low, value), max(range_.high, value), range_.even)
    return out


def current(settings: Settings) -> dict[str, float]:
    """What is set, for every name of `space`."""
    return {name: float(_get(settings, name)) for name in space(settings)}


def changed(settings: Settings, values: Mapping[str, float]) -> Settings:
    """Settings with other values, by dotted names.

    >>> changed(Settings(), {"training.linear_ridge": 20.0}).training.linear_ridge
    20.0
    """
    for name, value in values.items():
        section, _, key = name.partition(".")
        old = getattr(settings, section)
        new = type(old).model_validate({**old.model_dump(), key: value})
        settings = settings.model_copy(update={section: new})
    return settings


def toml(values: Mapping[str, float], comments: Sequence[str] = ()) -> str:
    """Values by dotted names, as a piece of meander.toml.

    >>> print(toml({"model.dropout": 0.3}, ["tuned"]), end="")
    # tuned
    [model]
    dropout = 0.3
    """
    sections: dict[str, list[str]] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, []).append(f"{key} = {value!r}")
    blocks = ["\n".join([f"[{section}]", *lines]) for section, lines in sections.items()]
    return "".join(f"# {line}\n" for line in comments) + "\n\n".join(blocks) + "\n"


def _get(settings: Settings, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(settings, section), key)
