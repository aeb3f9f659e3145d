"""Charts as inline SVG: text stays text, and colours are CSS variables, so that a page can be light or dark.

Drawn with matplotlib's object interface; no global state is touched beyond a context.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stream.events import rfc3339

DAY_S = 86_400.0

# Colours that stand for CSS variables in the drawing, and are replaced by them in the text.
INK, MUTED, GRID, ARRIVAL, SERVED, POPULARITY, RISE, FALL = (f"#01020{digit}" for digit in range(8))
VARIABLES = {
    INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", ARRIVAL: "var(--arrival)", SERVED: "var(--served)",
    POPULARITY: "var(--popularity)", RISE: "var(--rise)", FALL: "var(--fall)",
}  # fmt: skip
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "meander", "font.size": 10, "axes.edgecolor": GRID,
    "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False,
    "axes.spines.left": False, "axes.grid": True, "axes.grid.axis": "y", "grid.color": GRID, "grid.linewidth": 0.8,
    "axes.axisbelow": True, "xtick.major.size": 0, "ytick.major.size": 0, "axes.titlelocation": "left",
}  # fmt: skip
LINES = (
    ("hit_rate_10", "on arrival", ARRIVAL, 2.2),
    ("served_hit_rate_10", "served", SERVED, 2.2),
    ("popularity_hit_rate_10", "popularity", POPULARITY, 1.6),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on the time axis: a version going live (promoted), or a candidate that was not."""

    at: str  # RFC 3339
    label: str
    live: bool


def hit_rates(points: Sequence[Mapping[str, Any]], marks: Sequence[Mark] = (), span: Sequence[str] = ()) -> str:
    """Rolling hit rates over event time; versions as lines, candidates not taken as open circles.

    `span` are further moments that the time axis must reach.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.7))
        axes = figure.add_axes((0.06, 0.08, 0.79, 0.84))
        times = [day_number(point["at"]) for point in points]
        ends: list[tuple[float, str, str]] = []
        for key, label, colour, width in LINES:
            values = [float("nan") if point.get(key) is None else float(point[key]) for point in points]
            axes.plot(times, values, color=colour, linewidth=width, solid_capstyle="round")
            if values and values[-1] == values[-1]:
                ends.append((values[-1], label, colour))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3f}".lstrip("0") if value else "0"))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        _dates(axes, [point["at"] for point in points], marks, span)
        _label_ends(axes, ends)
        _draw_marks(axes, marks)
        return _svg(figure, "Rolling hit rate at 10 over event time")


def alarms(times_s: Sequence[float], marks: Sequence[Mark] = (), span: Sequence[str] = ()) -> str:
    """User alarms (seconds since the epoch) per day of event time; `marks` and `span` as in `hit_rates`."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.3))
        axes = figure.add_axes((0.06, 0.12, 0.79, 0.78))
        days = Counter(int(at_s // DAY_S) for at_s in times_s)
        place: dict[str, Any] = {"width": 0.9, "align": "edge"}
        axes.bar(list(days), list(days.values()), color=ARRIVAL, alpha=0.75, linewidth=0, **place)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        _dates(axes, [rfc3339(min(times_s)), rfc3339(max(times_s))], marks, span)
        _draw_marks(axes, marks)
        return _svg(figure, "Drift alarms of users per day")


def segments(rows: Sequence[Mapping[str, Any]]) -> str:
    """Alarmed users who moved to (right) and from (left) each segment."""
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x", "axes.spines.bottom": False}):
        figure = Figure(figsize=(9.6, 0.5 + 0.32 * len(rows)))
        axes = figure.add_axes((0.25, 0.0, 0.7, 1.0 - 0.3 / (0.5 + 0.32 * len(rows))))
        places = range(len(rows))
        axes.barh(places, [row["risen"] for row in rows], color=RISE, height=0.62, linewidth=0)
        axes.barh(places, [-row["fallen"] for row in rows], color=FALL, height=0.62, linewidth=0)
        axes.set_yticks(places, [row["segment"] for row in rows], color=INK)
        axes.invert_yaxis()
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.xaxis.tick_top()
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):.0f}"))
        return _svg(figure, "Segments that alarmed users moved to and from")


def day_number(at: str) -> float:
    """Days since 1970 of an RFC 3339 time, which is how matplotlib counts dates.

    >>> day_number("1970-01-02T12:00:00Z")
    1.5
    """
    return datetime.fromisoformat(at).timestamp() / DAY_S


def _dates(axes: Axes, times: Sequence[str], marks: Sequence[Mark], span: Sequence[str]) -> None:
    """Dates on the x axis, from the first to the last of all moments."""
    locator = AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
    every = [day_number(at) for at in (*times, *span, *(mark.at for mark in marks))]
    if every:
        room = max((max(every) - min(every)) * 0.01, 0.01)
        axes.set_xlim(min(every) - room, max(every) + room)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name the lines at their right ends, in their colours, apart from each other."""
    gap = axes.get_ylim()[1] * 0.075
    floor = float("-inf")
    for value, label, colour in sorted(ends):
        at = max(value, floor + gap)
        floor = at
        text = f"{label} {value:.3f}".replace(" 0.", " .")
        place: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "fontweight": "bold", "annotation_clip": False}
        axes.annotate(text, (1.01, at), color=colour, va="center", fontsize=9.5, **place)


def _draw_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Lines for versions that went live, circles on the axis for candidates that did not."""
    low, high = axes.get_xlim()
    named = float("-inf")
    for mark in sorted(marks, key=lambda m: m.at):
        at = day_number(mark.at)
        if not mark.live:
            circle: dict[str, Any] = {"markerfacecolor": "none", "markersize": 6, "clip_on": False, "zorder": 5}
            axes.plot([at], [0], "o", color=MUTED, transform=axes.get_xaxis_transform(), **circle)
            continue
        axes.axvline(at, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        if (at - named) / (high - low) > 0.025:
            place: dict[str, Any] = {
                "xycoords": axes.get_xaxis_transform(),
                "ha": "center",
                "fontsize": 9,
                "color": MUTED,
            }
            axes.annotate(mark.label, (at, 1.02), **place)
            named = at


def _svg(figure: Figure, title: str) -> str:
    """The drawing as an `<svg>` element that fills its container."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<svg ([^>]*?)width="[^"]*" ', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*" ', r"<svg \1", text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    salt = re.sub(r"\W+", "-", title.lower())  # ids must differ between the drawings of one page
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{salt}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
