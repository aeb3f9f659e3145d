"""What the command line shows of `consumers.inspect`, as rich renderables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from consumers.inspect import Listed, Person, VersionLine
from stream.admin import TopicState
from stream.topics import TOPICS

COLOURS = {"live": "bold green", "in shadow": "yellow", "rolled back": "red", "refused": "dim"}


def person_table(person: Person) -> Group:
    """A person: a sentence, what they did last, what is recommended and why."""
    history = Table("day", "item", title="newest interactions", title_justify="left", box=None, pad_edge=False)
    for when, title in person.history:
        history.add_row(when, escape(title))
    return Group(
        Text(person.sentence), "", history, "", listed_table(person.listed, f"recommended, {person.made}")
    )  # fmt: skip


def listed_table(listed: Sequence[Listed], title: str, *, wrap: bool = True) -> Table:
    """Recommended items with their reasons; without `wrap` each on one line, cut off where it must be."""
    table = Table("", "item", "why", title=escape(title), title_justify="left", box=None, pad_edge=False)
    for column in table.columns:
        column.no_wrap = not wrap
    for rank, item in enumerate(listed, start=1):
        table.add_row(str(rank), escape(item.title), Text(item.why, style="dim"))
    return table


def version_table(lines: Iterable[VersionLine]) -> Table:
    """All versions, newest first."""
    table = Table("version", "state", "data until", "trained because of", "parent", "gate", box=None, pad_edge=False)
    for line in lines:
        state = Text(line.state, style=COLOURS.get(line.state, ""))
        table.add_row(line.version, state, line.horizon, escape(line.why), line.parent or "-", escape(line.verdict))
    return table


def topic_table(states: Mapping[str, TopicState], groups: Sequence[str]) -> Table:
    """Every topic of Meander's, and how far each consumer group is behind in it."""
    table = Table("topic", "partitions", "records", "cleanup", "written by", "lag", box=None, pad_edge=False)
    for name, topic in TOPICS.items():
        state = states.get(name)
        if state is None:
            table.add_row(name, Text("missing", style="red"), "", topic.cleanup, topic.writer, "")
            continue
        lags = [f"{group} {state.lag(group):,}" for group in groups if state.committed.get(group)]
        ends = f"{sum(state.ends.values()):,}"
        table.add_row(name, str(state.partitions), ends, topic.cleanup, topic.writer, ", ".join(lags))
    return table
