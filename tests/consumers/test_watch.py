from __future__ import annotations

from consumers.watch import Watch
from stream.errors import BrokerError
from stream.records import Output, Record


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
    assert value(watch, "parked_total", field="embedding") == 2
    assert value(watch, "parked_total", field="attributes") == 1
