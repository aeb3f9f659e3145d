"""Online Retail, the bundled data set: a year of invoices of a British mail-order shop for gifts.

Chen, D. (2015), UCI Machine Learning Repository, doi:10.24432/C5BW33, CC BY 4.0. Of its 541,909 invoice lines these
are left out: those without CustomerID, cancellations and returns (Quantity not above zero), those without a
description, those with a price not above zero, and, of several lines of one invoice with the same item, all but the
first. Invoice times carry no time zone; they are read as UTC.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from stream.errors import LogError
from stream.events import Interaction, Item, rfc3339

BUNDLED = Path(__file__).parent / "data" / "online-retail" / "transactions.csv.gz"
COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]


class Line(NamedTuple):
    """One line of an invoice, cleaned."""

    at_s: int  # seconds since the epoch
    invoice: str
    item: str  # StockCode, upper case
    user: str
    quantity: int
    country: str


@dataclass(frozen=True, slots=True)
class Purchases:
    """The interactions of Online Retail, made anew on every iteration from the lines that are kept.

    >>> line = Line(60, "536365", "85123A", "17850", 6, "France")
    >>> next(iter(Purchases([line]))).event_id
    '536365-85123A'
    """

    lines: Sequence[Line]  # in order of event time

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Interaction]:
        for line in self.lines:
            yield Interaction(
                event_id=f"{line.invoice}-{line.item}",  # unique: an invoice names an item once
                user_id=line.user,
                item_id=line.item,
                at=line.at_s * 1000,
                event="purchase",
                value=float(line.quantity),
                group=line.invoice,
                user={"country": line.country},
            )


def load(path: Path = BUNDLED) -> tuple[list[Item], Purchases]:
    """Read the data set: items in order of their first sale, and purchases in order of (time, invoice).

    An item's title is the description that it carries most often in the whole file: a name, spelled in its usual way;
    it says nothing about when or by whom the item is bought. Its `at` is the time of its first kept line. An item is
    no candidate of the headline figures before that moment, as it has no interaction before.

    Raises:
        LogError: the file is missing, or is not the CSV of the data set.
    """
    titles: dict[str, Counter[str]] = defaultdict(Counter)
    lines = _first_of_invoice(_cleaned(path, titles))
    lines.sort(key=lambda line: (line.at_s, line.invoice))
    first_s: dict[str, int] = {}
    for line in lines:
        first_s.setdefault(line.item, line.at_s)
    items = [Item(item_id=item, title=_title(titles[item]), at=rfc3339(at_s)) for item, at_s in first_s.items()]
    return items, Purchases(lines)


def _cleaned(path: Path, titles: dict[str, Counter[str]]) -> Iterator[Line]:
    """Lines that count, in the order of the file; counts every description into `titles` on the way."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, None)
            if header != COLUMNS:
                raise LogError(f"{path}, line 1: columns must be {','.join(COLUMNS)}, got {header!r}")
            for invoice, code, description, quantity, date, price, customer, country in rows:
                if not customer or not description or int(quantity) <= 0 or float(price) <= 0:
                    continue
                item = sys.intern(code.upper().strip())
                titles[item][description] += 1
                user = sys.intern(customer.removesuffix(".0"))
                yield Line(_seconds(date), sys.intern(invoice), item, user, int(quantity), sys.intern(country))
    except (OSError, EOFError) as error:
        raise LogError(f"{path} must be the gzipped CSV of Online Retail: {error}") from None
    except ValueError as error:  # a number, a date, or the number of columns
        raise LogError(f"{path}, line {rows.line_num}: {error}") from None


def _first_of_invoice(lines: Iterator[Line]) -> list[Line]:
    """Keep the first line of every (invoice, item)."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for line in lines:
        pair = (line.invoice, line.item)
        if pair not in seen:
            seen.add(pair)
            kept.append(line)
    return kept


@cache
def _seconds(date: str) -> int:
    """Seconds since the epoch of `2010-12-01 08:26:00`."""
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp())


def _title(descriptions: Counter[str]) -> str:
    """The most frequent description (the first in the alphabet of several), in sentence case and single-spaced.

    >>> _title(Counter({"RED  RETROSPOT MUG ": 2, "mug?": 1}))
    'Red retrospot mug'
    """
    best = min(descriptions, key=lambda text: (-descriptions[text], text))
    return " ".join(best.split()).capitalize()
