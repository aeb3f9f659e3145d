"""What an item's vector is made of."""

from __future__ import annotations

import numpy as np
import pytest

from stream.errors import BadRecord
from stream.events import Item
from stream.item_text import Embeddings, Wording, fingerprint, item_text, joined

MUG = Item(item_id="mug", title=" Mug ", text="Blue.")


def test_item_text_joins_what_there_is() -> None:
    assert item_text(MUG) == "Mug. Blue."
    assert item_text(Item(item_id="1")) == ""


def test_a_fingerprint_is_of_text_and_embedding() -> None:
    same = Item(item_id="other", title="Mug", text="Blue.", available=False)
    assert fingerprint(MUG) == fingerprint(same)
    others = [Item(item_id="mug", title="Mug"), Item(item_id="mug", title="Mug", text="Blue.", embedding=[1.0])]
    assert len({fingerprint(MUG), *(fingerprint(item) for item in others)}) == 3


def test_an_embedding_comes_into_the_base_space() -> None:
    embeddings = Embeddings(seed=0, dim=16)
    assert embeddings.of(MUG) is None
    own = embeddings.of(Item(item_id="1", embedding=[3.0, 4.0]))
    assert own is not None
    assert np.linalg.norm(own) == pytest.approx(1.0)
    assert np.linalg.norm(joined(own, own)) == pytest.approx(1.0)
    with pytest.raises(BadRecord, match="embedding must be finite numbers that are not all zero"):
        embeddings.of(Item(item_id="1", embedding=[0.0]))


def test_the_wording_of_a_catalogue_leaves_out_what_the_encoder_parks() -> None:
    pictured = Item(item_id="hat", title="Hat", embedding=[1.0, 2.0])
    wording = Wording.of([MUG, Item(item_id="bad", embedding=[]), pictured], seed=0, dim=4)
    assert (wording.item_ids, wording.texts) == (["mug", "hat"], ["Mug. Blue.", "Hat"])
    assert wording.prints[1].tobytes() == fingerprint(pictured)
    vectors = wording.join(np.eye(2, 4, dtype=np.float32))
    assert vectors[0].tolist() == [1, 0, 0, 0]
    assert np.linalg.norm(vectors[1]) == pytest.approx(1.0)
    assert vectors[1].tolist() != [0, 1, 0, 0]
