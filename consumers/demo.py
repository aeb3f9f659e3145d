"""The demo: a whole shop's year through the topics, with a live view and a report.

1. The catalogue is sent, and is embedded while what comes before the season is sent, as fast as the consumers follow.
2. When all is embedded, the last of it is sent, and the first training runs. 3. The season is played at the pace of
event time, many times faster. 4. The training that runs then is waited for, with a limit. 5. The report is written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from consumers.report import write_report
from consumers.running import INTERRUPTED, Running, running
from consumers.samples import Sampler
from consumers.summary import summarise
from stream import topics
from stream.bus import Bus
from stream.errors import TrainingError
from stream.events import Interaction, Item
from stream.messages import ModelVersion
from stream.settings import Settings

MOST_STEPS = 900  # of the first training, about a minute on one thread
MOST_REFRESH_STEPS = 350  # of a refresh, about half a minute at low priority
NAP_S = 0.25
FIRST_TRAINING_S = 600.0  # the longest wait for the first version
LAST_TRAINING_S = 60.0  # and for what is still being processed and trained at the end
WARM_UP_AHEAD = 20_000  # interactions that the consumers may be behind, so that they never wait for the producer
SEASON_AHEAD = 5_000  # the same while the view is watched


class Player(Protocol):
    """Sends a catalogue and interactions; `speed` is that of event time, 0: as fast as it goes.

    It waits while `lag()` is above `ahead`.
    """

    def __call__(
        self,
        bus: Bus,
        items: Iterable[Item],
        interactions: Iterable[Interaction],
        speed: float,
        stop: threading.Event,
        lag: Callable[[], int],
        ahead: int,
    ) -> object:
        """Return when all is sent, or soon after `stop` is set."""
        ...


@dataclass(frozen=True, slots=True)
class Show:
    """What is played."""

    name: str
    items: Sequence[Item]
    before: Sequence[Interaction]  # learned without being tested
    season: Sequence[Interaction]
    season_s: float = 150.0  # wall time that the season takes

    @property
    def speed(self) -> float:
        """Seconds of event time in a second of wall time."""
        if not self.season or self.season_s <= 0:
            return 0.0
        return (self.season[-1].at_s - self.season[0].at_s) / self.season_s


def split(interactions: Iterable[Interaction], season_from_s: float) -> tuple[list[Interaction], list[Interaction]]:
    """What comes before the first interaction at or after `season_from_s`, and the rest."""
    before: list[Interaction] = []
    season: list[Interaction] = []
    for event in interactions:
        (season if season or event.at_s >= season_from_s else before).append(event)
    return before, season


def tuned(settings: Settings, before: int) -> Settings:
    """The settings with warm-ups that end where the season begins, and trainings short enough for five minutes in all.

    The trigger counts in model-health records, of which the last one of the warm-up is not full.
    """
    training = settings.training
    steps, refresh = min(training.max_steps, MOST_STEPS), min(training.max_refresh_steps, MOST_REFRESH_STEPS)
    health, partitions = settings.scoring.health_events, settings.kafka.partitions
    reported = max(before - partitions * health, 1)
    return settings.model_copy(
        update={
            "trigger": settings.trigger.model_copy(update={"warm_up_events": reported}),
            "scoring": settings.scoring.model_copy(update={"warm_up_events": before // partitions}),
            "training": training.model_copy(update={"max_steps": steps, "max_refresh_steps": refresh}),
        }
    )


@dataclass(slots=True)
class Script(threading.Thread):
    """Steps 1 to 4, in a thread beside the one that shows the view; `error` is what ended it, if anything did."""

    show: Show
    play: Player
    all_of_it: Running
    over: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        threading.Thread.__init__(self, name="script", daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Play it all."""
        try:
            self._play()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that shows the view
            self.error = error
        finally:
            self.over.set()

    def _play(self) -> None:
        show = self.show
        bulk = len(show.before) - self._held_back()
        self._phase("embedding the catalogue, warming up")  # 1
        self._send(show.items, show.before[:bulk], 0.0)
        self._wait(lambda: self._embedded() >= len(show.items))
        self._phase("first training")  # 2
        self._send((), show.before[bulk:], 0.0)
        self._wait_for_first()
        self._phase("the season")  # 3
        self._send((), show.season, show.speed)
        self._phase("finishing")  # 4
        self._settle()

    def _held_back(self) -> int:
        """Interactions without which the trigger does not begin, as its first job wants the whole catalogue."""
        settings = self.all_of_it.settings
        return min(2 * settings.kafka.partitions * settings.scoring.health_events, len(self.show.before))

    def _wait_for_first(self) -> None:
        """Wait until a version is published; scorers swap it in with the next event."""
        sampler, began_s = self.all_of_it.view.sampler, time.monotonic()
        self._wait(lambda: bool(sampler.versions) or time.monotonic() - began_s > FIRST_TRAINING_S)
        if sampler.serving is None and not self.all_of_it.stop.is_set():
            reasons = [str(v.gate.get("reason", v.verdict)) for v in sampler.versions if isinstance(v, ModelVersion)]
            verdict = f"ended: {', '.join(reasons)}" if reasons else "has not ended"
            logs = self.all_of_it.supervisor.directory
            rule = f"the first training must give a version within {FIRST_TRAINING_S:.0f} s"
            raise TrainingError(f"{rule}, but {verdict}; logs are in {logs}")

    def _phase(self, name: str) -> None:
        self.all_of_it.view.phase = name

    def _send(self, items: Iterable[Item], interactions: Iterable[Interaction], speed: float) -> None:
        ahead = SEASON_AHEAD if speed else WARM_UP_AHEAD
        self.play(self.all_of_it.bus, items, interactions, speed, self.all_of_it.stop, self._lag, ahead)

    def _wait(self, until: Callable[[], bool]) -> None:
        while not self.all_of_it.stop.is_set() and not until():
            time.sleep(NAP_S)

    def _lag(self) -> int:
        """Interactions that interest or scorer have not seen, as far as the newest figures tell."""
        interest, scorer = (self.all_of_it.view.board.roles[name] for name in ("interest", "scorer"))
        return interest.lag + max(interest.events - scorer.events, 0)

    def _embedded(self) -> int:
        return sum(self.all_of_it.bus.ends(topics.ITEM_VECTORS).values())

    def _settle(self) -> None:
        """Wait until everything sent is committed, and until the training that runs then has ended."""
        deadline_s = time.monotonic() + LAST_TRAINING_S
        self._wait(lambda: self.all_of_it.behind() == 0 or time.monotonic() > deadline_s)
        now = Sampler(self.all_of_it.bus)
        now.refresh()
        runs = {job.job_id for job in now.outstanding[:1]}
        watched = self.all_of_it.view.sampler
        self._wait(lambda: runs <= watched.answered or time.monotonic() > deadline_s)


def demo(
    show: Show, play: Player, settings: Settings, directory: Path, *, embedded: bool, console: Console | None = None
) -> int:
    """Run the demo; returns the exit code: 0, or 130 after a signal.

    Raises:
        ProcessError: a process has ended on its own.
        TrainingError: the first version did not come.
        BrokerError: the broker does not answer.
    """
    console, began_s = console or Console(), time.monotonic()
    settings = tuned(settings, len(show.before))
    with running(settings, directory, embedded=embedded, console=console) as all_of_it:
        script = Script(show, play, all_of_it)
        script.start()
        finished = all_of_it.watch(script.over.is_set)
        if script.error is not None:
            raise script.error
        if not finished:
            return INTERRUPTED
        result = summarise(all_of_it.bus, facts(show, all_of_it.settings, time.monotonic() - began_s))  # 5
    path = directory / "report.html"
    write_report(result, path)
    console.print(f"report: {path.resolve()}", soft_wrap=True, highlight=False)
    return 0


def facts(show: Show, settings: Settings, wall_s: float) -> dict[str, Any]:
    """What the topics do not tell of a run."""
    return {
        "dataset": show.name,
        "policy": settings.trigger.policy,
        "repeats": settings.scoring.repeats,
        "seed": settings.seed,
        "items": len(show.items),
        "warm_up_events": len(show.before),
        "wall_seconds": round(wall_s, 1),
    }
