"""What an operator sees of a consumer: log lines that matter, metrics, readiness."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import distributions

import structlog

from stream.metrics import LAG, Metrics
from stream.records import Handler, Output, Record, Since

RELEASE = next((d.version for d in distributions(name="meander")), "source")
SHOW_EVERY_S = 0.5  # figures and lags are brought up to date at most this often


class Watch:
    """Passes on what a loop does to the log and to `Metrics`; `ready` tells /readyz.

    >>> watch = Watch("interest")
    >>> watch.committed([], [], started_s=watch.now_s())
    >>> watch.metrics.registry.get_sample_value("meander_batches_total", {"result": "committed"})
    1.0
    """

    def __init__(
        self,
        name: str,
        metrics: Metrics | None = None,
        now_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.metrics, self.ready = name, metrics or Metrics(), threading.Event()
        self._now_s, self._wall_s, self._shown_s = now_s, wall_s, float("-inf")
        self.metrics.gauge("build_info").labels(RELEASE).set(1)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger().bind(consumer=name)

    def decided(self, handler: Handler, where: str) -> None:
        """Log and drain the handler's journal."""
        while handler.journal:
            entry = dict(handler.journal.pop(0))
            self._log.info(str(entry.pop("event", "decided")), **({"where": where} | entry))

    def parked(self, where: str, field: str, reason: str) -> None:
        """A malformed record goes to dead-letters."""
        first = re.split(r"[.\[]", field)[0]  # no indices: labels are few
        self.metrics.counter("parked_total").labels(where.partition("[")[0], first).inc()
        self._log.warning("parked", where=where, reason=reason)

    def restored(self, partitions: Sequence[int], records: int, seconds: float) -> None:
        """Partitions were assigned, and their changelogs read."""
        self.metrics.counter("restores_total").inc()
        self.metrics.gauge("restored_records").set(records)
        self.metrics.gauge("restore_seconds").set(seconds)
        self.metrics.gauge("ready").set(1)
        self.ready.set()
        self._log.info("restored", partitions=list(partitions), records=records, seconds=round(seconds, 3))

    def waits(self, error: Exception, pause_s: float) -> None:
        """A batch was given back, and is tried again after a pause."""
        self.metrics.counter("batches_total").labels("aborted").inc()
        self.metrics.gauge("ready").set(0)
        self.ready.clear()
        self._log.warning("waits", reason=str(error), pause_s=round(pause_s, 2))

    def committed(self, records: Sequence[Record], outputs: Sequence[Output], started_s: float) -> None:
        """A batch that came in at `started_s` is through."""
        self.metrics.counter("batches_total").labels("committed").inc()
        self.metrics.histogram("batch_seconds").observe(self._now_s() - started_s)
        for topic, n in Counter(record.topic for record in records).items():
            self.metrics.counter("records_total").labels(topic).inc(n)
        for topic, n in Counter(out.topic for out in outputs).items():
            self.metrics.counter("outputs_total").labels(topic).inc(n)
        for out in outputs:
            if out.since is not None:
                self._published(out.topic, out.since)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Measure a commit."""
        with self.metrics.histogram("commit_seconds").time():
            yield

    def show(self, handler: Handler, lags: Callable[[], Mapping[tuple[str, int], int]]) -> None:
        """Bring figures and lags up to date, now and then."""
        if self._now_s() - self._shown_s < SHOW_EVERY_S:
            return
        self._shown_s = self._now_s()
        self.metrics.figures.show(handler.figures())
        self.metrics.lags.show({(LAG, topic, str(partition)): lag for (topic, partition), lag in lags().items()})

    def _published(self, topic: str, since: Since) -> None:
        """Measure how long what stands on `topic` now has taken."""
        histogram, wall_s = self.metrics.histogram("publish_seconds"), self._wall_s()
        histogram.labels(topic, "event").observe(max(wall_s - since.event_s, 0.0))
        if since.arrived_ms > 0:
            histogram.labels(topic, "arrival").observe(max(wall_s - since.arrived_ms / 1000, 0.0))

    def now_s(self) -> float:
        """Seconds on the clock of this watch, for durations."""
        return self._now_s()
