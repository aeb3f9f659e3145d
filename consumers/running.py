"""Everything of one machine, running: broker, topics, consumers; ended on leaving, whatever the reason."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from consumers.broker import EmbeddedBroker
from consumers.live import View
from consumers.roles import NAMES
from consumers.run import stopped_by_signals
from consumers.supervisor import Supervisor
from stream.admin import ensure_topics, topic_states
from stream.errors import SettingsError
from stream.kafka_bus import KafkaBus
from stream.settings import Settings

LOOK_S = 0.5  # between two looks at the processes
FOLLOWERS = ("interest", "scorer", "trigger")
INTERRUPTED = 130  # exit code after SIGINT or SIGTERM


@dataclass(frozen=True, slots=True)
class Running:
    """What runs, and what it is watched with."""

    settings: Settings
    bus: KafkaBus
    supervisor: Supervisor
    view: View
    stop: threading.Event  # set by SIGINT and SIGTERM

    def watch(self, over: Callable[[], bool]) -> bool:
        """Show the view until `over()`; False if it was stopped before.

        Raises:
            ProcessError: a process has ended on its own.
        """
        while not self.stop.is_set():
            self.supervisor.check()
            self.view.refresh()
            if over():
                return True
            self.stop.wait(LOOK_S)
        return False

    def behind(self) -> int:
        """Records that interest, scorer and trigger have not committed yet, those in their hands included."""
        states = topic_states(self.settings.kafka, FOLLOWERS)
        return sum(state.lag(group) for state in states.values() for group in FOLLOWERS)


@contextmanager
def running(
    settings: Settings, directory: Path, *, embedded: bool, console: Console | None = None
) -> Iterator[Running]:
    """Start a broker if `embedded`, make the topics, start all consumers; on leaving, end what was started.

    Signals set `stop` instead of interrupting, so that nothing is left half started. Log files go to
    `directory`; so do the versions where the broker is embedded, and those that are there from a run before are
    removed, as that broker has forgotten them.

    Raises:
        SettingsError: the embedded broker is not installed.
        BrokerError: the broker does not answer, or refuses the topics.
        TopicError: a topic exists with other settings.
    """
    with ExitStack() as stack:
        stop = threading.Event()
        stack.enter_context(stopped_by_signals(stop))
        broker = stack.enter_context(EmbeddedBroker()) if embedded else None
        if broker is not None:
            settings = on_embedded(settings, broker, fresh(directory / "models"))
        ensure_topics(settings.kafka)
        bus = KafkaBus(settings.kafka)
        stack.callback(bus.close)
        supervisor = stack.enter_context(Supervisor(settings, directory, broker))
        view = stack.enter_context(View(bus, NAMES, supervisor.figures, console))
        yield Running(settings, bus, supervisor, view, stop)


def on_embedded(settings: Settings, broker: EmbeddedBroker, store: Path) -> Settings:
    """The settings that suit the embedded broker."""
    return settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update=broker.kafka),
            "store": settings.store.model_copy(update={"path": str(store)}),
        }
    )


def fresh(directory: Path) -> Path:
    """An empty directory for versions; refuses to empty one that holds anything but versions.

    Raises:
        SettingsError: it holds something else.
    """
    for entry in directory.iterdir() if directory.exists() else ():
        if not entry.name.lstrip(".").startswith("v"):
            raise SettingsError(f"{directory} must hold nothing but versions of a run before, got {entry.name!r}")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def up(settings: Settings, directory: Path, *, embedded: bool, console: Console | None = None) -> int:
    """Run everything until a signal; the exit code.

    Raises:
        ProcessError: a process has ended on its own.
    """
    console = console or Console()
    with running(settings, directory, embedded=embedded, console=console) as all_of_it:
        kafka = all_of_it.settings.kafka
        console.print(f"broker {kafka.bootstrap}, logs in {directory}, versions in {all_of_it.settings.store.path}")
        began_s = time.monotonic()
        all_of_it.view.phase = "running"
        all_of_it.watch(lambda: False)
        console.print(f"stopped after {time.monotonic() - began_s:.0f} s")
    return 0
