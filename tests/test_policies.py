"""The benchmark of policies: pairing, intervals, resuming; and a short run of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import policies, worlds
from benchmarks.policies import Arm


def outcome(policy: str, ranks: list[int], users: list[int] | None = None, **more: Any) -> dict[str, Any]:
    base = {"log": "tastes", "policy": policy, "seed": 0, "events": 1_300, "warm_up_events": 300, "refreshes": 2,
            "live": 1, "hit_rate_10": 0.1, "ndcg_10": 0.1, "training_seconds": 5.0, "steps": 9, "cpu_seconds": 1.0,
            "wall_seconds": 1.0, "trainings": [{"trigger": "population"}], "changed_at": 4}  # fmt: skip
    return base | {"users": users or [0, 1] * (len(ranks) // 2), "ranks": ranks} | more


def test_hits_are_paired_over_the_same_events() -> None:
    one, other = outcome("drift", [0, 12, -1, 9, 3, 3, 3, 50]), outcome("clock", [0, 0, -1, 30, 3, 30, 30, 3])
    whole = policies.compared([one], [other], None)
    assert (whole["events"], whole["hit_rate_10"]) == (8, [5 / 8, 4 / 8])
    assert (whole["difference"], whole["ratio"]) == (0.125, 1.25)
    after = policies.compared([one], [other], 3)
    assert (after["events"], after["hit_rate_10"]) == (3, [1.0, round(1 / 3, 5)])
    low, high = whole["difference_ci95"]
    assert low <= 0.125 <= high


def test_people_of_other_seeds_are_other_people_in_made_up_logs_alone() -> None:
    users = list(range(20)) * 4
    arms = [outcome("drift", [0, 12] * 40, users), outcome("drift", [12, 0] * 40, users)]
    nothing = [outcome("never", [12, 12] * 40, users)] * 2
    low, high = policies.compared(arms, nothing, None)["difference_ci95"]  # each of forty people hits always or never
    assert high - low > 0.2
    for arm in (*arms, *nothing):
        arm["log"] = "ml-100k"
    assert policies.compared(arms, nothing, None)["difference_ci95"] == [0.5, 0.5]  # each of twenty in one of two runs


def test_arms_over_other_events_are_refused() -> None:
    with pytest.raises(ValueError, match="tastes: the arms must have tested the same events"):
        policies.compared([outcome("drift", [0, 1])], [outcome("clock", [0, 1], [1, 0])], None)


def test_a_relabelled_log_changes_somewhere_else_for_each_seed() -> None:
    given = policies.parsed(["--limit", "3000"])
    plain = list(policies.data_of(Arm("online-retail-new", "drift", 0), given).interactions)
    places = []
    for seed in (0, 1):
        arm = Arm("online-retail-new-relabelled", "drift", seed)
        data = policies.data_of(arm, given)
        log, change = list(data.interactions), policies.change_of(arm, plain)
        changed = [n for n, (one, other) in enumerate(zip(plain, log, strict=True)) if one.item_id != other.item_id]
        assert changed[0] >= change
        assert len(changed) > 0.3 * (3_000 - change)
        pairs = [(event.user_id, event.item_id) for event in log[:change]]
        firsts = sum(pair not in pairs[:n] for n, pair in enumerate(pairs) if n >= 600)
        assert policies.changed_at(arm, data, 600, repeats=False) == firsts
        places.append(change)
    assert places[0] != places[1]
    assert {1_350 <= place <= 2_250 for place in places} == {True}


def test_a_matched_clock_trains_as_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = policies.parsed(["--out", str(tmp_path)])
    for refreshes, every in ((0, 1_000), (1, 600), (2, 400), (4, 200), (9, 200)):
        monkeypatch.setattr(policies, "played", lambda *_, n=refreshes: outcome("drift", [0, 1], refreshes=n))
        assert policies.matched_every(Arm("tastes", "drift", 0), given) == every


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--policies", "drift,weekly"],
     "--policies must be of never, clock, continuous, drift, matched, blind, got 'weekly'"),
    (["--log", "rain"], "invalid choice: 'rain'"),
])  # fmt: skip
def test_what_cannot_be_asked_for(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        policies.parsed(arguments)
    assert reason in capsys.readouterr().err


def test_outcomes_are_kept_and_not_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"dim": 8, "layers": 1, "heads": 2, "context": 10}
    plain = worlds.settings

    def tiny(seed: int, **trigger: Any) -> Any:
        whole = plain(seed, **trigger | {"min_new_events": 100, "step_worth": 0.0})
        cheap = {"max_steps": 5, "max_refresh_steps": 5}
        return whole.model_copy(update={"model": whole.model.model_copy(update=small),
                                        "training": whole.training.model_copy(update=cheap)})  # fmt: skip

    monkeypatch.setattr(worlds, "settings", tiny)
    arguments = ["--log", "tastes", "--policies", "drift,matched", "--events", "500", "--out", str(tmp_path)]
    found = policies.main([*arguments, "--after", "100"])
    rows = found["tastes"]["policies"]
    assert rows["drift"]["refreshes"] == rows["matched"]["refreshes"] > 0
    assert found["tastes"]["drift against matched, after the change"]["events"] == 100
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(policies, "play", None)
    assert policies.main([*arguments, "--after", "100"]) == found
    capsys.readouterr()
