"""Evidence for a training, gathered over the whole population: pure, and all of it can be written down as numbers.

A single person's drift is barely detectable from ten events, so trainings need aggregated evidence: the loss of what is
served rises, over everybody or over the people of a segment (`Population`), more people raise alarms than usual
(`AlarmShare`), or people turn to items that the live model does not know (`Unknown`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import exp, fsum, lgamma, log, log1p

import msgspec

from stream.messages import BlockLoss
from stream.rises import BATCH, FEWEST, Rise, Season, threshold

EVERYBODY = ""  # the name of the stream of all blocks
MOST_STREAMS = 65  # everybody and, at most, so many segments less one: of a space there are 32
MARGIN = 4.0  # means of ten blocks are neither quite normal nor quite independent: a third more rises than planned
DOUBLED = 2.0  # alarms must be so many times those expected


@dataclass(frozen=True, slots=True)
class Reading:
    """One kind of evidence as it stands: what it measures now, and what it is held against."""

    trigger: str
    now: float
    threshold: float
    crossed: bool
    size: float = 0.0  # of the evidence, in the units of `stream.worth.PRIOR`
    gain: float = 0.0  # in log rank, that a refresh for this reason is expected to bring while it serves
    segment: str = ""
    began_s: float = 0.0  # event time; 0: unknown
    since: int = 0  # events tested since then


def tail(count: int, shape: float, mean: float) -> float:
    """P(X >= count) of a count whose rate is known only so well: negative binomial, Poisson for a large `shape`.

    >>> round(tail(1, 1e9, 1.0), 4)  # 1 - exp(-1)
    0.6321
    >>> f"{tail(30, 1e9, 5.0):.1e}", f"{tail(30, 5.0, 5.0):.1e}"
    ('2.8e-14', '3.1e-06')
    """
    if count <= 0:
        return 1.0
    if mean <= 0:
        return 0.0

    def probability(k: int) -> float:
        chosen = lgamma(k + shape) - lgamma(shape) - lgamma(k + 1) if shape < 1e6 else k * log(shape) - lgamma(k + 1)
        return exp(chosen + k * (log(mean) - log(shape + mean)) - shape * log1p(mean / shape))

    if count <= mean:
        return max(0.0, 1.0 - fsum(probability(k) for k in range(count)))
    total, k = 0.0, count
    while (term := probability(k)) > total * 1e-17:
        total, k = total + term, k + 1
    return min(1.0, total)


@dataclass(slots=True)
class AlarmShare:
    """Alarms among the newest `window` events, against this deployment's own usual rate.

    The rate that detectors were calibrated to is where it begins, as if seen over one window; what has left the window
    is learned, over at most ten of them. So a deployment whose people raise more alarms than planned is no news.

    >>> share = AlarmShare(window=1000, per_event=0.001)
    >>> for _ in range(10):
    ...     share.add(events=200, alarms=2)
    >>> share.events, share.alarms, round(share.expected, 1), f"{share.p_value:.0e}"  # ten, as before
    (1000, 10, 5.5, '9e-02')
    """

    window: int
    per_event: float
    buckets: deque[tuple[int, int]] = field(default_factory=deque)  # (events, alarms), oldest first
    events: int = 0
    alarms: int = 0
    usual_events: float = 0.0  # that have left the window, and their alarms
    usual_alarms: float = 0.0

    def add(self, events: int, alarms: int) -> None:
        """Take a stretch of events; whole stretches are let go while the window is full without them."""
        self.buckets.append((events, alarms))
        self.events, self.alarms = self.events + events, self.alarms + alarms
        while self.buckets and self.events - self.buckets[0][0] >= self.window:
            self._let_go()

    def clear(self) -> None:
        """Start anew: what was counted has had its consequence, and is usual from now on."""
        while self.buckets:
            self._let_go()

    def _let_go(self) -> None:
        events, alarms = self.buckets.popleft()
        self.events, self.alarms = self.events - events, self.alarms - alarms
        fade = min(1.0, 10 * self.window / (self.usual_events + events)) if self.usual_events + events else 1.0
        self.usual_events, self.usual_alarms = fade * (self.usual_events + events), fade * (self.usual_alarms + alarms)

    @property
    def _shape(self) -> float:
        """Alarms that the usual rate rests on; at least one, or the first alarm would be improbable."""
        return max(self.window * self.per_event, 1.0) + self.usual_alarms

    @property
    def expected(self) -> float:
        """Alarms that are usual among so many events."""
        return self._shape / (self.window + self.usual_events) * self.events

    @property
    def p_value(self) -> float:
        """How probable at least so many alarms are, if no more people drift than usual."""
        return tail(self.alarms, self._shape, self.expected)


@dataclass(slots=True)
class Unknown:
    """Share of the newest interactions that are about items which the live version does not know.

    >>> unknown = Unknown()
    >>> for _ in range(100):
    ...     unknown.add(events=200, unknown=60)
    >>> round(unknown.share, 2)
    0.3
    """

    memory: int = 1_000  # events that weigh as much as all before them
    events: float = 0.0
    unknown: float = 0.0

    def add(self, events: int, unknown: int) -> None:
        """Take a stretch of events."""
        kept = 0.5 ** (events / self.memory)
        self.events, self.unknown = kept * self.events + events, kept * self.unknown + unknown

    def clear(self) -> None:
        """Another version serves."""
        self.events = self.unknown = 0.0

    @property
    def share(self) -> float:
        """0 before enough was seen."""
        return self.unknown / self.events if self.events >= self.memory / 2 else 0.0


Watched = tuple[tuple[str, int, int, int], list[float], dict[str, list[float]], BlockLoss | None]  # a `Population`


@dataclass(slots=True)
class Population:
    """Watches the loss of what is served, over everybody and per segment, for rises that are no season.

    All streams together flag, over stationary blocks, once in `per` events or more: each gets an equal part of that, in
    its own number of values (see `stream.rises`). What one person does in a row says one thing: consecutive blocks of
    one group of people count as one, or whoever is hard to foretell and stays for an hour would be a rise of
    everybody's loss. Memory: 17 numbers per segment, and a week of 28 slots.
    """

    per: int
    version: str = ""  # whose losses they are
    events: int = 0  # tested, in all
    flagged: int = 0  # rises found, over all versions
    merged: int = 0  # blocks in `row`
    season: Season = field(default_factory=Season)
    streams: dict[str, Rise] = field(default_factory=dict)
    row: BlockLoss | None = None  # consecutive blocks of one group of people, as one

    def numbers(self) -> Watched:
        """Everything but the settings, for a state record."""
        rises = {name: stream.numbers() for name, stream in self.streams.items()}
        return (self.version, self.events, self.flagged, self.merged), self.season.numbers(), rises, self.row

    @classmethod
    def of(cls, per: int, numbers: Watched) -> Population:
        """Take back what `numbers` gave."""
        counts, season, rises, row = numbers
        return cls(per, *counts, Season.of(season), {name: Rise.of(held) for name, held in rises.items()}, row)

    def watch(self, version: str) -> None:
        """When another version serves, its losses are no continuation; with none, nothing that was found holds."""
        if version != self.version:
            self.version = version
            for stream in self.streams.values():
                if version:
                    stream.swap()
                else:
                    stream.restart()

    def settle(self) -> None:
        """What has risen has a consequence."""
        for stream in self.streams.values():
            stream.answer(self.events)

    def update(self, block: BlockLoss) -> list[str]:
        """Take one block; returns the streams in which a rise was found with those before it."""
        self.events += block.n
        row = self.row
        if row is not None and row.group == block.group:
            self.merged += 1
            mean = row.blend + (block.blend - row.blend) / self.merged
            self.row = msgspec.structs.replace(row, blend=mean, at_s=block.at_s)
            return []
        self.row, self.merged = block, 1
        return [] if row is None else self._take(row)

    def _take(self, block: BlockLoss) -> list[str]:
        everybody = self.streams.setdefault(EVERYBODY, Rise())
        usual = self.season.usual(block.at_s)
        if everybody.n >= FEWEST and not everybody.risen:
            self.season.learn(block.at_s, block.blend - everybody.mean)
        names = [EVERYBODY]
        if block.segment and (block.segment in self.streams or len(self.streams) < MOST_STREAMS):
            names.append(block.segment)
        found = []
        for name in names:
            stream = self.streams.setdefault(name, Rise())
            if stream.update(block.blend - usual, block.at_s, self._limit(stream), self.events):
                found.append(name)
        self.flagged += len(found)
        return found

    def _limit(self, stream: Rise) -> float:
        values_per_event = (stream.blocks + 1) / (BATCH * self.events)
        return threshold(MARGIN * self.per * len(self.streams) * values_per_event)

    @property
    def risen(self) -> Rise | None:
        """Everybody's rise, if there is one."""
        stream = self.streams.get(EVERYBODY)
        return stream if stream and stream.risen else None

    @property
    def risen_segment(self) -> tuple[str, Rise, float] | None:
        """The segment that has risen most, all of its people taken together, with its share of all blocks."""
        found = [(name, stream) for name, stream in self.streams.items() if name and stream.risen]
        if not found:
            return None
        all_blocks = self.streams[EVERYBODY].blocks
        name, stream = max(found, key=lambda pair: (pair[1].size * pair[1].blocks, pair[0]))
        return name, stream, stream.blocks / all_blocks


def readings(
    population: Population, share: AlarmShare, unknown: float, limits: Limits, new_events: int, age: float
) -> list[Reading]:
    """All evidence of policy `drift`, with its size; what it is worth others judge (`stream.worth`).

    Args:
        population: of the live version's losses.
        share: of alarmed people.
        unknown: share of interactions about items that the live version does not know.
        limits: what counts.
        new_events: interactions since the last training.
        age: of the live version, in e-folds by which the log has grown since its data ended.
    """
    rise, segment = population.risen, population.risen_segment
    named, part, of = segment if segment else ("", None, 0.0)
    moved = limits.reaction_events * max(share.alarms - share.expected, 0.0) / max(share.events, 1)
    many = share.p_value <= limits.p_value and share.alarms >= DOUBLED * share.expected
    return [
        _risen("population", rise, 1.0, population.events),
        replace(_risen("segment", part, of, population.events), segment=named),
        Reading("users", share.p_value, limits.p_value, many, min(moved, 1.0)),
        Reading("new-items", unknown, limits.unknown_share, unknown >= limits.unknown_share, unknown),
        Reading("staleness", float(new_events), float(limits.most), True, age),
    ]


def _risen(trigger: str, rise: Rise | None, of: float, events: int) -> Reading:
    """Of the stream that the share `of` all blocks is in."""
    if rise is None:
        return Reading(trigger, 0.0, 0.0, False)
    since = int(events - rise.began)
    return Reading(trigger, rise.size, 0.0, rise.due(events), rise.size * of, began_s=rise.began_s, since=since)


@dataclass(frozen=True, slots=True)
class Limits:
    """What evidence is held against; from the settings."""

    p_value: float
    unknown_share: float
    most: int  # interactions after which a training is due whatever it is worth
    reaction_events: int  # that an alarm concerns


def numbers(found: Sequence[Reading]) -> dict[str, float]:
    """Readings as they go into a job's record and into the log.

    >>> numbers([Reading("staleness", 20.0, 10.0, True, gain=3.0)])
    {'staleness': 20.0, 'staleness_threshold': 10.0, 'staleness_gain': 3.0}
    """
    out: dict[str, float] = {}
    for reading in found:
        out[reading.trigger], out[reading.trigger + "_threshold"] = reading.now, reading.threshold
        if reading.gain:
            out[reading.trigger + "_gain"] = reading.gain
    return out
