"""Every query of the dashboards as they are committed, with the variables filled in as Grafana would.

>>> {query.dashboard for query in queries()} == {"pipeline", "drift-and-quality"}
True
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("dashboards")


@dataclass(frozen=True)
class Query:
    """A query in PromQL, of a panel, a mark in time (`mark: …`) or a variable (`variable: …`)."""

    dashboard: str
    panel: str
    expr: str
    legend: str = ""


def queries(rate_interval: str = "1m", window: str = "1h") -> list[Query]:
    """All queries, for all roles and instances."""
    values = {"__rate_interval": rate_interval, "window": window, "role": ".*", "instance": ".*"}
    return [
        Query(
            query.dashboard, query.panel, re.sub(r"\$(\w+)", lambda found: values[found[1]], query.expr), query.legend
        )
        for query in written()
    ]


def written() -> list[Query]:
    """All queries as they stand in the files."""
    return [
        query
        for path in sorted(FOLDER.glob("*.json"))
        for query in _of(path.stem, json.loads(path.read_text(encoding="utf-8")))
    ]


def _of(name: str, board: dict[str, Any]) -> Iterator[Query]:
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield Query(name, panel["title"], target["expr"], target.get("legendFormat", ""))
    for mark in board["annotations"]["list"]:
        yield Query(name, f"mark: {mark['name']}", mark["expr"], mark["titleFormat"])
    for variable in board["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.*), \w+\)", str(variable["query"]))
        if found:
            yield Query(name, f"variable: {variable['name']}", found[1])
