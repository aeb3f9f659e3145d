"""One consumer as a process, on real brokers: it stops when told, and may be killed at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumers import children
from consumers.roles import NAMES, role
from consumers.run import run_role
from stream.admin import ensure_topics, topic_states
from stream.bus import MemoryBus
from stream.errors import SettingsError
from stream.kafka_bus import KafkaBus
from stream.records import Output
from stream.settings import Kafka, Settings

ROOT = Path(__file__).parents[2]
Command = Callable[..., list[str]]


@contextmanager
def a_process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = children.start(command, log, os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        yield process
    finally:
        children.stop([process])


def wait_for(condition: Callable[[], object], limit_s: float = 40.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.05)


@pytest.fixture
def topics(any_broker: Kafka) -> Kafka:
    ensure_topics(any_broker)
    return any_broker


def test_sigterm_finishes_the_batch_commits_and_leaves(
    topics: Kafka, counting_command: Command, tmp_path: Path
) -> None:
    kafka = topics.model_copy(update={"max_poll_records": 10})
    bus, log = KafkaBus(kafka), tmp_path / "log"
    bus.send([Output("interactions", b"ann", b"x") for _ in range(100)])
    with a_process(counting_command(kafka, 0.02), log) as process:
        wait_for(lambda: bus.ends("recommendations")[0] > 10)  # in the middle of the next batch
        process.send_signal(signal.SIGTERM)
        began_s = time.monotonic()
        assert process.wait(10) == 0, log.read_text()
        assert time.monotonic() - began_s < 5
    written = [int(record.value or b"0") for record in bus.read("recommendations")]
    committed = topic_states(kafka, ["counting"])["interactions"].committed["counting"][0]
    assert written == list(range(1, committed + 1))  # what is written is committed, and nothing else
    assert 0 < committed < 100
    bus.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"event": "third", "user": "ann", "where": "interactions[0]@2"}.items() <= next(
        line for line in lines if line["event"] == "third"
    ).items()


@pytest.mark.kafka
@pytest.mark.slow
def test_killed_at_random_moments_it_loses_nothing_and_repeats_nothing(
    kafka: Kafka, counting_command: Command, tmp_path: Path
) -> None:
    ensure_topics(kafka)
    settings = kafka.model_copy(update={"max_poll_records": 20})
    bus, draw, n = KafkaBus(settings), random.Random(7), 600
    users = [b"u%d" % draw.randrange(20) for _ in range(n)]
    bus.send([Output("interactions", user, b"x") for user in users])
    for round_ in range(3):
        with a_process(counting_command(settings, 0.005), tmp_path / f"log{round_}") as process:
            here = bus.ends("recommendations")[0]
            wait_for(lambda here=here: bus.ends("recommendations")[0] > here)  # type: ignore[misc]
            time.sleep(draw.uniform(0, 0.3))
            process.kill()
            process.wait()
    with a_process(counting_command(settings), tmp_path / "last") as process:
        wait_for(lambda: topic_states(settings, ["counting"])["interactions"].committed["counting"].get(0) == n)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    so_far: Counter[bytes] = Counter()
    expected = []
    for user in users:
        so_far[user] += 1
        expected.append((user, b"%d" % so_far[user]))
    assert [(record.key, record.value) for record in bus.read("recommendations")] == expected
    bus.close()


def test_a_broker_that_is_not_there_ends_the_process_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("consumers.run.START_PATIENCE", 1)
    kafka = Kafka(bootstrap=f"127.0.0.1:{children.free_port()}")
    other = children.start([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    assert run_role("interest", Settings(kafka=kafka)) == 1
    assert other.poll() is None  # it was there before: it is none of the role's
    children.stop([other])
    line = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert (line["event"], line["consumer"], line["error"]) == ("stops", "interest", "BrokerError")
    assert "nobody listens at kafka.bootstrap (127.0.0.1:" in line["reason"]


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(SettingsError, match="role must be one of encoder, interest, scorer, trigger, tuner, got 'x'"):
        role("x", Settings(), MemoryBus())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "encoder"])
def test_every_role_can_be_built(name: str, tmp_path: Path) -> None:
    settings = Settings.model_validate({"store": {"path": str(tmp_path)}})
    part = role(name, settings, MemoryBus())
    assert part.name == name
    handler = part.build()
    assert (handler.inputs, handler.broadcasts) == (part.kind.inputs, part.kind.broadcasts)
    assert part.slow == (name == "tuner")
