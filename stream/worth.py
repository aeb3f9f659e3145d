"""What a refresh may be expected to bring, judged by what earlier ones of this deployment brought and cost.

A refresh gains something per event, in log rank (`stream.ranking.rank_gain`), for as long as it serves. How long that
will be nobody knows; as long again as the version before it has served is the best guess without further knowledge
(Gott, *Implications of the Copernican principle*, Nature 363, 1993). So a training is worth its price once *gain per
event x events since the last one* is above it: what is left to gain grows with the events, and so does the time over
which it pays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stream.messages import ModelVersion, Ruling
from stream.settings import Settings

KEPT = 0.8  # weight of a refresh beside the next one of its kind
PRIOR = {  # by reason: gain per event and unit of evidence, and how many units of evidence that counts for
    "population": (0.2, 0.8),  # per nat that the loss has risen
    "segment": (0.2, 0.2),
    "users": (0.4, 0.4),  # per share of events that are of people who have just turned
    "new-items": (0.3, 0.8),  # per share of events that are about unknown items
    "staleness": (0.1, 1.0),  # per e-fold that the log has grown
}


@dataclass(frozen=True, slots=True)
class Worth:
    """Expectations, and what they rest on.

    >>> nothing = Worth.of([], Settings(), now_s=0.0)
    >>> round(nothing.gain("staleness", 0.5, 10_000)), nothing.price
    (500, 1800.0)
    """

    rates: Mapping[str, float]  # by reason: expected gain per event and unit of evidence
    price: float  # of a training, in gain
    refreshes: int  # whose outcome is known
    seconds: float  # of one, on average; for people to read

    @classmethod
    def of(cls, records: Iterable[ModelVersion | Ruling], settings: Settings, now_s: float) -> Worth:
        """What the versions and rulings say that are in force at event time `now_s`.

        The gain of a refresh is the gate's, or that of the ruling that ended its shadow; nothing if it was refused or
        rolled back. One that is still in shadow says nothing yet. A training costs its optimiser steps: seconds
        depend on what else a machine does, and the same log must lead to the same decisions. Before there was a
        refresh, one is thought to look at as much as the first training did, in its own number of epochs.
        """
        book, training = _Book(), settings.training
        for record in records:
            book.take(record, now_s)
        gained = {reason: rate * units for reason, (rate, units) in PRIOR.items()}
        units = {reason: units for reason, (_, units) in PRIOR.items()}
        most, share = training.max_refresh_steps, training.epochs / training.warm_up_epochs
        steps, refreshes, seconds = float(min(book.first * share or most, most)), 0, 0.0
        for version, gain in book.outcomes():
            size = version.evidence.get("size", 0.0)
            if version.trigger in units and size > 0:
                gained[version.trigger] = KEPT * gained[version.trigger] + gain
                units[version.trigger] = KEPT * units[version.trigger] + size
            refreshes, steps, seconds = refreshes + 1, steps + version.steps, seconds + version.seconds
        price = settings.trigger.step_worth * steps / (refreshes + 1)
        return cls(
            {reason: max(gained[reason] / units[reason], 0.0) for reason in PRIOR},
            price,
            refreshes,
            seconds / max(refreshes, 1),
        )

    def gain(self, reason: str, size: float, events: int) -> float:
        """Log rank that a refresh is expected to gain while it serves.

        Args:
            reason: why it would be trained.
            size: of the evidence, in the units of `PRIOR`.
            events: interactions that it is expected to serve.
        """
        return self.rates[reason] * size * events


@dataclass(slots=True)
class _Book:
    """Refreshes, oldest first, and what was ruled about them."""

    versions: dict[str, ModelVersion] = field(default_factory=dict)
    rulings: dict[str, Ruling] = field(default_factory=dict)  # the newest, by version
    first: int = 0  # steps of the first training, whose share a refresh is thought to take before there was one

    def take(self, record: ModelVersion | Ruling, now_s: float) -> None:
        if record.live_at_s > now_s:
            return
        if isinstance(record, Ruling):
            if record.version not in self.rulings or record.ruling == "rollback":
                self.rulings[record.version] = record
        elif record.parent and record.steps:
            self.versions[record.version] = record
        elif record.steps:
            self.first = record.steps

    def outcomes(self) -> list[tuple[ModelVersion, float]]:
        out: list[tuple[ModelVersion, float]] = []
        for version in sorted(self.versions.values(), key=lambda v: (v.at_s, int(v.version[1:]))):
            ruling = self.rulings.get(version.version)
            if ruling is not None:
                gain = ruling.numbers.get("gain", 0.0) if ruling.ruling == "promoted" else 0.0
            elif version.verdict == "undecided" and version.path:
                continue
            else:
                gain = float(version.gate.get("gain", 0.0)) if version.verdict == "promoted" else 0.0
            out.append((version, max(gain, 0.0)))
        return out
