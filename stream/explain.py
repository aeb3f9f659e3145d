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
POPULAR, TASTE, AGAIN, MODEL, PEERS = "popular", "taste", "again", "model", "peers"
WORDS = {  # feature → what it is about, and words; {it}: an item of the history; {day}: when this one was chosen last
    "recent popularity": (POPULAR, "popular these days"),
    "seasonal popularity": (POPULAR, "popular this season"),
    "all-time popularity": (POPULAR, "one of the most chosen items of all"),
    "bought together, recent": (TOGETHER, "often chosen together with {it}"),
    "bought together": (TOGETHER, "often chosen together with {it}"),
    "bought next": (NEXT, "often chosen after {it}"),
    "language model": (MODEL, "fits what you chose last"),
    "interests": (TASTE, "close to your interests"),
    "interests of late": (TASTE, "close to what interests you of late"),
    "bought before": (AGAIN, "you chose it before, last on {day}"),
    "time since bought": (AGAIN, "you chose it before, last on {day}"),
    "share of visits": (AGAIN, "you chose it before, last on {day}"),
    "due again": (AGAIN, "you may need it again: you chose it on {day}"),
    "often bought again": (AGAIN, "often chosen again, as you did on {day}"),
    "bought by like people": (LIKE, "often chosen by people who have {it}"),
    "popular among people alike": (POPULAR, "popular with people like you"),
    "popular at this stage": (POPULAR, "popular with people of about as many choices as yours"),
    "bought by like people, recent": (LIKE, "often chosen by people who have {it}"),
    "bought lately by like people": (PEERS, "chosen lately by people with things like yours"),
    "bought afterwards": (LIKE, "often chosen later by people who have {it}"),
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
    phrases: dict[str, str] = field(default_factory=dict)  # by what they are about
    because: list[int] = field(default_factory=list)  # ordinals, those that are named first

    def tell(self, reasons: Mapping[str, float], speakers: Mapping[str, Sequence[int]]) -> None:
        """Put the strongest reasons into words.

        Args:
            reasons: contributions of the features that speak for the item, strongest first; all above zero.
            speakers: items of the history by the way in which they speak for it, strongest first.
        """
        least = LEAST * next(iter(reasons.values()), 0.0)
        about = {feature: WORDS.get(feature, (feature, f"high in “{feature}”")) for feature in reasons}
        for feature, (subject, words) in about.items():
            if reasons[feature] >= least and len(self.phrases) < PHRASES and subject not in self.phrases:
                self._say(subject, words, speakers.get(subject, ()))
        if self.varied:
            self.phrases[VARIETY] = VARIETY
        subjects = dict.fromkeys(subject for subject, _ in about.values())
        others = (other for subject in subjects for other in speakers.get(subject, ()))
        self.because = list(dict.fromkeys([*self.because, *others]))[:MOST]

    @property
    def sentence(self) -> str:
        """All that was said."""
        text = "; ".join(self.phrases.values()) or NOTHING
        return f"{text[0].upper()}{text[1:]}."

    def _say(self, subject: str, words: str, speakers: Sequence[int]) -> None:
        """One phrase, unless its item was named already, or it is about a day that there is not."""
        if "{it}" in words:
            if speakers and speakers[0] in self.because:
                return
            words = words.replace("{it}", self._named(speakers[0]) if speakers else "things that you have")
        elif "{day}" in words:
            if self.item not in self.memory.chosen_s:
                return
            words = words.replace("{day}", self.memory.day(self.item))
        self.phrases[subject] = words

    def _named(self, item: int) -> str:
        """An item of the history; the first with its day."""
        day = f", which you chose on {self.memory.day(item)}" if not self.because else ""
        self.because.append(item)
        return f"{self.memory.title(item)}{day}"
