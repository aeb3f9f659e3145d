"""Peers at work, in a process of their own: `python benchmarks/peer_worker.py als|sasrec USERS ITEMS SEED`.

Runs under an interpreter that has `benchmarks/peers.txt` installed and nothing of Meander; `benchmarks.peers` talks to
it over stdin and stdout. A message is `HEAD` (what, user, how many items), then the items; LEARN is not answered, SCORE
is with a score (N,) for every item, END with a line of JSON.

A peer is fitted anew, from nothing, over all that was learned, when that has grown by a share (`growth`) since its
last fit and something is asked of it. Between two fits it answers from what a user has by then: ALS solves for the
user's factors again, SASRec reads the newest items. Items unknown to the fit come last, more popular ones first among
them; a user of whom the fit knows no item gets the most popular items.

Letters: N items, U users.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import resource
import struct
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

HEAD = struct.Struct("<cqq")
LEARN, SCORE, END = b"l", b"s", b"e"


class Peer:
    """What both have in common: the log so far, the clock of fits, and who is known to the fit."""

    name = ""
    settings: Mapping[str, Any]
    growth = 0.1  # of the log, from fit to fit

    def __init__(self, n_users: int, n_items: int, seed: int) -> None:
        self.n_items, self.seed = n_items, seed
        self.users: list[int] = []
        self.items: list[int] = []
        self.owned: list[list[int]] = [[] for _ in range(n_users)]  # oldest first
        self.counts = np.zeros(n_items)
        self.known = np.zeros(n_items, bool)  # to the last fit
        self.fitted = self.fits = 0
        self.fit_s = 0.0

    def learn(self, user: int, items: list[int]) -> None:
        """Take in a block."""
        self.users += [user] * len(items)
        self.items += items
        self.owned[user] += items
        np.add.at(self.counts, items, 1)

    def scores(self, user: int) -> Doubles:
        """Scores (N,); fits first where that is due."""
        if len(self.items) > 1 and len(self.items) >= self.fitted * (1 + self.growth):
            began_s = time.perf_counter()
            self.known = self.counts > 0
            self.fit(np.array(self.users), np.array(self.items))
            self.fitted, self.fits = len(self.items), self.fits + 1
            self.fit_s += time.perf_counter() - began_s
        held = [item for item in self.owned[user] if self.known[item]]
        if not held:
            return self.counts
        return np.where(self.known, self.told(held), self.counts - 1e9)

    def fit(self, users: Ints, items: Ints) -> None:
        """Fit to all interactions so far, oldest first."""
        raise NotImplementedError

    def told(self, held: list[int]) -> Doubles:
        """Scores (N,) for someone who has these known items, oldest first; those of unknown items count for nothing."""
        raise NotImplementedError

    def figures(self) -> dict[str, Any]:
        """What came of it."""
        scale = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kibibytes
        return {
            "library": f"{self.name} {importlib.metadata.version(self.name)}",
            "settings": dict(self.settings),
            "refit_at_growth": self.growth,
            "fits": self.fits,
            "fit_seconds": round(self.fit_s, 2),
            "process_cpu_seconds": round(time.process_time(), 2),
            "process_peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 1),
        }


class ALS(Peer):
    """Matrix factorisation of implicit feedback (Hu, Koren & Volinsky 2008) by `implicit`, with its own settings."""

    name = "pm-implicit"  # the build of implicit that RecTools asks for
    settings: Mapping[str, Any] = {"factors": 100, "regularization": 0.01, "alpha": 1.0, "iterations": 15}

    def fit(self, users: Ints, items: Ints) -> None:
        """See `Peer`; an entry is how often a user had an item."""
        from implicit.als import AlternatingLeastSquares
        from scipy.sparse import coo_matrix

        shape = (len(self.owned), self.n_items)
        matrix = coo_matrix((np.ones(len(items), np.float32), (users, items)), shape).tocsr()
        self.model = AlternatingLeastSquares(**self.settings, random_state=self.seed, num_threads=1)
        self.model.fit(matrix, show_progress=False)

    def told(self, held: list[int]) -> Doubles:
        """See `Peer`."""
        from scipy.sparse import csr_matrix

        items, counts = np.unique(held, return_counts=True)
        row = csr_matrix((counts.astype(np.float32), items, [0, len(items)]), (1, self.n_items))
        return np.asarray(self.model.item_factors @ self.model.recalculate_user(0, row), np.float64)


class SASRec(Peer):
    """Self-attention over the newest items (Kang & McAuley 2018) by RecTools, softmax over all items as its default is.

    Its defaults but for size and batch, for two cores, and for epochs, of which its 3 are too few for a thousand users:
    on the first fifth of ml-100k, which is not tested, 20 epochs were better than 8 or 60. A user's history is cut into
    windows, newest first, each a sequence of its own, so that nothing of a long one is left out.
    """

    name = "rectools"
    settings: Mapping[str, Any] = {
        "n_factors": 64, "n_blocks": 2, "n_heads": 4, "session_max_len": 50, "dropout_rate": 0.2, "loss": "softmax",
        "lr": 0.001, "batch_size": 32,
    }  # fmt: skip
    growth = 0.25
    EPOCHS = 20
    STEPS = 300  # of a fit, at most: half a minute of one core; never less than an epoch

    def fit(self, users: Ints, items: Ints) -> None:
        """See `Peer`."""
        import pandas as pd
        import pytorch_lightning
        from rectools.dataset import Dataset
        from rectools.models import SASRecModel

        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        length = self.settings["session_max_len"]
        log = pd.DataFrame({"user_id": users, "item_id": items, "weight": 1.0})
        log["datetime"] = pd.to_datetime(np.arange(len(log)), unit="s")  # the order is all that it reads
        window = log.groupby("user_id").cumcount(ascending=False) // length
        log["user_id"] = log["user_id"] + len(self.owned) * window
        sequences = int((log["user_id"].value_counts() > 1).sum())
        steps = max(-(-sequences // self.settings["batch_size"]), 1)  # of an epoch
        epochs = max(min(self.EPOCHS, self.STEPS // steps), 1)
        pytorch_lightning.seed_everything(self.seed, verbose=False)
        model = SASRecModel(**self.settings, epochs=epochs)
        model.fit(Dataset.construct(log))
        self.network = model.lightning_model.torch_model.eval()
        external = model.data_preparator.item_id_map.external_ids[1:].astype(np.int64)  # after the padding
        self.known = np.zeros(self.n_items, bool)
        self.known[external] = True
        self.places = np.zeros(self.n_items, np.int64)  # item → its row in the model
        self.places[external] = np.arange(1, len(external) + 1)
        import torch

        with torch.inference_mode():
            self.vectors = self.network.item_model.get_all_embeddings()

    def told(self, held: list[int]) -> Doubles:
        """See `Peer`."""
        import torch

        length = self.settings["session_max_len"]
        newest = self.places[held[-length:]]
        padded = np.pad(newest, (length - len(newest), 0))
        with torch.inference_mode():
            state = self.network.encode_sessions({"x": torch.from_numpy(padded[None])}, self.vectors)[0, -1]
            return np.asarray((self.vectors @ state).numpy()[self.places], np.float64)


PEERS: dict[str, type[Peer]] = {"als": ALS, "sasrec": SASRec}


def serve(peer: Peer, inside: BinaryIO, outside: BinaryIO) -> None:
    """Answer messages until END, or until nothing more comes."""
    while len(head := inside.read(HEAD.size)) == HEAD.size:
        what, user, n = HEAD.unpack(head)
        items = np.frombuffer(inside.read(8 * n), np.int64)
        if what == LEARN:
            peer.learn(user, items.tolist())
        elif what == SCORE:
            outside.write(np.asarray(peer.scores(user), np.float64).tobytes())
            outside.flush()
        else:
            outside.write(json.dumps(peer.figures()).encode() + b"\n")
            outside.flush()
            return


def main() -> None:
    """Serve the peer that the command line names."""
    name, n_users, n_items, seed = sys.argv[1:]
    warnings.simplefilter("ignore")
    outside = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not stand between answers
    serve(PEERS[name](int(n_users), int(n_items), int(seed)), sys.stdin.buffer, outside)


if __name__ == "__main__":
    main()
