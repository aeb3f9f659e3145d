"""Tuning: the same trials whether interrupted or not, on one log and slice alone, and what it tells."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumers import trials as trials_
from consumers import tune as tune_
from consumers.gains import compared, snippet, summary
from consumers.knobs import SPACE, changed, current, space, toml
from consumers.trials import Outcome, Remembering, Slices
from consumers.tune import Tuning, tune
from producers.synthetic import Plan, World
from stream.errors import LogError, StateError
from stream.settings import Settings, load
from stream.text import TextEncoder

EVENTS = 100


@pytest.fixture(scope="module")
def slices() -> Slices:
    world = World(Plan(users=20, items=40, events=160, days=60, seed=3))
    return Slices.of("made", world.items, world.interactions(), EVENTS)


@pytest.fixture(scope="module")
def encoder() -> Remembering:
    return Remembering(TextEncoder.tiny())


def settings(**changes: Any) -> Settings:
    base: dict[str, Any] = {
        "model": {"dim": 8, "layers": 1, "heads": 1, "context": 10},
        "training": {"window_events": 400, "warm_up_epochs": 1, "max_steps": 3, "batch_size": 16},
        "trigger": {"policy": "never"},
    }
    return load(**{**base, **changes})


def tuning(slices: Slices, encoder: Remembering, directory: Path, said: list[str], **changes: Any) -> Tuning:
    chosen = settings(**changes)
    return Tuning(slices, chosen, encoder, directory, chosen.seed, said.append)


def values(study: Tuning) -> list[Any]:
    return [(t.user_attrs["values"], t.state, t.value) for t in study.finished()]


class Stopped(KeyboardInterrupt):
    """Somebody pressed Ctrl-C."""


def test_it_goes_on_where_it_stopped(
    slices: Slices, encoder: Remembering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    whole = tuning(slices, encoder, tmp_path / "whole", said)
    result = whole.run(3)
    assert [line.split(":")[0] for line in said[:3]] == ["trial 1 of 3", "trial 2 of 3", "trial 3 of 3"]
    parts: list[str] = []
    tuning(slices, encoder, tmp_path / "parts", parts).run(1)
    with monkeypatch.context() as patch:
        patch.setattr(Outcome, "add", lambda *_: (_ for _ in ()).throw(Stopped()))
        with pytest.raises(Stopped):
            tuning(slices, encoder, tmp_path / "parts", parts).run(3)
    again = tuning(slices, encoder, tmp_path / "parts", parts)
    assert again.run(3) == result
    assert values(again) == values(whole)
    lines = [line for line in parts if " of " in line]
    assert [line.split(":")[0] for line in lines] == ["trial 1 of 1", "trial 2 of 3", "trial 3 of 3"]
    assert tuning(slices, encoder, tmp_path / "parts", parts).run(3) == result
    assert len([line for line in parts if " of " in line]) == 3, "nothing was left to do"


def test_a_study_belongs_to_what_it_was_made_with(slices: Slices, encoder: Remembering, tmp_path: Path) -> None:
    tuning(slices, encoder, tmp_path, [])
    shorter = Slices("made", slices.items, slices.interactions[:-1], slices.events)
    with pytest.raises(StateError, match="made with another log; name another --directory, or remove it"):
        tuning(shorter, encoder, tmp_path, [])
    with pytest.raises(StateError, match="another number of events;"):
        tuning(Slices("made", slices.items, slices.interactions, 50), encoder, tmp_path, [])
    with pytest.raises(StateError, match="another seed;"):
        tuning(slices, encoder, tmp_path, [], seed=1)
    with pytest.raises(StateError, match="another settings, search space;"):
        tuning(slices, encoder, tmp_path, [], training={"linear_ridge": 1.0})
    tuning(slices, encoder, tmp_path, [], kafka={"bootstrap": "elsewhere:9092"})


def test_a_file_that_is_no_study_is_named(slices: Slices, encoder: Remembering, tmp_path: Path) -> None:
    (tmp_path / "study.log").write_text("hello\n")
    with pytest.raises(StateError, match="must hold a study of meander tune, or nothing"):
        tuning(slices, encoder, tmp_path, [])


def test_a_log_from_its_slices_to_the_snippet(
    slices: Slices,
    encoder: Remembering,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen, real = settings(), Slices.trial

    def trial(self: Slices, used: Settings, *rest: Any) -> Outcome:
        found = real(self, used, *rest)
        if used is chosen:  # the first trial misses everything
            found.people = {user: [sums[0], 0, 0, 0] for user, sums in found.people.items()}
            found.total = 0.0
        return found

    monkeypatch.setattr(Slices, "trial", trial)
    result = tune("made", slices.items, slices.interactions, chosen, tmp_path, 2, encoder=encoder)
    assert (result["events"], result["trials"], result["before"]) == (80, 2, current(chosen))
    assert result["tuned_on"]["events"] == 80 - 16
    assert result["later"]["events"] == 80
    assert result["best_trial"] == 2
    assert result["tuned_on"]["ndcg"]["difference"] > 0.01
    written = (tmp_path / "meander.toml").read_text()
    assert written == result["toml"]
    assert current(load(tmp_path / "meander.toml")) == result["settings"]
    assert "its settings are in" in capsys.readouterr().err


def test_trials_that_lie_behind_end_early(
    slices: Slices, encoder: Remembering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every trial is worse than the one before it, so all that may end early do."""
    ranks = iter(range(0, 1_000, 50))

    def trial(self: Slices, settings: Settings, encoder: Remembering, report: Any = None) -> Outcome:
        outcome, rank = Outcome(report, every=1), next(ranks)
        for number in range(10):
            outcome.add(f"u{number}", rank)
        return outcome

    monkeypatch.setattr(Slices, "trial", trial)
    monkeypatch.setattr(Slices, "later", trial)
    said: list[str] = []
    result = tuning(slices, encoder, tmp_path, said).run(8)
    assert (result["best_trial"], result["stopped_early"]) == (1, 8 - tune_.STARTUP // 2)
    assert "NDCG stopped early, best 1.0000 of trial 1" in said[7]


def test_the_slice_is_half_of_a_short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Plan(users=5, items=16, events=30))
    monkeypatch.setattr(trials_, "EVENTS", 20)
    cut = Slices.of("made", world.items, world.interactions(), None)
    assert (cut.events, len(cut.interactions)) == (15, 30)
    cut = Slices.of("made", world.items, world.interactions(), 10)
    assert (cut.events, len(cut.interactions)) == (10, 20)
    with pytest.raises(LogError, match="at least one record"):
        Slices.of("made", [], [], None)


def test_the_second_slice_is_tested_from_its_first_event(slices: Slices, encoder: Remembering) -> None:
    chosen = settings(scoring={"repeats": False})
    outcome = slices.later(chosen, encoder)
    first, seen = 0, set[tuple[str, str | None]]()
    for number, event in enumerate(slices.interactions):
        first += number >= slices.events and (event.user_id, event.item_id) not in seen
        seen.add((event.user_id, event.item_id))
    assert outcome.tested == first


def test_what_is_set_lies_in_the_space() -> None:
    chosen = load(scoring={"blend_prior": 2_000.0}, users={"half_life_events": 1.0})
    ranges = space(chosen)
    for name, value in current(chosen).items():
        assert ranges[name].low <= value <= ranges[name].high, name
    assert ranges.keys() <= SPACE.keys()
    assert changed(chosen, current(chosen)) == chosen
    assert tomllib.loads(toml({"a.x": 1e-4, "a.y": 2.0, "b.z": 3.0})) == {"a": {"x": 1e-4, "y": 2.0}, "b": {"z": 3.0}}


def test_intervals_are_paired_and_by_person() -> None:
    """A gain of everybody's is sure; one of a single person out of ten is not."""
    n, none = [10.0] * 10, [0.0] * 10
    even = compared([n, n, none, none], [n, [11.0] * 10, none, none], seed=0)["ndcg"]
    assert (even["difference"], even["ci95"]) == (0.1, [0.1, 0.1])
    one = compared([n, none, none, none], [n, [10.0, *none[1:]], none, none], seed=0)["ndcg"]
    assert one["difference"] == 0.1
    assert one["ci95"][0] == 0.0
    assert one["ci95"][1] > 0.2


def test_the_summary_says_what_holds() -> None:
    figures = {"before": 0.1, "after": 0.2, "difference": 0.1, "ci95": [0.05, 0.15]}
    part = {"events": 1_000, "people": 9, "ndcg": figures, "ndcg_10": figures, "hit_rate_10": figures}
    worse = {**part, "ndcg": {**figures, "ci95": [-0.2, -0.1]}}
    result = {"dataset": "shop", "events": 1_250, "trials": 5, "stopped_early": 2, "best_trial": 3,
              "settings": {"scoring.blend_prior": 20.0}, "tuned_on": part, "later": part}  # fmt: skip
    said = summary(result)
    assert said[0] == "5 trials, 2 of them stopped early; the best is trial 3"
    assert "tuned on: NDCG 0.1000 -> 0.2000 (+0.1000, 95 %: +0.0500 to +0.1500)" in said[1]
    assert said[-1] == "it gains there, too: these settings are worth having"
    assert summary({**result, "later": worse})[-1] == "it loses there: keep the settings as they are"
    assert "nobody knows" in summary({**result, "later": None})[-1]
    assert "nothing to change" in summary({**result, "best_trial": 1})[-1]
    assert tomllib.loads(snippet(result)) == {"scoring": {"blend_prior": 20.0}}


def test_texts_are_encoded_once() -> None:
    class Counting:
        dim = 2
        seen: list[str] = []  # noqa: RUF012

        def encode(self, texts: Any) -> Any:
            self.seen += texts
            return np.array([[len(text), 1.0] for text in texts], np.float32)

    encoder = Remembering(Counting())
    assert encoder.encode(["a", "bb", "a"]).tolist() == [[1, 1], [2, 1], [1, 1]]
    assert encoder.encode(["bb"]).tolist() == [[2, 1]]
    assert encoder.encode([]).shape == (0, 2)
    assert Counting.seen == ["a", "bb"]
