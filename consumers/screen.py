"""The live view as rich renderables, and as one line where there is no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from consumers.board import WINDOW_TESTED, Board, Quality
from consumers.report import TRIGGERS, number
from consumers.samples import Sampler
from consumers.tables import listed_table
from stream.events import rfc3339
from stream.messages import ModelVersion

BARS = "▁▂▃▄▅▆▇█"
RATES = (("on arrival", "bright_blue"), ("served", "yellow"), ("popularity", "white"))
SHOWN_ITEMS = 5
SHOWN_VERSIONS = 3


def screen(board: Board, sampler: Sampler, phase: str, elapsed_s: float) -> RenderableType:
    """The whole view."""
    clock = rfc3339(board.at_s)[:16].replace("T", " ") if board.at_s else "-"
    title = Text.assemble(
        ("Meander", "bold"), "  ", (phase, "cyan"), f"  {elapsed_s:.0f} s   event time ", (clock, "bold")
    )
    top = Table.grid(expand=True, padding=(0, 1))
    top.add_column(ratio=1)
    top.add_column(ratio=1)
    rolling = f"over the last {WINDOW_TESTED:,} tested"
    top.add_row(
        Panel(_roles(board), title="consumers", height=8),
        Panel(_quality(board.quality), title="hit rate at 10", subtitle=rolling, height=8),
    )
    top.add_row(
        Panel(_drift(board, sampler), title="drift", height=9), Panel(_models(board, sampler), title="model", height=9)
    )
    parts: list[RenderableType] = [title, top]
    if sampler.person is not None:
        parts.append(Panel(_person(sampler), title="one of the users"))
    return Group(*parts)


def line(board: Board, phase: str, elapsed_s: float) -> str:
    """The view in one line, for logs."""
    rates = ", ".join(f"{name} {number(rate)}" for (name, _), rate in zip(RATES, board.quality.rates, strict=False))
    lags = " ".join(f"{role.name} {role.rate:,.0f}/s lag {role.lag:,}" for role in board.roles.values())
    parts = [f"{elapsed_s:4.0f} s", phase, rfc3339(board.at_s)[:10] if board.at_s else "", lags]
    parts.append(f"users {board.users:,} alarms {board.alarms.get('user', 0):,}")
    parts.append(f"model {board.version or '-'}")
    if board.training is not None:
        parts.append(f"training ({board.training.trigger}) {board.training.progress:.0%}")
    parts.append(f"hit rate: {rates}" if rates else "")
    return " | ".join(part for part in parts if part)


def sparkline(values: Sequence[float], most: float) -> str:
    """Values as bars, `most` being a full one.

    >>> sparkline([0.0, 0.5, 1.0], most=1.0)
    '▁▅█'
    """
    steps = len(BARS) - 1
    return "".join(BARS[min(steps, round(value / most * steps))] if most else BARS[0] for value in values)


def _roles(board: Board) -> Table:
    table = Table("", "events/s", "lag", "", box=None, expand=True, pad_edge=False)
    for column in table.columns[1:3]:
        column.justify = "right"
    for role in board.roles.values():
        state = Text("ready", "green") if role.ready else Text("starting" if role.answers else "silent", "yellow")
        table.add_row(role.name, f"{role.rate:,.0f}", f"{role.lag:,}", state)
    return table


def _quality(quality: Quality) -> Table:
    table = Table("", "now", "", box=None, expand=True, pad_edge=False)
    table.columns[2].ratio = 1
    if not quality.rates:
        table.add_row(Text("nothing tested yet: warming up", "dim"), "", "")
        return table
    most = max(max(rates) for rates in quality.history)
    for place, (name, colour) in enumerate(RATES):
        history = [rates[place] for rates in quality.history][-30:]
        table.add_row(Text(name, colour), number(quality.rates[place]), Text(sparkline(history, most), colour))
    return table


def _drift(board: Board, sampler: Sampler) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("users", f"{board.users:,} with {board.events:,} events")
    table.add_row("alarms of users", f"{board.alarms.get('user', 0):,}")
    table.add_row("of the population", f"{board.alarms.get('population', 0):,}")
    table.add_row("newest", Text(sampler.alarm or "none", "dim"))
    if board.parked:
        table.add_row("dead letters", Text(f"{board.parked:,}", "red"))
    return table


def _models(board: Board, sampler: Sampler) -> Table:
    table = Table.grid(padding=(0, 2))
    shadow = f", {board.shadow} in shadow" if board.shadow else ""
    table.add_row("live", Text(f"{board.version or 'none yet'}{shadow}", "bold green"))
    if board.training is not None:
        table.add_row("training", TRIGGERS.get(board.training.trigger, board.training.trigger))
        progress = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=board.training.progress, width=30)
        progress.add_row(bar, f"{board.training.progress:.0%}")
        table.add_row("", progress)
    elif sampler.outstanding:
        table.add_row("training", "about to begin: " + sampler.outstanding[0].trigger)
    versions = [v for v in sampler.versions if isinstance(v, ModelVersion)]
    for version in versions[::-1][:SHOWN_VERSIONS]:
        style = {"promoted": "green", "undecided": "yellow"}.get(version.verdict, "dim")
        table.add_row(version.version, Text(f"{version.verdict} ({version.trigger}, {version.seconds:.0f} s)", style))
    return table


def _person(sampler: Sampler) -> RenderableType:
    person = sampler.person
    if person is None:
        return Text("")
    history = Table.grid(padding=(0, 1))
    for when, title in person.history[:SHOWN_ITEMS]:
        history.add_row(Text(when, "dim"), escape(title))
    both = Table.grid(expand=True, padding=(0, 3))
    both.add_column(ratio=2)
    both.add_column(ratio=3)
    both.add_row(Text("bought last", "bold"), Text(f"recommended, {person.made}", "bold"))
    both.add_row(history, listed_table(person.listed[:SHOWN_ITEMS], "", wrap=False))
    return Group(Text(person.sentence, "dim"), both)
