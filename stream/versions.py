"""Which version is live: one answer, computed the same way by everyone, from the records of model-versions.

Live is the newest promoted version such that neither it nor an ancestor was rolled back. A version is promoted by its
own record, or by a ruling that ends its shadow. With `now_s` (event time) only what is in force by then counts.

>>> def version(name: str, verdict: str, parent: str) -> ModelVersion:
...     return ModelVersion(name, verdict, parent, 0.0, 0.0, {}, "j", "clock", {}, name, "", "", 1, 1.0, 1, {}, 0.0)
>>> log = [version("v1", "promoted", ""), version("v2", "promoted", "v1"), version("v3", "undecided", "v2")]
>>> live(log).version, shadow(log).version, next_name(log)
('v2', 'v3', 'v4')
>>> live([*log, Ruling("v2", "rollback", 9.0, 9.0, "worse", {})]).version
'v1'
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stream.errors import BadRecord
from stream.messages import ModelVersion, Ruling

_NAME = re.compile(r"v([1-9][0-9]*)\Z")


def number(name: str) -> int:
    """The 7 of `v7`.

    Raises:
        BadRecord: it is no version's name.
    """
    match = _NAME.match(name)
    if match is None:
        raise BadRecord("version", "v followed by a number, such as v7", name)
    return int(match.group(1))


def next_name(records: Iterable[ModelVersion | Ruling]) -> str:
    """The name of the version after all of these, whatever their verdicts."""
    return f"v{1 + max((number(r.version) for r in records if isinstance(r, ModelVersion)), default=0)}"


def live(records: Iterable[ModelVersion | Ruling], now_s: float | None = None) -> ModelVersion | None:
    """The version that serves; None before the first."""
    book = _Book.of(records, now_s)
    return next((v for v in book.newest_first() if book.promoted(v) and book.stands(v)), None)


def shadow(records: Iterable[ModelVersion | Ruling], now_s: float | None = None) -> ModelVersion | None:
    """The undecided candidate that runs in shadow: newer than the live version, without a ruling; else None."""
    book = _Book.of(records, now_s)
    for candidate in book.newest_first():
        if book.promoted(candidate) and book.stands(candidate):
            return None  # live: what is older is out of the running
        if candidate.verdict == "undecided" and candidate.path and not book.ruled(candidate) and book.stands(candidate):
            return candidate
    return None


def stands(records: Iterable[ModelVersion | Ruling], name: str) -> bool:
    """Whether neither the version `name` nor an ancestor of it was rolled back."""
    return not _Book.of(records, None).fallen(name)


def ancestors(records: Iterable[ModelVersion | Ruling], name: str) -> list[str]:
    """Names of the parent of `name`, its parent, and so on, as far as records of them are there."""
    book = _Book.of(records, None)
    return book.line(name)[1:]


@dataclass(frozen=True, slots=True)
class _Book:
    """Versions by name, and rulings by (version, ruling), that are in force."""

    versions: dict[str, ModelVersion]
    rulings: dict[tuple[str, str], Ruling]
    now_s: float | None

    @classmethod
    def of(cls, records: Iterable[ModelVersion | Ruling], now_s: float | None) -> _Book:
        versions: dict[str, ModelVersion] = {}
        rulings: dict[tuple[str, str], Ruling] = {}
        for record in records:
            if isinstance(record, ModelVersion):
                versions[record.version] = record
            elif now_s is None or record.live_at_s <= now_s:
                rulings[record.version, record.ruling] = record
        return cls(versions, rulings, now_s)

    def newest_first(self) -> list[ModelVersion]:
        """Versions whose time has come, newest first."""
        due = [v for v in self.versions.values() if self.now_s is None or v.live_at_s <= self.now_s]
        return sorted(due, key=lambda v: number(v.version), reverse=True)

    def promoted(self, version: ModelVersion) -> bool:
        return version.verdict == "promoted" or (version.version, "promoted") in self.rulings

    def ruled(self, version: ModelVersion) -> bool:
        return any(name == version.version for name, _ in self.rulings)

    def stands(self, version: ModelVersion) -> bool:
        """Neither it nor an ancestor was rolled back."""
        return not self.fallen(version.version)

    def fallen(self, name: str) -> bool:
        """It or an ancestor was rolled back."""
        return any((one, "rollback") in self.rulings for one in self.line(name))

    def line(self, name: str) -> list[str]:
        """`name`, its parent, and so on; a parent whose own record is gone is the last."""
        out = [name]
        while (version := self.versions.get(out[-1])) is not None and version.parent and version.parent not in out:
            out.append(version.parent)
        return out
