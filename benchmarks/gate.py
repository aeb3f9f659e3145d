"""Does the gate keep bad candidates out and let good ones in? JSON on stdout.

    python benchmarks/gate.py --dataset ml-100k --path DIR > gate.json
    python benchmarks/gate.py --parts planted --planted 10 --dataset ml-100k --path DIR > planted.json

Four fifths of a log are played up to a refresh, once, by the real tuner. Then its candidate is replaced, and each
replacement is judged as the tuner does (`stream.prequential.paired_losses`, `stream.gate.judge`):

- `shuffled`: refreshes on shuffled labels (who did something, and when, stays; what they took is another event's),
- `damaged`: the real candidate with damaged weights, see `benchmarks.damage`,
- `real`: refreshes with other seeds and numbers of steps.

What is left open goes on in shadow over the last fifth of the log.

`power`: people of the real candidates' paired runs are drawn with replacement until a hold-out has so many events; the
sign of all that a person says is turned with a probability that makes the mean gain a known share of what it was, 0
included, so that the noise stays what it is. Shares promoted at once, and after the shadow stage over blocks of other
people, drawn likewise; with `--same-people` over other blocks of the same.

`forgetting`: made candidates that gain much with a fifth of the people, who drifted, and lose with all others.

`planted`: the first version learns what was before a change, the refresh `FRESH` events that came after it; an open
one goes on in shadow over the events that follow. In made logs tastes, popularity, a category or what comes after what
change; in the log that was named half of the items trade places (`relabelled`, see `benchmarks.splice`), which items
follows from the seed.
Beside each verdict stands what the candidate gained over all those later events, which no verdict has seen: it is
`worth_it` where the lower bound of that is above zero.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import command
from benchmarks.damage import DAMAGES, damaged, shuffled
from benchmarks.protocol import tell
from benchmarks.splice import relabelled
from benchmarks.workshop import Refresh, Workshop, in_shadow
from producers.synthetic import Plan, World
from stream.events import Interaction, Item
from stream.gate import Call, Evidence, PairedBlocks, judge
from stream.lm import NextItemLM
from stream.settings import Gate, Settings, load

SIZES = (250, 500, 1_000, 2_000, 4_000, 8_000)  # events of a hold-out
SHARES = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0)  # of a real candidate's gain
PARTS = ("candidates", "forgetting", "planted")
RELABELLED = "relabelled"
KINDS = ("tastes", "population", "category", "segment", "sequence", "arrivals")
FRESH, LATER, DAYS = 8_000, 4_000, 60.0  # planted: events before the change and after it, later ones; days of both


def main() -> None:
    """Read the command line, run, print."""
    args = command.parser(__doc__)
    args.add_argument("--candidates", type=int, default=20, help="of each bad kind")
    args.add_argument("--steps", type=int, default=100, help="of a refresh on shuffled labels, at most")
    args.add_argument("--real", type=int, nargs="*", default=[50, 200, 600], help="steps of real refreshes")
    args.add_argument("--simulations", type=int, default=300, help="of each point of the power curve")
    args.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="what is measured")
    args.add_argument("--planted", type=int, default=10, help="logs of each kind")
    args.add_argument("--kinds", nargs="*", choices=(RELABELLED, *KINDS, "none"), default=(RELABELLED, *KINDS, "none"),
                      help="of changes that are planted")  # fmt: skip
    args.add_argument("--same-people", action="store_true", help="power: hold-out and shadow are of the same people")
    args.add_argument("--words", action="store_true", help="bags of words in place of the text encoder: in no time")
    args.add_argument("--window", type=int, help="training.window_events, in place of the default")
    given = args.parse_args()
    began_s = time.perf_counter()
    out: dict[str, Any] = {}
    if "candidates" in given.parts:
        out = on_a_log(given)
    if "forgetting" in given.parts:
        out["forgetting"] = list(forgetting(Gate(), 200, given.seed))
    if "planted" in given.parts:
        out["planted"] = planted(given)
    out["seconds"] = round(time.perf_counter() - began_s, 1)
    json.dump(out, sys.stdout, indent=2)
    print()


def on_a_log(given: argparse.Namespace) -> dict[str, Any]:
    """Bad candidates, real ones and the power curve on one log."""
    data = command.log(given)
    settings = command.settings(given, data)
    if given.window:
        training = settings.training.model_copy(update={"window_events": given.window})
        settings = settings.model_copy(update={"training": training})
    interactions = list(data.interactions)
    before, ready = (int(share * len(interactions)) for share in (0.45, 0.8))
    with Workshop(settings, Topics() if given.words else None) as shop:
        shop.feed(data.items, interactions[:before])
        shop.trained("warm-up", interactions[before - 1].at_s)
        tell(f"gate: first version after {before:,} events")
        shop.feed([], interactions[before:ready])
        real = shop.refreshed("v1", interactions[ready - 1], interactions[ready:], given.seed)
        tell(f"gate: refresh judged, {real.version.verdict}")
        bad = bad_candidates(shop, real, given)
        better = real_candidates(shop, real, given)
    pools = [pairs for _, pairs in better]
    gate = settings.gate
    return {
        "dataset": data.name,
        "repeats": settings.scoring.repeats,
        "events": len(interactions),
        "first_version_events": before,
        "refresh_events": ready,
        **{kind: summed(rows) for kind, rows in bad.items()},
        "real": [row for row, _ in better],
        "power": list(power(pools, gate, given.simulations, given.seed, same=given.same_people)),
    }


def bad_candidates(shop: Workshop, real: Refresh, given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Verdicts on candidates that must not go live."""
    out: dict[str, list[dict[str, Any]]] = {"shuffled": [], "damaged": []}
    few = real.plan.training.model_copy(update={"max_refresh_steps": given.steps})
    for number in range(given.candidates):
        rng = np.random.default_rng([given.seed, number])
        plan = shuffled(replace(real.plan, training=few, seed=number), rng, real.plan.directory)
        out["shuffled"].append(row_of(real, shop.variant(plan), "shuffled", number)[0])
        kind = DAMAGES[number % len(DAMAGES)]
        out["damaged"].append(row_of(real, damaged(real.candidate, kind, rng), kind, number)[0])
        tell(f"gate: {number + 1} of {given.candidates} bad pairs: {out['shuffled'][-1]} {out['damaged'][-1]}")
    return out


def real_candidates(
    shop: Workshop, real: Refresh, given: argparse.Namespace
) -> list[tuple[dict[str, Any], PairedBlocks]]:
    """Verdicts on refreshes with other seeds and steps, and their paired runs."""
    out = [row_of(real, real.candidate, "as it was", 0)]
    for number, steps in enumerate(given.real, 1):
        training = real.plan.training.model_copy(update={"max_refresh_steps": steps})
        out.append(
            row_of(real, shop.variant(replace(real.plan, training=training, seed=number)), f"{steps} steps", number)
        )
        tell(f"gate: real: {out[-1][0]}")
    return out


def row_of(real: Refresh, candidate: NextItemLM, kind: str, seed: int) -> tuple[dict[str, Any], PairedBlocks]:
    """One candidate's line, and its paired run."""
    verdict, after, pairs = real.judged(candidate, seed)
    kept = ("events", "people", "gain", "gain_lower", "gain_upper", "mrr_change", "mrr_change_calm")
    numbers = {name: round(verdict.numbers[name], 4) for name in kept if name in verdict.numbers}
    return {"kind": kind, "verdict": verdict.verdict, "in_the_end": after, **numbers}, pairs


def summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many were promoted, at once or after all, and every line."""
    return {
        "candidates": len(rows),
        "verdicts": dict(Counter(row["verdict"] for row in rows)),
        "promoted": sum(row["in_the_end"] == "promoted" for row in rows),
        "rows": list(rows),
    }


def drawn(pairs: PairedBlocks, events: int, share: float, rng: np.random.Generator, blocks: int = 0) -> PairedBlocks:
    """At least so many events and blocks of people drawn with replacement; 0 and 0: as many events as there are.

    What a person says is turned around with probability (1 - share) / 2, so the mean gain is `share` times what it was.
    """
    _, codes = np.unique(pairs.users, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 2))
    rows, users, turned = list[NDArray[np.int64]](), list[int](), list[bool]()
    wanted, have = events if events or blocks else int(pairs.n.sum()), 0
    while have < wanted or len(users) < blocks:
        person = int(rng.integers(codes.max() + 1))
        own = order[starts[person] : starts[person + 1]]
        users += [len(rows)] * len(own)
        turned += [bool(rng.random() < (1 - share) / 2)] * len(own)
        rows.append(own)
        have += int(pairs.n[own].sum())
    at, flip = np.concatenate(rows), np.array(turned)
    live, candidate = pairs.live_rr[at], pairs.candidate_rr[at]
    return PairedBlocks(
        np.array(users), pairs.n[at], np.where(flip, -1, 1) * pairs.gain[at],
        np.where(flip, candidate, live), np.where(flip, live, candidate), pairs.drifted[at],
    )  # fmt: skip


def some(pairs: PairedBlocks, at: NDArray[np.int64]) -> PairedBlocks:
    """Blocks `at` these places (k,), in this order."""
    return PairedBlocks(
        pairs.users[at], pairs.n[at], pairs.gain[at], pairs.live_rr[at], pairs.candidate_rr[at], pairs.drifted[at]
    )


def stages(
    pairs: PairedBlocks, events: int, share: float, rng: np.random.Generator, gate: Gate, *, same: bool
) -> tuple[PairedBlocks, PairedBlocks]:
    """A hold-out of about so many events, and blocks that arrive later in mixed order: of the `same` people, or others.

    Those of the same people are chosen at random: a person who is served better later was so before.
    """
    if not same:
        arriving = drawn(pairs, 0, share, rng, gate.shadow_blocks)
        return drawn(pairs, events, share, rng), some(arriving, rng.permutation(len(arriving)))
    per_block = float(pairs.n.mean())
    held_out = round(events / per_block)
    both = drawn(pairs, 0, share, rng, held_out + gate.shadow_blocks)
    order = rng.permutation(len(both))
    return some(both, order[:held_out]), some(both, order[held_out:])


def power(
    pools: Sequence[PairedBlocks],
    gate: Gate,
    simulations: int,
    seed: int,
    sizes: Sequence[int] = SIZES,
    *,
    same: bool = False,
) -> Iterator[dict[str, Any]]:
    """Shares promoted, by the size of the hold-out and by the true gain; `same` as in `stages`."""
    for number, pairs in enumerate(pools):
        truth = float((pairs.gain * pairs.n).sum() / pairs.n.sum())
        for size in sizes:
            for share in SHARES:
                rng = np.random.default_rng([seed, number, size, int(100 * share) + 100])
                calls, after = Counter[Call](), Counter[Call]()
                for run in range(simulations):
                    held_out, arriving = stages(pairs, size, share, rng, gate, same=same)
                    found = judge(held_out, gate, run)
                    call = found.verdict
                    calls[call] += 1
                    if call == "undecided":
                        call = in_shadow(arriving, gate, Evidence.of(found.numbers))
                    after[call] += 1
                yield {
                    "candidate": number, "events": size, "true_gain": round(share * truth, 5),
                    "promoted": calls["promoted"] / simulations, "refused": calls["refused"] / simulations,
                    "promoted_with_shadow": after["promoted"] / simulations,
                }  # fmt: skip
        tell(f"gate: power of candidate {number + 1} of {len(pools)}")


def planted(given: argparse.Namespace) -> dict[str, Any]:
    """Verdicts on refreshes after a change that was planted, and where nothing changed."""
    out: dict[str, Any] = {}
    for kind in given.kinds:
        rows = [planted_run(made(kind, seed, given), seed) for seed in range(given.seed, given.seed + given.planted)]
        good = [row for row in rows if row["gain_later_lower"] > 0]
        promoted = sum(row["in_the_end"] == "promoted" for row in good)
        out[kind] = {"worth_it": len(good), "promoted_of_these": promoted, **summed(rows)}
        tell(f"gate: {kind}: {out[kind]['verdicts']}, worth it {len(good)}, promoted of these in the end {promoted}")
    return out


@dataclass(frozen=True, slots=True)
class Changed:
    """A log with a change in it, after `first` events."""

    kind: str
    items: Sequence[Item]
    log: Sequence[Interaction]
    first: int
    settings: Settings
    encoder: Topics | None


def made(kind: str, seed: int, given: argparse.Namespace) -> Changed:
    """One log with a planted change."""
    if kind == RELABELLED:
        data = command.log(given)
        log = list(data.interactions)
        first, settings = int(0.45 * len(log)), command.settings(given, data).model_copy(update={"seed": seed})
        encoder = Topics() if given.words else None
        return Changed(kind, list(data.items), relabelled(log, first, seed), first, settings, encoder)
    change: dict[str, Any] = {f"{kind}_day": DAYS / 2} if kind != "none" else {}
    change |= {"sequence": 0.7} if kind == "sequence" else {}
    events, span = 2 * FRESH + LATER, DAYS * (1 + LATER / (2 * FRESH))
    world = World(Plan(400, 400, events, span, focus=0.9, styles=4, swaps=0, gradual=0, seed=seed, **change))
    log = list(world.interactions())
    first = next(i for i, event in enumerate(log) if event.at_s >= log[0].at_s + DAYS / 2 * 86_400.0)
    settings = load(seed=seed, training={"window_events": FRESH, "max_steps": 500})
    return Changed(kind, world.items, log, first, settings, Topics())


def planted_run(it: Changed, seed: int) -> dict[str, Any]:
    """The first version up to the change, a refresh `FRESH` events after it, then what follows."""
    ready = it.first + FRESH
    with Workshop(it.settings, it.encoder) as shop:
        shop.feed(it.items, it.log[: it.first])
        shop.trained("warm-up", it.log[it.first - 1].at_s, seed=seed)
        shop.feed([], it.log[it.first : ready])
        real = shop.refreshed("v1", it.log[ready - 1], it.log[ready:], seed)
        row, _ = row_of(real, real.candidate, it.kind, seed)
        later = judge(real.paired(real.candidate, later=True), it.settings.gate, seed).numbers
    row |= {f"{name}_later": round(later[name], 4) for name in ("gain", "mrr_change")}
    row["gain_later_lower"] = round(later["gain_lower"], 4)
    tell(f"gate: {row}")
    return row


def forgetting(gate: Gate, runs: int, seed: int) -> Iterator[dict[str, Any]]:
    """Verdicts on made candidates that serve a fifth of the people, who drifted, far better, and the others worse.

    With what the gate asks of people who did not drift, and (`unasked`) as if everybody had drifted.
    """
    for fall in (0.0, 0.02, 0.05, 0.1, 0.2):
        asked, unasked = Counter[Call](), Counter[Call]()
        for run in range(runs):
            pairs = forgetful(np.random.default_rng([seed, run, int(1_000 * fall)]), fall)
            asked[judge(pairs, gate, run).verdict] += 1
            unasked[judge(replace(pairs, drifted=np.ones(len(pairs), bool)), gate, run).verdict] += 1
        yield {"reciprocal_rank_falls_by": fall, "verdicts": dict(asked), "unasked": dict(unasked)}


def forgetful(rng: np.random.Generator, fall: float, blocks: int = 1_500, people: int = 150) -> PairedBlocks:
    """A hold-out in which those who did not drift lose the share `fall` of their reciprocal rank, on average."""
    users = rng.integers(people, size=blocks)
    drifted, rank = users < people // 5, rng.beta(0.15, 1.5, blocks)
    changed = np.where(drifted, 1.8, 1 - fall) * rank * (1 + rng.choice([-0.5, 0.5], blocks))
    gain = np.where(drifted, 0.6, -0.8 * fall) + rng.normal(0, 0.35, blocks)
    return PairedBlocks(users, np.ones(blocks, np.int64), gain, rank, changed, drifted)


class Topics:
    """A text encoder for made titles, in no time: a bag of their words, each a random direction."""

    dim = 32

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (n, dim)."""
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in text.lower().split():
                row += np.random.default_rng(list(word.encode())).normal(size=self.dim).astype(np.float32)
            row /= max(float(np.linalg.norm(row)), 1e-9)
        return out


if __name__ == "__main__":
    main()
