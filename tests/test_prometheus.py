"""Prometheus' configuration and rules: what they name exists, and every alert is tested and has its runbook entry."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumers.measures import RANKINGS
from consumers.roles import NAMES as ROLES
from consumers.shelf import RESULTS
from stream.metrics import METRICS, PREFIX
from stream.topics import TOPICS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "prometheus"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CASES = sorted((FOLDER / "tests").glob("*.yml"))

TARGET_LABELS = {"job", "role", "instance"}
BUCKETS = {str(bound) for row in METRICS.values() if row.kind == "histogram" for bound in row.buckets}
VALUES: dict[str, set[str]] = {  # that a label can have; those of `result` depend on the metric
    "job": {"meander"},
    "role": set(ROLES),
    "topic": set(TOPICS),
    "since": {"arrival", "event"},
    "le": {*BUCKETS, "+Inf"},
    "ranking": set(RANKINGS),
    "verdict": {"promoted", "refused", "undecided", "failed"},
    "meander_swaps_total.result": set(RESULTS),
    "meander_batches_total.result": {"committed", "aborted"},
}
NAME = re.compile(r"(?<![\w:\"])((?:\w+:)?meander_\w+(?::\w+)?|up|process_start_time_seconds)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in read(FOLDER / name)["groups"] for rule in group["rules"]]


RECORDED = {rule["record"]: rule["expr"] for rule in rules("recording.yml")}
ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
EXPRESSIONS = {**RECORDED, **{name: rule["expr"] for name, rule in ALERTS.items()}}
# what the page tells an operator to ask: code in the second column of a table
ASKED = [
    q for row in re.findall(r"^\|[^|\n]*\|(.*)\|$", OPERATIONS, re.MULTILINE) for q in re.findall(r"`([^`]+)`", row)
]


def labels_of(name: str) -> set[str]:
    """Labels that series of this name carry."""
    if name in ("up", "process_start_time_seconds"):
        return TARGET_LABELS
    if name in RECORDED:
        found = re.findall(r"\b(?:by|group_left) \(([^)]*)\)", RECORDED[name])
        return {label for group in found for label in re.split(r",\s*", group)}
    part = name.removeprefix(PREFIX)
    base = re.sub(r"_(bucket|sum|count)$", "", part)
    row = METRICS[base] if base in METRICS and METRICS[base].kind == "histogram" else METRICS[part]
    assert (row.kind == "histogram") == (part != base or part not in METRICS), f"{name} is no series of its own"
    return TARGET_LABELS | set(row.labels) | ({"le"} if part.endswith("_bucket") else set())


def check(expression: str) -> None:
    """Every name exists, has the labels that are asked for, and these can have the values."""
    assert NAME.search(expression), f"no metric in {expression!r}"
    for name, matchers in NAME.findall(expression):
        labels = labels_of(name)
        for label, value in MATCHER.findall(matchers):
            assert label in labels, f"{name} has no label {label!r}"
            allowed = VALUES.get(f"{name}.{label}", VALUES.get(label))
            assert allowed is None or value in allowed, f"{label} of {name} is never {value!r}"
    for group in re.findall(r"\b(?:by|on|ignoring|group_left) \(([^)]*)\)", expression):
        everywhere = TARGET_LABELS | {label for row in METRICS.values() for label in row.labels} | {"le", ""}
        assert set(re.split(r",\s*", group)) <= everywhere


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_rules_ask_for_what_there_is(name: str) -> None:
    check(EXPRESSIONS[name])


@pytest.mark.parametrize("query", [query for query in ASKED if "meander_" in query])
def test_the_page_asks_for_what_there_is(query: str) -> None:
    check(query)


@pytest.mark.parametrize(
    "expression",
    [
        "meander_event_total",
        'meander_lag_records{reason="x"}',
        'meander_swaps_total{result="aborted"}',
        'up{role="trainer"}',
        "sum by (pod) (meander_users)",
        "job:meander_users:sum",
        "meander_publish_seconds",
        'meander_publish_seconds_bucket{le="4.0"}',
    ],
)
def test_the_check_finds_what_there_is_not(expression: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check(expression)


def test_every_recording_rule_is_used() -> None:
    asked = [*(rule["expr"] for rule in ALERTS.values()), *ASKED]
    asked += [path.read_text(encoding="utf-8") for path in (ROOT / "deploy").rglob("*.json")]
    used = set(re.findall(r"\w+:meander_\w+:\w+", " ".join(asked)))
    assert set(RECORDED) - used == set()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
    source = (FOLDER / "alerts.yml").read_text(encoding="utf-8").partition(f"- alert: {name}\n")[2]
    assert "# " in source.partition("- alert:")[0].partition("labels:")[0], "no comment says why it is so"


def test_every_alert_has_a_runbook_entry_and_every_entry_an_alert() -> None:
    assert sorted(re.findall(r"^### (Meander\w+)$", OPERATIONS, re.MULTILINE)) == sorted(ALERTS)


def expectations() -> Iterator[tuple[str, bool]]:
    for path in CASES:
        for test in read(path)["tests"]:
            for case in test["alert_rule_test"]:
                yield case["alertname"], bool(case["exp_alerts"])


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    assert {name for name, fires in expectations() if fires} == set(ALERTS)
    assert {name for name, fires in expectations() if not fires} == set(ALERTS)


def test_cases_evaluate_every_group_in_the_order_that_the_rules_build_on() -> None:
    groups = [group["name"] for name in ("recording.yml", "alerts.yml") for group in read(FOLDER / name)["groups"]]
    for path in CASES:
        assert read(path)["group_eval_order"] == groups


def test_prometheus_finds_all_roles_by_their_service() -> None:
    (job,) = read(FOLDER / "prometheus.yml")["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert job["job_name"] == "meander"
    assert (discovery["names"], discovery["type"], discovery["port"]) == (list(ROLES), "A", 8080)
    assert {"source_labels": ["__meta_dns_name"], "target_label": "role"} in job["relabel_configs"]
    assert set(ROLES) <= set(read(ROOT / "docker-compose.yml")["services"])


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("there is no promtool in the PATH: apt-get install prometheus")
    return subprocess.run([tool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)


@pytest.mark.prometheus
def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == 4  # the file, its rule files, each of the two


@pytest.mark.prometheus
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_resolve_as_they_should(path: Path) -> None:
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
