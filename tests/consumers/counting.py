"""A small consumer with state, for tests of the loop; as a script, one process of it.

`python counting.py SETTINGS_JSON [PAUSE_S]` runs it until SIGTERM.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import ClassVar

from consumers.roles import Role
from consumers.run import serve, stopped_by_signals
from stream import logs
from stream.errors import BadRecord
from stream.kafka_bus import KafkaBus
from stream.records import Output, Record
from stream.settings import Settings


class Counting:
    """Counts each user's interactions; writes every count once, and keeps the counts in a changelog."""

    inputs: ClassVar[tuple[str, ...]] = ("interactions",)
    broadcasts: ClassVar[tuple[str, ...]] = ("model-versions",)
    changelogs: ClassVar[tuple[str, ...]] = ("user-states",)

    def __init__(self, pause_s: float = 0.0) -> None:
        self.journal: list[dict[str, object]] = []
        self.counts: dict[bytes, int] = {}
        self.changed: dict[bytes, int] = {}  # key → partition
        self.versions: list[bytes] = []
        self.pause_s = pause_s

    def figures(self) -> Mapping[tuple[str, ...], float]:
        return {("users",): float(len(self.counts))}

    def on_record(self, record: Record) -> Iterable[Output]:
        if record.topic == "model-versions":
            self.versions.append(record.value or b"")
            return []
        if record.value == b"poison":
            raise BadRecord("value", "wholesome", "poison")
        time.sleep(self.pause_s)
        key = record.key or b""
        self.counts[key] = self.counts.get(key, 0) + 1
        self.changed[key] = record.partition
        if self.counts[key] == 3:
            self.journal.append({"event": "third", "user": key.decode()})
        return [Output("recommendations", key, b"%d" % self.counts[key], record.partition)]

    def snapshot(self) -> Iterable[Output]:
        out = [Output("user-states", key, b"%d" % self.counts[key], p) for key, p in self.changed.items()]
        self.changed.clear()
        return out

    def restore(self, record: Record) -> None:
        if not (record.value or b"").isdigit():
            raise BadRecord("value", "a count", record.value)
        self.counts[record.key or b""] = int(record.value or b"0")

    def forget(self, user_id: str) -> Iterable[Output]:
        self.counts.pop(user_id.encode(), None)
        return [Output("user-states", user_id.encode(), None)]


def main(settings: Settings, pause_s: float) -> None:
    logs.configure()
    stop, bus = threading.Event(), KafkaBus(settings.kafka)
    with stopped_by_signals(stop):
        serve(Role("counting", Counting, lambda: Counting(pause_s)), settings, bus, stop)
    bus.close()


if __name__ == "__main__":
    main(Settings.model_validate_json(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
