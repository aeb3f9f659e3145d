"""Figures of the processes, folded into what the live view shows: rates, lags, rolling hit rates."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stream.metrics import Figures

RATE_S = 5.0  # wall time over which events/s are averaged
WINDOW_TESTED = 5_000  # tested events over which hit rates roll
HISTORY = 60  # points kept of the rolling rates
MAIN = {"encoder": "items", "tuner": "training-jobs", "trigger": "model-health"}  # whose records are its events
RANKINGS = ("arrival", "served", "popularity")  # whose hit rates are shown
NOTHING = (0.0,) * (1 + len(RANKINGS))


def total(figures: Figures, name: str, label: str | None = None) -> float:
    """Sum of a metric over its labels, or over those figures of which `label` is the first.

    >>> total({("alarms_total", "user", "ph"): 2.0, ("alarms_total", "population", "ph"): 1.0}, "alarms_total")
    3.0
    """
    return sum(v for (n, *labels), v in figures.items() if n == name and (label is None or label == labels[0]))


def quality_counts(figures: Figures) -> tuple[float, ...]:
    """Tested events, then hits@10 of each of `RANKINGS`, over all versions.

    >>> quality_counts({("tested_total", "v1"): 9.0, ("hits_10_total", "arrival", "v1"): 2.0})
    (9.0, 2.0, 0, 0)
    """
    return total(figures, "tested_total"), *(total(figures, "hits_10_total", name) for name in RANKINGS)


def label_of(figures: Figures, name: str) -> str:
    """The label of the figure of `name` that is 1; "" if there is none."""
    return next((key[1] for key, value in figures.items() if key[0] == name and value == 1), "")


@dataclass(slots=True)
class Role:
    """One consumer, as its metrics show it."""

    name: str
    answers: bool = False
    ready: bool = False
    rate: float = 0.0  # events per second
    lag: int = 0  # records of its inputs
    seen: deque[tuple[float, float]] = field(default_factory=deque)  # wall time and events

    @property
    def events(self) -> int:
        """Events since it started."""
        return int(self.seen[-1][1]) if self.seen else 0

    def update(self, now_s: float, figures: Figures) -> None:
        """Take its newest figures; none: it did not answer."""
        self.answers = bool(figures)
        if not figures:
            return
        self.ready = total(figures, "ready") > 0
        self.lag = int(total(figures, "lag_records"))
        main = MAIN.get(self.name)
        events = total(figures, "records_total", main) if main else total(figures, "events_total")
        if self.seen and events < self.seen[-1][1]:
            self.seen.clear()  # it has started anew
        self.seen.append((now_s, events))
        while len(self.seen) > 2 and now_s - self.seen[1][0] >= RATE_S:
            self.seen.popleft()
        (from_s, before), (to_s, after) = self.seen[0], self.seen[-1]
        self.rate = (after - before) / (to_s - from_s) if to_s > from_s else 0.0


@dataclass(slots=True)
class Quality:
    """Rolling hit rates at 10 over the last tested events, from cumulative counters.

    >>> quality = Quality()
    >>> quality.update((1_000, 80, 45, 30)); quality.update((2_000, 180, 145, 60))
    >>> quality.rates
    (0.09, 0.0725, 0.03)
    """

    seen: deque[tuple[float, ...]] = field(default_factory=lambda: deque([NOTHING]))
    rates: tuple[float, ...] = ()  # on arrival, served, popularity; empty before the first test
    history: deque[tuple[float, ...]] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def update(self, counters: tuple[float, ...]) -> None:
        """Take how many events were tested, and the hits of each of `RANKINGS` among them."""
        tested = counters[0]
        if tested < self.seen[-1][0]:
            self.seen = deque([NOTHING])
        if tested == self.seen[-1][0]:
            return
        self.seen.append(counters)
        while len(self.seen) > 2 and tested - self.seen[1][0] >= WINDOW_TESTED:
            self.seen.popleft()
        grown = [now - then for now, then in zip(counters, self.seen[0], strict=True)]
        self.rates = tuple(hits / grown[0] for hits in grown[1:])
        self.history.append(self.rates)


@dataclass(slots=True)
class Training:
    """The training that runs."""

    trigger: str
    progress: float  # 0 to 1


@dataclass(slots=True)
class Board:
    """Everything that the metrics say; `update` folds one round of scrapes in."""

    roles: dict[str, Role]
    quality: Quality = field(default_factory=Quality)
    at_s: float = 0.0  # newest event time
    events: int = 0
    users: int = 0
    items: int = 0
    alarms: dict[str, int] = field(default_factory=dict)  # by scope
    parked: int = 0
    version: str = ""  # live
    shadow: str = ""
    swaps: int = 0
    training: Training | None = None

    @classmethod
    def of(cls, names: Iterable[str]) -> Board:
        """An empty board for consumers of these names."""
        return cls({name: Role(name) for name in names})

    def update(self, now_s: float, rounds: Mapping[str, Figures]) -> None:
        """Take what each consumer's metrics say at wall time `now_s`."""
        for name, role in self.roles.items():
            role.update(now_s, rounds.get(name, {}))
        there = {name: figures for name, figures in rounds.items() if figures}
        self.parked = int(sum(total(figures, "parked_total") for figures in there.values()))
        for name in ("user", "population"):
            alarms = sum(total(figures, "alarms_total", name) for figures in there.values())
            self.alarms[name] = max(self.alarms.get(name, 0), int(alarms))
        if "interest" in there:
            self.users = int(total(there["interest"], "users"))
            self.events = int(total(there["interest"], "events_total"))
            self.at_s = max(self.at_s, total(there["interest"], "event_timestamp_seconds"))
        if "scorer" in there:
            self._of_scorer(there["scorer"])
        if "tuner" in there:
            running = [(key[1], v) for key, v in there["tuner"].items() if key[0] == "training_progress_ratio"]
            self.training = Training(*running[0]) if running else None

    def _of_scorer(self, figures: Figures) -> None:
        self.items = int(total(figures, "items"))
        self.version = label_of(figures, "live_version_info")
        self.shadow = label_of(figures, "shadow_version_info")
        self.swaps = int(total(figures, "swaps_total", "swapped"))
        self.quality.update(quality_counts(figures))
