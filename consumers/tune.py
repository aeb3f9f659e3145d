"""`meander tune`: Optuna over the few settings that matter, on the beginning of a log; goes on where it stopped.

The first trial has the settings as they are; the others are drawn by TPE (Bergstra et al. 2011), and end early where
they lie below the median of those before. What the best one gains is then measured on events for which nothing was
tuned. A study belongs to its log, its slice, its space and the settings that stay: another one is refused.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from consumers.encoder import Encoder
from consumers.gains import compared, snippet, summary
from consumers.knobs import changed, current, space
from consumers.trials import Remembering, Slices
from stream.errors import StateError
from stream.events import Interaction, Item
from stream.item_text import item_text
from stream.settings import Settings, masked
from stream.text import TextEncoder

STARTUP = 8  # trials drawn at random before TPE knows enough
FIRST_REPORT = 5  # of a trial after which it may end early
DONE = (TrialState.COMPLETE, TrialState.PRUNED)

Tell = Callable[[str], None]


@dataclass(slots=True)
class Tuning:
    """A study in a directory.

    Args:
        slices: of the log.
        settings: as they are; those of `consumers.knobs.space` are changed.
        encoder: best one that remembers, see `consumers.trials.Remembering`.
        directory: where the study lies, or will.
        seed: of what is drawn; the same seed gives the same trials, whether interrupted or not.
        tell: gets a line of progress.

    Raises:
        StateError: the study there belongs to something else, or is damaged.
    """

    slices: Slices
    settings: Settings
    encoder: Encoder
    directory: Path
    seed: int = 0
    tell: Tell = field(default_factory=lambda: _say)
    study: optuna.Study = field(init=False)
    _spent_s: list[float] = field(default_factory=list)  # of this run's trials

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = _opened(self.directory, self._identity())
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)  # a run that was killed

    def run(self, trials: int) -> dict[str, Any]:
        """Try until there are `trials` finished ones, then measure; returns what `meander tune --json` prints."""
        while (n := len(self.finished())) < max(trials, 1):
            began_s = time.perf_counter()
            found = self._first() if not n else self._next(n)
            self._spent_s.append(time.perf_counter() - began_s)
            self.tell(self._line(found, n + 1, trials))
        return self._result()

    def finished(self) -> list[FrozenTrial]:
        """Trials that count, oldest first."""
        return self.study.get_trials(deepcopy=False, states=DONE)

    def _first(self) -> FrozenTrial:
        """The settings as they are."""
        values = current(self.settings)
        curve: list[float] = []
        outcome = self.slices.trial(self.settings, self.encoder, lambda _, mean: curve.append(mean))
        trial = create_trial(
            value=outcome.mean(), params=values, distributions=self._distributions(),
            intermediate_values=dict.fromkeys(range(FIRST_REPORT, len(curve) + 1), 0.0),
            user_attrs={"values": values, "sums": outcome.sums(), "curve": curve},
        )  # fmt: skip
        self.study.add_trial(trial)
        return self.study.get_trials(deepcopy=False)[-1]

    def _next(self, n: int) -> FrozenTrial:
        seed = int(np.random.SeedSequence([self.seed, n]).generate_state(1)[0])
        self.study.sampler = TPESampler(n_startup_trials=STARTUP, seed=seed)
        trial = self.study.ask(dict(self._distributions()))
        values = {name: float(f"{value:.3g}") for name, value in trial.params.items()}
        trial.set_user_attr("values", values)
        report = _pruned(trial, self.finished()[0].user_attrs["curve"])
        try:
            outcome = self.slices.trial(changed(self.settings, values), self.encoder, report)
        except optuna.TrialPruned:
            return self.study.tell(trial, state=TrialState.PRUNED)
        except BaseException:  # Ctrl-C among them
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        trial.set_user_attr("sums", outcome.sums())
        return self.study.tell(trial, outcome.mean())

    def _distributions(self) -> dict[str, BaseDistribution]:
        return {n: FloatDistribution(r.low, r.high, log=not r.even) for n, r in space(self.settings).items()}

    def _line(self, found: FrozenTrial, number: int, trials: int) -> str:
        last = 4 if self._has_later() else 0  # two replays of twice the length at the end
        best, left = self.study.best_trial, (trials - number + last) * float(np.mean(self._spent_s)) / 60
        ended = "stopped early" if found.state is TrialState.PRUNED else f"{found.value:.4f}"
        return (
            f"trial {number} of {trials}: NDCG {ended}, best {best.value:.4f} of trial {self._number(best)}; "
            f"{self._spent_s[-1]:.0f} s, about {left:.0f} min left"
        )

    def _number(self, trial: FrozenTrial) -> int:
        """From 1, among those that count."""
        return [t.number for t in self.finished()].index(trial.number) + 1

    def _result(self) -> dict[str, Any]:
        first, best = self.finished()[0], self.study.best_trial
        later = None
        if self._has_later() and best.number != first.number:
            later = compared(self._later(first), self._later(best), self.seed)
        return {
            "dataset": self.slices.name,
            "events": self.slices.events,
            "trials": len(self.finished()),
            "stopped_early": sum(t.state is TrialState.PRUNED for t in self.finished()),
            "best_trial": self._number(best),
            "before": first.user_attrs["values"],
            "settings": best.user_attrs["values"],
            "tuned_on": compared(first.user_attrs["sums"], best.user_attrs["sums"], self.seed),
            "later": later,
        }

    def _has_later(self) -> bool:
        return len(self.slices.interactions) > self.slices.events

    def _later(self, trial: FrozenTrial) -> list[list[float]]:
        """Sums over the events after the slice; measured once."""
        key = f"later {trial.number}"
        if key not in self.study.user_attrs:
            self.tell(f"trial {self._number(trial)} on the {self.slices.events:,} events after the slice ...")
            outcome = self.slices.later(changed(self.settings, trial.user_attrs["values"]), self.encoder)
            self.study.set_user_attr(key, outcome.sums())
        sums: list[list[float]] = self.study.user_attrs[key]
        return sums

    def _identity(self) -> dict[str, str]:
        """What a study belongs to, by the words that a person would use."""
        kept = {k: v for k, v in masked(self.settings).items() if k not in {"kafka", "store", "http", "seed"}}
        ranges = {name: [r.low, r.high] for name, r in space(self.settings).items()}
        return {
            "log": self.slices.digest(),
            "number of events": str(self.slices.events),
            "settings": sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16],
            "search space": sha256(json.dumps(ranges, sort_keys=True).encode()).hexdigest()[:16],
            "seed": str(self.seed),
        }


def tune(
    name: str,
    items: Sequence[Item],
    interactions: Iterable[Interaction],
    settings: Settings,
    directory: Path,
    trials: int,
    events: int | None = None,
    encoder: Encoder | None = None,
) -> dict[str, Any]:
    """Tune on a log, tell of it on stderr, write meander.toml beside the study.

    Raises:
        LogError: the log is empty.
        StateError: see `Tuning`; or a file cannot be written.
    """
    slices = Slices.of(name, items, interactions, events)
    remembering = Remembering(encoder or TextEncoder.load(settings.model))
    tuning = Tuning(slices, settings, remembering, directory, settings.seed)
    _say(f"{slices.events:,} events a trial; the texts of {len(slices.items):,} items are encoded once ...")
    remembering.encode([item_text(item) for item in slices.items])
    result = tuning.run(trials)
    result["toml"] = snippet(result)
    for line in summary(result):
        _say(line)
    try:
        (directory / "meander.toml").write_text(result["toml"], encoding="utf-8")
    except OSError as error:
        raise StateError(f"{directory / 'meander.toml'} cannot be written: {error}") from None
    _say(f"its settings are in {directory / 'meander.toml'}")
    return result


def _pruned(trial: Trial, curve: Sequence[float]) -> Callable[[int, float], None]:
    """Tells Optuna by how much a trial is ahead of the first one, whose means are `curve`; ends it when told to."""

    def report(number: int, mean: float) -> None:
        if number >= FIRST_REPORT:
            trial.report(mean - curve[number - 1], number)
            if trial.should_prune():
                raise optuna.TrialPruned

    return report


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _opened(directory: Path, identity: dict[str, str]) -> optuna.Study:
    """The study in a directory, made if there is none.

    Raises:
        StateError: it belongs to something else, or cannot be read.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(directory / "study.log")))
        study = optuna.create_study(
            storage=storage, study_name="meander", direction="maximize", load_if_exists=True,
            pruner=MedianPruner(n_startup_trials=STARTUP // 2),
        )  # fmt: skip
    except (OSError, ValueError, KeyError) as error:
        raise StateError(f"{directory} must hold a study of meander tune, or nothing: {error}") from None
    known = study.user_attrs.get("identity")
    if known is None:
        study.set_user_attr("identity", identity)
        return study
    other = [name for name, value in identity.items() if known.get(name) != value]
    if other:
        raise StateError(
            f"the study in {directory} was made with another {', '.join(other)}; name another --directory, or remove it"
        )
    return study
