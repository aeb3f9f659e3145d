"""The scorer: tests every event against what was known before its block, learns the block, recommends.

Test-then-learn in blocks (prequential evaluation; Dawid 1984, Gama, Sebastião, Rodrigues 2013): an event is ranked
with everything learned so far, but nothing of its own block. The block is learned once, when it closes: at another
block of that user, or `scoring.group_timeout_s` of event time after its newest event.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar

import msgspec
import numpy as np

from consumers import people
from consumers.examiner import Examiner
from consumers.items import Items
from consumers.lister import Lister
from consumers.people import Open, Part, Person, Profile
from consumers.shelf import ModelLoader, Shelf
from stream import events, messages, topics
from stream.blend import Blend
from stream.clusters import group_of
from stream.errors import StoreError
from stream.evidence import EVERYBODY, Population
from stream.fatigue import passed_over
from stream.groups import stage
from stream.messages import BlockLoss, Fresh, ModelHealth, ModelVersion, UserState
from stream.ranker import Ranker
from stream.records import Output, Record, Since
from stream.settings import Settings
from stream.space import Space
from stream.statistics import TAIL, ItemStats

SNAPSHOT_EVENTS = 50_000  # learned events of a partition between two whole writings of its changed item rows


class ScorerHandler:
    """Folds user-states records into statistics, blend and lists; see `stream.records.Handler`.

    Memory: O(items x neighbours) per partition of the deployment, O(tail + items owned) per user of the assigned
    partitions, and at most four models.
    """

    inputs: ClassVar[tuple[str, ...]] = (topics.USER_STATES,)
    broadcasts: ClassVar[tuple[str, ...]] = (
        topics.ITEM_VECTORS, topics.ADAPTED_VECTORS, topics.MODEL_VERSIONS, topics.ITEM_STATS
    )  # fmt: skip
    changelogs: ClassVar[tuple[str, ...]] = (topics.SCORER_STATES, topics.ITEM_STATS)

    def __init__(
        self,
        settings: Settings,
        model_loader: ModelLoader,
        space_loader: Callable[[ModelVersion], Space | None] | None = None,
    ) -> None:
        self.settings, self.config = settings, settings.scoring
        self.space_loader = space_loader
        self.items = Items()
        self.catalogue = self.items.catalogue
        self.tables: dict[int, ItemStats] = {}
        self.parts: dict[int, Part] = {}
        self.ranker = Ranker(self.catalogue, [])
        self.shelf = Shelf(model_loader)
        self.journal: list[dict[str, object]] = self.shelf.journal
        self._restored: dict[int, list[Record]] = {}
        self._counts: dict[str, int] = dict.fromkeys(("events", "untested", "recommendations", "erased", "reopened"), 0)
        self.examiner = Examiner(self.config, self.items, self.shelf, self.ranker)
        self.lister = Lister(settings, self.items, self.shelf, self.ranker, self.examiner.viewer)

    # ------------------------------------------------------------------ the four verbs

    def on_record(self, record: Record) -> Iterable[Output]:
        """Fold one record; raises BadRecord for one that is damaged."""
        if record.topic == topics.USER_STATES:
            self._finish_restore()
            return self._on_state(record)
        if record.topic == topics.ITEM_VECTORS:
            self.examiner.epoch += 1
            self.items.on_record(record)
        elif record.topic == topics.ADAPTED_VECTORS:
            self.examiner.epoch += 1
            self.items.on_adapted(record)
        elif record.topic == topics.MODEL_VERSIONS:
            self._on_version(record)
        elif record.topic == topics.ITEM_STATS:
            self._on_foreign(record)
        return ()

    def snapshot(self) -> Iterator[Output]:
        """What changed: people, the partition's own state, blocks learned; item rows whole from time to time."""
        ids = self.catalogue.ids
        for number, part in self.parts.items():
            for user_id in sorted(part.dirty):
                person = part.people.get(user_id)
                value = people.save_person(person, ids) if person else None
                yield Output(topics.SCORER_STATES, b"u/" + user_id.encode(), value, number)
            if part.log:
                part.segment += 1
                yield Output(topics.ITEM_STATS, b"log/%d" % part.segment, people.save_log(part, ids), number)
                part.log.clear()
            if part.learned >= (part.generation + 1) * SNAPSHOT_EVENTS:
                part.generation, part.segment = part.learned // SNAPSHOT_EVENTS, 0
                for item in sorted(part.changed):
                    key = b"i/" + ids[item].encode()
                    yield Output(topics.ITEM_STATS, key, people.save_row(part.stats, item, ids), number)
                part.changed.clear()
            if part.dirty:
                yield Output(topics.SCORER_STATES, b"part", people.save_part(part, ids), number)
                part.dirty.clear()

    def restore(self, record: Record) -> None:
        """Keep a changelog record until the broadcasts have been read: ordinals then come out as they were."""
        self._restored.setdefault(record.partition, []).append(record)

    def forget(self, user_id: str) -> Iterator[Output]:
        """Drop a person from every partition held; tombstones for their state and their list."""
        for number, part in self.parts.items():
            person = part.people.pop(user_id, None)
            if person is not None:
                part.peers.drop(user_id, person)
                part.dirty.discard(user_id)
                self._counts["erased"] += 1
                self.examiner.epoch += 1
                yield Output(topics.SCORER_STATES, b"u/" + user_id.encode(), None, number)
                yield Output(topics.RECOMMENDATIONS, user_id.encode(), None, number)

    def figures(self) -> Mapping[tuple[str, ...], float]:
        """Counters since the start of this handler, and gauges; see `stream.metrics`."""
        parts = list(self.parts.values())
        live = self.shelf.live
        out: dict[tuple[str, ...], float] = {
            ("events_total",): self._counts["events"],
            ("untested_total",): self._counts["untested"],
            ("users",): sum(len(p.people) for p in parts),
            ("items",): len(self.catalogue),
            ("recommendations_total",): self._counts["recommendations"],
            ("erased_total",): self._counts["erased"],
            ("reopened_total",): self._counts["reopened"],
            ("open_blocks",): sum(len(p.deadlines) for p in parts),
            ("event_timestamp_seconds",): max((p.clock_s for p in parts), default=0.0),
        }
        out |= {("swaps_total", result): n for result, n in self.shelf.swaps.items()}
        out |= self.examiner.measures.figures()
        if live:
            out["live_version_info", live.version.version] = 1
            out["model_horizon_timestamp_seconds",] = live.version.at_s
            out["model_published_timestamp_seconds",] = live.version.published_s
        if self.shelf.shadow_name:
            out["shadow_version_info", self.shelf.shadow_name] = 1
        return out

    # ------------------------------------------------------------------ broadcasts

    def _on_version(self, record: Record) -> None:
        if record.value is None:
            return
        version = messages.decode_version(record.value)
        self.shelf.on_version((record.key or b"").decode("utf-8", "replace"), version)
        if isinstance(version, ModelVersion) and version.space and self.space_loader:
            try:
                space = self.space_loader(version)
            except StoreError as error:
                self.journal.append({"event": "space-refused", "version": version.version, "reason": str(error)})
            else:
                if space is not None:
                    self.items.use(space)
        self.examiner.epoch += 1

    def _on_foreign(self, record: Record) -> None:
        """Take over what another scorer has learned of its partitions."""
        if record.value is None or record.partition in self.parts or record.partition in self._restored:
            return
        saved = people.read_stats(record.value)
        stats = self._table(record.partition)
        if isinstance(saved, people.SavedRow):
            people.load_row(saved, stats, self.catalogue)
        else:
            people.load_log(saved, stats, self.catalogue)
        self.examiner.epoch += 1

    # ------------------------------------------------------------------ test, then learn

    def _on_state(self, record: Record) -> Iterator[Output]:
        part = self._part(record.partition)
        if record.value is None:
            yield from self.forget((record.key or b"").decode("utf-8", "replace"))
            return
        state = messages.decode(UserState, record.value)
        person = part.people.setdefault(state.user_id, Person())
        missed = state.seq - len(state.fresh) - person.seq if person.seq else 0
        part.untested += max(missed, 0)
        self._counts["untested"] += max(missed, 0)
        new = state.fresh[-missed:] if missed < 0 else state.fresh  # a repeated record, or a part of one
        if state.attributes != person.attributes:
            person.attributes, self.examiner.epoch = state.attributes, self.examiner.epoch + 1
        for fresh in new:
            yield from self._on_event(record, part, person, state, fresh)
        profile = _profile(state)
        if person.open is not None:
            person.open.profile = profile
        else:
            person.adopt(profile)
        person.segment = state.segment
        person.seq = max(person.seq, state.seq)
        part.dirty.add(state.user_id)
        if (new or state.said) and part.events > self.config.warm_up_events:
            yield self._recommend(record, part, state, person)

    def _on_event(self, record: Record, part: Part, person: Person, state: UserState, fresh: Fresh) -> Iterator[Output]:
        part.clock_s = max(part.clock_s, fresh.at_s)
        part.through = max(part.through, fresh.offset)
        self._close_until(part, part.clock_s)
        if fresh.item_id and person.open is not None and person.open.block != state.block:
            self._close(part, state.user_id, person)
        if self.shelf.advance(part.clock_s):
            self.examiner.epoch += 1
        if part.serve(self.shelf.live.version.version if self.shelf.live else "", self.shelf.shadow_name):
            self.examiner.epoch += 1
        if not fresh.item_id:
            return  # a search, say: nothing to test or to learn
        item = self._item(fresh.item_id, part)
        opened = person.open
        if opened is None:
            profile = person.profile  # stands until the record's own is known, which speaks of its last event
            served = person.served or part.newcomers
            opened = Open(state.block, fresh.at_s, served=served, profile=profile, drifted=profile.drifted)
            person.open, opened.segment = opened, person.segment
            opened.losses[3:] = np.nan
        opened.at_s = max(opened.at_s, fresh.at_s)
        heapq.heappush(part.deadlines, (opened.at_s + self.config.group_timeout_s, state.user_id))
        counts = self.config.repeats or (item not in person.owned and item not in opened.items)
        if counts and part.events >= self.config.warm_up_events:
            self.examiner.test(part, state.user_id, person, opened, item)
            part.unknown += self.shelf.live is not None and fresh.item_id not in self.shelf.live.known
        if counts:
            opened.items.append(item)
        part.events += 1
        self._counts["events"] += 1
        if part.events % self.config.health_events == 0:
            yield self._health(record.partition, part)
            if part.events > self.config.warm_up_events:
                newcomer, since = Person(), Since(fresh.at_s, record.timestamp_ms)
                yield self._listed(record.partition, part, events.NEWCOMER, newcomer, fresh.event_id, since)
                part.newcomers = newcomer.served

    def _close_until(self, part: Part, now_s: float) -> None:
        while part.deadlines and part.deadlines[0][0] <= now_s:
            _, user_id = heapq.heappop(part.deadlines)
            person = part.people.get(user_id)
            due = person and person.open and person.open.at_s + self.config.group_timeout_s <= now_s
            if person and due:
                self._close(part, user_id, person)

    def _close(self, part: Part, user_id: str, person: Person) -> None:
        """Learn a block: weights, item statistics, the person's history."""
        opened, person.open = person.open, None
        if opened is None:
            return
        part.dirty.add(user_id)
        person.judge(opened)
        person.adopt(opened.profile)
        self.examiner.epoch += 1
        if opened.n:
            part.learn(opened)
            loss = _loss(opened, user_id)
            part.since_health.append(loss)
            if self.settings.drift.follow_population:
                self._follow(part, loss)
        if self.config.fatigue:
            passed_over(person.ignored, opened.served, opened.items)
        if not opened.items:
            return
        tail = person.tail[-TAIL:]
        attributes = person.attributes | stage(len(person.owned))
        learned = people.Learned(opened.at_s, tail, opened.items, attributes)
        part.changed |= part.stats.learn(*learned)
        part.log.append(learned)
        part.learned += len(opened.items)
        person.take(opened.items, opened.at_s, self.settings.users.tail)
        part.peers.put(user_id, person, dict.fromkeys(opened.items, 1))

    def _follow(self, part: Part, loss: BlockLoss) -> None:
        """Watch the loss of what is served; where it rises for everybody, let the weights move fast.

        It costs nothing and needs no training, and whoever trains follows later.
        """
        if part.population.update(msgspec.structs.replace(loss, segment="")):
            part.reopen()
            self._counts["reopened"] += 1
            rise = part.population.streams[EVERYBODY]
            self.journal.append(
                {"event": "weights-reopened", "began_s": rise.began_s, "statistic": round(rise.statistic, 3),
                 "before": round(rise.mean, 4), "after": round(rise.after, 4)}
            )  # fmt: skip

    # ------------------------------------------------------------------ outputs

    def _recommend(self, record: Record, part: Part, state: UserState, person: Person) -> Output:
        since = Since(state.fresh[-1].at_s if state.fresh else state.last_s, record.timestamp_ms)
        answers = state.said or state.fresh[-1].event_id
        return self._listed(record.partition, part, state.user_id, person, answers, since)

    def _listed(self, number: int, part: Part, user_id: str, person: Person, answers: str, since: Since) -> Output:
        message = self.lister.recommend(part, user_id, person, answers)
        self.examiner.measures.listed(person.served)
        self._counts["recommendations"] += 1
        return Output(topics.RECOMMENDATIONS, user_id.encode(), events.encode(message), number, since=since)

    def _health(self, number: int, part: Part) -> Output:
        live = self.shelf.live
        health = ModelHealth(
            partition=number,
            at_s=part.clock_s,
            through=part.through,
            events=part.events,
            users=len(part.people),
            tested=part.arrival.tested,
            hits=part.arrival.hits_10,
            ndcg=part.arrival.ndcg_10,
            served_tested=part.served.tested,
            served_hits=part.served.hits_10,
            popularity_hits=part.popularity.hits_10,
            version=live.version.version if live else "",
            shadow=self.shelf.shadow_name,
            blocks=part.since_health,
            new_items=part.new_items,
            unknown=part.unknown,
        )
        part.since_health = []
        return Output(topics.MODEL_HEALTH, b"%d" % number, messages.encode(health), number)

    # ------------------------------------------------------------------ what it looks at

    def _item(self, item_id: str, part: Part) -> int:
        known = len(self.catalogue)
        item = self.catalogue.add(item_id)
        if item >= known:
            self.examiner.epoch += 1
        part.stats.reserve(item + 1)
        if part.stats.count[item] == 0:
            part.new_items += 1
        return item

    def _table(self, number: int) -> ItemStats:
        if number not in self.tables:
            c = self.config
            self.tables[number] = ItemStats(c.short_half_life_s, c.long_half_life_s, c.neighbours)
            self.ranker.tables = [self.tables[p] for p in sorted(self.tables)]
        return self.tables[number]

    def _part(self, number: int) -> Part:
        if number not in self.parts:
            watched = Population(self.settings.trigger.false_trigger_events)
            self.parts[number] = Part(Blend(self.config.blend_prior), self._table(number), watched)
        return self.parts[number]

    # ------------------------------------------------------------------ recovery

    def _finish_restore(self) -> None:
        """Rebuild partitions from what `restore` kept: rows whole, then the blocks learned since, then people."""
        if not self._restored:
            return
        for number, records in sorted(self._restored.items()):
            part = self._part(number)
            newest = {(r.topic, r.key): r for r in records}
            stats = [people.read_stats(r.value) for (t, _), r in newest.items() if t == topics.ITEM_STATS and r.value]
            for row in sorted((s for s in stats if isinstance(s, people.SavedRow)), key=lambda s: s.ordinal):
                self.catalogue.add(row.item_id)
            for saved in stats:
                if isinstance(saved, people.SavedRow):
                    people.load_row(saved, part.stats, self.catalogue)
            self._restore_states(part, newest)
            logs = (s for s in stats if isinstance(s, people.SavedLog) and s.generation == part.generation)
            for log in sorted(logs, key=lambda s: s.segment):
                part.changed |= people.load_log(log, part.stats, self.catalogue)
        self._restored.clear()
        self.examiner.epoch += 1

    def _restore_states(self, part: Part, newest: Mapping[tuple[str, bytes | None], Record]) -> None:
        for (topic, key), record in newest.items():
            if topic != topics.SCORER_STATES or record.value is None:
                continue
            saved = people.read_state(record.value)
            if isinstance(saved, people.SavedPart):
                people.load_part(saved, part, self.catalogue)
                continue
            user_id = (key or b"").decode().removeprefix("u/")
            person = part.people[user_id] = people.load_person(saved, self.catalogue)
            part.peers.put(user_id, person, person.owned)
            if person.open:
                heapq.heappush(part.deadlines, (person.open.at_s + self.config.group_timeout_s, user_id))


def _profile(state: UserState) -> Profile:
    return Profile(
        state.space,
        messages.as_vector(state.slow),
        messages.as_vector(state.fast),
        bool(state.drift and state.drift[0] > 0),
        state.changed_s,
    )


def _loss(opened: Open, user_id: str) -> BlockLoss:
    mean = opened.losses / opened.n
    blend, model, popularity = (float(x) for x in mean[:3])
    parent, reference, shadow, shadow_mrr = (None if np.isnan(x) else float(x) for x in mean[3:])
    return BlockLoss(
        opened.at_s,
        opened.n,
        blend,
        model,
        popularity,
        parent,
        reference,
        shadow,
        shadow_mrr,
        opened.drifted,
        opened.segment,
        group_of(user_id),
    )
