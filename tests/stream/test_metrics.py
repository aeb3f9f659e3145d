from __future__ import annotations

import re

import pytest
from prometheus_client import generate_latest

from stream.metrics import METRICS, PREFIX, FigureCollector, Metrics, check


def test_names_follow_the_conventions() -> None:
    for row in METRICS.values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", row.name)
        assert row.name.endswith("_total") == (row.kind == "counter"), row.name
        assert not row.name.startswith(PREFIX)
        assert row.help


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("usres",), "must be a name in stream.metrics.METRICS, got 'usres'"),
        (("ready",), "one that the handler reports, got 'ready'"),
        (("alarms_total", "user"), r"must have labels \('scope', 'detector'\), got \('user',\)"),
    ],
)
def test_an_unknown_figure_is_refused_and_the_last_good_ones_stand(key: tuple[str, ...], message: str) -> None:
    collector = FigureCollector()
    collector.show({("users",): 2})
    with pytest.raises(ValueError, match=message):
        collector.show({key: 1.0})
    assert [family.samples[0].value for family in collector.collect()] == [2]


def test_a_scrape_shows_the_handlers_figures_and_the_loops_own() -> None:
    metrics = Metrics()
    figures = {("events_total",): 7.0, ("alarms_total", "user", "page_hinkley"): 3.0}
    metrics.figures.show(figures)
    figures["events_total",] = 9.0  # the handler goes on: what is served does not move until it is shown again
    metrics.counter("parked_total").labels("items", "at").inc()
    text = generate_latest(metrics.registry).decode()
    assert "meander_events_total 7.0" in text
    assert 'meander_alarms_total{detector="page_hinkley",scope="user"} 3.0' in text
    assert 'meander_parked_total{field="at",topic="items"} 1.0' in text


def test_asking_for_a_metric_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a counter of the loop's own, got 'ready'"):
        Metrics().counter("ready")


def test_every_metric_can_be_served() -> None:
    metrics = Metrics()
    metrics.figures.show(
        {(row.name, *("x" for _ in row.labels)): 1.0 for row in METRICS.values() if row.source == "handler"}
    )
    metrics.lags.show({("lag_records", "interactions", "0"): 1.0})
    check({("users",): 1.0})
    text = generate_latest(metrics.registry).decode()
    for row in METRICS.values():
        assert f"# TYPE {PREFIX}{row.name} {row.kind}" in text
