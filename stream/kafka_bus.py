"""The one door to Kafka: a bus, its sessions, and the topics' administration.

What a broker gives decides what Meander promises (`[kafka] exactly_once`):

- **true (Apache Kafka)**: outputs and input offsets go into one transaction; everything is read `read_committed`.
  A process killed at any moment leaves no trace of an uncommitted batch, and its successor goes on where the last
  transaction ended.
- **false (the embedded broker, Tansu 0.6)**: no transactions at all. Tansu shows aborted records to every reader,
  reports end offset 0 to read_committed readers while a transaction is open, and never times one out: a crash inside a
  transaction would leave more damage than it prevents. Instead outputs are flushed first, offsets committed
  second; a crash in between repeats the batch (at least once), which sequence numbers and offsets in the states make
  harmless. Its ListOffsets answers the *first* offset of the last batch plus one, so ends are taken from a fetch.

Topic names are Meander's own everywhere else; `kafka.prefix` is put before them here, and before groups and
transactional ids. A topic renamed in `kafka.topics` is taken as it is named there, without the prefix.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.abstract import ConsumerProtocolAssignment
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import (
    CommitFailedError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IllegalGenerationError,
    InvalidProducerEpochError,
    KafkaError,
    NotCoordinatorError,
    OutOfOrderSequenceNumberError,
    ProducerFencedError,
    RebalanceInProgressError,
    TopicAlreadyExistsError,
    TransactionAbortableError,
    TransactionAbortedError,
    UnknownMemberIdError,
    UnknownProducerIdError,
    for_code,
)
from kafka.structs import OffsetAndMetadata

from stream.bus import Batch
from stream.errors import BrokerError, SettingsError
from stream.records import Output, Record
from stream.settings import Kafka

BOOTSTRAP_TIMEOUT_MS = 5_000
CALL_TIMEOUT_S = 30.0  # for whatever the client itself would wait for without end
MAX_POLL_INTERVAL_MS = 600_000  # a handler that takes longer for a batch must call keep_alive
TRANSACTION_TIMEOUT_MS = 30_000
SILENCE_S = 10.0  # without a record, after which the broker is asked whether it is there
COORDINATOR_S = 10.0  # wait for a group's coordinator
JOIN_WAIT_S = 2.0  # of keep_alive, for a group that is dealing
READ_CHUNK = 2_000  # records per poll of a bounded read

# beyond what the client marks as retriable: after these, give the batch back, rejoin and handle it anew
_RETRIABLE = (
    CommitFailedError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IllegalGenerationError,
    OutOfOrderSequenceNumberError,
    RebalanceInProgressError,
    TransactionAbortableError,
    TransactionAbortedError,
    UnknownMemberIdError,
    UnknownProducerIdError,
)


class KafkaBus:
    """A broker behind the Kafka protocol, as a `stream.bus.Bus`.

    `bus = KafkaBus(settings.kafka)`, then `open`, `read`, `ends` and `send`; `close` ends its own connections. All
    four raise `BrokerError`, whose `retriable` says whether the same call may succeed later. `read`, `ends` and `send`
    may be called from several threads; a session belongs to one.
    """

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self._lock = threading.Lock()
        self._watcher: Any = None  # the consumer that `ends` asks
        self._producer: Any = None

    def open(
        self, group: str, inputs: Sequence[str], broadcasts: Sequence[str], *, whole: bool = False
    ) -> KafkaSession:
        """Join `group`; `whole` gives all partitions to one member, and the others stand by."""
        check_listening(self.kafka)
        return KafkaSession(self, group, inputs, broadcasts, whole=whole)

    def read(self, topic: str, spans: Mapping[int, tuple[int, int]] | None = None) -> Iterator[Record]:
        """Records committed so far, partition by partition; `spans` limits to [start, stop) offsets of partitions."""
        ends = self.ends(topic)
        wanted = spans if spans is not None else {partition: (0, end) for partition, end in ends.items()}
        with _translated(f"reading {topic}"), contextlib.closing(self.consumer()) as consumer:
            for partition, (start, stop) in sorted(wanted.items()):
                place = TopicPartition(self.wire(topic), partition)
                yield from _span(consumer, topic, place, start, min(stop, ends.get(partition, 0)))

    def ends(self, topic: str) -> dict[int, int]:
        """Partition → offset that the next record will get; committed records only where there are transactions."""
        with self._lock, _translated(f"asking for the ends of {topic}"):
            if self._watcher is None:
                self._watcher = self.consumer(fetch_max_wait_ms=20)
            name = self.wire(topic)
            places = [TopicPartition(name, p) for p in sorted(self._watcher.partitions_for_topic(name))]
            self.check_exists(name, places)
            return {place.partition: end for place, end in self.true_ends(self._watcher, places).items()}

    def all_ends(self, topics: Mapping[str, int]) -> dict[str, dict[int, int]]:
        """The same for many topics, by their names on the broker, given how many partitions they have."""
        places = [TopicPartition(name, p) for name, width in topics.items() for p in range(width)]
        with contextlib.closing(self.consumer(fetch_max_wait_ms=20)) as asker, _translated("asking for ends"):
            ends = self.true_ends(asker, places) if places else {}
        return {name: {p: ends[TopicPartition(name, p)] for p in range(width)} for name, width in topics.items()}

    def send(self, outputs: Iterable[Output]) -> None:
        """Write records outside of any transaction, and wait until they are there."""
        with self._lock:
            if self._producer is None:
                with _translated("connecting a producer"):
                    self._producer = self.producer()
        send_all(self, self._producer, outputs)

    def close(self) -> None:
        """Close the connections of `ends` and `send`; those of sessions are theirs."""
        with self._lock, contextlib.suppress(KafkaError):
            if self._watcher is not None:
                self._watcher.close()
            if self._producer is not None:
                self._producer.close(timeout=2)
            self._watcher = self._producer = None

    def wire(self, topic: str) -> str:
        """The name of one of Meander's topics on the broker."""
        return wire(self.kafka, topic)

    def check_exists(self, name: str, partitions: Collection[Any]) -> None:
        """Raise `BrokerError` for a topic without partitions."""
        if not partitions:
            raise BrokerError(f"topic {name!r} must exist on {self.kafka.bootstrap}; `meander up` creates all topics")

    def consumer(self, **options: Any) -> Any:
        """A `KafkaConsumer` that commits nothing by itself."""
        isolation = "read_committed" if self.kafka.exactly_once else "read_uncommitted"
        return KafkaConsumer(
            **connection(self.kafka),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level=isolation,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **options,
        )

    def producer(self, **options: Any) -> Any:
        """An idempotent `KafkaProducer`; batches fill while earlier ones are on their way."""
        return KafkaProducer(
            **connection(self.kafka),
            linger_ms=5,
            batch_size=262_144,
            max_block_ms=CALL_TIMEOUT_S * 1000,
            delivery_timeout_ms=2 * CALL_TIMEOUT_S * 1000,
            request_timeout_ms=20_000,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **options,
        )

    def true_ends(self, consumer: Any, places: Sequence[Any]) -> dict[Any, int]:
        """End offsets of partitions; on a broker that is wrong about them, those that a fetch reports."""
        said: dict[Any, int] = consumer.end_offsets(list(places))
        if self.kafka.exactly_once:
            return said
        with contextlib.closing(self.consumer(fetch_max_wait_ms=20)) as probe:
            probe.assign(list(places))
            for place in places:
                probe.seek(place, said[place])
            deadline_s = time.monotonic() + CALL_TIMEOUT_S
            while any(probe.highwater(place) is None for place in places):
                probe.poll(20)
                if time.monotonic() > deadline_s:
                    raise BrokerError(f"ends of {places[0].topic} must come within 30 s", retriable=True)
            return {place: max(said[place], probe.highwater(place)) for place in places}


class KafkaSession:
    """One consumer's membership in a group, as a `stream.bus.Session`.

    At every assignment, in this order: the producer has been initialised (which fences a predecessor of the
    same transactional id and ends its transaction), committed offsets are fetched and sought, broadcasts start
    from their beginning; then `poll` returns `Batch(assigned=...)`, and the caller restores. Until the broadcasts have
    reached the ends seen at that moment, `poll` returns nothing of the inputs.
    """

    def __init__(
        self, bus: KafkaBus, group: str, inputs: Sequence[str], broadcasts: Sequence[str], *, whole: bool
    ) -> None:
        kafka = bus.kafka
        self._bus, self._kafka, self._group = bus, kafka, kafka.prefix + group
        self._names = {bus.wire(topic): topic for topic in (*inputs, *broadcasts)}
        self._broadcasts = tuple(bus.wire(topic) for topic in broadcasts)
        self._held = False  # the partitions of the last assignment that poll returned are still ours
        self._dealt = False  # there is an assignment that poll has not returned yet
        self._closing = contextlib.ExitStack()
        self._offsets: dict[Any, int] = {}  # committed
        self._until: dict[Any, int] = {}  # ends of the broadcasts that are still to be reached
        self._membership: Any = None
        self._heard_s = time.monotonic()  # when the broker last gave a sign of life
        with _translated(f"joining {self._group}"):
            self._producer = self._new_producer()
            self._consumer = bus.consumer(
                group_id=self._group,
                max_poll_records=kafka.max_poll_records,
                max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
                session_timeout_ms=kafka.session_timeout_ms,
                heartbeat_interval_ms=min(3_000, kafka.session_timeout_ms // 3),
                partition_assignment_strategy=[WholeAssignor if whole else RangePartitionAssignor],
            )
            names = [bus.wire(topic) for topic in inputs]
            self._consumer.subscribe(names, listener=_Listener(self._lose, self._deal))
            self._consumer.topics()  # now, not while joining: a leader that learns of partitions later deals twice
            for name in names:
                bus.check_exists(name, self._consumer.partitions_for_topic(name))
            self._listener = bus.consumer(max_poll_records=kafka.max_poll_records) if broadcasts else None

    def poll(self, timeout_s: float) -> Batch:
        """Wait for records or a new assignment, at most `timeout_s`."""
        with _translated(f"polling for {self._group}"):
            restoring = self._held and bool(self._until)  # the inputs are paused; a poll only keeps the membership
            found = self._consumer.poll(0 if restoring else timeout_s * 1000)
            if self._dealt:
                return self._assign()  # what was found will be found again
            self._check_in(bool(found))
            if not self._held:
                return Batch()  # the group is still dealing
            news = self._poll_broadcasts(timeout_s if restoring else 0.0)
            return Batch(records=[*news, *self._records(found)])

    def commit(self, outputs: Iterable[Output]) -> None:
        """Write `outputs` and the offsets of every record polled since the last commit, in one transaction.

        Raises:
            BrokerError: retriable if the group has dealt the partitions anew meanwhile, or the broker did not answer:
                call `abort`, and nothing of the batch has happened. Not retriable if another process has taken over
                the transactional id.
        """
        written = list(outputs)
        if not self._held:
            if not written:
                return  # nothing was polled: the group is dealing
            raise BrokerError(f"{self._group} dealt the partitions anew while a batch was handled", retriable=True)
        with _translated(f"committing for {self._group}"):
            offsets = {place: self._consumer.position(place, timeout_ms=5_000) for place in self._offsets}
            if not written and offsets == self._offsets:
                return
            sent = {place: OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()}
            if self._kafka.exactly_once:
                _within(CALL_TIMEOUT_S, "the commit of a transaction", lambda: self._transact(written, sent))
            else:
                send_all(self._bus, self._producer, written)
                self._consumer.commit(sent, timeout_ms=CALL_TIMEOUT_S * 1000)
            self._offsets = offsets

    def abort(self) -> None:
        """Give back what was polled since the last commit; the next `poll` returns the assignment again."""
        self._dealt, self._held = self._held or self._dealt, False  # else the group is dealing, and will say so
        if not self._kafka.exactly_once:
            return
        try:
            _within(CALL_TIMEOUT_S, "an abort", self._producer.abort_transaction)
        except (KafkaError, BrokerError):  # no transaction is open, or the producer is beyond repair
            with _translated(f"fencing the producer of {self._group}"):
                _drop_producer(self._producer)
                self._producer = self._new_producer()

    def keep_alive(self) -> None:
        """Keep the group membership during long work; polls nothing."""
        with _translated(f"keeping the membership in {self._group}"):
            running = self._consumer.assignment() - self._consumer.paused()
            self._consumer.pause(*running)
            self._consumer.poll(0)
            if not self._held and not self._dealt:  # the client forgets a join that ends while nobody waits for it
                self._consumer.poll(JOIN_WAIT_S * 1000)
            self._consumer.resume(*(self._consumer.assignment() & running))

    def lags(self) -> dict[tuple[str, int], int]:
        """(topic, partition) of the inputs → records between the position and the end, as of the newest fetch."""
        out: dict[tuple[str, int], int] = {}
        for place in self._offsets:
            if self._held and place in self._consumer.assignment():
                end, at = self._consumer.highwater(place), self._consumer.position(place, timeout_ms=1_000)
                out[self._names[place.topic], place.partition] = max(0, (end or 0) - (at or 0))
        return out

    def close(self) -> None:
        """Leave the group; what is not committed has not happened."""
        with contextlib.suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=1_500)
        if self._listener is not None:
            with contextlib.suppress(KafkaError):
                self._listener.close(timeout_ms=500)
        _drop_producer(self._producer)

    def _lose(self) -> None:
        """Called by the client's thread within `poll` when the group begins to deal the partitions anew."""
        self._held = self._dealt = False

    def _deal(self) -> None:
        """Called by the client's thread within `poll` when the group has dealt the partitions."""
        self._dealt = True

    def _check_in(self, heard: bool) -> None:
        """Ask the broker something when nothing has come for a while: the client itself waits without a word."""
        now_s = time.monotonic()
        if not heard and now_s - self._heard_s > SILENCE_S:
            check_listening(self._kafka)
            some = next(iter(self._names))
            self._consumer.end_offsets([TopicPartition(some, 0)], timeout_ms=SILENCE_S * 1000)
            heard = True
        if heard:
            self._heard_s = now_s

    def _new_producer(self) -> Any:
        if not self._kafka.exactly_once:
            return self._bus.producer()
        producer = self._bus.producer(
            transactional_id=f"{self._group}-{self._kafka.instance}", transaction_timeout_ms=TRANSACTION_TIMEOUT_MS
        )
        producer.init_transactions()
        return producer

    def _assign(self) -> Batch:
        """Go to the committed offsets, rewind the broadcasts, and tell the caller its partitions."""
        check_listening(self._kafka)  # the calls below would wait half a minute each to find out
        consumer = self._consumer
        self._membership = consumer.group_metadata()
        places = sorted(consumer.assignment())
        starts = consumer.beginning_offsets(places) if places else {}
        self._offsets = {}
        for place in places:
            committed = consumer.committed(place, timeout_ms=CALL_TIMEOUT_S * 1000)
            self._offsets[place] = starts[place] if committed is None else committed
            consumer.seek(place, self._offsets[place])
        self._rewind_broadcasts()
        if self._until:
            consumer.pause(*places)
        else:
            consumer.resume(*places)
        self._dealt, self._held = False, True
        return Batch(assigned=tuple(sorted({place.partition for place in places})))

    def _rewind_broadcasts(self) -> None:
        if self._listener is None:
            return
        places = [TopicPartition(t, p) for t in self._broadcasts for p in self._listener.partitions_for_topic(t)]
        self._listener.assign(places)
        self._listener.seek_to_beginning(*places)
        ends: dict[Any, int] = {}
        for topic in self._broadcasts:
            ends |= self._bus.true_ends(self._listener, [place for place in places if place.topic == topic])
        self._until = {place: end for place, end in ends.items() if end > 0}

    def _poll_broadcasts(self, timeout_s: float) -> list[Record]:
        if self._listener is None:
            return []
        records = self._records(self._listener.poll(timeout_s * 1000))
        if self._until:
            at = {place: self._listener.position(place, timeout_ms=5_000) for place in self._until}
            self._until = {place: end for place, end in self._until.items() if (at[place] or 0) < end}
            if not self._until:
                self._consumer.resume(*self._consumer.assignment())
        return records

    def _records(self, found: Mapping[Any, Sequence[Any]]) -> list[Record]:
        return [
            Record(self._names[place.topic], place.partition, r.offset, r.key, r.value, r.timestamp)
            for place in sorted(found)
            for r in found[place]
        ]

    def _transact(self, outputs: list[Output], offsets: dict[Any, Any]) -> None:
        """All of it, or nothing; a member that has lost its partitions is refused by the broker."""
        futures: list[Any] = []
        try:
            self._producer.begin_transaction()
            futures += [_send(self._bus, self._producer, out) for out in outputs]
            if offsets:
                self._producer.send_offsets_to_transaction(offsets, self._membership)
            self._producer.commit_transaction()
        except KafkaError:
            _raise_first(futures)  # the client hides what a record failed with behind "in an error state"
            raise


class WholeAssignor(RangePartitionAssignor):  # type: ignore[misc] # the client has no types
    """Deals all partitions to one member of the group, so that a state over all of them can stand by."""

    name = "meander-whole"

    @classmethod
    def assign(cls, cluster: Any, members: Any) -> dict[str, Any]:
        """All to the member with the smallest id, nothing to the others."""
        first, *others = sorted(members, key=lambda member: str(member.member_id))
        dealt: dict[str, Any] = super().assign(cluster, [first])
        return dealt | {m.member_id: ConsumerProtocolAssignment(cls.version, [], b"") for m in others}


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # the client has no types
    """Passes on that partitions were taken or given."""

    def __init__(self, lose: Callable[[], None], deal: Callable[[], None]) -> None:
        self._lose, self._deal = lose, deal

    def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002
        self._lose()

    def on_partitions_assigned(self, assigned: Any) -> None:  # noqa: ARG002
        self._deal()


class Admin:
    """What Meander asks a broker about topics and groups, under their names on the broker; see `stream.admin`."""

    def __init__(self, kafka: Kafka) -> None:
        check_listening(kafka)
        with _translated(f"connecting to {kafka.bootstrap}"):
            self._client = KafkaAdminClient(**connection(kafka))

    def __enter__(self) -> Admin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def partitions(self, names: Sequence[str]) -> dict[str, int]:
        """How many partitions each of the topics has; those that do not exist are left out."""
        with _translated("describing topics"):
            rows = self._client.describe_topics(list(names))
        return {row["name"]: len(row["partitions"]) for row in rows if row["error_code"] == 0}

    def cleanup_policies(self, names: Sequence[str]) -> dict[str, str]:
        """The `cleanup.policy` of topics that exist; a topic whose policy the broker does not tell is left out."""
        with _translated("describing the settings of topics"):  # no filter by key: Tansu hangs up when it gets one
            found = self._client.describe_configs(
                [ConfigResource("TOPIC", name) for name in names], config_filter="all"
            )
        rows = found.get("topic", {})
        return {name: row["cleanup.policy"]["value"] for name, row in rows.items() if "cleanup.policy" in row}

    def create(self, topics: Mapping[str, Mapping[str, Any]]) -> None:
        """Create topics and wait until they have leaders; one that exists by now is no error."""
        with _translated("creating topics"):
            rows = self._client.create_topics(dict(topics), raise_errors=False)["topics"]
            for row in rows:
                error = for_code(row["error_code"])
                if row["error_code"] and error is not TopicAlreadyExistsError:
                    reason = row.get("error_message") or error.__name__
                    raise BrokerError(f"creating topic {row['name']!r}: {reason}", retriable=bool(error.retriable))
            self._client.wait_for_topics(list(topics))

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """(topic, partition) → committed offset of a group; nothing for a group that has never committed.

        A fresh Apache Kafka makes its topic for offsets when it is first asked, and has no coordinator until then.
        """
        deadline_s = time.monotonic() + COORDINATOR_S
        with _translated(f"asking for the offsets of {group}"):
            while True:
                try:
                    found = self._client.list_group_offsets([group]).get(group, {})
                    break
                except (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError):
                    if time.monotonic() > deadline_s:
                        raise
                    time.sleep(0.1)
        return {(place.topic, place.partition): entry.offset for place, entry in found.items() if entry.offset >= 0}


def answers(kafka: Kafka, timeout_ms: int = 1_000) -> bool:
    """Whether a broker answers at `kafka.bootstrap` within `timeout_ms`."""
    try:
        check_listening(kafka, timeout_ms / 1000)
        KafkaAdminClient(**connection(kafka) | {"bootstrap_timeout_ms": timeout_ms}).close()
    except (KafkaError, BrokerError):
        return False
    return True


def check_listening(kafka: Kafka, timeout_s: float = BOOTSTRAP_TIMEOUT_MS / 1000) -> None:
    """Raise a retriable `BrokerError` if nobody accepts connections at `kafka.bootstrap`.

    To be called before a client is made: when it cannot connect it keeps trying, with a thread and sockets that
    nobody can close.
    """
    if not any(_listens(server, timeout_s) for server in kafka.bootstrap.split(",")):
        raise BrokerError(f"nobody listens at kafka.bootstrap ({kafka.bootstrap}): is the broker up?", retriable=True)


def _listens(server: str, timeout_s: float) -> bool:
    """Whether somebody accepts connections at HOST:PORT."""
    host, _, port = server.strip().rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout_s).close()
    except (OSError, ValueError):
        return False
    return True


def wire(kafka: Kafka, topic: str) -> str:
    """The name of one of Meander's topics on the broker.

    >>> wire(Kafka(prefix="shop.", topics={"interactions": "clicks"}), "interactions")
    'clicks'
    >>> wire(Kafka(prefix="shop."), "items")
    'shop.items'
    """
    return kafka.topics.get(topic) or kafka.prefix + topic


def connection(kafka: Kafka) -> dict[str, Any]:
    """Options of every client: where the broker is, and how to prove who we are.

    Raises:
        SettingsError: a mechanism that needs more than settings can say.
    """
    if kafka.sasl_mechanism == "OAUTHBEARER":
        raise SettingsError("kafka.sasl_mechanism must be PLAIN or SCRAM: OAUTHBEARER needs a token provider in code")
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap.split(",")],
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "reconnect_backoff_max_ms": 2_000,
        "client_id": "meander",
        "security_protocol": kafka.security_protocol,
        "ssl_cafile": kafka.ssl_cafile,
        "ssl_certfile": kafka.ssl_certfile,
        "ssl_keyfile": kafka.ssl_keyfile,
        "ssl_password": kafka.ssl_password.get_secret_value() if kafka.ssl_password else None,
    }
    if kafka.sasl_mechanism is not None:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
        }
    return options


def send_all(bus: KafkaBus, producer: Any, outputs: Iterable[Output]) -> None:
    """Send, flush, and raise the first error."""
    with _translated("writing"):
        futures = [_send(bus, producer, out) for out in outputs]
        if futures:
            producer.flush(CALL_TIMEOUT_S)
            _raise_first(futures)


def _send(bus: KafkaBus, producer: Any, out: Output) -> Any:
    try:
        return producer.send(bus.wire(out.topic), out.value, out.key, None, out.partition, out.timestamp_ms)
    except ValueError as error:  # an unknown partition, or neither key nor value
        raise BrokerError(f"writing to {out.topic}: {error}") from None


def _raise_first(futures: Sequence[Any]) -> None:
    """Raise what the first record that failed failed with."""
    for future in futures:
        if future.failed():
            raise future.exception


def _span(consumer: Any, topic: str, place: Any, start: int, stop: int) -> Iterator[Record]:
    """Records of one partition with offsets in [start, stop)."""
    if start >= stop:
        return
    consumer.assign([place])
    consumer.seek(place, start)  # where retention has passed it, the client goes on at the oldest record
    moved_s, at = time.monotonic(), start
    while at < stop:
        for r in consumer.poll(500, max_records=READ_CHUNK).get(place, ()):
            if r.offset < stop:
                yield Record(topic, place.partition, r.offset, r.key, r.value, r.timestamp)
        now = consumer.position(place, timeout_ms=5_000)
        if now is not None and now > at:
            moved_s, at = time.monotonic(), now
        elif time.monotonic() - moved_s > CALL_TIMEOUT_S:
            raise BrokerError(f"reading {topic}[{place.partition}]@{at}: nothing came for 30 s", retriable=True)


def _drop_producer(producer: Any) -> None:
    with contextlib.suppress(KafkaError):
        producer.close(timeout=1)


def _within(limit_s: float, what: str, call: Callable[[], object]) -> None:
    """Make a call that may wait without end, in a thread, and wait at most `limit_s` for it."""
    failed: list[Exception] = []

    def attempt() -> None:
        try:
            call()
        except (KafkaError, BrokerError) as error:
            failed.append(error)

    thread = threading.Thread(target=attempt, name=what, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise BrokerError(f"{what} must end within {limit_s:.0f} s, but the broker does not answer", retriable=True)
    if failed:
        raise failed[0]


@contextlib.contextmanager
def _translated(action: str) -> Iterator[None]:
    """Turn the client's errors into `BrokerError`."""
    try:
        yield
    except (ProducerFencedError, InvalidProducerEpochError) as error:
        raise BrokerError(f"{action}: another process has taken over this one's transactional id") from error
    except KafkaError as error:
        retriable = bool(error.retriable) or isinstance(error, _RETRIABLE)
        said = str(error) if type(error).__name__ in str(error) else f"{type(error).__name__}: {error}"
        raise BrokerError(f"{action}: {said}", retriable=retriable) from error
