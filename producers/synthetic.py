"""Made-up users whose interests change at known times.

Each item belongs to one topic and is titled with that topic's words, so that text tells topics apart. Within a topic
popularity falls with rank to the power `-popularity`. A user draws most events from one topic (their interest), the
rest from all. With `styles` above 1 each item has a style, too, which no text tells, and a user keeps to one of them
within their interest. With `sequence` above 0 so many events follow the person's event before: each topic has one that
comes after it, in a ring of all of them. Kinds of change that can be planted, each known to the second:

- *swap*: a user's interest becomes another at once; at times of their own, or all on `swap_day`;
- *gradual*: it moves over to another evenly within `gradual_days`;
- *category*: all users interested in one topic swap to another at the same time;
- *population*: the popularity ranks within every topic are drawn anew, for everybody;
- *segment*: ranks and styles of one topic's items are drawn anew: what goes with what, and what is popular;
- *tastes*: the same in every topic;
- *sequence*: the ring is drawn anew: what is popular stays so, and what comes after what changes;
- *arrivals*: items come into the catalogue, and among them are the most popular ones.

A season that recurs is no change: on Saturdays and Sundays the share `weekend` of all events is of one topic.

A share of the users who turn (swap or gradual) may say so: a search in words of the topic they turn to, within the hour
before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from heapq import merge
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.errors import LogError
from stream.events import Interaction, Item, rfc3339

Kind = Literal["swap", "gradual", "category", "population", "segment", "tastes", "sequence", "arrivals"]
T = TypeVar("T")
Lists = list[list[list[int]]]  # item numbers by topic and style, the most popular first

DAY_S = 86_400.0
SAID_BEFORE_S = 3_600.0  # longest time between what a user says and their turn
START_S = 1_704_067_200.0  # 2024-01-01T00:00:00Z
WORDS: dict[str, tuple[str, ...]] = {
    "Garden": ("garden", "flower", "watering", "seed", "plant", "lawn", "rake", "herb", "pot", "hedge"),
    "Kitchen": ("kitchen", "baking", "saucepan", "spoon", "recipe", "oven", "whisk", "apron", "spice", "bowl"),
    "Toys": ("toy", "puzzle", "doll", "building", "blocks", "teddy", "train", "marble", "kite", "puppet"),
    "Books": ("novel", "mystery", "chapter", "author", "poetry", "library", "story", "paperback", "history", "atlas"),
    "Music": ("guitar", "piano", "record", "violin", "song", "drum", "melody", "concert", "flute", "chord"),
    "Sports": ("football", "running", "racket", "training", "swimming", "helmet", "bicycle", "yoga", "tennis", "goal"),
    "Travel": ("suitcase", "travel", "map", "passport", "beach", "hotel", "compass", "tent", "island", "backpack"),
    "Technology": ("laptop", "camera", "cable", "keyboard", "charger", "screen", "robot", "speaker", "sensor", "drone"),
}
NAMES = tuple(WORDS)
ADJECTIVES = ("small", "large", "classic", "modern", "red", "blue", "green", "light", "deluxe", "simple", "vintage")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make; shares are of all users, and days count from the start."""

    users: int = 500
    items: int = 800
    events: int = 20_000
    days: float = 90.0
    focus: float = 0.8  # share of a user's events within their interest
    popularity: float = 1.0  # exponent of the power law within a topic
    swaps: float = 0.2  # share of users with a swap, at a time drawn from the middle half of the span
    gradual: float = 0.1
    gradual_days: float = 20.0
    category_day: float | None = None  # None: no such change
    population_day: float | None = None
    swap_day: float | None = None  # of all swaps; None: each has a time of its own
    segment_day: float | None = None
    tastes_day: float | None = None
    sequence: float = 0.0  # share of events whose topic is the one that comes after that of the person's last event
    sequence_day: float | None = None
    arrivals_day: float | None = None
    arrivals: float = 0.1  # share of items that come on that day, if there is one
    styles: int = 1  # within each topic
    weekend: float = 0.0
    says: float = 0.0  # share of users with a change of their own who search for their new topic before
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "users": (self.users >= 1, "at least 1"),
            "items": (self.items >= len(NAMES), f"at least {len(NAMES)}, one for each topic"),
            "events": (self.events >= 0, "at least 0"),
            "days": (self.days > 0, "above 0"),
            "focus": (0 <= self.focus <= 1, "between 0 and 1"),
            "popularity": (self.popularity >= 0, "at least 0"),
            "gradual_days": (self.gradual_days > 0, "above 0"),
            "swaps": (0 <= self.swaps <= 1, "between 0 and 1"),
            "says": (0 <= self.says <= 1, "between 0 and 1"),
            "styles": (1 <= self.styles <= self.items // len(NAMES), "between 1 and the items of a topic"),
            "arrivals": (0 <= self.arrivals <= 0.5, "between 0 and 0.5"),
            "sequence": (0 <= self.sequence <= 1, "between 0 and 1"),
            "weekend": (0 <= self.weekend <= 1, "between 0 and 1"),
            "gradual": (0 <= self.gradual <= 1 - self.swaps, "between 0 and 1, with swaps"),
        }
        for name, (held, rule) in rules.items():
            if not held:
                raise LogError(f"synthetic {name} must be {rule}, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class Change:
    """A planted change: the ground truth of drift detection."""

    kind: Kind
    at_s: float  # event time at which it begins
    until_s: float  # and at which it is complete
    user_id: str = ""  # "" where it concerns more than one
    before: str = ""  # the topic of interest
    after: str = ""


@dataclass(slots=True)
class World:
    """A catalogue, its users, and the changes planted; `interactions` draws the same events on every call.

    >>> world = World(Plan(users=20, items=16, events=100, swaps=0.5))
    >>> len(world.items), len(list(world.interactions())), sum(c.kind == "swap" for c in world.changes)
    (16, 100, 10)
    >>> world.items[0].categories, list(world.interactions()) == list(world.interactions())
    (['Garden'], True)
    """

    plan: Plan
    items: list[Item] = field(init=False)
    changes: list[Change] = field(init=False)
    _interest: NDArray[np.intp] = field(init=False)  # (U,) topic of each user at the start
    _own: dict[str, list[Change]] = field(init=False)  # changes of each user who has any

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.plan.seed, 1])
        self.items = [_item(number, rng) for number in range(self.plan.items)]
        self._interest = rng.integers(len(NAMES), size=self.plan.users)
        self.changes = sorted(self._draw_changes(rng), key=lambda change: (change.at_s, change.user_id))
        self._own = {c.user_id: self._changes_of(c.user_id) for c in self.changes}

    def interactions(self) -> Iterator[Interaction]:
        """Events in order of event time, searches among them."""
        return merge(self.searches(), self._clicks(), key=lambda event: event.at_s)

    def searches(self) -> list[Interaction]:
        """What users say before they turn, in order of event time: three words of the new topic."""
        rng = np.random.default_rng([self.plan.seed, 3])
        turns = [change for change in self.changes if change.user_id]
        said = rng.permutation(len(turns))[: round(self.plan.says * len(turns))].tolist()
        return sorted((_search(turns[number], rng) for number in said), key=lambda event: (event.at_s, event.event_id))

    def _clicks(self) -> Iterator[Interaction]:
        plan, rng = self.plan, np.random.default_rng([self.plan.seed, 2])
        activity = rng.gamma(1.0, size=plan.users) + 0.1
        users = rng.choice(plan.users, size=plan.events, p=activity / activity.sum())
        offsets_ms = np.sort(rng.integers(int(plan.days * DAY_S * 1000), size=plan.events))
        shelves = self._shelves(self._shuffles(rng))
        more = np.random.default_rng([plan.seed, 4])
        walk, rings, last = np.random.default_rng([plan.seed, 7]), self._rings(), dict[int, int]()
        style, weekend = more.integers(plan.styles, size=plan.users).tolist(), int(more.integers(len(NAMES)))
        for number, (user, offset_ms) in enumerate(zip(users.tolist(), offsets_ms.tolist(), strict=True)):
            at_s = START_S + offset_ms / 1000
            focused = rng.random() < plan.focus
            topic = self.interest(user, at_s, rng.random()) if focused else int(rng.integers(len(NAMES)))
            if plan.weekend and int(offset_ms / 1000 / DAY_S) % 7 > 4 and more.random() < plan.weekend:
                topic = weekend  # the first day of a log is a Monday
            if plan.sequence and user in last and walk.random() < plan.sequence:
                topic = _then(rings, at_s)[last[user]]
            last[user] = topic
            lists = _then(shelves, at_s)[topic]
            chosen = lists[style[user] if focused else -1]
            item = chosen[_power_law(rng, len(chosen), plan.popularity)]
            yield Interaction(
                event_id=f"s{plan.seed}-{number}",
                user_id=f"u{user}",
                item_id=self.items[item].item_id,
                event="click",
                at=int(START_S * 1000) + offset_ms,
            )

    def interest(self, user: int, at_s: float, draw: float) -> int:
        """The topic of `user` at a time; during a gradual change the draw from [0, 1) decides which of the two."""
        topic = int(self._interest[user])
        for change in self._own.get(f"u{user}", self._own.get("", ())):
            concerned = change.user_id or change.before == NAMES[topic]
            if concerned and at_s >= change.at_s:
                span_s = change.until_s - change.at_s
                done = 1.0 if span_s == 0 else min(1.0, (at_s - change.at_s) / span_s)
                topic = NAMES.index(change.after) if draw < done else topic
        return topic

    def _draw_changes(self, rng: np.random.Generator) -> Iterator[Change]:
        plan, span_s = self.plan, self.plan.days * DAY_S
        order = rng.permutation(plan.users).tolist()
        swaps, gradual = round(plan.swaps * plan.users), round(plan.gradual * plan.users)
        for rank, user in enumerate(order[: swaps + gradual]):
            kind: Kind = "swap" if rank < swaps else "gradual"
            at_s = START_S + float(rng.uniform(0.25, 0.75)) * span_s
            if kind == "swap" and plan.swap_day is not None:
                at_s = START_S + plan.swap_day * DAY_S
            until_s = at_s if kind == "swap" else at_s + plan.gradual_days * DAY_S
            before = int(self._interest[user])
            after = (before + int(rng.integers(1, len(NAMES)))) % len(NAMES)
            yield Change(kind, at_s, until_s, f"u{user}", NAMES[before], NAMES[after])
        if plan.category_day is not None:
            at_s = START_S + plan.category_day * DAY_S
            before, after = rng.choice(len(NAMES), size=2, replace=False).tolist()
            yield Change("category", at_s, at_s, "", NAMES[before], NAMES[after])
        more = np.random.default_rng([plan.seed, 5])
        for whole, day in self._days().items():
            if day is not None:
                at_s = START_S + day * DAY_S
                topic = NAMES[int(more.integers(len(NAMES)))] if whole == "segment" else ""
                yield Change(whole, at_s, at_s, "", topic, topic)

    def _days(self) -> dict[Kind, float | None]:
        """Changes of the catalogue, and when."""
        plan = self.plan
        return {"population": plan.population_day, "segment": plan.segment_day, "tastes": plan.tastes_day,
                "sequence": plan.sequence_day, "arrivals": plan.arrivals_day}  # fmt: skip

    def _changes_of(self, user_id: str) -> list[Change]:
        """The user's own changes and those of categories, in order of time."""
        return [c for c in self.changes if c.user_id in (user_id, "") and c.kind not in self._days()]

    def _rings(self) -> list[tuple[float, list[int]]]:
        """What comes after each topic, and from when on."""
        rng = np.random.default_rng([self.plan.seed, 8])
        from_s = [-np.inf, *(c.at_s for c in self.changes if c.kind == "sequence")]
        return [(at_s, _ring(rng.permutation(len(NAMES)).tolist())) for at_s in from_s]

    def _shuffles(self, rng: np.random.Generator) -> list[list[list[int]]]:
        """Item numbers by popularity rank: before and after the population's change, per topic."""
        members = [list(range(topic, self.plan.items, len(NAMES))) for topic in range(len(NAMES))]
        return [[rng.permutation(numbers).tolist() for numbers in members] for _ in range(2)]

    def _shelves(self, shuffles: list[list[list[int]]]) -> list[tuple[float, Lists]]:
        """What there is to choose from, and from when on; the last list of a topic holds all of its items."""
        plan, rng = self.plan, np.random.default_rng([self.plan.seed, 6])
        ranks, style = shuffles[0], (np.arange(plan.items) // len(NAMES) % plan.styles).tolist()
        late: list[int] = rng.permutation(plan.items)[: round(plan.arrivals * plan.items)].tolist()
        away = set(late) if plan.arrivals_day is not None else set[int]()
        shelves = [(-np.inf, _lists(ranks, style, away, plan.styles))]
        for change in (c for c in self.changes if c.kind in self._days()):
            if change.kind == "population":
                ranks = shuffles[1]
            if change.kind in ("segment", "tastes"):
                for topic in [NAMES.index(change.after)] if change.after else range(len(NAMES)):
                    ranks = [rng.permutation(own).tolist() if t == topic else own for t, own in enumerate(ranks)]
                    for item, new in zip(ranks[topic], rng.permutation(len(ranks[topic])).tolist(), strict=True):
                        style[item] = new % plan.styles
            if change.kind == "arrivals":
                ranks = [sorted(own, key=lambda item: item not in away) for own in ranks]
                away = set()
            shelves.append((change.at_s, _lists(ranks, style, away, plan.styles)))
        return shelves


def _then(held: list[tuple[float, T]], at_s: float) -> T:
    """Of what holds from some time on, in order, that which holds at `at_s`."""
    return next(what for from_s, what in reversed(held) if at_s >= from_s)


def _ring(order: list[int]) -> list[int]:
    """What comes after each of the numbers that stand in this order.

    >>> _ring([2, 0, 1])
    [1, 2, 0]
    """
    after = dict(zip(order, order[1:] + order[:1], strict=True))
    return [after[number] for number in range(len(order))]


def _lists(ranks: list[list[int]], style: list[int], away: set[int], styles: int) -> Lists:
    there = [[item for item in own if item not in away] for own in ranks]
    if styles == 1:
        return [[own] for own in there]
    return [[*([i for i in own if style[i] == s] or own for s in range(styles)), own] for own in there]


def write_truth(path: Path, changes: list[Change]) -> None:
    """Write the planted changes as JSON lines; times as RFC 3339.

    Raises:
        LogError: the file cannot be written.
    """
    rows = [{**asdict(c), "at": rfc3339(c.at_s), "until": rfc3339(c.until_s)} for c in changes]
    for row in rows:
        del row["at_s"], row["until_s"]
    try:
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    except OSError as error:
        raise LogError(f"{path} cannot be written: {error}") from None


def _item(number: int, rng: np.random.Generator) -> Item:
    """Item `number`, of topic `number` modulo their count: an adjective and three words of the topic."""
    topic = NAMES[number % len(NAMES)]
    words = rng.choice(WORDS[topic], size=3, replace=False).tolist()
    adjective = ADJECTIVES[int(rng.integers(len(ADJECTIVES)))]
    return Item(item_id=f"i{number}", title=" ".join([adjective, *words]).capitalize(), categories=[topic])


def _search(change: Change, rng: np.random.Generator) -> Interaction:
    words = rng.choice(WORDS[change.after], size=3, replace=False).tolist()
    return Interaction(
        event_id=f"said-{change.user_id}",
        user_id=change.user_id,
        event="search",
        text=" ".join(words),
        at=int((change.at_s - rng.uniform(0, SAID_BEFORE_S)) * 1000),
    )


def _power_law(rng: np.random.Generator, size: int, exponent: float) -> int:
    """A rank below `size`, drawn with weights (rank + 1) ** -exponent."""
    edges = _edges(size, exponent)
    return int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))


@cache
def _edges(size: int, exponent: float) -> NDArray[np.float64]:
    """Cumulated weights, (size,)."""
    return np.cumsum(np.arange(1, size + 1, dtype=np.float64) ** -exponent)
