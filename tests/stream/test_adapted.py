"""Vectors under an adapter: where they come from, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from stream.adapted import Adapted, check_available
from stream.errors import SettingsError, StoreError
from stream.lm import LMShape, NextItemLM
from stream.settings import Training

SHIPPED = Adapted("a1", ("mug", "cup"), np.eye(2, 3, dtype=np.float32), np.arange(16, dtype=np.uint8).reshape(2, 8))
SHAPE = LMShape(dim=8, layers=1, heads=2, context=4, base_dim=3)


def test_what_is_newer_goes_before_what_was_shipped() -> None:
    grown = SHIPPED.with_newer({"cup": np.full(3, 5, np.float32), "hat": np.full(3, 7, np.float32)})
    nothing = np.zeros((4, 3), np.float32)
    found = grown.placed(["hat", "mug", "cup", "unknown"], nothing)
    assert found.tolist() == [[7, 7, 7], [1, 0, 0], [5, 5, 5], [0, 0, 0]]
    assert grown.with_newer({}).placed(["hat"], nothing[:1]).tolist() == [[7, 7, 7]]
    assert not nothing.any()


def test_prints_tell_what_a_vector_was_made_of() -> None:
    assert SHIPPED.print_of("cup") == bytes(range(8, 16))
    assert SHIPPED.print_of("hat") == b""


def test_a_model_with_an_adapter_comes_back(tmp_path: Path) -> None:
    plain = NextItemLM.random(SHAPE, ["mug", "cup"], seed=0)
    plain.with_adapted(SHIPPED).save(tmp_path)
    again = NextItemLM.load(tmp_path)
    assert (plain.adapter, again.adapter) == ("", "a1")
    ids, nothing = ["mug", "cup", "hat"], np.zeros((3, 3), np.float32)
    own = np.vstack([SHIPPED.vectors, nothing[:1]])
    np.testing.assert_array_equal(again.item_matrix(ids, nothing), plain.item_matrix(ids, own))
    newer = nothing + np.array([[0], [0], [4]], np.float32)
    np.testing.assert_array_equal(again.item_matrix(ids, newer)[:2], plain.item_matrix(ids, own)[:2])
    np.testing.assert_array_equal(again.item_matrix(ids, newer)[2], plain.item_matrix(["hat"], newer[2:])[0])


def test_a_model_without_one_writes_no_file_of_it(tmp_path: Path) -> None:
    NextItemLM.random(SHAPE, ["mug"], seed=0).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert Adapted.load(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("adapted.json", b"{}", "must hold adapted vectors"),
        ("adapted.json", b'{"name": "a1", "items": ["mug"]}', "must fit the 1 items of adapted.json"),
        ("adapted.safetensors", b"torn", "must hold adapted vectors"),
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    SHIPPED.save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StoreError, match=said):
        Adapted.load(tmp_path)


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    narrow = Adapted("a1", ("mug",), np.ones((1, 2), np.float32), np.zeros((1, 8), np.uint8))
    NextItemLM.random(SHAPE, ["mug"], seed=0).with_adapted(narrow).save(tmp_path)
    with pytest.raises(StoreError, match="adapted vectors of 3 dimensions"):
        NextItemLM.load(tmp_path)


def test_the_setting_needs_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    check_available(Training(text_adapter=True))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_available(Training())
    with pytest.raises(SettingsError, match=r"text_adapter needs peft, .*: pip install 'meander\[adapter\]'"):
        check_available(Training(text_adapter=True))
