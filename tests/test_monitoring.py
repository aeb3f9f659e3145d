"""A real Prometheus scrapes the real processes over Apache Kafka: what it answers is what the topics hold."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumers import children, people
from consumers.people import SavedPart
from consumers.roles import NAMES as ROLES
from deploy.grafana.queries import queries
from producers.synthetic import Plan, World
from stream import messages, topics, versions
from stream.admin import ensure_topics
from stream.messages import ModelVersion, UserState
from stream.records import Output
from stream.settings import Kafka
from tests.conftest import LIMIT_S, Chain, a_chain, written

RULES = Path(__file__).parents[1] / "deploy" / "prometheus"
BROKEN = b'{"event_id": "broken", "user_id": "u1", "item_id": "i1", "at": "yesterday"}'

EVENTS = 1_800
MAY_BE_EMPTY = {  # what shows only what happens at that moment
    "Training", "Progress of the running training", "Scorers, by the candidate in shadow", "mark: Restarts",
    "mark: Trainings", "Work waiting, by role and topic", "Evidence, as a share of what starts a training",
}  # fmt: skip

pytestmark = [pytest.mark.kafka, pytest.mark.prometheus, pytest.mark.slow]


@dataclass(frozen=True)
class Prometheus:
    """A server that runs, and its HTTP API."""

    address: str

    def ask(self, path: str, **arguments: str) -> Any:
        asked = urllib.parse.urlencode(arguments)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{asked}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """Label values in the order of their names, without instance and job → value."""
        out: dict[tuple[str, ...], float] = {}
        for series in self.ask("query", query=expression)["result"]:
            labels = {name: v for name, v in series["metric"].items() if name not in ("__name__", "instance", "job")}
            out[tuple(labels[name] for name in sorted(labels))] = float(series["value"][1])
        return out

    def value(self, expression: str) -> float | None:
        """Of the only series, which has no labels."""
        return self.query(expression).get(())

    def firing(self) -> set[tuple[str, str]]:
        """Alert and role, of all that fire."""
        alerts = self.ask("alerts")["alerts"]
        return {(a["labels"]["alertname"], a["labels"].get("role", "")) for a in alerts if a["state"] == "firing"}


def configured(directory: Path, targets: Path) -> Path:
    """The configuration as deployed, but faster, and finding processes as `meander up` tells of them."""
    for name in ("recording.yml", "alerts.yml"):
        rules = yaml.safe_load((RULES / name).read_text(encoding="utf-8"))
        for rule in (rule for group in rules["groups"] for rule in group["rules"] if "for" in rule):
            rule["for"] = "1s"
        (directory / name).write_text(yaml.safe_dump(rules))
    config = yaml.safe_load((RULES / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (scrape,) = config["scrape_configs"]
    config["scrape_configs"] = [{"job_name": scrape["job_name"], "file_sd_configs": [{"files": [str(targets)]}]}]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    return directory / "prometheus.yml"


@pytest.fixture(scope="module")
def chain(kafka_broker: Kafka, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Five processes, one partition each of two, over Apache Kafka."""
    trigger = {"policy": "clock", "warm_up_events": 500, "clock_events": 300, "min_new_events": 100}
    drift = {"false_alarms_per_1000": 99.0}  # with fewer, so short a log does not tell a threshold
    kafka = kafka_broker.model_copy(update={"prefix": "watched.", "partitions": 2, "session_timeout_ms": 3_000})
    ensure_topics(kafka)
    with a_chain(written(tmp_path_factory.mktemp("watched"), kafka, encoder, trigger=trigger, drift=drift)) as made:
        yield made


@pytest.fixture(scope="module")
def prometheus(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes them every second."""
    command = shutil.which("prometheus")
    if command is None:
        pytest.skip("there is no prometheus in the PATH")
    directory, listen = tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{children.free_port()}"
    config = configured(directory, chain.running.directory / "targets.json")
    options = [f"--config.file={config}", f"--storage.tsdb.path={directory}/data", f"--web.listen-address={listen}"]
    server = children.start([command, *options, "--log.level=warn"], directory / "server.log")
    made = Prometheus(listen)
    try:
        until("Prometheus' start", lambda: prometheus_is_ready(listen))
        yield made
    finally:
        children.stop([server])


def prometheus_is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1):
            return True
    except OSError:
        return False


def until(what: str, condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not come about"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def run(chain: Chain, prometheus: Prometheus) -> Chain:
    """The chain after a log, two trainings and a malformed record, when everything has been scraped."""
    world = World(Plan(users=12, items=60, events=EVENTS, days=60, swaps=1.0, gradual=0.0, seed=3))
    log = list(world.interactions())
    chain.with_items(list(world.items))
    chain.feed(log[:900])
    chain.until("a live version", lambda: versions.live(chain.versions()))
    chain.bus.send([Output(topics.INTERACTIONS, b"u1", BROKEN, 1)])
    chain.feed(log[900:])
    chain.until("a second version", lambda: len(chain.versions()) > 1)
    chain.until("the end of the log", lambda: sum(part.events for part in parts(chain)) == len(log))
    until("a scrape of the end", lambda: prometheus.value('sum(meander_events_total{role="scorer"})') == len(log))
    until("a scrape of the trainings", lambda: trainings(prometheus) == judged(chain))
    return chain


def parts(chain: Chain) -> list[SavedPart]:
    """What the scorer has written of its partitions."""
    newest = {r.partition: r.value for r in chain.read(topics.SCORER_STATES) if r.key == b"part" and r.value}
    return [part for part in map(people.read_state, newest.values()) if isinstance(part, SavedPart)]


def judged(chain: Chain) -> dict[tuple[str, ...], int]:
    """Trigger and verdict of all versions."""
    return Counter((v.trigger, v.verdict) for v in chain.versions() if isinstance(v, ModelVersion))


def trainings(prometheus: Prometheus) -> dict[tuple[str, ...], float]:
    return prometheus.query("sum by (trigger, verdict) (meander_trainings_total) > 0")


def test_flow_is_what_the_topics_hold(run: Chain, prometheus: Prometheus) -> None:
    lists = len(run.read(topics.RECOMMENDATIONS))
    assert prometheus.value("sum(meander_recommendations_total)") == lists > 500
    for since in ("arrival", "event"):
        count = f'sum(meander_publish_seconds_count{{topic="recommendations", since="{since}"}})'
        assert prometheus.value(count) == lists
    assert prometheus.value('sum(meander_events_total{role="interest"})') == EVENTS
    assert prometheus.query("sum by (topic, field) (meander_parked_total)") == {("at", "interactions"): 1}
    assert len(run.read(topics.DEAD_LETTERS)) == 1
    written_ = prometheus.query("sum by (topic) (meander_outputs_total)")
    made = (topics.USER_STATES, topics.DRIFT_ALARMS, topics.MODEL_HEALTH, topics.ITEM_VECTORS, topics.TRAINING_JOBS)
    for topic in made:
        assert written_[topic,] == len(run.read(topic)) > 0, topic
    lags = prometheus.query("sum by (topic, partition) (meander_lag_records)")
    assert set(lags.values()) == {0}
    assert {("0", "interactions"), ("1", "interactions"), ("0", "user-states"), ("0", "training-jobs")} <= set(lags)


def test_delays_are_those_of_the_wall_and_of_event_time(run: Chain, prometheus: Prometheus) -> None:
    sums = prometheus.query("sum by (since) (meander_publish_seconds_sum{topic='recommendations'})")
    counts = prometheus.query("sum by (since) (meander_publish_seconds_count{topic='recommendations'})")
    means = {since: sums[since] / counts[since] for since in counts}
    assert 0 < means["arrival",] < LIMIT_S
    assert means["event",] > 365 * 86_400  # the log is of 2024


def test_people_and_their_states(run: Chain, prometheus: Prometheus) -> None:
    states = [messages.decode(UserState, value) for value in run.newest(topics.USER_STATES).values()]
    assert prometheus.value("sum(meander_users{role='interest'})") == len(states)
    for state in states:
        state.fresh = []
    size = sum(len(messages.encode(state)) for state in states)
    assert prometheus.value("sum(meander_state_bytes)") == pytest.approx(size, rel=0.02)  # whole seconds take less room
    assert prometheus.value("sum(meander_alarms_total{scope='user'})") == len(run.read(topics.DRIFT_ALARMS))


def test_quality_is_what_the_scorer_has_written(run: Chain, prometheus: Prometheus) -> None:
    saved = parts(run)
    assert prometheus.value("sum(meander_tested_total)") == sum(part.tallies[0][0] for part in saved)
    for ranking, row in (("arrival", 0), ("served", 2), ("popularity", 3)):
        hits = prometheus.value(f"sum(meander_hits_10_total{{ranking='{ranking}'}})")
        assert hits == sum(part.tallies[row][1] for part in saved)
        ranks = prometheus.value(f"sum(meander_reciprocal_rank_20_sum_total{{ranking='{ranking}'}})")
        assert ranks == pytest.approx(sum(part.tallies[row][4] for part in saved))
    assert {version for (version,) in prometheus.query("sum by (version) (meander_tested_total)")} >= {"none", "v1"}
    assert prometheus.value("sum(meander_log_loss_sum_total{ranking='arrival'}) / sum(meander_ranked_total)") == (
        pytest.approx(3.5, abs=1.5)  # nats; the logarithm of 60 items is 4.1
    )


def test_models_and_trainings(run: Chain, prometheus: Prometheus) -> None:
    assert trainings(prometheus) == judged(run)
    live = versions.live(run.versions())
    assert live is not None
    assert prometheus.query("meander_live_version_info == 1") == {("scorer", live.version): 1}
    assert prometheus.value("max(meander_model_horizon_timestamp_seconds)") == pytest.approx(live.at_s)
    assert prometheus.value("max(meander_model_published_timestamp_seconds)") == pytest.approx(live.published_s)
    took = sum(v.seconds for v in run.versions() if isinstance(v, ModelVersion))
    assert prometheus.value("sum(meander_training_seconds_total)") == pytest.approx(took)


def test_the_dashboards_show_something(run: Chain, prometheus: Prometheus) -> None:
    asked = queries(rate_interval="1m", window="5m")
    empty = {query.panel for query in asked if not prometheus.ask("query", query=query.expr)["result"]}
    assert empty <= MAY_BE_EMPTY
    assert len(asked) > 80


@pytest.mark.parametrize("role", ROLES)
def test_names_and_help_follow_the_conventions(role: str, run: Chain) -> None:
    page = run.running._get(role, "metrics")
    assert page
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_alert_fires_while_a_consumer_is_down_and_then_resolves(run: Chain, prometheus: Prometheus) -> None:
    until("the alert about the parked record", lambda: ("MeanderRecordsParked", "interest") in prometheus.firing())
    down = {("MeanderRoleDown", "interest"), ("MeanderProcessDown", "interest")}
    assert not down & prometheus.firing()
    run.kill("interest")
    until("the alerts", lambda: down <= prometheus.firing())
    run.start("interest")
    until("their end", lambda: not down & prometheus.firing())
