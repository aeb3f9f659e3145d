"""What a refresh may be expected to bring."""

from __future__ import annotations

import msgspec
import pytest

from stream.messages import ModelVersion, Ruling
from stream.settings import Settings, Training, load
from stream.worth import KEPT, PRIOR, Worth


def refresh(
    name: str, verdict: str, gain: float, *, trigger: str = "staleness", size: float = 0.5, live_at_s: float = 0.0
) -> ModelVersion:
    return ModelVersion(
        name, verdict, "v1", 0.0, live_at_s, {}, "j", trigger, {"size": size}, "path", "", "", 300, 20.0, 9,
        {"gain": gain, "reason": "so"}, 0.0,
    )  # fmt: skip


def rate(*records: ModelVersion | Ruling, now_s: float = 0.0) -> float:
    return Worth.of(records, Settings(), now_s).rates["staleness"]


RATE, UNITS = PRIOR["staleness"]


def test_without_a_past_the_prior_stands() -> None:
    worth = Worth.of([], load(trigger={"step_worth": 2.0}, training={"max_refresh_steps": 500}), 0.0)
    assert worth.rates == pytest.approx({name: rate for name, (rate, _) in PRIOR.items()})
    assert (worth.price, worth.refreshes) == (1_000.0, 0)
    assert worth.gain("users", 0.5, 1_000) == pytest.approx(PRIOR["users"][0] * 500)


def test_each_refresh_counts_by_its_evidence_the_newer_more() -> None:
    once = (KEPT * RATE * UNITS + 0.2) / (KEPT * UNITS + 0.5)
    assert rate(refresh("v2", "promoted", 0.2)) == pytest.approx(once)
    twice = (KEPT * (KEPT * RATE * UNITS + 0.2) + 0.0) / (KEPT * (KEPT * UNITS + 0.5) + 0.5)
    assert rate(refresh("v2", "promoted", 0.2), refresh("v3", "refused", 0.1)) == pytest.approx(twice)
    assert rate(refresh("v3", "refused", 0.1), refresh("v2", "promoted", 0.2)) == pytest.approx(twice)  # by number


def test_what_did_not_go_live_gained_nothing() -> None:
    nothing = rate(refresh("v2", "refused", 0.5))
    assert nothing == pytest.approx(KEPT * RATE * UNITS / (KEPT * UNITS + 0.5))
    undecided = refresh("v2", "undecided", 0.3)
    assert rate(undecided) == RATE  # in shadow still
    ended = Ruling("v2", "promoted", 9.0, 9.0, "", {"gain": 0.2})
    assert rate(undecided, ended, now_s=8.0) == RATE
    assert rate(undecided, ended, now_s=9.0) == rate(refresh("v2", "promoted", 0.2))
    assert rate(undecided, Ruling("v2", "refused", 0.0, 0.0, "", {"gain": 0.2})) == nothing
    back = Ruling("v2", "rollback", 0.0, 0.0, "", {"gain": 0.2})
    assert rate(refresh("v2", "promoted", 0.5), back) == rate(undecided, ended, back, now_s=9.0) == nothing
    assert rate(refresh("v2", "promoted", 0.5, live_at_s=60.0)) == RATE  # not yet


def test_other_reasons_and_warm_ups_say_nothing_about_age() -> None:
    assert rate(refresh("v2", "promoted", 0.5, trigger="clock"), refresh("v3", "promoted", 0.5, size=0.0)) == RATE


def test_the_price_is_the_mean_of_past_trainings_in_steps() -> None:
    worth = Worth.of([refresh("v2", "refused", 0.0), refresh("v3", "refused", 0.0)], Settings(), 0.0)
    assert worth.price == pytest.approx(3 * (600 + 300 + 300) / 3)
    assert (worth.refreshes, worth.seconds) == (2, 20.0)


def test_before_a_refresh_the_first_training_says_what_one_takes() -> None:
    first = msgspec.structs.replace(refresh("v1", "promoted", 0.0), parent="", steps=1_000)
    fewer, as_many = (Settings(training=Training(warm_up_epochs=12, epochs=n)) for n in (3, 12))
    assert Worth.of([first], fewer, 0.0).price == 3 * 250
    assert Worth.of([first], as_many, 0.0).price == 3 * 600  # at most
    assert Worth.of([first, refresh("v2", "refused", 0.0)], fewer, 0.0).price == 3 * (250 + 300) / 2
