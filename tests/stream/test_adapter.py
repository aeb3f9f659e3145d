"""Adapting the text encoder: it learns what a made log has to teach, and comes back from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stream import adapter as module
from stream.adapted import Adapted
from stream.adapter import Adapter, Pairs, fit
from stream.errors import StoreError, TrainingError
from stream.history import Histories
from stream.settings import Training
from stream.text import TextEncoder

WORDS = ("garden", "kitchen", "toy", "paper")
TEXTS = [f"{WORDS[i % 4]} {chr(97 + i)}" for i in range(24)]  # a word tells which items go together
FEW = Training(adapter_steps=30, adapter_rank=2, adapter_learning_rate=5e-3)


def walks(people: int = 60, seed: int = 0) -> Histories:
    """Everybody stays with items of one word."""
    rng, length = np.random.default_rng(seed), 6
    items = np.concatenate([rng.permutation(6)[:length] * 4 + person % 4 for person in range(people)])
    starts = np.arange(people + 1) * length
    return Histories(starts, items, np.tile(np.arange(length) * 60.0, people), np.ones(len(items), bool))


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    """A tiny one whose attention has a say: untrained weights are too small for that."""
    made = TextEncoder.tiny()
    weights = {name: weight.detach().numpy() for name, weight in made.copied().named_parameters()}
    return made.with_changes({name: 15 * w for name, w in weights.items() if "attention" in name and w.ndim == 2})


def trained(encoder: TextEncoder, parent: Adapter | None = None, training: Training = FEW) -> module.Fit:
    vectors = (parent.applied(encoder) if parent else encoder).encode(TEXTS)
    fitted = fit(encoder, TEXTS, vectors, walks(), training, seed=1, parent=parent)
    assert fitted is not None
    return fitted


def apart(vectors: np.ndarray) -> float:
    """How much nearer texts of one word are than others."""
    alike = np.equal.outer(np.arange(24) % 4, np.arange(24) % 4)
    near = vectors @ vectors.T
    return float(near[alike].mean() - near[~alike].mean())


def test_it_learns_which_texts_go_together(encoder: TextEncoder) -> None:
    before = encoder.encode(TEXTS)
    fitted = trained(encoder)
    assert fitted.loss < fitted.first_loss - 0.2
    after = fitted.adapter.applied(encoder).encode(TEXTS)
    assert apart(after) > 1.5 * apart(before)
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)  # the base space stays as it is


def test_the_same_again_gives_the_same_adapter(encoder: TextEncoder) -> None:
    torch.manual_seed(5)
    one = trained(encoder).adapter
    torch.manual_seed(6)
    other = trained(encoder).adapter
    assert one.name == other.name != ""
    assert all(one.weights[name].tobytes() == other.weights[name].tobytes() for name in one.weights)


def test_it_goes_on_from_its_parent_and_stays_near(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = trained(encoder).adapter

    def distance(other: Adapter) -> float:
        return sum(float(((other.weights[name] - old) ** 2).sum()) for name, old in parent.weights.items())

    near = trained(encoder, parent)
    monkeypatch.setattr(module, "PROXIMAL", 10.0)
    held = trained(encoder, parent)
    assert near.adapter.name != parent.name
    assert near.first_loss < trained(encoder).first_loss
    assert distance(held.adapter) < 0.5 * distance(near.adapter)


def test_an_adapter_comes_back(encoder: TextEncoder, tmp_path: Path) -> None:
    made = trained(encoder, training=FEW.model_copy(update={"adapter_steps": 2})).adapter
    made.save(tmp_path)
    again = Adapter.load(tmp_path)
    assert again is not None
    assert again.name == made.name
    assert sorted(made.weights)[0] == "encoder.layer.0.attention.self.key.A"
    with pytest.raises(StoreError, match="must hold an adapter and the vectors under it"):
        module.load(encoder, tmp_path)
    Adapted(made.name, tuple(TEXTS), made.applied(encoder).encode(TEXTS), np.zeros((24, 8), np.uint8)).save(tmp_path)
    under, shipped = module.load(encoder, tmp_path)
    assert under.encode(TEXTS).tobytes() == shipped.vectors.tobytes()


def test_no_adapter_and_a_damaged_one(tmp_path: Path) -> None:
    assert Adapter.load(tmp_path) is None
    (tmp_path / "adapter.safetensors").write_bytes(b"torn")
    with pytest.raises(StoreError, match=r"adapter\.safetensors must hold an adapter"):
        Adapter.load(tmp_path)


def test_an_adapter_of_another_encoder_is_refused(encoder: TextEncoder) -> None:
    made = trained(encoder, training=FEW.model_copy(update={"adapter_steps": 1})).adapter
    wider = TextEncoder.tiny(dim=32)
    with pytest.raises(StoreError, match=r"the adapter must fit model\.encoder"):
        made.applied(wider)
    with pytest.raises(TrainingError, match=r"adapter of the parent must fit model\.encoder"):
        fit(wider, TEXTS, wider.encode(TEXTS), walks(), FEW, seed=1, parent=made)


def test_nothing_to_learn_from_gives_none(encoder: TextEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert fit(encoder, [""] * 24, vectors, walks(), FEW, seed=1) is None
    lone = Histories(np.array([0, 1]), np.array([3]), np.zeros(1), np.ones(1, bool))
    assert fit(encoder, TEXTS, vectors, lone, FEW, seed=1) is None


def test_a_history_ends_with_the_block_before() -> None:
    items, times_s = np.array([0, 1, 2, 3]), np.array([0.0, 60.0, 60.0, 120.0])
    pairs = Pairs.cut(Histories(np.array([0, 4]), items, times_s, np.ones(4, bool)), np.array([True, True, True, True]))
    found = {int(i): [int(x) for x in row if x < 4] for i, row in zip(pairs.item, pairs.history, strict=True)}
    assert found == {1: [0], 2: [0], 3: [2, 1, 0]}
    assert pairs.starts.tolist() == [0, 0, 1, 2, 3]
