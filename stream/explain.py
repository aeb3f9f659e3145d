"""Why an item is recommended, in one plain sentence: words for what speaks most for it, and the things it follows from.

A sentence says only what holds: a feature has a say where the item is above the average of all candidates in it and
gains by it, and an item of the history is named only where the statistics connect the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stream.speakers import MOST

TOGETHER, NEXT, LIKE = "together", "next", "like"  # ways in which an item of a history can speak for another
WAYS = {
    "bought together, recent": TOGETHER,
    "bought together": TOGETHER,
    "bought next": NEXT,
    "bought by like people": LIKE,
}
WORDS = {  # {it}: an item of the history; {day}: when this one was chosen last
    "recent popularity": "popular these days",
    "seasonal popularity": "popular this season",
    "all-time popularity": "one of the most chosen items of all",
    "bought together, recent": "often chosen together with {it}",
    "bought together": "often chosen together with {it}",
    "bought next": "often chosen after {it}",
    "language model": "fits what you chose last",
    "interests": "close to your interests",
    "interests of late": "close to what interests you of late",
    "bought before": "you chose it before, last on {day}",
    "time since bought": "you chose it before, last on {day}",
    "bought by like people": "often chosen by people who have {it}",
}
VARIETY = "adds variety to the list"
NOTHING = "nothing in particular stands out: the best guess so far"
PHRASES = 2  # of a sentence, not counting the one for variety
LEAST = 0.25  # share of the strongest contribution that another must have to be said
LONGEST = 60  # characters of a title
YEAR_S = 300 * 86_400.0  # beyond it a date needs its year
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Memory:
    """What sentences for one person may name, by ordinal.

    >>> memory = Memory(["m1", "m2"], {0: "Red mug"}, {0: 1_304_380_800.0}, now_s=1_305_000_000.0)
    >>> memory.title(0), memory.title(1), memory.day(0)
    ('Red mug', 'item m2', '3 May')
    """

    ids: Sequence[str]
    titles: Mapping[int, str]
    chosen_s: Mapping[int, float]  # newest event time of what the person has
    now_s: float

    def title(self, item: int) -> str:
        """The title, cut where it is long, or the id."""
        title = " ".join(self.titles.get(item, "").split())
        if len(title) > LONGEST:
            title = title[: LONGEST - 1].rstrip() + "…"
        return title or f"item {self.ids[item]}"

    def day(self, item: int) -> str:
        """The day (UTC) on which the person chose an item last."""
        at_s = self.chosen_s[item]
        moment = datetime.fromtimestamp(at_s, UTC)
        year = f" {moment.year}" if self.now_s - at_s > YEAR_S else ""
        return f"{moment.day} {MONTHS[moment.month - 1]}{year}"


@dataclass(slots=True)
class Explanation:
    """A sentence in the making, and the items of the history behind it.

    >>> memory = Memory(["m1", "m2"], {0: "Red mug"}, {0: 1_304_380_800.0}, now_s=1_305_000_000.0)
    >>> told = Explanation(memory, item=1)
    >>> told.tell({"bought next": 2.0, "recent popularity": 1.0, "interests": 0.2}, {NEXT: [0]})
    >>> told.sentence, told.because
    ('Often chosen after Red mug, which you chose on 3 May; popular these days.', [0])
    """

    memory: Memory
    item: int
    varied: bool = False  # it is in the list because it differs from the rest
    phrases: list[str] = field(default_factory=list)
    because: list[int] = field(default_factory=list)  # ordinals, those that are named first

    def tell(self, reasons: Mapping[str, float], speakers: Mapping[str, Sequence[int]]) -> None:
        """Put the strongest reasons into words.

        Args:
            reasons: contributions of the features that speak for the item, strongest first; all above zero.
            speakers: items of the history by the way in which they speak for it, strongest first.
        """
        least = LEAST * next(iter(reasons.values()), 0.0)
        for feature, share in reasons.items():
            if share >= least and len(self.phrases) < PHRASES:
                self._say(feature, speakers.get(WAYS.get(feature, ""), ()))
        if self.varied:
            self.phrases.append(VARIETY)
        ways = dict.fromkeys(WAYS[feature] for feature in reasons if feature in WAYS)
        others = (other for way in ways for other in speakers.get(way, ()))
        self.because = list(dict.fromkeys([*self.because, *others]))[:MOST]

    @property
    def sentence(self) -> str:
        """All that was said."""
        text = "; ".join(self.phrases or [NOTHING])
        return f"{text[0].upper()}{text[1:]}."

    def _say(self, feature: str, speakers: Sequence[int]) -> None:
        """One phrase, unless it says nothing new."""
        words, memory = WORDS.get(feature, f"high in “{feature}”"), self.memory
        if "{it}" in words:
            if any(speaker in self.because for speaker in speakers[:1]):
                return
            words = words.replace("{it}", self._named(speakers[0]) if speakers else "things that you have")
        elif "{day}" in words:
            if self.item not in memory.chosen_s:
                return
            words = words.replace("{day}", memory.day(self.item))
        if words not in self.phrases:
            self.phrases.append(words)

    def _named(self, item: int) -> str:
        """An item of the history; the first with its day."""
        day = f", which you chose on {self.memory.day(item)}" if not self.because else ""
        self.because.append(item)
        return f"{self.memory.title(item)}{day}"
