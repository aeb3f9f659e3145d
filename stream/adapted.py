"""A catalogue's text vectors under an adapter of the text encoder, as a version ships them.

A version without an adapter uses the base vectors of item-vectors; one with an adapter its own. Needs neither torch
nor peft: `stream.adapter` trains and applies adapters.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stream.errors import SettingsError, StoreError
from stream.item_text import PRINT_BYTES
from stream.settings import Training

Floats = NDArray[np.float32]


def check_available(training: Training) -> None:
    """Refuse a setting that this installation cannot follow.

    Raises:
        SettingsError: training.text_adapter is on, and peft is not installed.
    """
    if training.text_adapter and importlib.util.find_spec("peft") is None:
        raise SettingsError("training.text_adapter needs peft, which is not installed: pip install 'meander[adapter]'")


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """Vectors of c items under the adapter `name`.

    >>> shipped = Adapted("a1", ("mug", "cup"), np.eye(2, dtype=np.float32), np.zeros((2, 8), np.uint8))
    >>> newer = np.array([[0, 0], [0, 2], [3, 3]], np.float32)  # what has come since; zeros: nothing has
    >>> shipped.placed(["mug", "cup", "hat"], newer).tolist()
    [[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]
    """

    name: str
    item_ids: tuple[str, ...]
    vectors: Floats  # (c, b)
    prints: NDArray[np.uint8]  # (c, PRINT_BYTES): of what each vector was made of, see `stream.item_text`
    _row: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_row", {item: i for i, item in enumerate(self.item_ids)})

    def placed(self, item_ids: Sequence[str], newer: Floats) -> Floats:
        """Vectors (n, b) of `item_ids`: those of `newer` (n, b), shipped ones where it has zeros, else zeros."""
        out = np.array(newer, np.float32)
        for i in np.flatnonzero(~out.any(axis=1)).tolist():
            row = self._row.get(item_ids[i])
            if row is not None:
                out[i] = self.vectors[row]
        return out

    def with_newer(self, newer: Mapping[str, Floats]) -> Adapted:
        """The same with vectors under this adapter that were written since."""
        item_ids = (*self.item_ids, *(item for item in newer if item not in self._row))
        grown = np.zeros((len(item_ids), self.vectors.shape[1]), np.float32)
        given = np.stack([newer.get(item, grown[0]) for item in item_ids]) if item_ids else grown
        prints = np.zeros((len(item_ids), PRINT_BYTES), np.uint8)
        prints[: len(self.prints)] = self.prints
        return replace(self, item_ids=item_ids, vectors=self.placed(item_ids, given), prints=prints)

    def print_of(self, item_id: str) -> bytes:
        """What an item's vector was made of; empty where it is not shipped."""
        row = self._row.get(item_id)
        return b"" if row is None else self.prints[row].tobytes()

    def save(self, directory: Path) -> None:
        """Write adapted.safetensors and adapted.json into `directory`."""
        save_file({"vectors": self.vectors, "prints": self.prints}, directory / "adapted.safetensors")
        facts = {"name": self.name, "items": self.item_ids}
        (directory / "adapted.json").write_text(json.dumps(facts, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Adapted | None:
        """Read what `save` wrote; None where nothing was.

        Raises:
            StoreError: a file is damaged, or the two do not fit.
        """
        if not (directory / "adapted.json").exists():
            return None
        try:
            facts = msgspec.json.decode((directory / "adapted.json").read_bytes(), type=_Facts)
            arrays = load_file(directory / "adapted.safetensors")
            made = cls(facts.name, facts.items, arrays["vectors"], arrays["prints"])
        except (OSError, KeyError, msgspec.DecodeError, SafetensorError) as error:
            raise StoreError(f"{directory} must hold adapted vectors: {error}") from None
        if not len(made.item_ids) == len(made.vectors) == len(made.prints):
            raise StoreError(f"{directory}/adapted.safetensors must fit the {len(made.item_ids)} items of adapted.json")
        return made


class _Facts(msgspec.Struct):
    name: str
    items: tuple[str, ...]
