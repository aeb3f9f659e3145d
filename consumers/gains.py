"""What some settings gain over others on the same events: paired figures with intervals, and the same in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from consumers.knobs import toml

DRAWS = 1_000  # of the bootstrap
MEASURES = {"ndcg": "NDCG", "ndcg_10": "NDCG at 10", "hit_rate_10": "hit rate at 10"}


def compared(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], seed: int) -> dict[str, Any]:
    """Two outcomes of the same events, as `Outcome.sums` gives them; intervals of 95 %, people drawn with replacement.

    >>> found = compared([[1, 1], [0.5, 0.5], [0, 0], [0, 0]], [[1, 1], [0.75, 0.75], [0, 0], [0, 0]], seed=0)
    >>> found["ndcg"]
    {'before': 0.5, 'after': 0.75, 'difference': 0.25, 'ci95': [0.25, 0.25]}
    """
    one, other = np.array(before, np.float64), np.array(after, np.float64)
    n, random = one[0], np.random.default_rng(seed)
    draws = np.empty((DRAWS, len(MEASURES)))
    for draw in draws:
        weights = np.bincount(random.integers(len(n), size=len(n)), minlength=len(n))
        draw[:] = (other[1:] - one[1:]) @ weights / max(weights @ n, 1.0)
    total, (low, high) = max(n.sum(), 1.0), np.quantile(draws, (0.025, 0.975), axis=0)
    out: dict[str, Any] = {"events": int(n.sum()), "people": len(n)}
    for place, name in enumerate(MEASURES):
        mean, better = one[place + 1].sum() / total, other[place + 1].sum() / total
        figures = {"before": mean, "after": better, "difference": better - mean}
        out[name] = {key: round(float(value), 5) for key, value in figures.items()}
        out[name]["ci95"] = [round(float(low[place]), 5), round(float(high[place]), 5)]
    return out


def summary(result: dict[str, Any]) -> list[str]:
    """What a tuning came to, in lines."""
    number, stopped = result["best_trial"], result["stopped_early"]
    lines = [f"{result['trials']} trials, {stopped} of them stopped early; the best is trial {number}"]
    if number == 1:
        return [*lines, "that is the one with the settings as they are: nothing to change"]
    lines.append(
        _difference(f"on the {result['tuned_on']['events']:,} events that it was tuned on", result["tuned_on"])
    )
    later = result["later"]
    if later is None:
        return [*lines, "the log ends with the slice, so nobody knows whether that would last"]
    lines.append(_difference(f"on {later['events']:,} events after those, never tuned on", later))
    return [*lines, verdict(later)]


def verdict(later: dict[str, Any]) -> str:
    """What the events after the slice say.

    >>> verdict({"ndcg": {"ci95": [-0.001, 0.004]}})
    'no proof that it gains there: keep the settings as they are, or tune on more events (--events)'
    """
    low, high = later["ndcg"]["ci95"]
    if low > 0:
        return "it gains there, too: these settings are worth having"
    if high < 0:
        return "it loses there: keep the settings as they are"
    return "no proof that it gains there: keep the settings as they are, or tune on more events (--events)"


def snippet(result: dict[str, Any]) -> str:
    """The best settings, for meander.toml."""
    lines = [f"meander tune: {result['dataset']}, {result['events']:,} events, {result['trials']} trials"]
    if result["later"] is not None:
        lines.append(_difference("on later events", result["later"]))
    return toml(result["settings"], lines)


def _difference(where: str, found: dict[str, Any]) -> str:
    parts = [
        f"{shown} {found[name]['before']:.4f} -> {found[name]['after']:.4f} "
        f"({found[name]['difference']:+.4f}, 95 %: {found[name]['ci95'][0]:+.4f} to {found[name]['ci95'][1]:+.4f})"
        for name, shown in MEASURES.items()
    ]
    return f"{where}: " + ", ".join(parts)
