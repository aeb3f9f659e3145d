"""Panels as both dashboards use them: a title, words for whoever looks, queries, a unit, and when to worry."""

from __future__ import annotations

from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PanelBuilder = Builder[dashboard.Panel]

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
PICKED = 'role=~"$role", instance=~"$instance"'  # the dashboard's variables
WIDTH, STAT_HEIGHT, HEIGHT = 24, 4, 8  # of Grafana's grid

GREY = "#8e8e8e"  # of what one compares with
Steps = list[tuple[float | None, str]]  # from which value on which colour; None: from the lowest
CALM: Steps = [(None, "blue")]  # a figure that is neither good nor bad


def high_is_bad(warn: float, bad: float) -> Steps:
    """Green, yellow from `warn` on, red from `bad` on."""
    return [(None, "green"), *([(warn, "yellow")] if warn < bad else []), (bad, "red")]


def low_is_bad(bad: float, good: float) -> Steps:
    """Red below `bad`, yellow below `good`, green from there on."""
    return [(None, "red"), *([(bad, "yellow")] if bad < good else []), (good, "green")]


def grown(metric: str, by: str, window: str) -> str:
    """By how much a rare counter grew, its first step too.

    `increase` alone misses that: a series that a failure brings into being begins with 1, and does not grow from 0.

    >>> grown("parked_total", "topic", "1h")
    'sum by (topic) ((parked_total unless parked_total offset 1h) or increase(parked_total[1h]))'
    """
    return f"sum by ({by}) (({metric} unless {metric} offset {window}) or increase({metric}[{window}]))"


@dataclass(frozen=True)
class Line:
    """One query, and what its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Look:
    """How a graph is drawn."""

    unit: str
    width: int = WIDTH // 3
    steps: Steps = field(default_factory=list)  # drawn as lines
    stacked: bool = False
    minimum: float | None = 0
    maximum: float | None = None
    colours: dict[str, str] = field(default_factory=dict)  # start of a series' name → its colour


def query(line: Line, ref: str, instant: bool = False) -> prometheus.Dataquery:
    """A query over the dashboard's range, or of its end alone."""
    built = prometheus.Dataquery().expr(line.expr).legend_format(line.legend).ref_id(ref).datasource(SOURCE)
    return built.instant() if instant else built.range()


def thresholds(steps: Steps) -> boards.ThresholdsConfig:
    """Colours by value."""
    return boards.ThresholdsConfig().steps([dashboard.Threshold(value, colour) for value, colour in steps])


def figure(
    title: str,
    about: str,
    line: Line,
    unit: str,
    steps: Steps = CALM,
    *,
    names: bool = False,
    empty: str = "-",
    decimals: int | None = None,
) -> PanelBuilder:
    """One number of the top row, or with `names` what its series are called; coloured when it can be good or bad."""
    mode = common.BigValueColorMode.VALUE if steps is CALM else common.BigValueColorMode.BACKGROUND
    text = common.BigValueTextMode.NAME if names else common.BigValueTextMode.VALUE
    panel = stat.Panel().title(title).description(about).datasource(SOURCE).span(WIDTH // 8).height(STAT_HEIGHT)
    panel.with_target(query(line, "A", instant=True)).unit(unit).thresholds(thresholds(steps)).no_value(empty)
    panel.color_mode(mode).text_mode(text).graph_mode(common.BigValueGraphMode.NONE)
    panel.reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    return panel if decimals is None else panel.decimals(decimals)


def graph(title: str, about: str, lines: list[Line], look: Look) -> PanelBuilder:
    """Lines over time."""
    panel = timeseries.Panel().title(title).description(about).datasource(SOURCE).span(look.width).height(HEIGHT)
    for i, line in enumerate(lines):
        panel.with_target(query(line, chr(ord("A") + i)))
    panel.unit(look.unit).line_width(1.5).fill_opacity(25 if look.stacked else 8).span_nulls(False)
    panel.show_points(common.VisibilityMode.AUTO)
    panel.legend(options.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST)
                 .placement(common.LegendPlacement.BOTTOM).show_legend(True))  # fmt: skip
    panel.tooltip(options.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    if look.stacked:
        panel.stacking(options.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if look.steps:
        panel.thresholds(thresholds(look.steps))
        panel.thresholds_style(options.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    if look.minimum is not None:
        panel.min(look.minimum)
    if look.maximum is not None:
        panel.max(look.maximum)
    for start, colour in look.colours.items():
        panel.override_by_regexp(f"/^{start}/", _coloured(colour))
    return panel


def _coloured(colour: str) -> list[dashboard.DynamicConfigValue]:
    """A fixed colour; grey is dashed."""
    fixed = dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
    dashed = dashboard.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]})
    return [fixed, dashed] if colour == GREY else [fixed]


def states(title: str, about: str, line: Line, names: dict[int, tuple[str, str]], width: int) -> PanelBuilder:
    """A bar per series over time, coloured by its value; `names` has text and colour of each."""
    results = {str(value): dashboard.ValueMappingResult(text, colour) for value, (text, colour) in names.items()}
    panel = statetimeline.Panel().title(title).description(about).datasource(SOURCE).span(width).height(HEIGHT)
    panel.with_target(query(line, "A")).unit("none").mappings([dashboard.ValueMap(options=results)])
    panel.show_value(common.VisibilityMode.NEVER).merge_values(True).row_height(0.8)
    return panel.legend(options.VizLegendOptions().show_legend(False))


def sheet(title: str, about: str, columns: dict[str, str], width: int, empty: str) -> PanelBuilder:
    """A table of the newest values: `columns` has a query per column, joined by their labels."""
    panel = table.Panel().title(title).description(about).datasource(SOURCE).span(width).height(HEIGHT)
    panel.unit("short").no_value(empty)
    names = {}
    for i, (name, expr) in enumerate(columns.items()):
        ref = chr(ord("A") + i)
        panel.with_target(query(Line(expr, ""), ref, instant=True).format(PromQueryFormat.TABLE))
        names[f"Value #{ref}" if len(columns) > 1 else "Value"] = name
    tidy = {"excludeByName": {"Time": True}, "renameByName": names}
    panel.with_transformation(dashboard.DataTransformerConfig("merge", options={}))
    return panel.with_transformation(dashboard.DataTransformerConfig("organize", options=tidy))
