"""The serving form of the next-item model: equal to transformers, tied to its items, whole on disk."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from stream.errors import StoreError
from stream.lm import NO_GAP, LMShape, NextItemLM, gap_buckets
from stream.lm_network import NextItemNetwork

SHAPE = LMShape(dim=16, layers=2, heads=4, context=6, base_dim=5)
IDS = [f"i{n}" for n in range(9)]
TEXT = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)


def network(seed: int = 0) -> NextItemNetwork:
    torch.manual_seed(seed)
    made = NextItemNetwork(SHAPE, torch.from_numpy(TEXT), dropout=0.5).eval()
    with torch.no_grad():
        for weight in made.parameters():  # far from their initial values, biases too
            weight.add_(torch.randn_like(weight) * 0.2)
    return made


@pytest.mark.parametrize("t", [0, 1, 5, 6, 11])
def test_it_computes_what_transformers_computes(t: int) -> None:
    rng = np.random.default_rng(t)
    rows, times_s = rng.integers(0, 9, t), np.cumsum(rng.exponential(1_000, t))
    trained = network()
    served = trained.serve(IDS)
    matrix = served.item_matrix(IDS, TEXT)
    logits = matrix @ served.user_vector(matrix[rows], times_s)

    rows, gaps = rows[-6:], gap_buckets(times_s[-6:])  # the context; a shorter history opens with the start
    if t < 6:
        rows, gaps = np.append(9, rows), np.append(NO_GAP, gaps)
    with torch.inference_mode():
        items = trained.item_vectors()
        hidden = trained(items, torch.from_numpy(rows)[None], torch.from_numpy(gaps)[None])
        expected = trained.logits(hidden[:, -1], items)[0].numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_a_new_item_is_placed_by_its_text() -> None:
    lm = NextItemLM.random(SHAPE, IDS, seed=1)
    lm.weights["id.weight"][:] = 0  # ids say nothing: only texts differ
    lm = NextItemLM(SHAPE, IDS, lm.weights)
    known, new, nothing = lm.item_matrix(["i3", "new", "newer"], np.stack([TEXT[3], TEXT[3], np.zeros(5, np.float32)]))
    np.testing.assert_array_equal(known, new)
    assert np.isfinite(nothing).all()


def test_rows_do_not_depend_on_their_neighbours() -> None:
    lm = NextItemLM.random(SHAPE, IDS, seed=1)
    whole = lm.item_matrix(IDS, TEXT)
    single = np.concatenate([lm.item_matrix([IDS[i]], TEXT[i : i + 1]) for i in range(9)])
    assert whole.tobytes() == single.tobytes()


def test_only_the_context_is_seen() -> None:
    lm = NextItemLM.random(SHAPE, IDS, seed=1)
    matrix, times_s = lm.item_matrix(IDS, TEXT), np.arange(9.0)
    np.testing.assert_array_equal(lm.user_vector(matrix, times_s), lm.user_vector(matrix[-6:], times_s[-6:]))


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    lm = network().serve(IDS)
    lm.save(tmp_path / "new" / "v1")
    again = NextItemLM.load(tmp_path / "new" / "v1")
    assert (again.shape, again.item_ids) == (SHAPE, tuple(IDS))
    matrix = again.item_matrix(IDS, TEXT)
    np.testing.assert_array_equal(matrix, lm.item_matrix(IDS, TEXT))
    np.testing.assert_array_equal(
        again.user_vector(matrix[:3], np.arange(3.0)), lm.user_vector(matrix[:3], np.arange(3.0))
    )


def _lose(directory: Path) -> None:
    (directory / "model.safetensors").unlink()


def _tear(directory: Path) -> None:
    content = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(content[: len(content) // 2])


def _garble(directory: Path) -> None:
    (directory / "config.json").write_text("{")


def _forget_items(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"items": ["i0"]}))


def _renew(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    config["shape"]["format"] = 2
    (directory / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_lose, "must hold a next-item model: "),
        (_tear, "must hold a next-item model: "),
        (_garble, "must hold a next-item model: "),
        (_forget_items, r"model weights must have \('id.weight', \(1, 16\)\); the file does not fit"),
        (_renew, "config.json must have format 1, got 2"),
    ],
)
def test_a_damaged_directory_is_refused(tmp_path: Path, fault: object, message: str) -> None:
    NextItemLM.random(SHAPE, IDS, seed=1).save(tmp_path)
    assert callable(fault)
    fault(tmp_path)
    with pytest.raises(StoreError, match=message):
        NextItemLM.load(tmp_path)


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"vectors must be \(1, 5\), got \(1, 4\)"):
        NextItemLM.random(SHAPE, IDS, seed=1).item_matrix(["i1"], np.zeros((1, 4), np.float32))


def test_one_person_takes_about_a_millisecond() -> None:
    lm = NextItemLM.random(LMShape(dim=64, layers=2, heads=2, context=50, base_dim=5), IDS, seed=1)
    tail, times_s = lm.item_matrix(IDS, TEXT)[np.arange(50) % 9], np.arange(50.0)
    taken = []
    for _ in range(30):
        began_s = time.perf_counter()
        lm.user_vector(tail, times_s)
        taken.append(time.perf_counter() - began_s)
    assert min(taken) < 0.003  # 0.5 ms alone on a core; the rest is room for a busy machine


def test_going_on_keeps_old_items_and_adds_new_ones() -> None:
    parent = NextItemLM.random(SHAPE, IDS, seed=1)
    text = np.vstack([TEXT, np.ones((1, 5), np.float32)])
    resumed = NextItemNetwork.resume(parent, [*IDS, "new"], text, dropout=0.0).serve([*IDS, "new"])
    assert not resumed.weights["id.weight"][9].any()
    np.testing.assert_array_equal(resumed.item_matrix([*IDS, "new"], text), parent.item_matrix([*IDS, "new"], text))
