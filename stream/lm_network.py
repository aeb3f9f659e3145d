"""The next-item language model as it trains: `transformers.GPT2Model` over item vectors.

Letters: n items, d model width, b base width, B sequences of T inputs each, m targets. `stream.lm` says what is
computed, and serves the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from stream.lm import GAPS, LMShape, NextItemLM


class NextItemNetwork(nn.Module):
    """GPT-2 over item vectors, with the output tied to them.

    >>> shape = LMShape(dim=8, layers=1, heads=2, context=4, base_dim=3)
    >>> network = NextItemNetwork(shape, torch.zeros(5, 3), dropout=0.0)
    >>> items = network.item_vectors()  # (n, d)
    >>> hidden = network(items, torch.tensor([[5, 1, 2]]), torch.tensor([[32, 32, 7]]))  # 5 = n: the start
    >>> network.logits(hidden[:, -1], items).shape
    torch.Size([1, 5])
    """

    def __init__(self, shape: LMShape, text: Tensor, dropout: float) -> None:
        """`text` (n, b) are the items' base vectors, zeros where there is none; they stay as they are."""
        super().__init__()
        self.shape = shape
        self.register_buffer("text", text, persistent=False)
        self.text: Tensor
        self.id = nn.Embedding(len(text), shape.dim)
        self.projection = nn.Linear(shape.base_dim, shape.dim, bias=False)
        self.norm = nn.LayerNorm(shape.dim)
        self.gap = nn.Embedding(GAPS, shape.dim)
        self.start = nn.Parameter(torch.zeros(shape.dim))
        self.scale = nn.Parameter(torch.full((1,), 1 / math.sqrt(shape.dim)))
        self.gpt2 = GPT2Model(_config(shape, dropout))
        del self.gpt2.wte  # item vectors come in instead
        nn.init.normal_(self.id.weight, std=0.02)
        nn.init.normal_(self.gap.weight, std=0.02)
        nn.init.normal_(self.start, std=0.02)

    def item_vectors(self, id_dropout: float = 0.0, chosen: Tensor | None = None) -> Tensor:
        """Vectors (n, d) of all items or the n `chosen` ones; a share `id_dropout` by text alone, as new items are."""
        ids, text = (self.id.weight, self.text) if chosen is None else (self.id(chosen), self.text[chosen])
        if id_dropout:
            ids = ids * (torch.rand(len(ids), 1, device=ids.device) >= id_dropout)
        out: Tensor = self.norm(ids + self.projection(text))
        return out

    def forward(self, items: Tensor, rows: Tensor, gaps: Tensor) -> Tensor:
        """Hidden vectors (B, T, d) after each input; `rows` (B, T) index `items` (n, d), n stands for the start."""
        table = torch.cat([items, self.start[None]])  # (n + 1, d)
        x = table[rows] + self.gap(gaps) * (rows < len(items))[..., None]  # (B, T, d)
        out: Tensor = self.gpt2(inputs_embeds=x).last_hidden_state
        return out

    def logits(self, hidden: Tensor, items: Tensor) -> Tensor:
        """(m, d) and (n, d) → (m, n)."""
        return (hidden * self.scale) @ items.T

    def serve(self, item_ids: Sequence[str]) -> NextItemLM:
        """The same weights as a model that serves."""
        weights = {name: w.detach().cpu().float().numpy() for name, w in self.state_dict().items()}
        return NextItemLM(self.shape, item_ids, weights)

    @classmethod
    def resume(
        cls, parent: NextItemLM, item_ids: Sequence[str], text: NDArray[np.float32], dropout: float
    ) -> NextItemNetwork:
        """Go on from `parent`'s weights over a catalogue `item_ids` (n,) that may hold new items: their id is zero."""
        network = cls(parent.shape, torch.from_numpy(text), dropout)
        row = {item: i for i, item in enumerate(parent.item_ids)}
        old = parent.weights["id.weight"]
        ids = np.zeros((len(item_ids), parent.shape.dim), np.float32)
        for i, item in enumerate(item_ids):
            if item in row:
                ids[i] = old[row[item]]
        weights = {name: torch.from_numpy(w) for name, w in (parent.weights | {"id.weight": ids}).items()}
        network.load_state_dict(weights)
        return network


def _config(shape: LMShape, dropout: float) -> GPT2Config:
    return GPT2Config(
        vocab_size=1,
        n_positions=shape.context,
        n_embd=shape.dim,
        n_layer=shape.layers,
        n_head=shape.heads,
        activation_function="gelu_pytorch_tanh",  # GPT-2's, in one kernel
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
