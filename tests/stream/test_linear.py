"""The linear item model: its closed form, its files, its place in a catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stream import linear
from stream.baskets import Baskets
from stream.errors import StoreError
from stream.linear import AFTER, AFTER_RIDGE, RECENT, LinearModel, Placed, Table

IDS = ["mug", "cup", "saucer", "hat", "never"]


def baskets(*people: list[list[int]]) -> Baskets:
    """Of people with blocks of items, one second apart."""
    starts = np.cumsum([0, *(sum(map(len, blocks)) for blocks in people)])
    flat = [block for blocks in people for block in blocks]
    numbers = np.repeat(np.arange(len(flat)), [len(block) for block in flat])
    times_s = [float(t) for blocks in people for t, block in enumerate(blocks) for _ in block]
    return Baskets(starts, np.array([i for block in flat for i in block], np.int64), numbers, np.array(times_s))


def owned(*people: list[int]) -> Baskets:
    return baskets(*([items] for items in people))


def dense(table: Table) -> np.ndarray:
    """(m, m)."""
    out = np.zeros((len(table.columns),) * 2)
    np.put_along_axis(out, table.columns.astype(np.int64), table.weights, axis=1)
    return out


def test_it_is_the_ridge_regression_of_each_item_on_all_others() -> None:
    people = [[0, 1], [0, 1, 2], [1, 2], [3], [0, 3]]
    model = LinearModel.fit(owned(*people), IDS, ridge=2.0, most=10)
    assert model.item_ids == ("mug", "cup", "saucer", "hat")  # nobody has the last
    has = np.zeros((5, 4))
    for row, items in zip(has, people, strict=True):
        row[items] = 1.0
    weights = dense(model.alike)
    assert np.diagonal(weights).tolist() == [0.0] * 4
    for j in range(4):  # the same numbers from the textbook, item by item
        others = [i for i in range(4) if i != j]
        x, y = has[:, others], has[:, j]
        ridge = np.linalg.solve(x.T @ x + 2.0 * np.eye(3), x.T @ y)
        assert weights[others, j] == pytest.approx(ridge, abs=1e-5)


def test_only_the_most_frequent_items_are_in_it() -> None:
    model = LinearModel.fit(owned([0, 1, 2], [1, 2], [2, 3]), IDS, ridge=1.0, most=2)
    assert model.item_ids == ("cup", "saucer")


def test_what_is_taken_next_is_the_ridge_regression_on_what_was_had_before() -> None:
    people = [[[0, 1], [2], [0, 0]], [[1], [0, 3]]]
    model = LinearModel.fit(baskets(*people), IDS, ridge=0.5, most=10)
    d = AFTER
    had = np.array(
        [[d, 1, 0, 0], [d**2, d, 1, 0], [0, 1, 0, 0]]
    )  # 1 is newer than 0; then 2 is the newest; of the second
    taken = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 1]])
    ridge = AFTER_RIDGE * 0.5
    expected = np.linalg.solve(had.T @ had + ridge * np.eye(4), had.T @ taken)
    np.testing.assert_allclose(dense(model.after), expected, atol=1e-5)
    assert dense(model.after)[0, 0] > 0  # an item may speak for itself


def test_only_the_newest_blocks_are_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "BLOCKS", 1)
    weights = dense(LinearModel.fit(baskets([[0], [1], [2]]), IDS, ridge=1.0, most=10).after)
    assert weights[1, 2] > weights[0, 2] > 0
    assert not weights[:, 1].any()


def test_who_came_once_says_nothing_of_what_comes_next() -> None:
    assert not LinearModel.fit(owned([0, 1], [1]), IDS, ridge=1.0, most=10).after.weights.any()


def test_scores_are_sums_of_what_a_persons_items_say() -> None:
    model = LinearModel.fit(owned([0, 1], [0, 1, 2], [1, 2], [3], [0, 3]), IDS, ridge=2.0, most=10)
    weights, placed = dense(model.alike), Placed(model)
    placed.extend(["hat", "new"])
    assert placed.scores([0, 1])[0].tolist() == [0.0, 0.0]  # a hat speaks for mugs, which are not there yet
    placed.extend(["hat", "new", "mug", "cup"])
    expected = [weights[0, 3] + weights[3, 3], 0.0, weights[3, 0], weights[0, 1] + weights[3, 1]]
    assert placed.scores([0, 2])[0] == pytest.approx(expected)
    assert not placed.scores([1]).any()
    # what each thing owned adds to a score; an item that the model does not know is neither
    assert placed.weights([0, 1, 2], [3, 1]).sum(axis=0) == pytest.approx([expected[3], 0.0])
    assert placed.weights([2], [3]).item() == pytest.approx(weights[0, 1])
    assert placed.weights([1], [3]).item() == 0.0


def test_the_newest_things_say_most() -> None:
    table = Table(np.array([[2], [2], [0]], np.int32), np.array([[1.0], [10.0], [0.0]], np.float32))
    placed = Placed(LinearModel(("a", "b", "c"), table, table))
    placed.extend(["a", "b", "new", "c"])
    plain, late, after = placed.scores([0, 1, 2])[:, 3]  # "new" is unknown to the model, and the newest thing
    assert plain == pytest.approx(11.0)
    assert late == pytest.approx(10 * RECENT + RECENT**2, rel=1e-6)
    assert after == pytest.approx(10 * AFTER + AFTER**2, rel=1e-6)


def test_it_comes_back_from_its_files(tmp_path: Path) -> None:
    model = LinearModel.fit(owned([0, 1], [0, 1, 2]), IDS, ridge=1.0, most=10)
    assert LinearModel.load(tmp_path) is None
    model.save(tmp_path)
    read = LinearModel.load(tmp_path)
    assert read is not None
    assert read.item_ids == model.item_ids
    for one, other in ((read.alike, model.alike), (read.after, model.after)):
        assert one.columns.tolist() == other.columns.tolist()
        assert one.weights.tolist() == other.weights.tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("linear.json", b"[1]", "must hold a linear model"),
        ("linear.json", json.dumps(["mug"]).encode(), "must fit the 1 items"),
        ("linear.safetensors", b"torn", "must hold a linear model"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    LinearModel.fit(owned([0, 1], [0, 1, 2]), IDS, ridge=1.0, most=10).save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StoreError, match=message):
        LinearModel.load(tmp_path)
