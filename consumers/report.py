"""The report of a run: one HTML page that needs no network, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from consumers import charts
from consumers.report_page import PAGE
from stream.errors import LogError
from stream.events import rfc3339

TRIGGERS = {
    "warm-up": "the first training, on everything before it",
    "population": "the loss of what is served rose for everybody (Page-Hinkley)",
    "segment": "it rose for the people of a segment (Page-Hinkley)",
    "users": "unusually many users' interests moved",
    "new-items": "people turned to items that the live model did not know",
    "staleness": "the live model had become old enough for a refresh to pay",
    "clock": "by the clock",
    "continuous": "as soon as there was enough new data",
}
PAIRS = 4  # numbers shown beside a reason
EPOCH_FROM_S = 1e8  # a larger number of seconds is a time since 1970, not a duration
SETTLED = {"promoted": "live", "undecided": "shadow", "refused": "refused"}  # verdict → class of its badge


def write_report(result: Mapping[str, Any], path: Path) -> None:
    """Write the page for `result`, the dict that `meander replay --json` writes (see `consumers.summary`).

    Whatever is missing of it is left out of the page.

    Raises:
        LogError: the file cannot be written.
    """
    page = render(result)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise LogError(f"{path} cannot be written: {error}") from None


def render(result: Mapping[str, Any]) -> str:
    """The page as a string.

    >>> page = render({"dataset": "<shop>", "events": 1200, "hit_rate_10": 0.096})
    >>> "&lt;shop&gt;" in page, "<shop>" in page, ".096" in page, "1,200" in page
    (True, False, True, True)
    """
    marks = _marks(result)
    points = [p for p in result.get("curves") or [] if p.get("hit_rate_10") is not None]
    times_s = result.get("alarm_times") or []
    span = [point["at"] for point in points] + [rfc3339(at_s) for at_s in times_s[:1] + times_s[-1:]]
    return Template(PAGE).substitute(
        title=escape(f"Meander on {result.get('dataset', 'a log')}"),
        lead=_lead(result),
        tiles="".join(_tile(*tile) for tile in _tiles(result)),
        curves=charts.hit_rates(points, marks, span) if points else "<p>No window of events was tested.</p>",
        alarms=_alarms(result, marks, span),
        told=_told(result.get("alarms_told") or []),
        segments=_segments(result),
        trainings=_trainings(result.get("trainings") or []),
        rulings=_rulings(result.get("rulings") or []),
        figures=_figures(result),
    )


def number(value: object) -> str:
    """A figure for people to read.

    >>> [number(v) for v in (387841, 0.09612, 12.3456, 3.2e-07, 0.0, None, True, "gate")]
    ['387,841', '.096', '12.35', '3.2e-07', '0', '-', 'yes', 'gate']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return "-"
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    if abs(value) < 1:
        return f"{value:.3f}".replace("0.", ".", 1)
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def day(at: object) -> str:
    """Date and minute of an RFC 3339 time.

    >>> day("2011-09-01T08:00:00.000Z"), day(None)
    ('2011-09-01 08:00', '-')
    """
    return str(at)[:16].replace("T", " ") if at else "-"


def _lead(result: Mapping[str, Any]) -> str:
    parts = [f"{number(result[key])} {noun}" for key, noun in _COUNTS if result.get(key) is not None]
    if result.get("policy"):
        parts.append(f"policy “{result['policy']}”")
    points = [p for p in result.get("curves") or [] if p.get("hit_rate_10") is not None]
    if points:
        parts.append(f"{day(points[0]['at'])[:10]} to {day(points[-1]['at'])[:10]}")
    return escape(" · ".join(parts))


_COUNTS = (("events", "events"), ("users", "users"), ("items", "items"))


def _tiles(result: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Class, figure, name and remark of each headline figure."""
    trainings = result.get("trainings") or []
    published = result.get("versions_published", 0)
    alarms = result.get("alarms") or {}
    popular = result.get("popularity_hit_rate_10")
    gain = ""
    if popular and result.get("hit_rate_10"):
        gain = f"{result['hit_rate_10'] / popular:.1f} times popularity's"
    tiles = [
        ("arrival", number(result.get("hit_rate_10")), "hit rate at 10, on arrival", gain),
        (
            "served",
            number(result.get("served_hit_rate_10")),
            "hit rate at 10, served",
            "the list that lay on the topic",
        ),
        ("popularity", number(popular), "popularity alone", "decayed, on arrival"),
        ("", f"{published} of {len(trainings)}", "trainings went live", "the gate decided each"),
        (
            "",
            number(alarms.get("user", 0)),
            "users' drift alarms",
            f"{number(alarms.get('population', 0))} of the population",
        ),
    ]
    return [tile for tile in tiles if tile[1] != "-"]


def _tile(kind: str, figure: str, name: str, remark: str) -> str:
    lines = f"<b>{escape(figure)}</b><span>{escape(name)}</span><small>{escape(remark)}</small>"
    return f'<div class="tile {kind}">{lines}</div>'


def _marks(result: Mapping[str, Any]) -> list[charts.Mark]:
    """Where versions went live, and where a candidate did not."""
    marks = []
    for row in result.get("trainings") or []:
        live, version = row.get("verdict") == "promoted", str(row.get("version", ""))
        if not live:
            marks.append(charts.Mark(row["at"], version, live))
        elif row.get("live_at_s"):  # promoted, and the log did not end before it could serve
            marks.append(charts.Mark(rfc3339(row["live_at_s"]), version, live))
    return marks


def _alarms(result: Mapping[str, Any], marks: Sequence[charts.Mark], span: Sequence[str]) -> str:
    times_s = result.get("alarm_times") or []
    return charts.alarms(times_s, marks, span) if times_s else "<p>No user's interests were found to have moved.</p>"


def _told(rows: Sequence[Mapping[str, Any]]) -> str:
    """The strongest alarms, each with its sentence and its numbers."""
    if not rows:
        return ""
    lines = [
        f"<tr><td>{escape(row['user'])}<td>{escape(day(row['at']))}<td>{escape(row['says'])}{_pairs(_numbers(row))}</tr>"
        for row in rows
    ]
    head = "<tr><th>user<th>noticed<th>what changed, and what flagged"
    return f"<h2>The strongest alarms</h2><table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table>"


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("scope", "signal", "detector", "evidence", "threshold", "interaction")
    began = {"probably began": day(row["began"])} if row.get("began") else {}
    return {name: row[name] for name in names if name in row} | began


def _segments(result: Mapping[str, Any]) -> str:
    rows = result.get("segments") or []
    if not rows:
        return ""
    head = '<h2>Where interests went</h2><p class="note">Alarmed users who moved <span class="rise">to</span> a segment'
    return f'{head} and <span class="fall">away</span> from it.</p><figure>{charts.segments(rows)}</figure>'


def _trainings(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>Nothing was trained.</p>"
    head = "<tr><th>decided<th>why<th>version<th>verdict<th>what the gate saw"
    head += "<th class=n>examples<th class=n>steps<th class=n>seconds"
    return f"<table><thead>{head}</thead><tbody>{''.join(_training(row) for row in rows)}</tbody></table>"


def _training(row: Mapping[str, Any]) -> str:
    verdict = str(row.get("verdict", ""))
    gate = dict(row.get("gate") or {})
    reason = str(gate.pop("reason", ""))
    live = {"live_from_s": row["live_at_s"]} if verdict == "promoted" and row.get("live_at_s") else {}
    why = TRIGGERS.get(str(row.get("trigger")), str(row.get("trigger")))
    cells = [
        f"<td>{escape(day(row.get('at')))}",
        f"<td>{escape(why)}{_pairs(row.get('evidence') or {})}{_concerned(row.get('concerned') or [])}",
        f"<td>{escape(str(row.get('version', '')))}{_pairs(live)}",
        f'<td><span class="badge {SETTLED.get(verdict, "refused")}">{escape(verdict)}</span>',
        f"<td>{escape(reason)}{_pairs(gate)}",
        *(f"<td class=n>{escape(number(row.get(key)))}" for key in ("examples", "steps")),
        f"<td class=n>{escape(number(round(float(row.get('seconds') or 0), 1)))}",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _concerned(people: Sequence[Mapping[str, Any]]) -> str:
    """The people whose alarms stand most behind a training, with how many times the threshold each reached."""
    return _pairs({f"user {person['user']}": person["times_threshold"] for person in people})


def _rulings(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        f"<tr><td>{escape(day(rfc3339(row['at_s'])))}<td>{escape(row['version'])}<td>{escape(row['ruling'])}"
        f"<td>{escape(row['reason'])}{_pairs(row.get('numbers') or {})}</tr>"
        for row in rows
    ]
    head = "<tr><th>decided<th>version<th>ruling<th>why"
    return f"<h2>Later rulings</h2><table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table>"


def _pairs(values: Mapping[str, Any]) -> str:
    """Names and numbers, small; those after the first few fold away."""
    if not values:
        return ""
    shown = [f"<span>{escape(name)} <b>{escape(text)}</b></span>" for name, text in map(_pair, values.items())]
    few = f'<div class="pairs">{"".join(shown[:PAIRS])}</div>'
    if len(shown) <= PAIRS:
        return few
    return f'{few}<details><summary>more</summary><div class="pairs">{"".join(shown[PAIRS:])}</div></details>'


def _pair(item: tuple[str, Any]) -> tuple[str, str]:
    """A name and a value for people to read; times since the epoch become dates.

    >>> _pair(("hold_out_from_s", 1314835200.0)), _pair(("new_events", 5000.0)), _pair(("half_life_s", 60.0))
    (('hold out from', '2011-09-01 00:00'), ('new events', '5,000'), ('half life s', '60'))
    """
    name, value = item
    if name.endswith("_s") and isinstance(value, float | int) and value > EPOCH_FROM_S:
        return name.removesuffix("_s").replace("_", " "), day(rfc3339(value))
    return name.replace("_", " "), number(value)


def _figures(result: Mapping[str, Any]) -> str:
    """Every plain figure of the result."""
    plain = {key: value for key, value in result.items() if isinstance(value, (str, int, float)) or value is None}
    rows = "".join(
        f"<tr><td>{escape(key.replace('_', ' '))}<td class=n>{escape(number(value))}</tr>"
        for key, value in plain.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"
