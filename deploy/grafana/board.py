"""A dashboard out of rows of panels: variables, links between the two, marks in time, and its JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from deploy.grafana.panels import SOURCE, PanelBuilder

TAG = "meander"
EVERYTHING = dashboard.VariableOption(True, "All", "$__all")
Variable = Builder[dashboard.VariableModel]


@dataclass(frozen=True)
class Mark:
    """Something that happens now and then, shown on every graph at its time: where `expr` is above 0."""

    name: str
    expr: str
    title: str
    colour: str


class _Annotation(dashboard.AnnotationQuery):
    """With the fields of a Prometheus data source, which the general one lacks."""

    def __init__(self, mark: Mark) -> None:
        super().__init__(mark.name, SOURCE, expr=mark.expr, icon_color=mark.colour)
        self.title = mark.title

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"titleFormat": self.title, "step": "30s"}


def from_series(name: str, label: str, selector: str) -> Variable:
    """A variable with the values that a label has; all of them at first."""
    variable = boards.QueryVariable(name).label(label).datasource(SOURCE)
    variable.query(f"label_values({selector}, {name})").refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable.sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    return variable.multi(True).include_all(True).all_value(".*").current(EVERYTHING)


def window(values: str, first: str) -> Variable:
    """The variable $window: over how long rates of rare things are taken."""
    option = dashboard.VariableOption(True, first, first)
    return boards.IntervalVariable("window").label("Rates over").values(values).current(option)


def built(
    uid: str,
    title: str,
    about: str,
    rows: dict[str, list[PanelBuilder]],
    variables: list[Variable],
    marks: list[Mark],
) -> dashboard.Dashboard:
    """The dashboard; its panels are numbered in order, and laid out from left to right."""
    board = boards.Dashboard(title).uid(uid).description(about).tags([TAG]).readonly()
    board.time("now-3h", "now").refresh("30s").timezone("browser").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    board.with_variable(boards.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for variable in variables:
        board.with_variable(variable)
    board.link(boards.DashboardLink("Meander").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True))
    for name, panels in rows.items():
        board.with_row(boards.Row(name))
        for panel in panels:
            board.with_panel(panel)
    made = board.build()
    made.annotations = dashboard.AnnotationContainer([_Annotation(mark) for mark in marks])
    for number, part in enumerate(made.panels or [], start=1):
        part.id_val = number
    return made


def as_json(board: dashboard.Dashboard) -> str:
    """As Grafana reads it."""
    return json.dumps(json.loads(JSONEncoder().encode(board)), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
