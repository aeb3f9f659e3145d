"""The bus over real brokers: what holds on both, and what only Apache Kafka gives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from kafka.errors import KafkaError

from stream.admin import ensure_topics, topic_states
from stream.bus import Batch
from stream.errors import BrokerError, SettingsError
from stream.kafka_bus import Admin, KafkaBus, KafkaSession, answers, connection
from stream.records import Output, Record
from stream.settings import Kafka

GROUP = "echo"


@contextmanager
def a_bus(kafka: Kafka) -> Iterator[KafkaBus]:
    ensure_topics(kafka)
    bus = KafkaBus(kafka)
    try:
        yield bus
    finally:
        bus.close()


@contextmanager
def a_session(bus: KafkaBus, *broadcasts: str, whole: bool = False) -> Iterator[KafkaSession]:
    session = bus.open(GROUP, ["interactions"], broadcasts, whole=whole)
    try:
        yield session
    finally:
        session.close()


@contextmanager
def polled(bus: KafkaBus, *, whole: bool = False) -> Iterator[list[tuple[int, ...]]]:
    """Another member of the group, alive in a thread of its own; yields its assignments, newest last."""
    stop, dealt = threading.Event(), list[tuple[int, ...]]()

    def live() -> None:
        with a_session(bus, whole=whole) as session:
            while not stop.is_set():
                partitions = session.poll(0.5).assigned
                if partitions is not None:
                    dealt.append(partitions)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield dealt
    finally:
        stop.set()
        thread.join()


def poll_until(session: KafkaSession, wanted: Callable[[Batch], object], limit_s: float = 20.0) -> Batch:
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        batch = session.poll(0.2)
        if wanted(batch):
            return batch
    raise AssertionError("nothing of the kind came")


def assigned(session: KafkaSession) -> tuple[int, ...]:
    batch = poll_until(session, lambda batch: batch.assigned)
    assert batch.assigned is not None
    return batch.assigned


def some(session: KafkaSession) -> list[Record]:
    return list(poll_until(session, lambda batch: batch.records).records)


def numbered(n: int, partition: int = 0) -> list[Output]:
    return [Output("interactions", b"ann", b"%d" % i, partition) for i in range(n)]


def values(records: list[Record]) -> list[int]:
    return [int(record.value or b"-1") for record in records]


def test_what_is_written_is_read_where_it_was_put(any_broker: Kafka) -> None:
    with a_bus(any_broker.model_copy(update={"partitions": 2})) as bus:
        bus.send([*numbered(300), *numbered(5, partition=1), Output("items", b"mug", None)])
        assert bus.ends("interactions") == {0: 300, 1: 5}
        records = list(bus.read("interactions"))
        assert values(records) == [*range(300), *range(5)]
        assert [r.where for r in bus.read("interactions", {0: (298, 400), 1: (1, 3)})] == [
            *(f"interactions[0]@{i}" for i in (298, 299)),
            *(f"interactions[1]@{i}" for i in (1, 2)),
        ]
        assert records[0].key == b"ann"
        assert records[0].timestamp_ms == pytest.approx(time.time() * 1000, abs=60_000)
        bus.send([Output("interactions", b"ann", b"late", 1, timestamp_ms=1_700_000_000_123)])
        (late,) = bus.read("interactions", {1: (5, 6)})
        assert late.timestamp_ms == 1_700_000_000_123  # what it answers, not when it was written
        assert [(r.key, r.value) for r in bus.read("items")] == [(b"mug", None)]
        assert list(bus.read("erasures")) == []


def test_a_restart_goes_on_at_the_committed_offset(any_broker: Kafka) -> None:
    with a_bus(any_broker.model_copy(update={"max_poll_records": 4})) as bus:
        bus.send(numbered(10))
        with a_session(bus) as session:
            assert assigned(session) == (0,)
            first = some(session)
            assert values(first) == [0, 1, 2, 3]
            session.commit([Output("recommendations", r.key, r.value, r.partition) for r in first])
            assert values(some(session)) == [4, 5, 6, 7]  # polled, never committed
        with a_session(bus) as session:
            assert assigned(session) == (0,)
            assert values(some(session)) == [4, 5, 6, 7]
        assert values(list(bus.read("recommendations"))) == [0, 1, 2, 3]


def test_abort_gives_the_batch_back(any_broker: Kafka) -> None:
    with a_bus(any_broker) as bus:
        bus.send(numbered(3))
        with a_session(bus) as session:
            assigned(session)
            assert values(some(session)) == [0, 1, 2]
            session.abort()
            assert assigned(session) == (0,)
            assert values(some(session)) == [0, 1, 2]
            session.commit([Output("recommendations", b"ann", b"7")])
            session.commit([])  # nothing new: costs nothing
            assert session.lags() == {("interactions", 0): 0}
        assert values(list(bus.read("recommendations"))) == [7]
        state = topic_states(any_broker, [GROUP])
        assert (state["interactions"].ends, state["interactions"].lag(GROUP)) == ({0: 3}, 0)


def test_broadcasts_come_whole_and_before_any_input(any_broker: Kafka) -> None:
    with a_bus(any_broker.model_copy(update={"partitions": 2, "max_poll_records": 3})) as bus:
        bus.send(numbered(2))
        bus.send([Output("item-vectors", b"%d" % i, b"%d" % i, i % 2) for i in range(20)])
        for there in (20, 21):  # the second session reads them from the beginning, too
            with a_session(bus, "item-vectors") as session:
                assigned(session)
                topics: list[str] = []
                while "interactions" not in topics:
                    topics += [record.topic for record in some(session)]
                assert topics == ["item-vectors"] * there + ["interactions"] * 2
                bus.send([Output("item-vectors", b"new", b"1", 0)])
                assert some(session)[0].key == b"new"


def test_keep_alive_polls_nothing(any_broker: Kafka) -> None:
    with a_bus(any_broker) as bus, a_session(bus) as session:
        assigned(session)
        bus.send(numbered(3))
        for _ in range(5):
            session.keep_alive()
            time.sleep(0.02)
        assert values(some(session)) == [0, 1, 2]


def test_topics_of_ones_own_names(any_broker: Kafka) -> None:
    kafka = any_broker.model_copy(update={"topics": {"interactions": f"{any_broker.prefix}clicks"}})
    with a_bus(kafka) as bus, a_session(bus) as session:
        bus.send(numbered(1))
        assigned(session)
        assert some(session)[0].where == "interactions[0]@0"
        with Admin(kafka) as admin:
            assert admin.partitions([f"{any_broker.prefix}clicks", f"{any_broker.prefix}interactions"]) == {
                f"{any_broker.prefix}clicks": 1
            }


def test_what_cannot_be_written_is_an_error(any_broker: Kafka) -> None:
    with a_bus(any_broker) as bus:
        with pytest.raises(BrokerError, match="writing to interactions: Unrecognized partition 7"):
            bus.send([Output("interactions", b"ann", b"1", 7)])
        with pytest.raises(BrokerError, match="MessageSizeTooLarge") as caught:
            bus.send([Output("interactions", b"ann", bytes(2_000_000))])
        assert not caught.value.retriable
        bus.send(numbered(1))  # the bus is as good as before


@pytest.mark.kafka
def test_an_aborted_transaction_leaves_no_trace(kafka: Kafka) -> None:
    with a_bus(kafka) as bus:
        bus.send(numbered(1))
        with a_session(bus) as session:
            assigned(session)
            some(session)
            producer = session._producer
            producer.begin_transaction()
            producer.send(bus.wire("recommendations"), key=b"ann", value=b"666", partition=0)
            producer.flush()
            session.abort()
            assert list(bus.read("recommendations")) == []
            assert bus.ends("recommendations") == {0: 2}  # the record and the marker of its end
            assigned(session)
            some(session)
            session.commit([Output("recommendations", b"ann", b"1", 0)])
        assert values(list(bus.read("recommendations"))) == [1]
        with a_bus(kafka.model_copy(update={"exactly_once": False})) as uncommitted:
            assert values(list(uncommitted.read("recommendations"))) == [666, 1]


@pytest.mark.kafka
def test_a_successor_ends_the_transaction_of_its_predecessor_and_fences_it(kafka: Kafka) -> None:
    with a_bus(kafka) as bus:
        bus.send(numbered(1))
        with a_session(bus) as zombie:
            assigned(zombie)
            some(zombie)
            zombie._producer.begin_transaction()
            zombie._producer.send(bus.wire("recommendations"), key=b"ann", value=b"666", partition=0)
            zombie._producer.flush()
            assert bus.ends("recommendations") == {0: 0}  # nothing is committed
            with a_session(bus):
                assert list(bus.read("recommendations")) == []
                assert bus.ends("recommendations") == {0: 2}
                with pytest.raises(KafkaError):
                    zombie._producer.commit_transaction()
        assert list(bus.read("recommendations")) == []


@pytest.mark.kafka
def test_a_member_that_lost_its_partitions_cannot_commit(kafka: Kafka) -> None:
    with a_bus(kafka.model_copy(update={"partitions": 2})) as bus:
        bus.send([*numbered(3), *numbered(3, partition=1)])
        other = KafkaBus(bus.kafka.model_copy(update={"instance": "1"}))
        with a_session(bus) as first:
            assert assigned(first) == (0, 1)
            some(first)
            with polled(other):
                deadline_s = time.monotonic() + 15
                while first._held and time.monotonic() < deadline_s:  # a long batch: nothing but signs of life
                    first.keep_alive()
                    time.sleep(0.1)
                with pytest.raises(BrokerError, match="dealt the partitions anew") as caught:
                    first.commit([Output("recommendations", b"ann", b"1", 0)])
                assert caught.value.retriable
                first.abort()
                assert len(assigned(first)) == 1
        assert list(bus.read("recommendations")) == []


@pytest.mark.kafka
def test_a_whole_assignment_leaves_the_others_standing_by(kafka: Kafka) -> None:
    with a_bus(kafka.model_copy(update={"partitions": 2})) as bus:
        other = KafkaBus(bus.kafka.model_copy(update={"instance": "1"}))
        with a_session(bus, whole=True) as first:
            assert assigned(first) == (0, 1)
            with polled(other, whole=True) as dealt:
                batch = poll_until(first, lambda batch: batch.assigned is not None)
                poll_until(first, lambda _: dealt)
                assert sorted([batch.assigned, dealt[-1]], key=str) == [(), (0, 1)]


@pytest.mark.kafka
def test_lag_is_zero_after_transactional_records(kafka: Kafka) -> None:
    """The markers that end transactions take offsets; they are no records that somebody lags behind."""
    with a_bus(kafka) as bus:
        bus.send(numbered(1))
        with a_session(bus) as session:
            assigned(session)
            some(session)
            session.commit([Output("training-jobs", b"j1", b"1")])
        jobs = bus.open("tuner", ["training-jobs"], [])
        assigned(jobs)
        some(jobs)
        jobs.commit([])
        jobs.close()
        assert topic_states(kafka, ["tuner"])["training-jobs"].lag("tuner") == 0


def test_a_broker_that_is_not_there() -> None:
    nowhere = Kafka(bootstrap="127.0.0.1:1")
    assert not answers(nowhere, timeout_ms=100)


@pytest.mark.embedded
def test_a_missing_topic_is_named(embedded_broker: Kafka) -> None:
    bus = KafkaBus(embedded_broker.model_copy(update={"prefix": "missing."}))
    with pytest.raises(BrokerError, match=r"topic 'missing.items' must exist on .*`meander up` creates all topics"):
        bus.ends("items")
    bus.close()


def test_security_is_passed_through() -> None:
    options = connection(
        Kafka.model_validate(
            {"bootstrap": "a:1, b:2", "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256",
             "sasl_username": "shop", "sasl_password": "hush", "ssl_cafile": "/ca.pem"}
        )
    )  # fmt: skip
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("SCRAM-SHA-256", "shop")
    assert (options["sasl_plain_password"], options["ssl_cafile"]) == ("hush", "/ca.pem")
    with pytest.raises(SettingsError, match="OAUTHBEARER needs a token provider"):
        connection(Kafka(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER"))
