"""Sending a data set from the command line: makes the topics, shows progress, waits for slow consumers."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from producers import replay
from producers.datasets import Dataset
from stream.admin import ensure_topics, topic_states
from stream.bus import Bus
from stream.settings import Kafka, Settings
from stream.topics import INTERACTIONS, USER_STATES

FOLLOWERS = {"interest": INTERACTIONS, "scorer": USER_STATES}  # group → the topic it must keep up with


def produce(bus: Bus, data: Dataset, settings: Settings, speed: float, console: Console | None = None) -> None:
    """Send the items, then the interactions; one line tells how far it is.

    Raises:
        BrokerError: the broker cannot be reached.
        TopicError: a topic exists with other settings.
    """
    ensure_topics(settings.kafka)
    console = console or Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=2) as bar:
        task = bar.add_task("items", total=None)
        pressure = replay.Backpressure(lambda: lag(settings.kafka))
        pace = replay.Pace(speed)
        done = replay.produce(
            bus,
            data.items,
            data.interactions,
            pace=pace,
            pressure=pressure,
            on_progress=lambda progress: bar.update(task, description=words(progress)),
        )
    console.print(f"sent {done.items:,} items and {done.interactions:,} interactions")


def lag(kafka: Kafka) -> int:
    """Records that the slower of interest and scorer is behind; 0 where neither has ever run."""
    states = topic_states(kafka, tuple(FOLLOWERS))
    return max((states[topic].lag(group) for group, topic in FOLLOWERS.items() if topic in states), default=0)


def words(progress: replay.Progress) -> str:
    """How far a production is.

    >>> words(replay.Progress(items=3, interactions=1_200, waiting=True))
    '3 items, 1,200 interactions, waiting for the consumers'
    """
    waiting = ", waiting for the consumers" if progress.waiting else ""
    return f"{progress.items:,} items, {progress.interactions:,} interactions{waiting}"
