"""Every metric of Meander, in one table, and what serves them to Prometheus.

A figure's key, as `Handler.figures()` returns it, is `(name, *label values)`: the name as in `METRICS` **without**
the prefix `meander_`, then one string per label, in the order of the table. Counters end in `_total` and count from
the start of the handler: what a predecessor counted is not counted again, so that a partition which moves from one
process to another makes no jump in either. Everything else is a gauge. Units are in the names.

>>> check({("events_total",): 7, ("alarms_total", "user", "page_hinkley"): 1})
>>> check({("event_total",): 7})
Traceback (most recent call last):
...
ValueError: figure must be a name in stream.metrics.METRICS, got 'event_total'
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

Figures = Mapping[tuple[str, ...], float]
M = TypeVar("M", Counter, Gauge, Histogram)

PREFIX = "meander_"
LAG = "lag_records"
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PUBLISH_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One metric: `source` says whether handlers report it as a figure or the loop keeps it itself."""

    name: str  # without the prefix
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    source: Literal["handler", "loop"] = "handler"
    buckets: tuple[float, ...] = SECONDS_BUCKETS  # of a histogram: upper bounds


METRICS: dict[str, Row] = {
    row.name: row
    for row in (
        # what every consumer's loop keeps
        Row(LAG, "gauge", "Records between the position and the end of an input", ("topic", "partition"),
            "loop"),
        Row("records_total", "counter", "Records handled", ("topic",), "loop"),
        Row("outputs_total", "counter", "Records written", ("topic",), "loop"),
        Row("parked_total", "counter", "Malformed records sent to dead-letters, by the field that breaks a rule",
            ("topic", "field"), "loop"),
        Row("publish_seconds", "histogram", "Time from an interaction to the commit of a record that answers it, since "
            "its arrival (the append to interactions) or its event time", ("topic", "since"), "loop", PUBLISH_BUCKETS),
        Row("batches_total", "counter", "Batches by how they ended: committed or aborted", ("result",), "loop"),
        Row("batch_seconds", "histogram", "Time from the poll's return to the end of the commit", (), "loop"),
        Row("commit_seconds", "histogram", "Time of the commit alone", (), "loop"),
        Row("restores_total", "counter", "Assignments of partitions, each followed by a restore", (), "loop"),
        Row("restored_records", "gauge", "Changelog records read at the newest restore", (), "loop"),
        Row("restore_seconds", "gauge", "Duration of the newest restore", (), "loop"),
        Row("ready", "gauge", "1 when partitions are assigned and restored", (), "loop"),
        Row("build_info", "gauge", "1 for the version of Meander that runs", ("version",), "loop"),
        # events and users
        Row("events_total", "counter", "Interactions folded in (interest) or seen (scorer)"),
        Row("late_total", "counter", "Interactions older than the newest one of their user"),
        Row("duplicate_total", "counter", "Interactions dropped because their event id was known"),
        Row("unvectored_total", "counter", "Interactions with an item that had no vector yet"),
        Row("untested_total", "counter", "Interactions learned without a test: a gap in a user's sequence numbers"),
        Row("erased_total", "counter", "People forgotten on their request"),
        Row("users", "gauge", "People with a live state in this process"),
        Row("state_bytes", "gauge", "Size of their states as they are written (interest)"),
        Row("items", "gauge", "Items known to this process"),
        Row("encoded_total", "counter", "Texts put through the encoder", ("kind",)),  # item, text
        Row("event_timestamp_seconds", "gauge", "Newest event time seen, seconds since 1970"),
        # drift and trainings
        Row("alarms_total", "counter", "Drift alarms", ("scope", "detector")),  # scope: user, population
        Row("reactions_total", "counter", "Changes of people's interests that lists follow, alarm or not"),
        Row("reopened_total", "counter", "Rises of everybody's loss after which the blend's weights move fast"),
        Row("jobs_total", "counter", "Training jobs issued", ("trigger",)),
        Row("job_outstanding", "gauge", "1 while a training job waits for its version"),
        Row("evidence", "gauge", "What speaks for a training, as last weighed", ("trigger",)),
        Row("evidence_threshold", "gauge", "What that is held against; users: a p-value, below which it counts",
            ("trigger",)),
        Row("rulings_total", "counter", "Rulings about published versions", ("ruling",)),
        Row("trainings_total", "counter", "Trainings that ended, by reason and verdict (or failed)",
            ("trigger", "verdict")),
        Row("training_seconds_total", "counter", "Wall time spent in trainings", ("trigger", "verdict")),
        Row("training_steps_total", "counter", "Optimiser steps done"),
        Row("training_progress_ratio", "gauge", "Share of the running training that is done; absent when none runs",
            ("trigger",)),
        # the live model
        Row("live_version_info", "gauge", "1 for the version that serves", ("version",)),
        Row("shadow_version_info", "gauge", "1 for the candidate in shadow", ("version",)),
        Row("model_horizon_timestamp_seconds", "gauge", "Event time up to which the live model's data goes"),
        Row("model_published_timestamp_seconds", "gauge", "Wall time at which the live model was published"),
        Row("swaps_total", "counter", "Attempts to swap a version in: swapped, refused, or rolled_back to an older one",
            ("result",)),
        # quality, by the version that was live ("none" before the first); rates are ratios of these. ranking: arrival
        # (everything known when the block came), served (the list that lay on the topic), popularity (on arrival)
        Row("tested_total", "counter", "Interactions tested before they were learned", ("version",)),
        Row("hits_10_total", "counter", "Hits@10", ("ranking", "version")),
        Row("ndcg_10_sum_total", "counter", "Sum of NDCG@10", ("ranking", "version")),
        Row("reciprocal_rank_20_sum_total", "counter", "Sum of reciprocal ranks, 0 beyond the 20th",
            ("ranking", "version")),
        Row("ranked_total", "counter", "Tested interactions whose item was a candidate", ("version",)),
        Row("log_loss_sum_total", "counter", "Sum of log-losses of those, in nats; no served list has one",
            ("ranking", "version")),
        Row("recommendations_total", "counter", "Lists written"),
        Row("recommended_items", "gauge", "Different items on the newest 1,000 lists, the catalogue coverage"),
        Row("open_blocks", "gauge", "Blocks that wait for their group to close"),
    )
}  # fmt: skip


def check(figures: Figures, source: Literal["handler", "loop"] = "handler") -> None:
    """Refuse figures that the table does not know.

    Raises:
        ValueError: an unknown name, a metric of another source, or another number of labels.
    """
    for name, *labels in figures:
        row = METRICS.get(name)
        if row is None:
            raise ValueError(f"figure must be a name in stream.metrics.METRICS, got {name!r}")
        if row.source != source:
            raise ValueError(f"figure must be one that the {source} reports, got {name!r}, which the {row.source} does")
        if len(labels) != len(row.labels):
            raise ValueError(f"figure {name!r} must have labels {row.labels}, got {tuple(labels)}")


class FigureCollector(Collector):
    """Serves the newest figures, and none that are no longer among them: those of a handler, or the loop's lags.

    `show` and a scrape may run in different threads.

    >>> collector = FigureCollector()
    >>> collector.show({("users",): 2.0})
    >>> [(family.name, family.samples[0].value) for family in collector.collect()]
    [('meander_users', 2.0)]
    """

    def __init__(self, source: Literal["handler", "loop"] = "handler") -> None:
        self._source: Literal["handler", "loop"] = source
        self._figures: dict[tuple[str, ...], float] = {}

    def show(self, figures: Figures) -> None:
        """Take a copy of `figures`, checked; a scrape sees the whole of it or of the one before."""
        check(figures, self._source)
        self._figures = dict(figures)  # one reference is swapped: no lock is needed

    def collect(self) -> Iterator[Metric]:
        """One family per metric that has a value."""
        values: dict[str, list[tuple[list[str], float]]] = defaultdict(list)
        for (name, *labels), value in self._figures.items():
            values[name].append((labels, value))
        for name in sorted(values):
            row = METRICS[name]
            kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
            family = kind(PREFIX + name, row.help, labels=row.labels)
            for labels, value in sorted(values[name]):
                family.add_metric(labels, value)
            yield family


def parse(text: str) -> dict[tuple[str, ...], float]:
    """Figures from what /metrics serves: keys as above, of Meander's counters and gauges alone.

    >>> parse('# TYPE meander_alarms_total counter\\nmeander_alarms_total{detector="ph",scope="population"} 2.0\\n')
    {('alarms_total', 'population', 'ph'): 2.0}
    """
    figures: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            row = METRICS.get(sample.name.removeprefix(PREFIX))
            if row is not None and row.kind != "histogram":
                figures[row.name, *(sample.labels[label] for label in row.labels)] = sample.value
    return figures


class Metrics:
    """All metrics of one process, in a registry of its own.

    >>> metrics = Metrics()
    >>> metrics.counter("records_total").labels("items").inc(3)
    >>> metrics.registry.get_sample_value("meander_records_total", {"topic": "items"})
    3.0
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.figures, self.lags = FigureCollector(), FigureCollector("loop")
        self._own: dict[str, Counter | Gauge | Histogram] = {
            row.name: self._build(row) for row in METRICS.values() if row.source == "loop" and row.name != LAG
        }
        self.registry.register(self.figures)
        self.registry.register(self.lags)
        ProcessCollector(registry=self.registry)

    def counter(self, name: str) -> Counter:
        """A counter that the loop keeps."""
        return self._get(name, Counter)

    def gauge(self, name: str) -> Gauge:
        """A gauge that the loop keeps."""
        return self._get(name, Gauge)

    def histogram(self, name: str) -> Histogram:
        """A histogram that the loop keeps."""
        return self._get(name, Histogram)

    def _get(self, name: str, kind: type[M]) -> M:
        metric = self._own.get(name)
        if not isinstance(metric, kind):
            raise ValueError(f"name must be a {kind.__name__.lower()} of the loop's own, got {name!r}")
        return metric

    def _build(self, row: Row) -> Counter | Gauge | Histogram:
        name = PREFIX + row.name
        if row.kind == "histogram":
            return Histogram(name, row.help, row.labels, registry=self.registry, buckets=row.buckets)
        kind = Counter if row.kind == "counter" else Gauge
        return kind(name, row.help, row.labels, registry=self.registry)
