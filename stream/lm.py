"""The next-item language model as it serves: a causal transformer over item vectors, one forward pass in numpy.

`stream.lm_network.NextItemNetwork` trains the same model as `transformers.GPT2Model`; a test holds the two together to
1e-4. For one user's 50 events numpy takes a third of the time of the torch modules, gives the same bits whatever else
is scored beside it, and lets a scorer run without torch in its memory.

Letters: n items, t events, d model width, b base width (text vectors), h heads, c context.

    item vector    e = LayerNorm(id + text @ projection)                            # (d,); id is zero for a new item
    input          x = e + gap[bucket of the seconds since the event before]        # (t, d)
    user vector    u = scale * GPT2(x)[last]                                        # (d,)
    logits         e @ u: output tied to the item vectors

The architecture is that of SASRec (Kang & McAuley, 2018) with item text as in UniSRec (Hou et al., 2022).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stream.adapted import Adapted
from stream.errors import StoreError
from stream.linear import LinearModel
from stream.rows import products

Floats = NDArray[np.float32]

GAPS = 33  # buckets: floor(log2(1 + seconds)) in 0..31; 32: there is no event before
NO_GAP = GAPS - 1
FORMAT = 1


class LMShape(msgspec.Struct, frozen=True, kw_only=True):
    """What fixes the shapes of a model's weights."""

    dim: int  # d
    layers: int
    heads: int  # h
    context: int  # c
    base_dim: int  # b
    format: int = FORMAT


def gap_buckets(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bucket of the gap before each event; the first has none.

    >>> gap_buckets(np.array([100.0, 100.0, 101.0, 104.0])).tolist()  # gaps 0, 1 and 3 seconds
    [32, 0, 1, 2]
    """
    if not len(times_s):
        return np.zeros(0, np.int64)
    gaps = np.maximum(np.diff(times_s), 0.0)
    buckets = np.minimum(np.floor(np.log2(1.0 + gaps)), NO_GAP - 1).astype(np.int64)
    return np.concatenate([np.full(1, NO_GAP, np.int64), buckets])


class NextItemLM:
    """A trained next-item model: item vectors from ids and text, user vectors from a history tail.

    Nothing in it changes after loading, so that threads may share it.

    >>> shape = LMShape(dim=8, layers=1, heads=2, context=4, base_dim=3)
    >>> lm = NextItemLM.random(shape, ["mug", "cup"], seed=0)
    >>> items = lm.item_matrix(["mug", "cup", "new"], np.eye(3, dtype=np.float32))
    >>> user = lm.user_vector(items[:2], np.array([0.0, 60.0]))
    >>> (items @ user).shape  # logits, softmax-ready
    (3,)
    """

    def __init__(
        self,
        shape: LMShape,
        item_ids: Sequence[str],
        weights: Mapping[str, Floats],
        linear: LinearModel | None = None,
        adapted: Adapted | None = None,
    ) -> None:
        self.shape, self.item_ids = shape, tuple(item_ids)
        self.linear = linear  # of the same version, trained on the same past
        self.adapted = adapted  # its own text vectors, if its text encoder was adapted
        self.weights = {name: np.ascontiguousarray(w, np.float32) for name, w in weights.items()}
        missing = _expected(shape, len(self.item_ids)).items() - {(k, w.shape) for k, w in self.weights.items()}
        if missing:
            raise StoreError(f"model weights must have {min(missing)}; the file does not fit its own config.json")
        self._row = {item: i for i, item in enumerate(self.item_ids)}
        self._id = np.vstack([self.weights["id.weight"], np.zeros((1, shape.dim), np.float32)])  # last: unknown items

    @property
    def dim(self) -> int:
        """Width of item and user vectors, d."""
        return self.shape.dim

    @property
    def base_dim(self) -> int:
        """Width b of the text vectors that it was trained with."""
        return self.shape.base_dim

    @property
    def adapter(self) -> str:
        """The adapter under which its text vectors are; "": they are base vectors."""
        return self.adapted.name if self.adapted else ""

    def item_matrix(self, item_ids: Sequence[str], vectors: Floats) -> Floats:
        """Item vectors (n, d) of `item_ids` with text vectors (n, b); zeros where an item has none.

        An unknown item is placed by its text alone. A model with an adapter takes vectors under it, and its own for
        items that it ships and `vectors` has zeros for.
        """
        if vectors.shape != (len(item_ids), self.shape.base_dim):
            raise ValueError(f"vectors must be ({len(item_ids)}, {self.shape.base_dim}), got {vectors.shape}")
        if self.adapted:
            vectors = self.adapted.placed(item_ids, vectors)
        unknown = len(self.item_ids)
        rows = np.fromiter((self._row.get(i, unknown) for i in item_ids), np.int64, len(item_ids))
        joined = self._id[rows] + products(vectors, self.weights["projection.weight"])  # (n, d)
        return _layer_norm(joined, self.weights["norm.weight"], self.weights["norm.bias"])

    def user_vector(self, item_vectors: Floats, times_s: NDArray[np.float64]) -> Floats:
        """The vector (d,) whose products with item vectors are the logits of the next item.

        `item_vectors` (t, d) are rows of `item_matrix`, oldest first, `times_s` (t,) their event times; only the
        newest `context` of them are seen. A history shorter than the context is taken to be whole, and t = 0 is a
        stranger.
        """
        w, c = self.weights, self.shape.context
        x = item_vectors[-c:] + w["gap.weight"][gap_buckets(times_s[-c:])]  # (t, d)
        if len(x) < c:
            x = np.vstack([w["start"][None], x])
        x = x + w["gpt2.wpe.weight"][: len(x)]
        for layer in range(self.shape.layers - 1):
            x = self._block(f"gpt2.h.{layer}.", x, len(x))
        last = self._block(f"gpt2.h.{self.shape.layers - 1}.", x, 1)  # only the last position is asked for
        out = _layer_norm(last, w["gpt2.ln_f.weight"], w["gpt2.ln_f.bias"])[0]
        user: Floats = out * w["scale"][0]
        return user

    def _block(self, at: str, x: Floats, tail: int) -> Floats:
        """One transformer block over x (t, d); the result's last `tail` rows."""
        w, d, h = self.weights, self.shape.dim, self.shape.heads
        t = len(x)
        normed = _layer_norm(x, w[at + "ln_1.weight"], w[at + "ln_1.bias"])
        qkv = normed @ w[at + "attn.c_attn.weight"] + w[at + "attn.c_attn.bias"]  # (t, 3d)
        q, k, v = (part.reshape(t, h, d // h).swapaxes(0, 1) for part in np.split(qkv, 3, axis=1))  # (h, t, d / h)
        scores = q[:, t - tail :] @ k.swapaxes(1, 2) * np.float32(1 / math.sqrt(d / h))  # (h, tail, t)
        if tail > 1:
            scores = scores + _later(t)
        scores = np.exp(scores - scores.max(axis=2, keepdims=True))
        attention = scores / scores.sum(axis=2, keepdims=True)
        mixed = (attention @ v).swapaxes(0, 1).reshape(tail, d)
        x = x[t - tail :] + mixed @ w[at + "attn.c_proj.weight"] + w[at + "attn.c_proj.bias"]
        wide = _layer_norm(x, w[at + "ln_2.weight"], w[at + "ln_2.bias"]) @ w[at + "mlp.c_fc.weight"]
        wide = _gelu(wide + w[at + "mlp.c_fc.bias"])  # (tail, 4d)
        return x + wide @ w[at + "mlp.c_proj.weight"] + w[at + "mlp.c_proj.bias"]

    def save(self, directory: Path) -> None:
        """Write model.safetensors and config.json into `directory`, and the files of what else there is."""
        directory.mkdir(parents=True, exist_ok=True)
        save_file(self.weights, directory / "model.safetensors")
        config = {"shape": msgspec.to_builtins(self.shape), "items": list(self.item_ids)}
        (directory / "config.json").write_text(json.dumps(config, ensure_ascii=False) + "\n", encoding="utf-8")
        if self.linear is not None:
            self.linear.save(directory)
        if self.adapted is not None:
            self.adapted.save(directory)

    @classmethod
    def load(cls, directory: Path) -> NextItemLM:
        """Read what `save` wrote.

        Raises:
            StoreError: a file is missing, damaged, of another format, or the two do not fit.
        """
        try:
            config: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
            shape = msgspec.convert(config["shape"], LMShape)
            items = msgspec.convert(config["items"], list[str])
            weights = load_file(directory / "model.safetensors")
        except (OSError, ValueError, KeyError, msgspec.ValidationError, SafetensorError) as error:
            raise StoreError(f"{directory} must hold a next-item model: {error}") from None
        if shape.format != FORMAT:
            raise StoreError(f"{directory}/config.json must have format {FORMAT}, got {shape.format}")
        adapted = Adapted.load(directory)
        if adapted is not None and adapted.vectors.shape[1] != shape.base_dim:
            raise StoreError(f"{directory} must hold adapted vectors of {shape.base_dim} dimensions")
        return cls(shape, items, weights, LinearModel.load(directory), adapted)

    def with_linear(self, linear: LinearModel) -> NextItemLM:
        """The same model with a linear one beside it."""
        return NextItemLM(self.shape, self.item_ids, self.weights, linear, self.adapted)

    def with_adapted(self, adapted: Adapted | None) -> NextItemLM:
        """The same model with text vectors of its own."""
        return NextItemLM(self.shape, self.item_ids, self.weights, self.linear, adapted)

    @classmethod
    def random(cls, shape: LMShape, item_ids: Sequence[str], seed: int) -> NextItemLM:
        """An untrained model, for tests and as a starting point: small normal weights, unit norms, zero biases."""
        rng = np.random.default_rng(seed)
        weights: dict[str, Floats] = {}
        for name, size in sorted(_expected(shape, len(item_ids)).items()):
            if name == "scale":
                weights[name] = np.full(size, 1 / math.sqrt(shape.dim), np.float32)
            elif name.endswith("bias"):
                weights[name] = np.zeros(size, np.float32)
            elif name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight", "norm.weight")):
                weights[name] = np.ones(size, np.float32)
            else:
                weights[name] = rng.normal(0, 0.02, size).astype(np.float32)
        return cls(shape, item_ids, weights)


def _expected(shape: LMShape, n: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of every weight; under `gpt2.` with the names of transformers."""
    d = shape.dim
    sizes: dict[str, tuple[int, ...]] = {
        "id.weight": (n, d), "projection.weight": (d, shape.base_dim), "norm.weight": (d,), "norm.bias": (d,),
        "gap.weight": (GAPS, d), "start": (d,), "scale": (1,),
        "gpt2.wpe.weight": (shape.context, d), "gpt2.ln_f.weight": (d,), "gpt2.ln_f.bias": (d,),
    }  # fmt: skip
    for layer in range(shape.layers):
        at = f"gpt2.h.{layer}."
        for name, wide_in, wide_out in (
            ("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d), ("mlp.c_fc", d, 4 * d), ("mlp.c_proj", 4 * d, d)
        ):  # fmt: skip
            sizes[f"{at}{name}.weight"] = (wide_in, wide_out)
            sizes[f"{at}{name}.bias"] = (wide_out,)
        for name in ("ln_1", "ln_2"):
            sizes[f"{at}{name}.weight"] = sizes[f"{at}{name}.bias"] = (d,)
    return sizes


def _layer_norm(x: Floats, weight: Floats, bias: Floats) -> Floats:
    centred = x - x.mean(axis=1, keepdims=True)
    variance = np.mean(np.square(centred), axis=1, keepdims=True)
    out: Floats = centred / np.sqrt(variance + np.float32(1e-5)) * weight + bias
    return out


def _gelu(x: Floats) -> Floats:
    """The tanh form of GELU, as GPT-2 has it."""
    out: Floats = np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x))
    out += np.float32(1)
    out *= x
    out *= np.float32(0.5)
    return out


_LATER: dict[int, Floats] = {}


def _later(t: int) -> Floats:
    """(t, t): minus infinity where the key is later than the query, else 0."""
    if t not in _LATER:
        _LATER[t] = np.triu(np.full((t, t), -np.inf, np.float32), k=1)
    return _LATER[t]
