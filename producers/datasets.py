"""Data sets by name, and logs by file: all that `replay` and the demo can play."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from producers import log, movielens, online_retail
from stream.errors import LogError
from stream.events import Interaction, Item

ONLINE_RETAIL = "online-retail"
ML_100K = "ml-100k"
NAMES = (ONLINE_RETAIL, ML_100K)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A catalogue and what people did with it."""

    name: str
    items: Sequence[Item]
    interactions: Iterable[Interaction]  # in order of arrival; may be iterated any number of times


def load(name: str, path: Path | None = None) -> Dataset:
    """Load a data set by its name; `path` is its folder (ml-100k) or file (online-retail, which is bundled).

    Raises:
        LogError: an unknown name, a data set that needs a path and has none, or files that cannot be read.
    """
    if name == ONLINE_RETAIL:
        items, purchases = online_retail.load(path or online_retail.BUNDLED)
        return Dataset(name, items, purchases)
    if name == ML_100K:
        if path is None:
            raise LogError(f"{ML_100K} must be named with its folder (--path DIR); {movielens.HOW_TO_GET_IT}")
        films, ratings = movielens.load(path)
        return Dataset(name, films, ratings)
    raise LogError(f"dataset must be one of {', '.join(NAMES)}, got {name!r}")


def from_files(interactions: Path, items: Path | None = None) -> Dataset:
    """A data set of the user's own, in event logs (see `producers.log`); its name is that of the interactions file.

    Without an items file the items of the interactions file are taken; for ids that no item describes an item
    without text is made.

    Raises:
        LogError: a file cannot be read, or a line of it is malformed.
    """
    described = list(log.read_items(items or interactions))
    events = log.Interactions(interactions)
    known = {item.item_id for item in described}
    return Dataset(interactions.name, described + list(_without_text(events, known)), events)


def head(interactions: Iterable[Interaction], limit: int | None) -> Iterable[Interaction]:
    """The first `limit` interactions, or all of them; may be iterated again."""
    return interactions if limit is None else _Head(interactions, limit)


@dataclass(frozen=True, slots=True)
class _Head:
    interactions: Iterable[Interaction]
    limit: int

    def __iter__(self) -> Iterator[Interaction]:
        for number, event in enumerate(self.interactions):
            if number >= self.limit:
                return
            yield event


def _without_text(events: Iterable[Interaction], known: set[str]) -> Iterator[Item]:
    """An item for every id that is not known, in order of its first interaction; adds it to `known`."""
    for event in events:
        if event.item_id is not None and event.item_id not in known:
            known.add(event.item_id)
            yield Item(item_id=event.item_id, at=event.at)
