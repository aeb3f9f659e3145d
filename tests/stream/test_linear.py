"""The linear item model: its closed form, its files, its place in a catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stream.errors import StoreError
from stream.linear import LinearModel, Owned, Placed

IDS = ["mug", "cup", "saucer", "hat", "never"]


def owned(*people: list[int]) -> Owned:
    starts = np.concatenate([[0], np.cumsum([len(items) for items in people])])
    return Owned(starts.astype(np.int64), np.array([i for items in people for i in items], np.int64))


def dense(model: LinearModel) -> np.ndarray:
    """(m, m)."""
    out = np.zeros((len(model.item_ids),) * 2)
    np.put_along_axis(out, model.columns.astype(np.int64), model.weights, axis=1)
    return out


def test_it_is_the_ridge_regression_of_each_item_on_all_others() -> None:
    people = [[0, 1], [0, 1, 2], [1, 2], [3], [0, 3]]
    model = LinearModel.fit(owned(*people), IDS, ridge=2.0, most=10)
    assert model.item_ids == ("mug", "cup", "saucer", "hat")  # nobody has the last
    has = np.zeros((5, 4))
    for row, items in zip(has, people, strict=True):
        row[items] = 1.0
    weights = dense(model)
    assert np.diagonal(weights).tolist() == [0.0] * 4
    for j in range(4):  # the same numbers from the textbook, item by item
        others = [i for i in range(4) if i != j]
        x, y = has[:, others], has[:, j]
        ridge = np.linalg.solve(x.T @ x + 2.0 * np.eye(3), x.T @ y)
        assert weights[others, j] == pytest.approx(ridge, abs=1e-5)


def test_only_the_most_frequent_items_are_in_it() -> None:
    model = LinearModel.fit(owned([0, 1, 2], [1, 2], [2, 3]), IDS, ridge=1.0, most=2)
    assert model.item_ids == ("cup", "saucer")


def test_what_came_late_or_is_unknown_is_left_out() -> None:
    firsts = {("ann", "mug"): 1.0, ("ann", "cup"): 9.0, ("bob", "gone"): 1.0, ("bob", "hat"): 2.0}
    found = Owned.of(firsts, IDS, before_s=9.0)
    assert (found.starts.tolist(), found.items.tolist()) == ([0, 1, 2], [0, 3])


def test_scores_are_sums_of_what_a_persons_items_say() -> None:
    model = LinearModel.fit(owned([0, 1], [0, 1, 2], [1, 2], [3], [0, 3]), IDS, ridge=2.0, most=10)
    weights, placed = dense(model), Placed(model)
    placed.extend(["hat", "new"])
    assert placed.scores([0, 1]).tolist() == [0.0, 0.0]  # a hat speaks for mugs, which are not there yet
    placed.extend(["hat", "new", "mug", "cup"])
    expected = [weights[0, 3] + weights[3, 3], 0.0, weights[3, 0], weights[0, 1] + weights[3, 1]]
    assert placed.scores([0, 2]) == pytest.approx(expected)
    assert placed.scores([1]).tolist() == [0.0] * 4
    # what each thing owned adds to a score; an item that the model does not know is neither
    assert placed.weights([0, 1, 2], [3, 1]).sum(axis=0) == pytest.approx([expected[3], 0.0])
    assert placed.weights([2], [3]).item() == pytest.approx(weights[0, 1])
    assert placed.weights([1], [3]).item() == 0.0


def test_it_comes_back_from_its_files(tmp_path: Path) -> None:
    model = LinearModel.fit(owned([0, 1], [0, 1, 2]), IDS, ridge=1.0, most=10)
    assert LinearModel.load(tmp_path) is None
    model.save(tmp_path)
    read = LinearModel.load(tmp_path)
    assert read is not None
    assert read.item_ids == model.item_ids
    assert read.columns.tolist() == model.columns.tolist()
    assert read.weights.tolist() == model.weights.tolist()


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
