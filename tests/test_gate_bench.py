"""What benchmarks/gate.py and benchmarks/rollback.py measure, on a slice: nothing bad goes live."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.damage import DAMAGES, damaged, shuffled
from benchmarks.gate import Topics, drawn, forgetting, power, row_of, stages, summed
from benchmarks.rollback import apart, wrong
from benchmarks.workshop import Refresh, Workshop, in_shadow
from producers.synthetic import Plan, World
from stream.gate import Evidence, PairedBlocks
from stream.lm import NextItemLM
from stream.messages import BlockLoss
from stream.settings import Gate, load


@pytest.fixture(scope="module")
def refresh() -> Any:
    """A refresh of a small model in a made world, in its workshop."""
    world = World(Plan(users=80, items=80, events=4_000, days=60, swaps=0, gradual=0, focus=0.9, styles=3, seed=3))
    log = list(world.interactions())
    training = {"window_events": 2_000, "max_steps": 150, "max_refresh_steps": 60}
    with Workshop(load(model={"dim": 16, "layers": 1, "context": 20}, training=training), Topics()) as shop:
        shop.feed(world.items, log[:2_000])
        shop.trained("warm-up", log[1_999].at_s)
        shop.feed([], log[2_000:3_200])
        yield shop, shop.refreshed("v1", log[3_199], log[3_200:])


def test_no_bad_candidate_is_promoted(refresh: tuple[Workshop, Refresh]) -> None:
    shop, real = refresh
    rows = []
    kinds = ("noise", "items permuted", "everything permuted", "shuffled")
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng(number)
        if kind == "shuffled":
            bad = shop.variant(shuffled(real.plan, rng, real.plan.directory))
        else:
            bad = damaged(real.candidate, kind, rng)
        rows.append(row_of(real, bad, kind, number)[0])
    found = summed(rows)
    assert found["candidates"] == len(kinds)
    assert found["promoted"] == 0, found


def test_the_same_model_gains_nothing(refresh: tuple[Workshop, Refresh]) -> None:
    _, real = refresh
    row, pairs = row_of(real, real.live, "copy", 0)
    assert pairs.gain.tolist() == [0.0] * len(pairs)
    assert (row["verdict"], row["in_the_end"]) == ("undecided", "undecided")


def test_damage_changes_what_it_says(refresh: tuple[Workshop, Refresh]) -> None:
    _, real = refresh
    lm = real.candidate
    for kind in DAMAGES:
        other = damaged(lm, kind, np.random.default_rng(0))
        same = {name for name, weight in lm.weights.items() if np.array_equal(weight, other.weights[name])}
        changed = lm.weights.keys() - same
        linear = lm.linear is not None and other.linear is not None and lm.linear.item_ids != other.linear.item_ids
        expected = {"noise": len(lm.weights), "linear items permuted": 0}.get(kind, 1)
        assert len(changed) == expected or kind == "noise", kind
        assert linear == (kind in ("linear items permuted", "everything permuted")), kind
        assert isinstance(other, NextItemLM)


def blocks(k: int = 600, gain: float = 0.1) -> PairedBlocks:
    rng = np.random.default_rng(0)
    rank = rng.beta(0.2, 2.0, k)
    return PairedBlocks(
        np.arange(k) % 120, np.ones(k, np.int64), rng.normal(gain, 0.5, k), rank, rank * 1.01, np.zeros(k, bool)
    )


def test_drawn_hold_outs_have_the_gain_they_are_said_to_have() -> None:
    pairs = blocks()
    truth = float(pairs.gain.mean())
    for share in (-1.0, 0.0, 0.5, 1.0):
        made = drawn(pairs, 40_000, share, np.random.default_rng(1))
        assert 40_000 <= made.n.sum() < 40_010
        assert float(made.gain.mean()) == pytest.approx(share * truth, abs=0.02)
        assert np.sign(made.candidate_rr.sum() - made.live_rr.sum()) == np.sign(share) or share == 0.0
    assert len(np.unique(made.users)) == 8_000  # five blocks each, drawn again and again


def test_the_power_curve_rises_and_keeps_the_error_rate() -> None:
    found = list(power([blocks()], Gate(bootstrap=100, shadow_blocks=500), 20, 0, (250, 1_000, 4_000)))
    by = {(row["events"], row["true_gain"]): row for row in found}
    gains = sorted({gain for _, gain in by})
    assert by[4_000, gains[-1]]["promoted"] == 1.0
    assert by[250, gains[-1]]["promoted"] < by[1_000, gains[-1]]["promoted"]
    assert by[250, gains[-1]]["promoted_with_shadow"] > by[250, gains[-1]]["promoted"]
    assert all(row["promoted"] <= 0.15 for row in found if row["true_gain"] == 0.0)  # 3 of 20
    assert all(row["promoted_with_shadow"] == 0.0 for row in found if row["true_gain"] == gains[0])
    assert in_shadow(blocks(gain=0.3), Gate(), Evidence()) == "promoted"


@pytest.mark.parametrize("same", [False, True])
def test_stages_are_apart_and_long_enough(same: bool) -> None:
    gate = Gate(shadow_blocks=500)
    held_out, arriving = stages(blocks(), 200, 1.0, np.random.default_rng(0), gate, same=same)
    assert 200 <= len(held_out) < 205
    assert len(arriving) >= 500
    both = len(np.intersect1d(held_out.users, arriving.users))  # drawn people are numbered in each draw anew
    assert both > 100 if same else both == len(np.unique(held_out.users)) == 40
    assert len(np.unique(arriving.users)) >= 100


def test_what_is_forgotten_of_those_who_did_not_drift_keeps_a_candidate_out() -> None:
    found = {row["reciprocal_rank_falls_by"]: row for row in forgetting(Gate(bootstrap=100), 20, 0)}
    assert found[0.0]["verdicts"]["promoted"] >= 15
    assert found[0.1]["verdicts"].get("promoted", 0) == found[0.2]["verdicts"].get("promoted", 0) == 0
    assert found[0.1]["unasked"]["promoted"] >= 17


def test_blocks_that_say_nothing_are_not_rolled_back() -> None:
    rng = np.random.default_rng(0)
    pool = [
        BlockLoss(0.0, int(n), 0, 0, 0, parent=float(gain), group=int(group))
        for n, gain, group in zip(
            rng.geometric(0.2, 500), rng.standard_t(3, 500), rng.integers(64, size=500), strict=True
        )
    ]
    found = wrong([pool], 0.99, 100, 0)
    assert (found["runs"], found["blocks_each"]) == (100, 500)
    assert found["rolled_back"] <= 2
    assert found["interval"][0] <= found["share"] <= found["interval"][1]
    much = [replace_gain(block, 3.0 + (block.parent or 0.0)) for block in pool]
    assert wrong([much], 0.99, 5, 0)["share"] == 0.0  # signs are drawn anew: a difference is no difference there


def replace_gain(block: BlockLoss, gain: float) -> BlockLoss:
    return BlockLoss(block.at_s, block.n, 0, 0, 0, parent=gain, group=block.group)


def test_trials_run_apart() -> None:
    told: list[int] = []

    def work() -> dict[str, Any]:
        told.append(1)
        return {"told": len(told)}

    assert (apart(work), told) == ({"told": 1}, [])


def test_a_plan_on_shuffled_labels_keeps_who_and_when(refresh: tuple[Workshop, Refresh]) -> None:
    shop, real = refresh
    made = shuffled(replace(real.plan, seed=5), np.random.default_rng(0), shop.directory())
    assert np.array_equal(made.histories.times_s, real.plan.histories.times_s)
    assert np.array_equal(np.bincount(made.histories.items), np.bincount(real.plan.histories.items))
    assert not np.array_equal(made.histories.items, real.plan.histories.items)
    assert made.seed == 5
