from __future__ import annotations

import gzip
import itertools
import time
from pathlib import Path

import pytest

from producers.online_retail import COLUMNS, load
from stream.errors import LogError

HEADER = ",".join(COLUMNS)
ROWS = [
    "2,85a,RED MUG,1,2011-01-02 10:00:00,1.5,7.0,France",
    "1,85A ,RED  MUG ,6,2011-01-01 10:00:00,2.5,17850.0,United Kingdom",
    "1,85A,mug?,9,2011-01-01 10:00:00,2.5,17850.0,United Kingdom",  # the invoice has that item already
    "1,9X,LAMP,1,2011-01-01 10:00:00,2.5,17850.0,United Kingdom",
    "3,85A,RED MUG,1,2011-01-01 11:00:00,2.5,,United Kingdom",  # nobody
    "C4,85A,RED MUG,-1,2011-01-01 11:00:00,2.5,17850.0,United Kingdom",  # a return
    "5,85A,,1,2011-01-01 11:00:00,2.5,17850.0,United Kingdom",  # no description
    "6,85A,RED MUG,1,2011-01-01 11:00:00,0.0,17850.0,United Kingdom",  # a gift
    '0,9X,"LAMP, SMALL",2,2011-01-01 10:00:00,2.5,7.0,France',  # same minute, earlier invoice
]


def csv_gz(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    path = folder / "transactions.csv.gz"
    path.write_bytes(gzip.compress("\n".join([header, *rows, ""]).encode()))
    return path


def test_cleans_orders_and_names(tmp_path: Path) -> None:
    items, purchases = load(csv_gz(tmp_path, ROWS))
    events = list(purchases)
    assert [(e.event_id, e.user_id, e.item_id, e.value, e.group) for e in events] == [
        ("0-9X", "7", "9X", 2.0, "0"),
        ("1-85A", "17850", "85A", 6.0, "1"),
        ("1-9X", "17850", "9X", 1.0, "1"),
        ("2-85A", "7", "85A", 1.0, "2"),
    ]
    assert events[0].at_s == 1293876000.0  # 2011-01-01T10:00:00Z
    assert {e.event for e in events} == {"purchase"}
    assert [e.user["country"] for e in events] == ["France", "United Kingdom", "United Kingdom", "France"]
    assert list(purchases) == events  # it may be iterated again
    assert [(i.item_id, i.title, i.at) for i in items] == [
        ("9X", "Lamp", "2011-01-01T10:00:00.000Z"),  # "LAMP" and "LAMP, SMALL" once each: first in the alphabet
        ("85A", "Red mug", "2011-01-01T10:00:00.000Z"),
    ]


def test_the_bundled_file_is_whole_and_fast() -> None:
    began = time.process_time()
    items, purchases = load()
    assert time.process_time() - began < 10
    assert (len(items), len(purchases)) == (3665, 387_841)
    events = list(purchases)
    assert len({e.event_id for e in events}) == 387_841
    assert len({e.user_id for e in events}) == 4338
    season = [e for e in events if e.at_s >= 1314835200.0]  # 2011-09-01T00:00:00Z
    assert len(season) == 165_873
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(events))


@pytest.mark.parametrize(
    ("rows", "header", "reason"),
    [
        ([], "a,b", "line 1: columns must be InvoiceNo,StockCode"),
        (["1,85A,RED MUG,six,2011-01-01 10:00:00,2.5,7.0,France"], HEADER, "line 2: invalid literal for int"),
        (["1,85A,RED MUG,6,1 Jan 2011,2.5,7.0,France"], HEADER, "line 2: Invalid isoformat string"),
        (["1,85A,RED MUG"], HEADER, "line 2: not enough values"),
    ],
)
def test_names_the_malformed_line(tmp_path: Path, rows: list[str], header: str, reason: str) -> None:
    with pytest.raises(LogError, match=reason):
        load(csv_gz(tmp_path, rows, header))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="must be the gzipped CSV of Online Retail"):
        load(tmp_path / "absent.csv.gz")
