from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import matplotlib as mpl
import pytest

from consumers.charts import VARIABLES, Mark, alarms, hit_rates, segments

POINTS: list[dict[str, Any]] = [
    {"at": f"2011-09-{n:02d}T00:00:00Z", "hit_rate_10": n / 100, "served_hit_rate_10": None,
     "popularity_hit_rate_10": 0.02}
    for n in range(1, 9)
]  # fmt: skip
MARKS = [Mark("2011-09-02T00:00:00Z", "v1", True), Mark("2011-09-05T00:00:00Z", "v2 & <b>", False)]
TIMES_S = [1314835200.0, 1314835260.0, 1315094400.0]  # two on 2011-09-01, one on 2011-09-04
SEGMENTS = [{"segment": "Tea & <Coffee>", "risen": 4, "fallen": 1}]


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - it is our own


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in parsed(svg).iter("{http://www.w3.org/2000/svg}text")]


def ids(svg: str) -> set[str]:
    return {node.attrib["id"] for node in parsed(svg).iter() if "id" in node.attrib}


def test_hit_rates_name_the_lines_and_the_versions() -> None:
    shown = texts(hit_rates(POINTS, MARKS))
    assert "on arrival .080" in shown
    assert "popularity .020" in shown
    assert not any("served" in text for text in shown)  # it has no values
    assert "v1" in shown
    assert not any("v2" in text for text in shown)  # a candidate that was not taken is a circle


def test_days_without_alarms_and_texts_with_markup() -> None:
    assert texts(alarms(TIMES_S, MARKS))
    assert "Tea & <Coffee>" in texts(segments(SEGMENTS))


@pytest.mark.parametrize("svg", [hit_rates(POINTS, MARKS), alarms(TIMES_S), segments(SEGMENTS), hit_rates(POINTS[:1])])
def test_drawings_fill_their_place_and_take_colours_from_the_page(svg: str) -> None:
    root = parsed(svg)
    assert "width" not in root.attrib
    assert "height" not in root.attrib
    assert root.attrib["aria-label"]
    assert "var(--" in svg
    assert not any(colour in svg for colour in VARIABLES)
    assert "http" not in svg.replace("http://www.w3.org/", "")


def test_equal_data_give_equal_drawings_and_ids_differ_between_drawings() -> None:
    one, two = hit_rates(POINTS, MARKS), hit_rates(POINTS, MARKS)
    assert one == two
    assert not ids(one) & ids(alarms(TIMES_S))


def test_leaves_matplotlibs_settings_as_they_were() -> None:
    before = dict(mpl.rcParams)
    hit_rates(POINTS, MARKS)
    assert dict(mpl.rcParams) == before
