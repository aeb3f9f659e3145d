from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.board import WINDOW_TESTED, Board, Quality, Role, Training
from stream.metrics import Figures, check

INTEREST = {
    ("events_total",): 1_000.0, ("users",): 40.0, ("event_timestamp_seconds",): 60.0,
    ("alarms_total", "user", "page_hinkley"): 3.0,
}  # fmt: skip
SCORER = {
    ("events_total",): 900.0, ("items",): 12.0, ("live_version_info", "v2"): 1.0, ("shadow_version_info", "v3"): 1.0,
    ("swaps_total", "swapped"): 2.0, ("swaps_total", "refused"): 1.0, ("tested_total", "v1"): 40.0,
    ("tested_total", "v2"): 60.0, ("hits_10_total", "arrival", "v1"): 4.0, ("hits_10_total", "arrival", "v2"): 6.0,
    ("hits_10_total", "served", "v2"): 8.0, ("hits_10_total", "popularity", "v2"): 3.0,
}  # fmt: skip
LOOP = {("ready",): 1.0, ("lag_records", "interactions", "0"): 70.0, ("lag_records", "text-vectors", "0"): 1.0}


def test_the_names_are_those_of_the_table() -> None:
    check(INTEREST)
    check(SCORER)


def test_rates_are_taken_over_the_last_seconds() -> None:
    role = Role("interest")
    for now_s, events in ((0.0, 0.0), (1.0, 100.0), (2.0, 200.0), (9.0, 900.0), (10.0, 2_000.0)):
        role.update(now_s, {("events_total",): events})
    assert role.rate == (2_000 - 200) / (10 - 2)  # what lies more than 5 s back is gone, but for one point


def test_a_process_that_starts_anew_has_no_negative_rate() -> None:
    role = Role("interest")
    for now_s, events in ((0.0, 900.0), (1.0, 1_000.0), (2.0, 50.0), (3.0, 80.0)):
        role.update(now_s, {("events_total",): events})
    assert role.rate == 30.0


def test_the_records_of_the_main_input_are_the_events_of_others() -> None:
    role = Role("trigger")
    for now_s, n in ((0.0, 0.0), (2.0, 10.0)):
        role.update(now_s, {("records_total", "model-health"): n, ("records_total", "drift-alarms"): 5 * n})
    assert role.rate == 5.0


def test_lag_and_readiness() -> None:
    role = Role("interest")
    role.update(0.0, {**INTEREST, **LOOP})
    assert (role.answers, role.ready, role.lag) == (True, True, 71)
    role.update(1.0, {})
    assert (role.answers, role.lag) == (False, 71)


def test_hit_rates_roll_over_a_window() -> None:
    quality = Quality()
    assert quality.rates == ()
    n = float(WINDOW_TESTED)
    quality.update((n, n * 0.1, n * 0.08, n * 0.02))
    quality.update((2 * n, n * 0.4, n * 0.28, n * 0.06))
    assert quality.rates == pytest.approx((0.3, 0.2, 0.04))
    quality.update((2 * n, n * 0.4, n * 0.28, n * 0.06))
    assert len(quality.history) == 2  # nothing new was tested


def test_hit_rates_begin_anew_with_the_counters() -> None:
    quality = Quality()
    quality.update((1_000.0, 100.0, 50.0, 10.0))
    quality.update((10.0, 5.0, 4.0, 3.0))
    assert quality.rates == (0.5, 0.4, 0.3)


def vars_of(training: Training | None) -> tuple[str, float] | None:
    return (training.trigger, training.progress) if training else None


def rounds() -> Iterator[dict[str, Figures]]:
    trigger: Figures = {("alarms_total", "population", "page_hinkley"): 2.0}
    tuner: Figures = {("training_progress_ratio", "users"): 0.25, ("parked_total", "training-jobs", "kind"): 1.0}
    yield {"interest": {**INTEREST, **LOOP}, "scorer": SCORER, "trigger": trigger, "tuner": tuner}
    yield {
        "interest": {**INTEREST, ("parked_total", "interactions", "at"): 4.0},
        "tuner": {("jobs_total", "users"): 1.0},
    }


def test_the_board_adds_the_processes_up() -> None:
    board, (first, second) = Board.of(["interest", "scorer", "trigger", "tuner"]), rounds()
    board.update(0.0, first)
    assert (board.users, board.events, board.items, board.at_s) == (40, 1_000, 12, 60.0)
    assert board.alarms == {"user": 3, "population": 2}
    assert (board.version, board.shadow, board.swaps, board.parked) == ("v2", "v3", 2, 1)
    assert vars_of(board.training) == ("users", 0.25)
    assert board.quality.rates == pytest.approx((10 / 100, 8 / 100, 3 / 100))
    board.update(1.0, second)
    assert vars_of(board.training) is None
    assert board.alarms == {"user": 3, "population": 2}  # trigger did not answer this time
    assert (board.version, board.roles["scorer"].answers, board.parked) == ("v2", False, 4)
