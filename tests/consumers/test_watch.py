from __future__ import annotations

from typing import Any

from consumers.watch import Watch
from stream.errors import BrokerError
from stream.records import Output, Record, Since


def value(watch: Watch, name: str, **labels: str) -> float | None:
    return watch.metrics.registry.get_sample_value(f"meander_{name}", labels)


def test_readiness_follows_what_happens() -> None:
    watch = Watch("interest", now_s=lambda: 10.0)
    assert not watch.ready.is_set()
    watch.restored([0, 1], 7, 0.5)
    assert (watch.ready.is_set(), value(watch, "ready"), value(watch, "restored_records")) == (True, 1, 7)
    watch.waits(BrokerError("away", retriable=True), 0.5)
    assert (watch.ready.is_set(), value(watch, "ready"), value(watch, "batches_total", result="aborted")) == (
        False,
        0,
        1,
    )


def test_records_outputs_and_durations_are_counted() -> None:
    watch = Watch("interest", now_s=lambda: 10.0)
    records = [Record("interactions", 0, i, b"ann", b"x") for i in range(3)]
    watch.committed(records, [Output("user-states", b"ann", b"x")], started_s=7.5)
    assert value(watch, "records_total", topic="interactions") == 3
    assert value(watch, "outputs_total", topic="user-states") == 1
    assert value(watch, "batch_seconds_sum") == 10.0 - 7.5


def test_the_label_of_a_parked_record_has_no_index_in_it() -> None:
    watch = Watch("encoder")
    for field in ("embedding[0]", "embedding[17]", "attributes.colour"):
        watch.parked("items[0]@0", field, "…")
    assert value(watch, "parked_total", topic="items", field="embedding") == 2
    assert value(watch, "parked_total", topic="items", field="attributes") == 1


def test_what_answers_an_interaction_is_measured_from_its_arrival_and_from_its_event_time() -> None:
    watch = Watch("scorer", wall_s=lambda: 1_000.0)
    outputs = [
        Output("recommendations", b"ann", b"x", since=Since(400.0, 999_750)),
        Output("recommendations", b"bob", b"x", since=Since(1_001.0, 0)),  # of the future; arrival not known
        Output("model-health", b"0", b"x"),
    ]
    watch.committed([], outputs, started_s=watch.now_s())
    found = {
        (since, suffix): value(watch, f"publish_seconds_{suffix}", topic="recommendations", since=since)
        for since in ("arrival", "event")
        for suffix in ("count", "sum")
    }
    assert found == {
        ("arrival", "count"): 1,
        ("arrival", "sum"): 0.25,
        ("event", "count"): 2,
        ("event", "sum"): 600.0,
    }


def test_lags_of_partitions_that_were_given_away_are_not_shown(counting: Any) -> None:
    now_s = [0.0]
    watch = Watch("interest", now_s=lambda: now_s[0])
    watch.show(counting(), lambda: {("interactions", 0): 7, ("interactions", 1): 9})
    assert value(watch, "lag_records", topic="interactions", partition="1") == 9
    now_s[0] += 10.0
    watch.show(counting(), lambda: {("interactions", 0): 3})
    assert value(watch, "lag_records", topic="interactions", partition="0") == 3
    assert value(watch, "lag_records", topic="interactions", partition="1") is None
