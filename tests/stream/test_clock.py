"""The two clocks."""

from __future__ import annotations

import time

from stream.clock import Clock, ManualClock, SystemClock


def test_the_system_clock_tells_wall_time() -> None:
    clock: Clock = SystemClock()
    before = time.time()
    assert before <= clock.now_s() <= time.time()


def test_a_manual_clock_stands_and_never_goes_back() -> None:
    clock: ManualClock = ManualClock()
    assert clock.now_s() == 0.0
    for to_s, now_s in ((60.0, 60.0), (30.0, 60.0), (61.5, 61.5)):
        clock.advance_to(to_s)
        assert clock.now_s() == now_s
