"""`meander replay` on a terminal: progress while it runs, a summary, the recommendations file and the report."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consumers.board import quality_counts
from consumers.replay import has_repeats, replay
from consumers.report import number, write_report
from stream.errors import LogError
from stream.events import Interaction, Item
from stream.metrics import Figures
from stream.settings import Settings

TELL_S = 30.0  # seconds between two lines of progress where there is no terminal


def play(
    name: str,
    items: Iterable[Item],
    interactions: Iterable[Interaction],
    settings: Settings,
    recommendations: Path | None = None,
    report: Path | None = None,
) -> dict[str, Any]:
    """Replay a log; returns its figures. Progress and summary go to stderr: a bar, or a line now and then in a file.

    Raises:
        LogError: the log is empty or malformed, or a file cannot be written.
    """
    console = Console(stderr=True)
    with ExitStack() as stack:
        lists = stack.enter_context(opened(recommendations)) if recommendations is not None else None
        bar = stack.enter_context(_progress(console))
        task = bar.add_task("replay", total=None, figures="")
        told_s = time.monotonic()

        def tell(done: int, in_all: int, figures: Figures) -> None:
            nonlocal told_s
            bar.update(task, completed=done, total=in_all, figures=rolling(figures))
            if not console.is_terminal and time.monotonic() - told_s >= TELL_S:
                told_s = time.monotonic()
                console.print(f"{number(done)} of {number(in_all)} events; {rolling(figures)}", highlight=False)

        result = replay(name, items, interactions, settings, recommendations=lists, on_progress=tell)
    for line in summary(result):
        console.print(line, highlight=False)
    if report is not None:
        write_report(result, report)
        console.print(f"report: {report.resolve()}", soft_wrap=True, highlight=False)
    return result


def suited(settings: Settings, interactions: Iterable[Interaction]) -> Settings:
    """Settings with `scoring.repeats` as the log suggests."""
    scoring = settings.scoring.model_copy(update={"repeats": has_repeats(interactions)})
    return settings.model_copy(update={"scoring": scoring})


def rolling(figures: Figures) -> str:
    """Hit rates so far.

    >>> hits = {("hits_10_total", "arrival", "v1"): 30.0, ("hits_10_total", "served", "v1"): 18.0}
    >>> rolling({("tested_total", "v1"): 200.0, **hits})
    'hit rate at 10: on arrival .150, served .090'
    """
    tested, arrival, served, _ = quality_counts(figures)
    if not tested:
        return "warming up"
    return f"hit rate at 10: on arrival {number(arrival / tested)}, served {number(served / tested)}"


def summary(result: dict[str, Any]) -> Iterator[str]:
    """The headline figures and the trainings, line by line."""
    yield (
        f"{result['dataset']}: {number(result['tested'])} of {number(result['events'])} events tested; hit rate at 10 "
        f"on arrival {number(result['hit_rate_10'])}, served {number(result['served_hit_rate_10'])}, "
        f"popularity {number(result.get('popularity_hit_rate_10'))}; NDCG {number(result['ndcg_10'])}"
    )
    for row in result["trainings"]:
        yield (
            f"{row['at'][:16]} {row['version']} {row['verdict']} ({row['trigger']}, "
            f"{number(row['examples'])} examples, {row['steps']} steps, {row['seconds']:.1f} s)"
        )
    yield f"{result['wall_seconds']:.0f} s, {number(result['events_per_second'])} events/s"


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file of JSON lines to write; gzip if its name ends so, with nothing in it that depends on the time.

    Raises:
        LogError: it cannot be written.
    """
    try:
        with path.open("wb") as raw:
            if not path.name.endswith(".gz"):
                yield raw
                return
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                yield cast(IO[bytes], packed)
    except OSError as error:
        raise LogError(f"{path} cannot be written: {error}") from None


def _progress(console: Console) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[figures]}"))
    return Progress(*columns, console=console, refresh_per_second=2)
