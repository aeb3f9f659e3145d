"""Wall time, injected: nothing in the core reads a clock of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch (`now_s`). Event time is never read from here."""

    def now_s(self) -> float:
        """Wall time in seconds since the epoch."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Wall time in seconds since the epoch."""
        return time.time()


@dataclass(slots=True)
class ManualClock:
    """A clock that stands until it is moved; for tests and replay.

    >>> clock = ManualClock(100.0)
    >>> clock.advance_to(160.0)
    >>> clock.advance_to(120.0)  # never backwards
    >>> clock.now_s()
    160.0
    """

    at_s: float = 0.0

    def now_s(self) -> float:
        """The time it was last moved to."""
        return self.at_s

    def advance_to(self, at_s: float) -> None:
        """Move forward to `at_s`; an earlier time is ignored."""
        self.at_s = max(self.at_s, at_s)
