"""Which log a benchmark runs over, as its command line says it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from consumers.replay import has_repeats
from producers import datasets
from producers.datasets import Dataset
from stream.settings import Settings, load


def parser(about: str | None) -> argparse.ArgumentParser:
    """The options that all have; `about` is what the benchmark says of itself."""
    out = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--dataset", choices=datasets.NAMES, default=datasets.ONLINE_RETAIL)
    out.add_argument("--path", type=Path, help="where the data set lies; ml-100k is not bundled")
    out.add_argument("--interactions", type=Path, help="an event log, in place of a data set")
    out.add_argument("--items", type=Path, help="items, if they are not in that log")
    out.add_argument("--repeats", action=argparse.BooleanOptionalAction, help="else as the log suggests")
    out.add_argument("--limit", type=int, help="only so many interactions")
    out.add_argument("--policy", help="of Meander's trigger")
    out.add_argument("--seed", type=int, default=0)
    return out


def log(given: argparse.Namespace) -> Dataset:
    """The log that was named, no longer than was asked for."""
    data = (
        datasets.from_files(given.interactions, given.items)
        if given.interactions
        else datasets.load(given.dataset, given.path)
    )
    return Dataset(data.name, data.items, datasets.head(data.interactions, given.limit))


def settings(given: argparse.Namespace, data: Dataset) -> Settings:
    """Meander's, as they were asked for, with or without repeats as asked or as the log suggests."""
    repeats = has_repeats(data.interactions) if given.repeats is None else given.repeats
    trigger: dict[str, Any] = {"policy": given.policy} if given.policy else {}
    return load(trigger=trigger, scoring={"repeats": repeats}, seed=given.seed)
