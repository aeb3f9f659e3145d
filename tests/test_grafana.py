"""Grafana's files: the dashboards are what the code says, and ask for nothing that is not there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.grafana import generate
from deploy.grafana.board import as_json
from deploy.grafana.queries import Query, queries, written
from stream.metrics import METRICS, PREFIX

ROOT = Path(__file__).parents[1]
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (GRAFANA / "dashboards").glob("*.json")}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"] if panel["type"] != "row"]
PANEL_IDS = [f"{name}: {panel['title']}" for name, panel in PANELS]
TARGET_LABELS = {"job", "role", "instance"}
GRAFANAS_OWN = {"__rate_interval"}
PROMETHEUS_OWN = {
    "up": set[str](),
    "ALERTS": {"alertname", "alertstate", "severity"},
    "process_start_time_seconds": set[str](),
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
}
WORDS = {"and", "or", "unless", "bool", "offset"}


def recorded() -> dict[str, str]:
    """Recording rules, by name."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "recording.yml").read_text(encoding="utf-8"))
    return {rule["record"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}


def known() -> dict[str, set[str]]:
    """Every metric that a query may name, with its labels."""
    out = {name: labels | TARGET_LABELS for name, labels in PROMETHEUS_OWN.items()}
    for row in METRICS.values():
        labels = {*row.labels, *TARGET_LABELS}
        if row.kind == "histogram":
            out |= {f"{PREFIX}{row.name}_bucket": labels | {"le"}, f"{PREFIX}{row.name}_count": labels}
        else:
            out[PREFIX + row.name] = labels
    return out | {name: grouped(expr) for name, expr in recorded().items()}


def grouped(expr: str) -> set[str]:
    """Labels that aggregations keep."""
    return {label for found in re.findall(r"\bby \(([^)]*)\)", expr) for label in words(found)}


def selectors(expr: str) -> list[tuple[str, set[str]]]:
    """Metrics of a query, each with the labels that it selects by."""
    text = re.sub(r'"[^"]*"', '""', expr)
    text = re.sub(r"\b(by|on|group_left) \([^)]*\)|\[[^\]]*\]|\boffset \S+", " ", text)
    found = re.findall(r"(?<![\w:.])([a-zA-Z_][\w:]*+)\s*+(\{[^}]*\})?+(?!\()", text)
    return [(name, set(re.findall(r"(\w+)[=!]", braces))) for name, braces in found if name not in WORDS]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("name", sorted(generate.DASHBOARDS))
def test_the_dashboards_are_up_to_date(name: str) -> None:
    text = (GRAFANA / "dashboards" / name).read_text(encoding="utf-8")
    assert text == as_json(generate.DASHBOARDS[name]()), "run: make dashboards"


def test_nothing_else_is_provisioned() -> None:
    assert {path.name for path in (GRAFANA / "dashboards").iterdir()} == set(generate.DASHBOARDS)


def test_check_tells_a_stale_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    assert generate.main(["--check"]) == 1
    assert "out of date: pipeline.json, drift-and-quality.json; run make dashboards" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_dashboards_and_panels_have_ids_of_their_own() -> None:
    assert {board["uid"] for board in BOARDS.values()} == {"meander-pipeline", "meander-quality"}
    for board in BOARDS.values():
        for key in ("id", "title"):
            values = [panel[key] for panel in board["panels"]]
            assert len(values) == len(set(values)), key
        assert board["editable"] is False


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=PANEL_IDS)
def test_a_panel_says_what_it_shows(name: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(references) == len(set(references))
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    if panel["type"] in ("stat", "timeseries"):
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_panels_lie_beside_each_other_on_the_grid(board: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(0 <= place["x"] < place["x"] + place["w"] <= 24 for place in places)
    for a, b in combinations(places, 2):
        apart = [a[at] + a[size] <= b[at] or b[at] + b[size] <= a[at] for at, size in (("x", "w"), ("y", "h"))]
        assert any(apart), (a, b)
    rows = [panel["gridPos"]["y"] for panel in board["panels"] if panel["type"] == "row"]
    for y in range(max(place["y"] + place["h"] for place in places)):
        assert sum(p["w"] for p in places if p["y"] <= y < p["y"] + p["h"]) == 24, f"a gap at {y} (rows at {rows})"


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_the_top_row_has_all_the_stats(board: dict[str, Any]) -> None:
    row, *panels = board["panels"]
    assert (row["type"], row["gridPos"]["y"]) == ("row", 0)
    assert [panel["type"] == "stat" for panel in panels] == [True] * 8 + [False] * (len(panels) - 8)
    assert {panel["gridPos"]["y"] for panel in panels[:8]} == {1}


@pytest.mark.parametrize("name", BOARDS)
def test_variables_are_defined_and_used(name: str) -> None:
    defined = {variable["name"] for variable in BOARDS[name]["templating"]["list"]}
    text = json.dumps({key: BOARDS[name][key] for key in ("panels", "annotations", "templating")})
    assert set(re.findall(r"\$\{?(\w+)", text)) - GRAFANAS_OWN - {"__all"} == defined


@pytest.mark.parametrize("query", written(), ids=lambda query: f"{query.dashboard}: {query.panel}")
def test_a_query_names_metrics_and_labels_that_exist(query: Query) -> None:
    metrics, asked = known(), selectors(query.expr)
    assert asked
    assert [name for name, _ in asked if name not in metrics] == []
    for name, labels in asked:
        assert labels <= metrics[name], name
    there = set.union(*(metrics[name] for name, _ in asked))
    assert grouped(query.expr) <= there
    assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= (grouped(query.expr) or there)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("max by (role) (up) or vector(0)", [("up", set())]),
        ('rate(a_total{x="y{z}", w!="v"}[5m]) / on (x) b:c:d', [("a_total", {"x", "w"}), ("b:c:d", set())]),
        ("(a unless a offset 1h) > bool 1e-3 * time()", [("a", set()), ("a", set())]),
    ],
)
def test_metrics_are_found_in_a_query(expr: str, expected: list[tuple[str, set[str]]]) -> None:
    assert selectors(expr) == expected


def test_every_metric_is_shown() -> None:
    names = {name for query in written() for name, _ in selectors(query.expr)}
    names |= {name for rule, expr in recorded().items() if rule in names for name, _ in selectors(expr)}
    shown = {re.sub("_(bucket|count)$", "", name.removeprefix(PREFIX)) for name in names}
    assert [name for name in METRICS if name not in shown] == []


def test_queries_are_filled_in() -> None:
    filled = queries(rate_interval="20s", window="5m")
    assert len(filled) == len(written()) > 80
    assert [query.expr for query in filled if "$" in query.expr] == []
    (folded,) = (q.expr for q in filled if q.panel == "Events and lists per second" and "role" in q.expr)
    assert folded == "sum by (role) (rate(meander_events_total[20s]))"
    assert {query.panel for query in filled if ":" in query.panel} >= {"mark: Swaps", "variable: instance"}


@pytest.mark.prometheus
def test_promtool_reads_every_query(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing (Debian: apt-get install prometheus)")
    rules = [{"record": f"query_{i}", "expr": query.expr} for i, query in enumerate(queries())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}), encoding="utf-8")
    checked = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert f"{len(rules)} rules found" in checked.stdout


def test_provisioning_fits_what_compose_mounts() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["options"]["path"] == mounts["./deploy/grafana/dashboards"]
    (source,) = provisioned("datasources")["datasources"]
    address = urlsplit(source["url"])
    assert (source["uid"], source["type"], source["isDefault"]) == ("prometheus", "prometheus", True)
    assert address.hostname in services
    assert str(services[address.hostname]["ports"]).endswith(f":{address.port}']")


def test_rates_reach_over_enough_scrapes() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (source,) = provisioned("datasources")["datasources"]
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def provisioned(kind: str) -> dict[str, Any]:
    (path,) = (GRAFANA / "provisioning" / kind).iterdir()
    read: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return read
