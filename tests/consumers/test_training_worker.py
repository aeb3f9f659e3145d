"""A training in a process of its own: the same model, its progress, its ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from consumers.training_worker import Plan, in_process, in_subprocess
from stream.baskets import Baskets
from stream.errors import TrainingError
from stream.history import Histories
from stream.item_text import Wording
from stream.lm import NextItemLM
from stream.settings import Model, Training
from stream.text import TextEncoder

MODEL = Model(dim=8, layers=1, heads=2, context=6, dropout=0.1)
ROOT = Path(__file__).parents[2]


def plan(directory: Path, parent: Path | None = None, people: int = 20, **change: float) -> Plan:
    items = np.arange(people * 6, dtype=np.int64) % 5
    histories = Histories(
        np.arange(people + 1, dtype=np.int64) * 6, items, np.tile(np.arange(6.0), people), np.ones(len(items), bool)
    )
    directory.mkdir(exist_ok=True)
    training = Training(warm_up_epochs=2, epochs=1, batch_size=8).model_copy(update=change)
    text = np.eye(5, 4, dtype=np.float32)
    n = people * 5
    baskets = Baskets(np.arange(0, n + 1, 5), np.tile(np.arange(5), people), np.arange(n), np.arange(n, dtype=float))
    ids = [f"i{n}" for n in range(5)]
    return Plan(directory, histories, ids, text, baskets, MODEL, training, seed=3, parent=parent)


def test_a_plan_comes_back(tmp_path: Path) -> None:
    made = plan(tmp_path, parent=tmp_path / "v1")
    made.save()
    again = Plan.load(tmp_path)
    for name in ("starts", "items", "times_s", "fresh"):
        np.testing.assert_array_equal(getattr(again.histories, name), getattr(made.histories, name))
    for name in ("starts", "items", "blocks", "times_s"):
        np.testing.assert_array_equal(getattr(again.baskets, name), getattr(made.baskets, name))
    np.testing.assert_array_equal(again.text, made.text)
    for name in ("item_ids", "model", "training", "seed", "parent", "made"):
        assert getattr(again, name) == getattr(made, name)


def test_both_ways_make_the_same_model(tmp_path: Path) -> None:
    here: list[tuple[int, int]] = []
    there: list[tuple[int, int]] = []
    one = in_process(plan(tmp_path / "a"), lambda step, steps, loss: here.append((step, steps)))
    other = in_subprocess(plan(tmp_path / "b"), lambda step, steps, loss: there.append((step, steps)))
    assert (one.steps, one.examples, one.loss) == (other.steps, other.examples, other.loss)
    assert one.ended_s == 0.0 < other.ended_s
    assert here[-1] == there[-1] == (one.steps, one.steps)
    for name, weight in NextItemLM.load(tmp_path / "a" / "made").weights.items():
        assert weight.tobytes() == NextItemLM.load(tmp_path / "b" / "made").weights[name].tobytes(), name
    linear, same = (NextItemLM.load(tmp_path / folder / "made").linear for folder in "ab")
    assert linear is not None
    assert same is not None
    assert linear.item_ids == ("i0", "i1", "i2", "i3", "i4")
    assert linear.alike.weights.tobytes() == same.alike.weights.tobytes()
    assert linear.after.weights.tobytes() == same.after.weights.tobytes()
    assert linear.after.weights.any()


def test_without_items_there_is_no_linear_model(tmp_path: Path) -> None:
    in_process(plan(tmp_path, linear_items=0), lambda step, steps, loss: None)
    assert NextItemLM.load(tmp_path / "made").linear is None


def test_a_failure_tells_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"training ended without a model: StoreError: .*v1 must hold a next-item"):
        in_subprocess(plan(tmp_path, parent=tmp_path / "v1"), lambda step, steps, loss: None)


def test_a_training_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children()}  # brokers of other tests
    with pytest.raises(TrainingError, match=r"must end within training.timeout_s, 0.3 s; it was killed"):
        in_subprocess(plan(tmp_path, timeout_s=0.3), lambda step, steps, loss: None)
    assert {child.pid for child in psutil.Process().children()} <= before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    plan(tmp_path, people=2_000, warm_up_epochs=500, max_steps=1_000_000).save()
    parent_code = textwrap.dedent(
        """
        import subprocess, sys
        worker = [sys.executable, "-m", "consumers.training_worker", sys.argv[1]]
        subprocess.Popen(worker, stdin=subprocess.PIPE, start_new_session=True).wait()
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    with parent:
        assert parent.stdout is not None
        parent.stdout.readline()  # the worker trains
        [worker] = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)
    deadline_s = time.monotonic() + 10
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_a_plan_with_words_adapts_the_text_encoder(tmp_path: Path) -> None:
    encoder = TextEncoder.tiny(dim=4)
    encoder.save(tmp_path / "encoder")
    ids = [f"i{n}" for n in range(6)]  # the last one nobody had
    words = Wording(ids, [f"thing {n}" for n in range(6)], np.zeros((6, 4), np.float32), np.zeros((6, 8), np.uint8))
    told: list[tuple[int, int]] = []

    def adapted(name: str, parent: Path | None) -> tuple[str, Path]:
        base = plan(tmp_path / name, parent, adapter_steps=3, adapter_rank=2)
        model = base.model.model_copy(update={"encoder": str(tmp_path / "encoder")})
        made = replace(base, model=model, wording=words)
        made.save()
        again = Plan.load(made.directory)
        assert again.wording is not None
        assert (again.wording.item_ids, again.wording.texts) == (words.item_ids, words.texts)
        return in_process(again, lambda step, steps, loss: told.append((step, steps))).adapter, made.made

    one, path = adapted("one", None)
    assert told[:3] == [(1, 6), (2, 6), (3, 6)]
    assert all(2 * step > steps for step, steps in told[3:])
    assert told[-1][0] == told[-1][1]
    lm = NextItemLM.load(path)
    assert lm.adapter == one != ""
    assert lm.adapted is not None
    assert lm.adapted.item_ids == tuple(ids)
    again, _ = adapted("again", None)
    assert again == one
    other, _ = adapted("other", path)
    assert other not in {one, ""}
    TextEncoder.tiny(dim=6).save(tmp_path / "encoder")  # not the one that made the items' vectors
    assert adapted("wider", None)[0] == ""
