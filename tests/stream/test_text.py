"""The text encoder: what a vector is, and that it never depends on its companions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stream.errors import SettingsError
from stream.events import Item
from stream.item_text import item_text
from stream.settings import Model
from stream.text import TextEncoder

TEXTS = ["red mug", "blue cup", "a lantern for the garden", "x", "red mug", "seven small wooden animals in a box"] * 5


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return TextEncoder.load(Model())


def test_vectors_are_unit_rows_in_the_order_of_the_texts(minilm: TextEncoder) -> None:
    vectors = minilm.encode(["Vintage red kitchen cabinet", "Antique scarlet cupboard", "Discount voucher"])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]


@pytest.mark.parametrize("size", [1, 3, 7, 30])
def test_a_vector_does_not_depend_on_its_batch(minilm: TextEncoder, size: int) -> None:
    whole = minilm.encode(TEXTS)
    parts = [minilm.encode(TEXTS[i : i + size]) for i in range(0, len(TEXTS), size)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_pooling_is_the_mean_over_the_tokens_of_a_text() -> None:
    encoder = TextEncoder.tiny()
    tokens = encoder._tokenizer("red mug", return_tensors="pt")
    with torch.inference_mode():
        mean = encoder._network(**tokens).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(encoder.encode(["red mug"])[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_long_texts_are_cut_and_empty_ones_have_no_vector() -> None:
    encoder = TextEncoder.tiny()
    vectors = encoder.encode(["a " * 62, "a " * 5_000, " \n", ""])
    assert vectors[0].tobytes() == vectors[1].tobytes()  # 62 tokens, start and end
    assert not vectors[2:].any()
    assert encoder.encode([]).shape == (0, 16)


def test_item_text_joins_what_there_is() -> None:
    assert item_text(Item(item_id="1", title=" Mug ", text="Blue.")) == "Mug. Blue."
    assert item_text(Item(item_id="1")) == ""


def test_an_unknown_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"model\.encoder must be a text encoder, got '/"):
        TextEncoder.load(Model(encoder=str(tmp_path)))
