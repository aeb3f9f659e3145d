"""The live view: scrapes every process twice a second, reads the topics every few seconds, shows both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live

from consumers.board import Board
from consumers.samples import Sampler
from consumers.screen import line, screen
from stream.bus import Bus
from stream.metrics import Figures

TOPICS_S = 3.0  # between two looks at the topics
LINE_S = 5.0  # between two lines where there is no terminal


class View:
    """Shows what the consumers do, for as long as the context lasts; call `refresh` in a loop.

    Args:
        bus: where versions, alarms and lists are read.
        names: of the consumers.
        figures: returns a consumer's metrics by its name; empty if it does not answer.
        console: where to; one line every five seconds if it is no terminal.
        now_s: wall time for durations; given for tests.
    """

    def __init__(
        self,
        bus: Bus,
        names: Sequence[str],
        figures: Callable[[str], Figures],
        console: Console | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board, self.sampler, self.phase = Board.of(names), Sampler(bus), "starting"
        self._figures, self._now_s = figures, now_s
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._started_s = now_s()
        self._sampled_s = self._lined_s = float("-inf")

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def refresh(self) -> None:
        """Scrape, read what is due, show."""
        now_s = self._now_s()
        self.board.update(now_s, {name: self._figures(name) for name in self.board.roles})
        if now_s - self._sampled_s >= TOPICS_S:
            self._sampled_s = now_s
            self.sampler.refresh()
        elapsed_s = now_s - self._started_s
        if self._console.is_terminal:
            self._live.update(screen(self.board, self.sampler, self.phase, elapsed_s), refresh=True)
        elif now_s - self._lined_s >= LINE_S:
            self._lined_s = now_s
            self._console.print(line(self.board, self.phase, elapsed_s), soft_wrap=True, markup=False, highlight=False)
