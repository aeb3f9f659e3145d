"""Which features of the blend earn their weight: each left out in turn, each group, and the facts; JSON on stdout.

    python benchmarks/ablation.py --dataset ml-100k --path DIR > ablation.json

One replay runs as always. Of everything that its examiner ranks, the z-scored features of the `--keep` best candidates
are noted, in a file, with the places of what was taken. Then fresh copies of the blend run over the notes, test, then
learn, block by block as the product does: one with all features, the others with some of them set to zero, so that the
rest may take over their part. Versions and trainings are those of the replay, whatever is left out.

Ranks are among the candidates that were kept: what stood below them in the product's own order is a miss for every
variant (`kept_share` of the candidates taken were among them), and teaches none of them. `all` is therefore close to
the product's own figure beside it, not equal to it. Differences are of a variant to `all`: below zero, what is left out
was worth something. Intervals are of a paired bootstrap over users.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import command
from benchmarks.analysis import Analysis, mean, measured
from benchmarks.protocol import TELL_S, Log, Outcome, ranks_of, tell
from benchmarks.quality import Recorder, check
from consumers.examiner import Examiner, Prepared
from consumers.replay import replay as play
from consumers.scorer import ScorerHandler
from stream.blend import FACTS, FEATURES, Blend

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Key = tuple[str, str]  # user, block

ALL = "all"
KEEP = 400
GROUPS = {
    "popularity": ("recent popularity", "seasonal popularity", "all-time popularity"),
    "co-occurrence": ("bought together, recent", "bought together"),
    "sequential": ("bought next",),
    "language model": ("language model",),
    "interests": ("interests", "interests of late"),
    "own repeats": ("bought before", "time since bought", "share of visits", "due again", "often bought again"),
    "linear models": ("bought by like people", "bought by like people, recent", "bought afterwards"),
    "peers": ("bought lately by like people",),
    "attributes": ("popular among people alike",),
    "stage": ("popular at this stage",),
}


@dataclass(slots=True)
class Step:
    """What was ranked at once; or, without candidates, that a block closes and is learned."""

    key: Key
    facts: Doubles = field(default_factory=lambda: np.zeros(len(FACTS)))
    kept: int = 0  # candidates
    places: list[int] = field(default_factory=list)  # of the candidates taken, among those kept; -1: not kept
    rows: list[int] = field(default_factory=list)  # their numbers among all tested events


@dataclass(slots=True)
class Notes:
    """What a replay's examiner ranks, and with what, by standing in front of it and of the scorer."""

    file: IO[bytes]
    keep: int = KEEP
    steps: list[Step] = field(default_factory=list)
    blend: Blend | None = None  # before it learned
    n: int = 0  # tested events
    _prepared: Prepared | None = None
    _places: dict[int, int] = field(default_factory=dict)  # item → place among those kept

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Note whatever a replay tests and learns in here."""
        test, close = Examiner.test, ScorerHandler._close  # noqa: SLF001

        def on_test(it: Examiner, part: Any, user_id: str, person: Any, opened: Any, item: int) -> None:
            self.blend = self.blend or copy.deepcopy(part.blend)
            prepared = it._prepare(part, user_id, person, opened)  # noqa: SLF001
            self.tested((user_id, opened.block), prepared, item)
            test(it, part, user_id, person, opened, item)

        def on_close(it: ScorerHandler, part: Any, user_id: str, person: Any) -> None:
            if person.open is not None and person.open.n:
                self.steps.append(Step((user_id, person.open.block)))
            close(it, part, user_id, person)

        with patch.object(Examiner, "test", on_test), patch.object(ScorerHandler, "_close", on_close):
            yield

    def tested(self, key: Key, prepared: Prepared, item: int) -> None:
        """Note an event, and what it is ranked with unless that was noted for the one before it."""
        if prepared is not self._prepared:
            expected, inside = prepared.expected, np.flatnonzero(prepared.headline)
            best = inside[np.argsort(-expected.scores[inside], kind="stable")[: self.keep]]
            self.file.write(expected.z[:, best].astype(np.float16).tobytes())
            self.steps.append(Step(key, expected.facts, len(best)))
            self._prepared, self._places = prepared, {int(item): place for place, item in enumerate(best)}
        if prepared.headline[item]:
            self.steps[-1].places.append(self._places.get(item, -1))
            self.steps[-1].rows.append(self.n)
        self.n += 1

    def played(self) -> Iterator[tuple[Step, Doubles]]:
        """Each step with the features (F, kept) of its candidates."""
        self.file.flush()
        noted, start = np.memmap(self.file, np.float16, "r"), 0
        for step in self.steps:
            end = start + len(FEATURES) * step.kept
            yield step, noted[start:end].astype(np.float64).reshape(len(FEATURES), step.kept)
            start = end


@dataclass(slots=True)
class Variant:
    """A blend without some of its features or facts, tested and taught on notes."""

    blend: Blend
    features: Doubles  # (F,), 1 or 0
    facts: Doubles  # (C,), 1 or 0
    ranks: list[int | None] = field(default_factory=list)  # of every tested event
    open: dict[Key, Doubles] = field(default_factory=dict)  # sum of gradients (C, F)

    def test(self, step: Step, z: Doubles) -> None:
        """Rank what was taken with what has been learned, and keep what that will teach."""
        candidates = np.ones(step.kept, bool)
        expected = self.blend.expect(z * self.features[:, None], candidates, step.facts * self.facts)
        gradient = self.open.get(step.key, np.zeros((len(FACTS), len(FEATURES))))
        kept = [(row, place) for row, place in zip(step.rows, step.places, strict=True) if place >= 0]
        ranks = ranks_of(expected.scores, np.array([place for _, place in kept], np.int64), candidates)
        for (row, _), rank in zip(kept, ranks, strict=True):
            self.ranks[row] = rank
        self.open[step.key] = gradient + expected.gradient_of([place for _, place in kept])

    def learn(self, step: Step) -> None:
        """Learn a block that closes."""
        self.blend.learn(self.open.pop(step.key))


def variants(notes: Notes, used: Sequence[str]) -> dict[str, Variant]:
    """All features, each feature of `used` left out, each group of several, and all facts but the first.

    Raises:
        ValueError: the replay tested nothing.
    """
    if notes.blend is None:
        raise ValueError("the replay must test at least one event, it tested none")
    without: dict[str, tuple[str, ...]] = {ALL: ()} | {name: (name,) for name in used}
    for group, names in GROUPS.items():
        if sum(name in used for name in names) > 1:
            without[f"group: {group}"] = names
    out: dict[str, Variant] = {}
    everything, nothing = np.ones(len(FACTS)), list[int | None]([None]) * notes.n
    for variant, names in without.items():
        features = np.array([name not in names for name in FEATURES], float)
        out[variant] = Variant(copy.deepcopy(notes.blend), features, everything, nothing.copy())
    always = np.eye(len(FACTS))[0]
    out["facts"] = Variant(copy.deepcopy(notes.blend), np.ones(len(FEATURES)), always, nothing.copy())
    return out


def ablate(notes: Notes, on_step: Callable[[int], None] = lambda _: None) -> dict[str, list[int | None]]:
    """Ranks of every tested event, by variant; features that are zero throughout have none."""
    says = np.zeros(len(FEATURES), bool)
    for _, z in notes.played():
        says |= z.any(axis=1)
    made = variants(notes, [name for name, said in zip(FEATURES, says, strict=True) if said])
    for number, (step, z) in enumerate(notes.played()):
        for variant in made.values():
            if step.kept:
                variant.test(step, z)
            else:
                variant.learn(step)
        on_step(number)
    return {name: variant.ranks for name, variant in made.items()}


def figures(log: Log, notes: Notes, ranks: dict[str, list[int | None]], product: list[int | None]) -> dict[str, Any]:
    """All that is told of the variants."""
    analysis = Analysis(log)
    plain, out = Outcome(ranks[ALL]), dict[str, Any]()
    for name, found in ranks.items():
        outcome, (hits, gains) = Outcome(found), measured(found)
        out[name] = {"hit_rate_10": mean(hits), "ndcg_10": mean(gains)}
        if name != ALL:
            out[name]["minus_all"] = analysis.difference(outcome, plain)
    places = [place for step in notes.steps for place in step.places]
    hits, gains = measured(product)
    return {
        "product": {"hit_rate_10": mean(hits), "ndcg_10": mean(gains)},
        "keep": notes.keep,
        "kept_share": mean(np.array(places) >= 0),
        "unused": [name for name in FEATURES if name not in ranks],
        "without": out,
    }


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--keep", type=int, default=KEEP, help="best candidates noted of each block")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay once, run all variants over what was noted, print their figures."""
    given = options(arguments)
    data = command.log(given)
    settings = command.settings(given, data)
    log = Log.of(data.interactions, settings.scoring.repeats)
    told_s = time.perf_counter()

    def say(line: str) -> None:
        nonlocal told_s
        if time.perf_counter() - told_s > TELL_S:
            told_s = time.perf_counter()
            tell(line)

    with tempfile.TemporaryFile() as file:
        notes, recorder = Notes(file, given.keep), Recorder()
        with notes.taking(), recorder.recording():
            result = play(data.name, data.items, data.interactions, settings, on_progress=lambda done, in_all, _: say(
                f"replay: {done:,} of {in_all:,} events"))  # fmt: skip
        check(recorder.events, recorder.ranks, log)
        ranks = ablate(notes, lambda step: say(f"variants: {step:,} of {len(notes.steps):,} steps"))
    kept = {key: result[key] for key in ("dataset", "repeats", "policy", "seed", "events", "tested", "blend_weights")}
    print(json.dumps(kept | figures(log, notes, ranks, recorder.ranks), indent=2))


if __name__ == "__main__":
    main()
