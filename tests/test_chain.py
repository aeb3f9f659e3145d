"""The whole chain as processes on real brokers: all that comes out of it, and that crashes change nothing of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec import structs

from consumers.roles import NAMES as ROLES
from producers import log
from producers.synthetic import Plan, World
from stream import events, messages, topics, versions
from stream.admin import ensure_topics
from stream.events import DeadLetter, Erasure, Interaction, Item, Recommendation
from stream.messages import DriftAlarm, ModelHealth, ModelVersion, Ruling, TrainingJob, UserState
from stream.records import Output
from stream.settings import Kafka
from tests.conftest import LIMIT_S, SMALL, Chain, a_chain, written

DAY_S = 86_400.0
BROKEN = b'{"event_id": "broken", "user_id": "u1", "item_id": "i1", "at": "yesterday"}'


def call(file: Path, *arguments: str) -> str:
    """What one command of the command line says."""
    command = [sys.executable, "-m", "meander", *arguments, "--config", str(file)]
    env = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------------- all that comes out


@dataclass
class Story:
    """What a season on the embedded broker has left behind."""

    file: Path
    chain: Chain
    items: list[Item]
    interactions: list[Interaction]
    versions: list[ModelVersion | Ruling]
    pages: dict[tuple[str, str], str]  # (role, page) → text
    figures: dict[str, dict[tuple[str, ...], float]]
    erased: str
    parked_at: str
    codes: dict[str, int]  # role → exit code after SIGTERM
    left: list[psutil.Process]


@pytest.fixture(scope="module")
def story(embedded_broker: Kafka, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A warm-up, a model, a refresh, an erasure and the end, one after the other."""
    world = World(Plan(users=30, items=60, events=700, days=60, swaps=0.5, seed=3))
    items, log_ = list(world.items), list(world.interactions())
    trigger = {"policy": "clock", "warm_up_events": 300, "clock_events": 200, "min_new_events": 100}
    kafka = embedded_broker.model_copy(update={"prefix": "season.", "partitions": 2})
    file = written(tmp_path_factory.mktemp("season"), kafka, encoder, trigger=trigger)
    assert "interactions" in call(file, "topics", "--create")
    with a_chain(file) as chain:
        chain.with_items(items)
        chain.feed(log_[:400])
        chain.until("a live version", lambda: versions.live(chain.versions()))
        chain.bus.send([Output(topics.INTERACTIONS, b"u1", BROKEN, 1)])
        parked_at = f"interactions[1]@{chain.bus.ends(topics.INTERACTIONS)[1] - 1}"
        fed = until_it_serves(chain, log_, 400)
        chain.feed(log_[fed:680])
        chain.until("a second version", lambda: len(chain.versions()) > 1)
        chain.feed(log_[680:])
        last = newest_tested(chain)
        chain.until("a list for the newest event of everybody", lambda: answered(chain) == last)
        erased = log_[-1].user_id
        chain.bus.send(
            [Output(topics.ERASURES, erased.encode(), events.encode(Erasure(user_id=erased, at=log_[-1].at)))]
        )
        chain.until("an erasure", lambda: tombstoned(chain, erased) == [True] * 3)
        running = chain.running
        pages = {
            (role, page): running._get(role, page) or "" for role in ROLES for page in ("healthz", "readyz", "metrics")
        }
        figures = {role: running.figures(role) for role in ROLES}
        processes = [psutil.Process(process.pid) for process in running.processes.values()]
        everyone = [*processes, *(child for process in processes for child in process.children(recursive=True))]
        for process in running.processes.values():
            process.terminate()
        codes = {role: process.wait(LIMIT_S) for role, process in running.processes.items()}
        left = [process for process in everyone if process.is_running()]
        yield Story(file, chain, items, log_, chain.versions(), pages, figures, erased, parked_at, codes, left)


def until_it_serves(chain: Chain, log_: list[Interaction], fed: int) -> int:
    """Feed on in small steps until the scorer, which loads a version meanwhile, has swapped it in; how far that was."""

    def seen(n: int) -> bool:
        return chain.running.figures("scorer").get(("events_total",), 0) >= n

    while not any(key[0] == "live_version_info" for key in chain.running.figures("scorer")) and fed < 550:
        chain.feed(log_[fed : fed + 5])
        fed += 5
        chain.until("the next events", partial(seen, fed))
    return fed


def newest_tested(chain: Chain) -> dict[str, str]:
    """User → their newest event, of all who came after the warm-up of their partition."""
    numbered: Counter[int] = Counter()
    out: dict[str, str] = {}
    for record in chain.read(topics.INTERACTIONS):
        if record.value != BROKEN:
            numbered[record.partition] += 1
            if numbered[record.partition] > SMALL["scoring"]["warm_up_events"]:
                event = events.decode(Interaction, record.value)
                out[event.user_id] = event.event_id
    return out


def lists(chain: Chain) -> list[Recommendation]:
    """Of people; not those for newcomers."""
    made = [events.decode(Recommendation, r.value) for r in chain.read(topics.RECOMMENDATIONS) if r.value is not None]
    return [one for one in made if one.user_id != events.NEWCOMER]


def answered(chain: Chain) -> dict[str, str]:
    """User → the event that their newest list answers."""
    return {made.user_id: made.answers for made in lists(chain)}


def tombstoned(chain: Chain, user_id: str) -> list[bool]:
    """Whether what was known about a person is gone from states, the scorer's states and lists."""
    places = ((topics.USER_STATES, ""), (topics.SCORER_STATES, "u/"), (topics.RECOMMENDATIONS, ""))
    return [chain.newest(topic).get((prefix + user_id).encode(), b"") is None for topic, prefix in places]


@pytest.mark.embedded
@pytest.mark.slow
def test_items_get_vectors_and_people_get_states_and_lists(story: Story) -> None:
    assert set(story.chain.newest(topics.ITEM_VECTORS)) == {item.item_id.encode() for item in story.items}
    people_ = {event.user_id.encode() for event in story.interactions}
    states = story.chain.newest(topics.USER_STATES)
    assert set(states) == people_
    assert [user for user, value in states.items() if value is None] == [story.erased.encode()]
    count = Counter(event.user_id for event in story.interactions)
    for value in filter(None, states.values()):
        state = messages.decode(UserState, value)
        assert state.seq == count[state.user_id]
        assert state.tail_items == [e.item_id for e in story.interactions if e.user_id == state.user_id]
    last = newest_tested(story.chain)
    assert answered(story.chain) == last
    assert len(last) > 20


@pytest.mark.embedded
@pytest.mark.slow
def test_a_model_is_trained_promoted_and_serves(story: Story) -> None:
    first, second, *_ = [version for version in story.versions if isinstance(version, ModelVersion)]
    assert (first.version, first.verdict, first.trigger, first.parent) == ("v1", "promoted", "warm-up", "")
    assert first.space
    assert (second.version, second.trigger, second.parent) == ("v2", "clock", "v1")
    assert second.verdict in ("promoted", "refused", "undecided")
    assert {"gain", "gain_lower", "reason"} <= second.gate.keys()
    jobs = [messages.decode(TrainingJob, r.value) for r in story.chain.read(topics.TRAINING_JOBS)]
    assert [job.kind for job in jobs[:2]] == ["warm-up", "refresh"]
    serving = [key[1] for key in story.figures["scorer"] if key[0] == "live_version_info"]
    assert serving == [max(lists(story.chain), key=lambda made: made.at).model_version]
    served = Counter(made.model_version for made in lists(story.chain))
    assert served["v1"] > 100
    assert served[""] > 100  # before there was one
    health = [messages.decode(ModelHealth, record.value) for record in story.chain.read(topics.MODEL_HEALTH)]
    newest = {record.partition: record for record in health}
    assert sum(record.tested for record in newest.values()) > 400
    assert sum(record.hits for record in newest.values()) > 0
    assert {"", "v1"} <= {record.version for record in health}


@pytest.mark.embedded
@pytest.mark.slow
def test_only_what_is_malformed_is_parked(story: Story) -> None:
    letters = [events.decode(DeadLetter, record.value) for record in story.chain.read(topics.DEAD_LETTERS)]
    assert [(made.consumer, made.where) for made in letters] == [("interest", story.parked_at)]
    for letter in letters:
        assert (letter.key, letter.value, letter.field) == (b"u1", BROKEN, "at")
        assert letter.reason == "at must be RFC 3339 or epoch milliseconds, got 'yesterday'"
    assert tombstoned(story.chain, story.erased) == [True] * 3


@pytest.mark.embedded
@pytest.mark.slow
def test_every_process_answers_and_ends_when_told(story: Story) -> None:
    for role in ROLES:
        assert story.pages[role, "healthz"] == "alive\n"
        assert story.pages[role, "readyz"] == "ready\n"
        assert "meander_records_total{" in story.pages[role, "metrics"]
    n = len(story.interactions)
    assert story.figures["interest"]["events_total",] == n
    assert story.figures["scorer"]["events_total",] == n
    assert story.figures["scorer"]["untested_total",] == 0
    assert story.figures["interest"]["erased_total",] == 1
    assert story.codes == dict.fromkeys(ROLES, 0)
    assert story.left == []


@pytest.mark.embedded
@pytest.mark.slow
def test_the_command_line_tells_what_there_is(story: Story, tmp_path: Path) -> None:
    names = [version.version for version in story.versions if isinstance(version, ModelVersion)]
    said = call(story.file, "models")
    assert "live" in said
    assert all(name in said for name in names)
    someone = next(event.user_id for event in story.interactions if event.user_id != story.erased)
    count = sum(event.user_id == someone for event in story.interactions)
    assert f"{someone}: {count} interactions from 2024-01-" in call(story.file, "user", someone)
    out = tmp_path / "log.jsonl.gz"
    said = call(story.file, "record", "--topic", "items", "--topic", "interactions", "--out", str(out))
    assert said.startswith(f"{len(story.items) + len(story.interactions)} lines in ")
    assert "1 malformed" in said.replace("\n", " ")
    assert sorted(e.event_id for e in log.read_interactions(out)) == sorted(e.event_id for e in story.interactions)
    assert call(story.file, "topics").count("\n") > len(topics.TOPICS)
    live = versions.live(story.chain.versions())
    assert live is not None
    worse = structs.replace(live, version="v9", parent=live.version)
    story.chain.bus.send([Output(topics.MODEL_VERSIONS, b"v9", messages.encode(worse))])
    assert call(story.file, "models", "rollback", "--reason", "complaints") == "v9 is rolled back: complaints\n"
    assert versions.live(story.chain.versions()) == live
    assert "rolled back" in call(story.file, "models", "list")


# ---------------------------------------------------------------------- that crashes change nothing

FIRST, LIVE_AFTER_S = 550, 6 * DAY_S  # v1 is decided at event 500, and serves from about event 600 on
VICTIMS = ("interest", "scorer", "trigger")


def through(chain: Chain, world: World, draw: random.Random | None) -> dict[str, Any]:
    """Feed a log in which v1 goes live at a known event; with `draw`, consumers die on the way. What came of it."""
    items, log_ = list(world.items), list(world.interactions())
    chain.with_items(items)
    fed = 0
    for stop in (FIRST, 750, len(log_)):
        chain.feed(log_[fed:stop])
        if draw is not None:
            disturb(chain, draw)
        if stop == FIRST:
            chain.until("a version", chain.versions)
            chain.until("knowledge of it", lambda: all(knows_a_version(chain, role) for role in VICTIMS))
        fed = stop
    chain.until("the end of the scorer's work", lambda: chain.learned() == len(log_))
    chain.until("the end of the trigger's work", lambda: chain.weighed() == len(log_))
    return outcome(chain)


def knows_a_version(chain: Chain, role: str) -> bool:
    return bool(chain.running.figures(role).get(("records_total", topics.MODEL_VERSIONS)))


def disturb(chain: Chain, draw: random.Random) -> None:
    """Kill consumers at drawn moments, then start them again."""
    moments = sorted((draw.uniform(0.05, 1.2), role) for role in VICTIMS)
    print("killed after so many seconds:", [(role, round(at_s, 2)) for at_s, role in moments])
    began_s = time.monotonic()
    for at_s, role in moments:
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        chain.kill(role)
    for role in VICTIMS:
        chain.start(role)
    chain.until("readiness after the restarts", lambda: chain.running.ready() == list(ROLES))


def outcome(chain: Chain) -> dict[str, Any]:
    """Everything that must not depend on what happened to the processes."""
    states = {}
    for user_id, value in chain.newest(topics.USER_STATES).items():
        state = messages.decode(UserState, value)
        state.fresh = []  # a batch's end splits a run of events into several records
        states[user_id] = state
    return {
        "states": states,
        "alarms": [messages.decode(DriftAlarm, record.value) for record in chain.read(topics.DRIFT_ALARMS)],
        "health": [messages.decode(ModelHealth, record.value) for record in chain.read(topics.MODEL_HEALTH)],
        "jobs": [messages.decode(TrainingJob, record.value) for record in chain.read(topics.TRAINING_JOBS)],
        "versions": [(v.version, v.live_at_s, getattr(v, "checksum", "")) for v in chain.versions()],
        "lists": {(made.user_id, made.at): made for made in lists(chain)},  # the newest stands
    }


def sequence_numbers(chain: Chain) -> dict[str, list[int]]:
    """User → the numbers of all events that their states tell of as new, in order."""
    out: dict[str, list[int]] = defaultdict(list)
    for record in chain.read(topics.USER_STATES):
        state = messages.decode(UserState, record.value)
        out[state.user_id] += range(state.seq - len(state.fresh) + 1, state.seq + 1)
    return out


@pytest.mark.kafka
@pytest.mark.slow
def test_killed_at_random_moments_the_chain_tells_the_same(kafka_broker: Kafka, encoder: Path, tmp_path: Path) -> None:
    world = World(Plan(users=10, items=60, events=1_000, days=60, swaps=1.0, gradual=0.0, seed=3))
    trigger = {"policy": "never", "warm_up_events": 500, "go_live_delay_s": LIVE_AFTER_S}
    drift = {"threshold": 0.5}  # 500 interactions would not do to find one
    found = []
    for name, draw in (("calm", None), ("stormy", random.Random(11))):
        kafka = kafka_broker.model_copy(
            update={"prefix": f"{name}.", "session_timeout_ms": 3_000, "max_poll_records": 10}
        )
        ensure_topics(kafka)
        (tmp_path / name).mkdir()
        with a_chain(written(tmp_path / name, kafka, encoder, trigger=trigger, drift=drift)) as chain:
            found.append(through(chain, world, draw))
            for user_id, numbers in sequence_numbers(chain).items():
                assert numbers == list(range(1, len(numbers) + 1)), user_id  # each once, none left out
    calm, stormy = found
    for what in calm:
        assert calm[what] == stormy[what], what
    assert len(calm["alarms"]) > 3
    assert len(calm["health"]) == 20
    assert {made.model_version for made in calm["lists"].values()} == {"", "v1"}
