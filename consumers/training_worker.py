"""One training, in this process or in one of its own.

    python -m consumers.training_worker PLAN_DIR

reads the plan, trains at low priority, writes the model into PLAN_DIR/made, and tells its progress as JSON lines on
stdout: `{"step": 3, "steps": 100, "loss": 6.1}`, at last `{"done": …}`. It holds its standard input as a leash: when
that closes, because the parent has ended in whatever way, it ends at once. Only what trains imports torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from stream.adapted import Adapted
from stream.baskets import Baskets
from stream.errors import MeanderError, TrainingError
from stream.history import Histories
from stream.item_text import Wording
from stream.linear import LinearModel
from stream.lm import NextItemLM
from stream.settings import Model, Training

if TYPE_CHECKING:
    from stream.training import Progress

TOLD_EVERY_S = 0.2
BASKETS = ("starts", "items", "blocks", "times_s")


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything that a training needs; `directory` is its workplace, the model goes to `directory/made`."""

    directory: Path
    histories: Histories
    item_ids: list[str]  # n
    text: NDArray[np.float32]  # (n, base dim)
    baskets: Baskets  # what people took over a longer past, as rows of the items
    model: Model
    training: Training
    seed: int
    parent: Path | None = None  # directory of the live model, to go on from
    wording: Wording | None = None  # of the catalogue, to adapt the text encoder to; None: it stays as it is

    @property
    def made(self) -> Path:
        """Where the model is written."""
        return self.directory / "made"

    def save(self) -> None:
        """Write the plan into its directory, for the worker."""
        h = self.histories
        arrays = {"starts": h.starts, "items": h.items, "times_s": h.times_s, "fresh": h.fresh, "text": self.text,
                  **{f"baskets.{name}": getattr(self.baskets, name) for name in BASKETS}}  # fmt: skip
        if self.wording:
            arrays |= {"extra": self.wording.extra, "prints": self.wording.prints}
        save_file(arrays, self.directory / "plan.safetensors")
        facts = {
            "item_ids": self.item_ids, "model": self.model.model_dump(), "training": self.training.model_dump(),
            "seed": self.seed, "parent": str(self.parent) if self.parent else None,
            "worded": [self.wording.item_ids, self.wording.texts] if self.wording else None,
        }  # fmt: skip
        (self.directory / "plan.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Plan:
        """Read what `save` wrote."""
        arrays: dict[str, Any] = load_file(directory / "plan.safetensors")
        facts = json.loads((directory / "plan.json").read_text(encoding="utf-8"))
        return cls(
            directory=directory,
            histories=Histories(arrays["starts"], arrays["items"], arrays["times_s"], arrays["fresh"]),
            item_ids=facts["item_ids"],
            text=arrays["text"],
            baskets=Baskets(*(arrays[f"baskets.{name}"] for name in BASKETS)),
            model=Model(**facts["model"]),
            training=Training(**facts["training"]),
            seed=facts["seed"],
            parent=Path(facts["parent"]) if facts["parent"] else None,
            wording=_wording(facts["worded"], arrays),
        )


def _wording(worded: list[list[str]] | None, arrays: dict[str, Any]) -> Wording | None:
    if worded is None:
        return None
    item_ids, texts = worded
    return Wording(item_ids, texts, arrays["extra"], arrays["prints"])


class Outcome(msgspec.Struct, frozen=True):
    """A training that ended with a model."""

    steps: int
    examples: int
    loss: float  # nats per event, over the last tenth of the steps
    seconds: float  # wall time
    ended_s: float  # wall time; 0 in replay
    adapter: str = ""  # of the text encoder, if it was adapted


Train = Callable[[Plan, "Progress"], Outcome]


def in_process(plan: Plan, progress: Progress) -> Outcome:
    """Train here; the number of torch threads is put back afterwards.

    Raises:
        TrainingError, StoreError, SettingsError: see `stream.training.fit`, `stream.lm.NextItemLM.load`,
            `stream.adapter.fit` and `stream.text.TextEncoder.load`.
    """
    parent = NextItemLM.load(plan.parent) if plan.parent else None
    import torch

    from stream.training import fit

    began_s, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(plan.training.threads)
    try:
        adapted, text, said = None, plan.text, progress
        if plan.wording:
            adapted = _adapted(plan, plan.wording, parent, lambda step, steps, loss: progress(step, 2 * steps, loss))
            said = lambda step, steps, loss: progress(steps + step, 2 * steps, loss)  # noqa: E731
        if adapted:
            text = adapted.placed(plan.item_ids, np.zeros_like(plan.text))
        done = fit(
            plan.histories, plan.item_ids, text, plan.model, plan.training,
            seed=plan.seed, parent=parent, progress=said,
        )  # fmt: skip
        lm = done.lm.with_adapted(adapted)
        if plan.training.linear_items and len(plan.baskets.items):
            training = plan.training
            linear = LinearModel.fit(plan.baskets, plan.item_ids, training.linear_ridge, training.linear_items)
            lm = lm.with_linear(linear)
    finally:
        torch.set_num_threads(threads)
    lm.save(plan.made)
    seconds = time.perf_counter() - began_s
    return Outcome(done.steps, done.examples, done.loss, seconds, 0.0, lm.adapter)


def _adapted(plan: Plan, wording: Wording, parent: NextItemLM | None, progress: Progress) -> Adapted | None:
    """Train the text encoder's adapter and put it into `plan.made`; the catalogue under it."""
    from stream import adapter
    from stream.text import TextEncoder

    encoder = TextEncoder.load(plan.model)
    if encoder.dim != plan.text.shape[1]:
        return None  # the items' vectors are not this encoder's
    text_of = dict(zip(wording.item_ids, wording.texts, strict=True))
    before, vectors = None, plan.text
    if parent and parent.adapted and plan.parent:
        before = adapter.Adapter.load(plan.parent)
        vectors = parent.adapted.placed(plan.item_ids, np.zeros_like(plan.text))
    fitted = adapter.fit(
        encoder, [text_of.get(item, "") for item in plan.item_ids], vectors, plan.histories, plan.training,
        seed=plan.seed, parent=before, progress=progress,
    )  # fmt: skip
    if fitted is None:
        return None
    plan.made.mkdir(exist_ok=True)
    fitted.adapter.save(plan.made)
    found = wording.join(fitted.adapter.applied(encoder).encode(wording.texts))
    return Adapted(fitted.adapter.name, tuple(wording.item_ids), found, wording.prints)


def in_subprocess(plan: Plan, progress: Progress) -> Outcome:
    """Train in a process of its own, which ends with this one.

    Raises:
        TrainingError: it failed, with the last line it said, or took longer than `training.timeout_s`.
    """
    plan.save()
    stderr = plan.directory / "stderr.txt"
    threads = str(plan.training.threads)
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with stderr.open("wb") as errors:
        worker = subprocess.Popen(
            [sys.executable, "-m", "consumers.training_worker", str(plan.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": path},
            start_new_session=True,  # a Ctrl-C in the terminal is the parent's affair
        )
    late = threading.Event()

    def give_up() -> None:
        late.set()
        worker.kill()

    timer = threading.Timer(plan.training.timeout_s, give_up)
    timer.start()
    try:
        done = _followed(worker, progress)
    finally:
        timer.cancel()
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe:
                pipe.close()
    if late.is_set():
        raise TrainingError(
            f"training must end within training.timeout_s, {plan.training.timeout_s:g} s; it was killed"
        )
    if done is None:
        raise TrainingError(f"training ended without a model: {_last_line(stderr)}")
    return done


def _followed(worker: subprocess.Popen[bytes], progress: Progress) -> Outcome | None:
    """Pass on the worker's progress until it closes its output; what it made, or None."""
    done: Outcome | None = None
    for line in worker.stdout or ():
        said = json.loads(line)
        if "done" in said:
            done = msgspec.convert(said["done"], Outcome)
        else:
            progress(said["step"], said["steps"], said["loss"])
    return done if worker.wait() == 0 else None


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def main(directory: Path) -> int:
    """Carry out the plan in `directory`; the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    told_s = 0.0

    def tell(step: int, steps: int, loss: float) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s >= TOLD_EVERY_S or step == steps:
            told_s = now_s
            print(json.dumps({"step": step, "steps": steps, "loss": loss}), flush=True)

    try:
        plan = Plan.load(directory)
        os.nice(plan.training.nice)
        done = in_process(plan, tell)
    except (MeanderError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    told = msgspec.structs.replace(done, ended_s=time.time())
    print(json.dumps({"done": msgspec.to_builtins(told)}), flush=True)
    return 0


def _end_with_parent() -> None:
    while os.read(0, 1):  # not through sys.stdin, whose lock would be held when the interpreter ends
        pass
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
