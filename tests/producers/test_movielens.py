from __future__ import annotations

from pathlib import Path

import pytest

from producers.movielens import GENRES, load
from stream.errors import LogError


def original(folder: Path) -> Path:
    (folder / "u.data").write_text("7\t1\t5\t20\n7\t2\t3\t10\n3\t1\t4\t10\n")
    films = [("1", "Toy Story (1995)", {"Animation", "Comedy"}), ("2", "Café (1996)", {"unknown"})]
    lines = ["|".join([i, t, "01-Jan-1995", "", "http://x", *("01"[g in gs] for g in GENRES)]) for i, t, gs in films]
    (folder / "u.item").write_text("\n".join([*lines, ""]), encoding="latin-1")
    (folder / "u.user").write_text("3|24|F|writer|1000\n7|7|M|none|2000\n")
    return folder


def atomic(folder: Path) -> Path:
    inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t1\t5\t20\n7\t2\t3\t10\n3\t1\t4\t10\n"
    (folder / "ml-100k.inter").write_text(inter)
    item = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    item += "1\tToy Story\t1995\tAnimation Comedy\n2\tCafé\t1996\tunknown\n"
    (folder / "ml-100k.item").write_text(item)
    people = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    (folder / "ml-100k.user").write_text(people + "3\t24\tF\twriter\t1000\n7\t7\tM\tnone\t2000\n")
    return folder


@pytest.mark.parametrize("write", [original, atomic])
def test_both_layouts_give_the_same(tmp_path: Path, write: object) -> None:
    assert callable(write)
    items, ratings = load(write(tmp_path))
    assert [(i.item_id, i.title, i.categories, i.at) for i in items] == [
        ("1", "Toy Story (1995)", ["Animation", "Comedy"], None),
        ("2", "Café (1996)", [], None),
    ]
    events = [(e.event_id, e.at_s, e.value, e.event, e.group) for e in ratings]
    assert events == [
        ("3-1", 10.0, 4.0, "rating", None),
        ("7-2", 10.0, 3.0, "rating", None),
        ("7-1", 20.0, 5.0, "rating", None),
    ]
    assert len(ratings) == 3
    ann, bob = {"age": "20s", "gender": "F", "occupation": "writer"}, {"age": "0s", "gender": "M", "occupation": "none"}
    assert [e.user for e in ratings] == [ann, bob, bob]


def test_ages_may_be_missing_and_must_be_numbers(tmp_path: Path) -> None:
    original(tmp_path)
    (tmp_path / "u.user").unlink()
    assert [e.user for e in load(tmp_path)[1]] == [{}, {}, {}]
    (tmp_path / "u.user").write_text("3|young|F|writer|1000\n")
    with pytest.raises(LogError, match=r"u\.user: age must be a number, got 'young'"):
        load(tmp_path)


def test_an_empty_folder_says_how_to_get_the_files(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"must hold u\.data and u\.item.*GroupLens.*recbole==1\.2\.1"):
        load(tmp_path)


def test_malformed_lines_are_named(tmp_path: Path) -> None:
    atomic(tmp_path)
    with (tmp_path / "ml-100k.item").open("a") as file:
        file.write("3\tno year\n")
    with pytest.raises(LogError, match=r"ml-100k\.item, line 4: columns must be 4, got 2"):
        load(tmp_path)
    atomic(tmp_path)
    with (tmp_path / "ml-100k.inter").open("a") as file:
        file.write("3\t1\tfive\t10\n")
    with pytest.raises(LogError, match=r"rating and timestamp must be numbers, got 'five' and '10'"):
        load(tmp_path)
