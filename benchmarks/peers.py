"""Real peers that someone would pick instead, beside the baselines: ALS of `implicit` and SASRec of RecTools.

RecTools wants another numpy than Meander does, so peers live in a virtual environment of their own (`make peers`) and
work in a process each; see `benchmarks.peer_worker` for how they are fitted and asked. Without that environment the
benchmark runs without them.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_worker import END, HEAD, LEARN, PEERS, SCORE
from benchmarks.tails import Doubles, Ints

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-peers"
NAMES = tuple(PEERS)
WORKER = Path(__file__).with_name("peer_worker.py")


class Peer:
    """A peer as a `benchmarks.baselines.Baseline`; its process lives until `figures` is asked for.

    Args:
        name: one of `NAMES`.
        python: an interpreter that has the peers installed.

    Raises:
        RuntimeError: from any method, the process has ended.
    """

    def __init__(
        self, name: str, n_users: int, n_items: int, seed: int = 0, python: Path = VENV / "bin" / "python"
    ) -> None:
        self.name, self.n_items = name, n_items
        command = [str(python), str(WORKER), name, str(n_users), str(n_items), str(seed)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def scores(self, user: int, _now_s: float) -> Doubles:
        """See `Baseline`; waits for a fit where one is due."""
        self._send(SCORE, user)
        return np.frombuffer(self._read(8 * self.n_items), np.float64)

    def learn(self, user: int, _at_s: float, items: Ints) -> None:
        """See `Baseline`."""
        self._send(LEARN, user, items)

    def figures(self) -> dict[str, Any]:
        """Library, settings, fits, seconds of fitting, peak memory of the process; ends it."""
        self._send(END, 0)
        line, _ = self._process.communicate()
        out: dict[str, Any] = json.loads(line)
        return out

    def _send(self, what: bytes, user: int, items: Ints | None = None) -> None:
        body = b"" if items is None else np.asarray(items, np.int64).tobytes()
        if self._process.stdin is None:
            raise RuntimeError(f"peer {self.name} must have a pipe to its process, got none")
        try:
            self._process.stdin.write(HEAD.pack(what, user, len(body) // 8) + body)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _read(self, size: int) -> bytes:
        answer = self._process.stdout.read(size) if self._process.stdout else b""
        if len(answer) < size:
            raise self._ended()
        return answer

    def _ended(self) -> RuntimeError:
        self._process.communicate()
        return RuntimeError(f"peer {self.name} must answer, its process ended with {self._process.returncode}")


def available() -> list[str]:
    """Names of the peers that can be run: all of them or none."""
    return [*NAMES] if (VENV / ".installed").exists() else []
