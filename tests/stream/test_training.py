"""Training: it learns what is there to learn, the same way every time, within its steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stream import training as module
from stream.errors import TrainingError
from stream.history import Histories
from stream.lm import NO_GAP, LMShape, NextItemLM
from stream.lm_network import NextItemNetwork
from stream.settings import Model, Training
from stream.training import Fit, SampledSoftmax, Softmax, fit
from stream.windows import Batch

MODEL = Model(dim=16, layers=1, heads=2, context=8, dropout=0.1)
TRAINING = Training(warm_up_epochs=8, epochs=4, batch_size=8, learning_rate=0.01, refresh_learning_rate=0.005)
N = 12
IDS = [f"i{n}" for n in range(N)]
TEXT = np.eye(N, 6, dtype=np.float32)


def circling(people: int = 40, events: int = 20, step: int = 1, fresh: bool = True) -> Histories:
    """Everybody walks round the items: the next one is `step` further."""
    first = np.arange(people) * 5
    items = (first[:, None] + step * np.arange(events)) % N
    times_s = np.tile(np.arange(events) * 60.0, people)
    starts = np.arange(people + 1) * events
    return Histories(starts, items.reshape(-1).astype(np.int64), times_s, np.full(people * events, fresh))


def trained(histories: Histories | None = None, seed: int = 0, parent: NextItemLM | None = None, **change: int) -> Fit:
    settings = TRAINING.model_copy(update=change)
    return fit(circling() if histories is None else histories, IDS, TEXT, MODEL, settings, seed=seed, parent=parent)


def hits(lm: NextItemLM, step: int = 1) -> int:
    """Of the 12 items: after how many does the model put the right one first."""
    matrix = lm.item_matrix(IDS, TEXT)
    found = 0
    for last in range(N):
        tail = [(last + step * back) % N for back in range(-5, 1)]
        found += int(np.argmax(matrix @ lm.user_vector(matrix[tail], np.arange(0.0, 360.0, 60.0))) == (last + step) % N)
    return found


@pytest.fixture(scope="module")
def walked() -> Fit:
    return trained()


def test_it_learns_a_walk(walked: Fit) -> None:
    assert hits(walked.lm) >= 11
    assert walked.loss < np.log(N)
    assert walked.examples == 8 * 40 * 20  # every event, every epoch
    assert walked.steps == 8 * (40 * 4) // 8  # epochs, windows of 20 events (7, then 4 more each), windows per step


def test_the_same_seed_gives_the_same_bits(walked: Fit) -> None:
    again, other = trained(), trained(seed=1)
    for name, weight in walked.lm.weights.items():
        assert weight.tobytes() == again.lm.weights[name].tobytes(), name
    assert walked.lm.weights["id.weight"].tobytes() != other.lm.weights["id.weight"].tobytes()


def test_training_leaves_the_callers_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trained(max_steps=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_are_capped_and_told() -> None:
    told: list[tuple[int, int]] = []
    done = fit(
        circling(), IDS, TEXT, MODEL, TRAINING.model_copy(update={"max_steps": 5}), seed=0,
        progress=lambda step, steps, loss: told.append((step, steps)),
    )  # fmt: skip
    assert done.steps == 5
    assert told == [(n, 5) for n in range(1, 6)]


def test_a_refresh_has_a_cap_of_its_own(walked: Fit) -> None:
    assert trained(parent=walked.lm, max_steps=1, max_refresh_steps=3).steps == 3


def test_a_refresh_learns_the_new_and_keeps_the_old(walked: Fit) -> None:
    old, new = circling(fresh=False), circling(people=12, step=5)
    both = Histories(
        np.concatenate([old.starts, new.starts[1:] + old.starts[-1]]),
        *(np.concatenate([getattr(old, c), getattr(new, c)]) for c in ("items", "times_s", "fresh")),
    )
    assert hits(walked.lm, step=5) <= 3
    done = trained(both, parent=walked.lm, epochs=12)
    assert hits(done.lm, step=5) >= 9
    assert hits(done.lm, step=1) >= 9  # replay
    assert 12 * 240 * 2.5 < done.examples < 12 * 240 * 3.5  # the 240 new events and twice as many others


def test_a_refresh_costs_what_is_new(walked: Fit) -> None:
    new = np.zeros((40, 20), bool)
    new[:3, -4:] = True  # the newest four events of three people, in their last windows, of 4 targets each
    h = circling()
    some = Histories(h.starts, h.items, h.times_s, new.reshape(-1))
    done = trained(some, parent=walked.lm, epochs=20, batch_size=1)
    assert 20 * 4 < done.steps < 20 * 12  # of 160 windows: those three, and some five for 24 old targets
    assert 20 * 12 * 2 < done.examples < 20 * 12 * 4
    assert trained(some, parent=walked.lm, epochs=2, batch_size=1, replay_ratio=0).steps == 2 * 3


def test_a_refresh_gives_new_items_a_row(walked: Fit) -> None:
    ids, text = [*IDS, "new"], np.vstack([TEXT, np.ones((1, 6), np.float32)])
    histories = circling(people=4)
    histories.items[3] = N
    done = fit(
        histories, ids, text, MODEL, TRAINING.model_copy(update={"max_refresh_steps": 3}), seed=0, parent=walked.lm
    )
    assert done.lm.item_ids == tuple(ids)
    assert done.lm.weights["id.weight"][N].any()


def test_nothing_new_is_an_error(walked: Fit) -> None:
    for histories, parent in ((circling(people=0), None), (circling(fresh=False), walked.lm)):
        with pytest.raises(TrainingError, match="training needs at least one new event with a known item, got none"):
            trained(histories, parent=parent)


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    shape = LMShape(dim=16, layers=1, heads=2, context=8, base_dim=6)
    broken = NextItemLM.random(shape, IDS, seed=0)
    broken.weights["norm.weight"][:] = np.nan
    with pytest.raises(TrainingError, match=r"loss must stay finite, got nan at step 1 of \d+"):
        trained(parent=NextItemLM(shape, IDS, broken.weights))


def a_batch() -> Batch:
    """Two windows, one of which begins with the start."""
    rows, gaps = torch.tensor([[N, 1, 2, 3], [4, 5, 4, N]]), torch.tensor([[NO_GAP, 3, 3, 3], [3, 3, 3, NO_GAP]])
    return Batch(rows, gaps, at=torch.tensor([0, 1, 3, 4, 6, 6]), item=torch.tensor([1, 2, 4, 5, 0, 7]))


def test_the_sampled_softmax_tends_to_the_full_one(walked: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ID_DROPOUT", 0.0)
    network = NextItemNetwork.resume(walked.lm, IDS, TEXT, dropout=0.0)
    counts = np.arange(N) ** 2
    with torch.no_grad():
        full = Softmax(counts, "cpu").loss(network, a_batch())
        torch.manual_seed(0)
        sampled = SampledSoftmax(counts, "cpu", negatives=50_000).loss(network, a_batch())
    assert float(sampled) == pytest.approx(float(full), abs=0.05)


def test_the_sampled_softmax_makes_vectors_of_what_it_needs_alone(walked: Fit) -> None:
    network = NextItemNetwork.resume(walked.lm, IDS, TEXT, dropout=0.0)
    made: list[int] = []
    network.projection.register_forward_hook(lambda *called: made.append(len(called[2])))
    torch.manual_seed(0)
    loss = SampledSoftmax(np.ones(N, np.int64), "cpu", negatives=1).loss(network, a_batch())
    loss.backward()  # type: ignore[no-untyped-call]
    assert made[0] in (7, 8)  # seven items are in the batch, and one is drawn
    gradient = network.id.weight.grad
    assert gradient is not None
    assert int((gradient != 0).any(1).sum()) <= made[0]


def test_a_large_catalogue_is_learned_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL_SOFTMAX", 5)
    assert hits(trained().lm) >= 10
