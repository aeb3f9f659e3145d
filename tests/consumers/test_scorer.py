from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from consumers import people
from consumers.measures import Measures
from consumers.people import Part, Person, Profile
from consumers.scorer import ScorerHandler
from consumers.shelf import NextItem
from stream import events, messages, topics
from stream.blend import MODEL
from stream.clusters import group_of
from stream.errors import BadRecord
from stream.fatigue import REASON
from stream.groups import EVERYBODY, STAGE
from stream.linear import LinearModel, Table
from stream.messages import Fresh, ItemVector, ModelHealth, ModelVersion, Ruling, UserState
from stream.records import Output, Record
from stream.settings import Settings, load

ITEMS = [f"i{n}" for n in range(12)]


class Model:
    """Logits are the item's first base dimension."""

    base_dim = 4
    item_ids: tuple[str, ...] = ()
    linear: LinearModel | None = None
    adapter = ""

    def item_matrix(self, item_ids: Sequence[str], vectors: Any) -> Any:
        return np.asarray(vectors, np.float32)

    def user_vector(self, item_vectors: Any, times_s: Any) -> Any:
        return np.array([1.0, 0.0, 0.0, 0.0], np.float32)


def model_loader(version: ModelVersion) -> "Future[NextItem]":
    future: Future[NextItem] = Future()
    future.set_result(Model())
    return future


def settings(**scoring: Any) -> Settings:
    return load(scoring={"health_events": 10, "k": 3, **scoring})


def handler(**scoring: Any) -> ScorerHandler:
    return ScorerHandler(settings(**scoring), model_loader)


class Driver:
    """Makes user-states records as interest would, and feeds them."""

    def __init__(self, scorer: ScorerHandler, partition: int = 0) -> None:
        self.scorer, self.partition = scorer, partition
        self.seq: dict[str, int] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self.mass: dict[str, float] = {}
        self.changed_s: dict[str, float] = {}  # when interests changed, by person
        self.offset = 0
        self.outputs: list[Output] = []

    def send(self, topic: str, key: str, value: bytes | None) -> list[Output]:
        record = Record(topic, self.partition, self.offset, key.encode(), value)
        self.offset += 1
        out = list(self.scorer.on_record(record))
        self.outputs += out
        return out

    def item(self, item_id: str, at_s: float = 0.0, available: bool = True) -> None:
        vector = np.zeros(4, np.float32)
        vector[0] = int(item_id[1:])
        message = ItemVector(item_id, messages.as_bytes(vector), item_id, "", [], available, at_s)
        self.send(topics.ITEM_VECTORS, item_id, messages.encode(message))

    def buy(self, user: str, at_s: float, *items: str, block: str = "") -> list[Output]:
        return self.state(user, at_s, items, block or f"@{at_s}")

    def state(self, user: str, at_s: float, items: Iterable[str], block: str, skip: int = 0) -> list[Output]:
        items = list(items)
        fresh = [Fresh(f"{user}-{at_s}-{i}", item, at_s, 1.0, "purchase") for i, item in enumerate(items)]
        seq = self.seq[user] = self.seq.get(user, 0) + len(items) + skip
        zero = messages.as_bytes(np.zeros(64, np.float32))
        message = UserState(user, seq, 0.0, at_s, "s", zero, zero, {}, [], [], [], [], [], self.offset, block, fresh)
        message.attributes, message.mass = self.attributes.get(user, {}), self.mass
        message.changed_s = self.changed_s.get(user, 0.0)
        return self.send(topics.USER_STATES, user, messages.encode(message))

    def version(self, name: str, parent: str = "", live_at_s: float = 0.0, verdict: str = "promoted") -> None:
        record = ModelVersion(
            name, verdict, parent, 5.0, live_at_s, {}, "j", "clock", {}, name, "", "", 1, 1.0, 1, {}, 0.0
        )
        self.send(topics.MODEL_VERSIONS, name, messages.encode(record))


def lists(outputs: Iterable[Output], newcomers: bool = False) -> list[events.Recommendation]:
    """Lists of people, or those for newcomers."""
    of = [o for o in outputs if o.topic == topics.RECOMMENDATIONS and (o.key == b"~newcomer") == newcomers]
    return [events.decode(events.Recommendation, o.value) for o in of]


def random_log(n: int, seed: int = 0) -> list[tuple[str, float, list[str]]]:
    rng = np.random.default_rng(seed)
    return [
        (f"u{rng.integers(5)}", 30.0 * t, [ITEMS[i] for i in rng.choice(12, rng.integers(1, 4), replace=False)])
        for t in range(n)
    ]


def state_of(scorer: ScorerHandler) -> Any:
    """Everything that may influence what comes later, in comparable form."""
    part = scorer.parts[0]
    n = len(scorer.catalogue)
    return {
        "weights": part.blend.weights.tolist(),
        "tallies": [part.arrival, part.served, part.catalogue, part.popularity],
        "counts": part.stats.count[:n].tolist(),
        "short": part.stats.short[:n].tolist(),
        "rows": [part.stats.neighbours.row(i) for i in range(n)],
        "next": [part.stats.followers.row(i) for i in range(n)],
        "groups": [part.stats.groups.row(i) for i in range(n)],
        "people": {
            user: (p.seq, p.tail, p.owned, p.served, p.open and (p.open.block, p.open.items, p.open.gradient.tolist()))
            for user, p in part.people.items()
        },
        "changes": {user: (p.profile.changed_s, p.odds, p.open and p.open.gain) for user, p in part.people.items()},
        "ignored": {user: list(p.ignored.items()) for user, p in part.people.items()},
        "events": part.events,
        "losses": part.since_health,
        "swapped": (part.version, part.since_swap),
        "newcomers": part.newcomers,
        "population": part.population.numbers(),
        "shadow": (part.shadow, part.shadow_blend and part.shadow_blend.weights.tolist()),
        "in shadow": {user: p.open and p.open.shadow_gradient.tolist() for user, p in part.people.items()},
    }


def test_nothing_of_a_block_is_learned_before_it_is_tested() -> None:
    drive = Driver(handler())
    drive.buy("ann", 0.0, "i1")
    drive.buy("bob", 100.0, "i1")  # ann's block has closed by time: i1 is known, i2 is not
    part = drive.scorer.parts[0]
    assert part.arrival.tested == 2
    assert part.arrival.cold == 0  # the very first event: with nothing known, everything known is a candidate
    drive.state("bob", 100.0, ["i2"], "@100.0")
    assert part.arrival.cold == 1
    drive.state("bob", 100.0, ["i2"], "@100.0")  # the same block again: i2 is still not learned
    assert part.arrival.cold == 2
    assert part.stats.count[drive.scorer.catalogue.ordinals["i2"]] == 0


def test_the_loss_that_is_told_is_that_of_a_distribution_over_all_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    drive, told = Driver(handler()), list[dict[str, float]]()
    for at_s, item in enumerate(("i1", "i2", "i2", "i3", "i1")):
        drive.buy("ann", 100.0 * at_s, item)
    monkeypatch.setattr(Measures, "tested", lambda _, version, ranks, losses: told.append(losses))
    drive.buy("bob", 1000.0, "i1", "i2", "i3")  # all that anybody had
    assert len(told) == 3
    for ranking in ("arrival", "popularity"):
        assert sum(np.exp(-losses[ranking]) for losses in told) == pytest.approx(1.0)
    assert told[0]["arrival"] != told[2]["arrival"]


def test_a_block_closes_at_another_block_of_its_user_or_by_time() -> None:
    drive = Driver(handler(group_timeout_s=60.0))
    part = drive.scorer._part(0)
    drive.buy("ann", 0.0, "i1")
    drive.buy("ann", 1.0, "i2")
    assert part.stats.count[:2].tolist() == [1.0, 0.0]
    drive.buy("bob", 60.9, "i3")
    assert part.stats.count[1] == 0.0
    drive.buy("cid", 61.0, "i3")
    assert part.stats.count[1] == 1.0
    assert part.people["ann"].open is None


@pytest.mark.parametrize("split", [1, 2])
def test_where_records_are_split_changes_nothing(split: int) -> None:
    whole, parts = Driver(handler(fatigue=0.5)), Driver(handler(fatigue=0.5))
    for drive in (whole, parts):
        drive.version("v1")
        for item in ITEMS[:9]:
            drive.item(item)
    whole.changed_s = parts.changed_s = {"u1": 400.0, "u2": 900.0}
    for user, at_s, items in random_log(60):
        whole.buy(user, at_s, *items)
        for i in range(0, len(items), split):
            parts.buy(user, at_s, *items[i : i + split])
    assert state_of(whole.scorer) == state_of(parts.scorer)
    last = {(r.user_id, r.at): r for r in lists(parts.outputs)}  # the list that stands when the block is whole
    assert {(r.user_id, r.at): r.items for r in lists(whole.outputs)} == {k: r.items for k, r in last.items()}
    health = [[o.value for o in d.outputs if o.topic == topics.MODEL_HEALTH] for d in (whole, parts)]
    decoded = [[messages.decode(ModelHealth, v) for v in values] for values in health]
    assert [h.blocks for h in decoded[0]] == [h.blocks for h in decoded[1]]


@pytest.mark.parametrize("crash", [1, 7, 20, 41])
def test_a_restart_changes_nothing(crash: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.scorer.SNAPSHOT_EVENTS", 15)  # rows are written whole a few times
    calm = Driver(handler(fatigue=0.5))
    shaken = Driver(handler(fatigue=0.5))
    changelog: list[Record] = []
    for drive in (calm, shaken):
        for item in ITEMS:
            drive.item(item)
        drive.version("v1")
        drive.version("v2", parent="v1", live_at_s=400.0, verdict="undecided")
    calm.attributes = shaken.attributes = {"u1": {"age": "20s", "land": "fr"}, "u2": {"age": "20s"}, "u3": {"age": "9"}}
    calm.changed_s = shaken.changed_s = {"u1": 150.0, "u2": 900.0, "u3": 1_000.0}
    for number, (user, at_s, items) in enumerate(random_log(60)):
        if number == crash:
            fresh = Driver(handler(fatigue=0.5))
            for record in changelog:
                fresh.scorer.restore(record)
            for item in ITEMS:
                fresh.item(item)
            fresh.version("v1")
            fresh.version("v2", parent="v1", live_at_s=400.0, verdict="undecided")
            fresh.seq, fresh.offset, fresh.outputs = shaken.seq, shaken.offset, shaken.outputs
            fresh.attributes, fresh.changed_s = shaken.attributes, shaken.changed_s
            shaken = fresh
        calm.buy(user, at_s, *items)
        shaken.buy(user, at_s, *items)
        if number % 3 == 0 or number + 1 == crash:  # batches end here
            for out in shaken.scorer.snapshot():
                changelog.append(Record(out.topic, out.partition or 0, len(changelog), out.key, out.value))
    assert state_of(calm.scorer) == state_of(shaken.scorer)
    assert all(person.ignored for person in calm.scorer.parts[0].people.values())
    assert calm.scorer.parts[0].people["u1"].odds != 0.0
    assert calm.scorer.parts[0].shadow == "v2"
    assert [r.items for r in lists(calm.outputs)] == [r.items for r in lists(shaken.outputs)]


def test_a_snapshot_holds_what_changed_and_no_more() -> None:
    drive = Driver(handler())
    drive.buy("ann", 0.0, "i1")
    assert [o.key for o in drive.scorer.snapshot()] == [b"u/ann", b"part"]
    assert list(drive.scorer.snapshot()) == []
    drive.buy("bob", 100.0, "i2")
    assert [o.key for o in drive.scorer.snapshot()] == [b"u/ann", b"u/bob", b"log/1", b"part"]


def test_the_first_events_are_learned_without_a_test() -> None:
    drive = Driver(handler(warm_up_events=2))
    assert lists(drive.buy("ann", 0.0, "i1", "i2")) == []
    assert drive.scorer.parts[0].arrival.tested == 0
    assert len(lists(drive.buy("bob", 100.0, "i1"))) == 1
    assert drive.scorer.parts[0].arrival.tested == 1


def test_without_repeats_only_first_interactions_count() -> None:
    drive = Driver(handler(repeats=False))
    drive.buy("ann", 0.0, "i1")
    drive.buy("ann", 100.0, "i1", "i2")
    out = drive.buy("ann", 200.0, "i3")
    part = drive.scorer.parts[0]
    assert part.arrival.tested == 3  # i1, i2, i3; i1 again is no event
    assert part.stats.count[:3].tolist() == [1.0, 1.0, 0.0]
    owned = {"i1", "i2", "i3"}
    assert all(item.item_id not in owned for r in lists(out) for item in r.items) or len(drive.scorer.catalogue) == 3


def test_served_is_judged_by_the_list_that_lay_there() -> None:
    drive = Driver(handler())
    for t in range(3):
        drive.buy(f"u{t}", 100.0 * t, "i1")
    first = lists(drive.buy("ann", 400.0, "i2"))[-1]
    assert "i1" in [item.item_id for item in first.items]
    hits = drive.scorer.parts[0].served.hits_10
    drive.buy("ann", 600.0, "i1")
    assert drive.scorer.parts[0].served.hits_10 == hits + 1


@pytest.mark.parametrize("changed_s", [0.0, 400.0])
def test_contributions_sum_to_the_score(changed_s: float) -> None:
    drive = Driver(handler(k=2))
    drive.changed_s = dict.fromkeys([f"u{n}" for n in range(5)], changed_s)
    drive.version("v1")
    for item in ITEMS:
        drive.item(item)
    for user, at_s, items in random_log(30):
        drive.buy(user, at_s, *items)
    made = lists(drive.outputs)[-1]
    assert made.model_version == "v1"
    assert made.items[0].score >= made.items[1].score
    for best in made.items:
        assert sum(best.reasons.values()) == pytest.approx(best.score, abs=1e-3)  # rounded to 4 places each
        assert "language model" in best.reasons


@pytest.mark.parametrize(("dial", "listed"), [(0.0, ["i1", "i2"]), (0.9, ["i1", "i3"])])
def test_without_a_drift_space_lists_differ_by_text(dial: float, listed: list[str]) -> None:
    drive = Driver(handler(k=2, repeats=False, diversity=dial))
    for item, direction in (("i1", 0), ("i2", 0), ("i3", 1)):  # i1 and i2 are called the same
        message = ItemVector(item, messages.as_bytes(np.eye(4)[direction]), item, "", [], True, 0.0)
        drive.send(topics.ITEM_VECTORS, item, messages.encode(message))
    for t, bought in enumerate(["i1"] * 4 + ["i2"] * 3 + ["i3"] * 2):
        drive.buy(f"u{t}", 100.0 * t, bought)
    (made,) = lists(drive.buy("ann", 2000.0, "i4"))
    assert [item.item_id for item in made.items] == listed
    assert [("variety" in item.why) for item in made.items] == [False, dial > 0]


def bored(**scoring: Any) -> tuple[Driver, list[events.Recommendation]]:
    """Ann, who takes i9 again and again, whatever else is listed; and her eight lists."""
    drive = Driver(handler(health_events=100, **scoring))  # no list for newcomers yet, which she could pass over
    for t, bought in enumerate(["i1"] * 6 + ["i2"] * 5 + ["i3"] * 4 + ["i4"] * 3):
        drive.buy(f"u{t}", 100.0 * t, bought)
    return drive, lists(out for n in range(8) for out in drive.buy("ann", 5000.0 + 100 * n, "i9"))


def listed(made: events.Recommendation) -> list[str]:
    return [item.item_id for item in made.items]


def test_what_was_shown_several_times_and_not_taken_sinks() -> None:
    _, plain = bored()
    drive, tired = bored(fatigue=0.25)
    assert [listed(made) for made in plain] == [["i9", "i4", "i3"]] * 8
    assert [made.items for made in tired[:3]] == [made.items for made in plain[:3]]  # to be shown once costs nothing
    fourth = tired[3].items[1]
    assert (fourth.item_id, fourth.reasons[REASON]) == ("i4", -0.25)  # two lists were passed over, the third lies there
    assert fourth.score == pytest.approx(plain[3].items[1].score - 0.25, abs=1e-4)
    assert "i3" not in listed(tired[3])
    assert listed(tired[5]) == ["i9", "i2", "i1"]
    for item in (item for made in tired for item in made.items):
        assert sum(item.reasons.values()) == pytest.approx(item.score, abs=1e-3)
    assert {item.reasons.get(REASON) for made in tired for item in made.items if item.item_id == "i9"} == {None}
    assert drive.scorer.parts[0].arrival == bored()[0].scorer.parts[0].arrival  # the headline knows nothing of it


def test_what_is_taken_after_all_comes_back() -> None:
    drive, tired = bored(fatigue=0.25)
    assert "i4" not in listed(tired[-1])
    (made,) = lists(drive.buy("ann", 6000.0, "i4"))  # its block is open still
    back = next(item for item in made.items if item.item_id == "i4")
    assert REASON not in back.reasons
    drive.buy("ann", 6100.0, "i9")
    ann, i4 = drive.scorer.parts[0].people["ann"], drive.scorer.catalogue.ordinals["i4"]
    assert i4 not in ann.ignored
    (output,) = drive.send(topics.USER_STATES, "ann", None)[:1]
    assert (output.key, output.value) == (b"u/ann", None)  # the counts go with the person
    drive.seq.clear()
    assert REASON not in {reason for item in lists(drive.buy("ann", 7000.0, "i9"))[0].items for reason in item.reasons}


def test_without_the_dial_nothing_is_counted() -> None:
    drive, _ = bored()
    assert not any(person.ignored for person in drive.scorer.parts[0].people.values())


def test_a_person_written_before_there_were_counts_can_be_read() -> None:
    drive, _ = bored(fatigue=0.5)
    written = next(o.value for o in drive.scorer.snapshot() if o.key == b"u/ann") or b""
    older = msgspec.msgpack.encode(msgspec.msgpack.decode(written)[:-4])
    saved = people.read_state(older)
    assert isinstance(saved, people.SavedPerson)
    assert saved == msgspec.structs.replace(cast(people.SavedPerson, people.read_state(written)), ignored={})


def test_items_are_recommended_from_when_they_are_available() -> None:
    drive = Driver(handler(k=12))
    drive.version("v1")
    drive.item("i1")
    drive.item("i9", at_s=500.0)
    drive.item("i8", available=False)
    drive.buy("ann", 0.0, "i1")
    assert {i.item_id for i in lists(drive.buy("ann", 100.0, "i1"))[-1].items} == {"i1"}
    assert {i.item_id for i in lists(drive.buy("ann", 600.0, "i1"))[-1].items} == {"i1", "i9"}


def test_a_tombstone_forgets_the_person() -> None:
    drive = Driver(handler())
    drive.buy("ann", 0.0, "i1")
    list(drive.scorer.snapshot())
    out = drive.send(topics.USER_STATES, "ann", None)
    assert {(o.topic, o.key, o.value) for o in out} == {
        (topics.SCORER_STATES, b"u/ann", None),
        (topics.RECOMMENDATIONS, b"ann", None),
    }
    assert "ann" not in drive.scorer.parts[0].people
    drive.buy("bob", 100.0, "i1")  # her open block is never learned
    assert drive.scorer.parts[0].stats.count[0] == 0.0


def test_missed_records_are_counted() -> None:
    drive = Driver(handler())
    drive.buy("ann", 0.0, "i1")
    drive.state("ann", 100.0, ["i2"], "b", skip=4)
    assert drive.scorer.figures()["untested_total",] == 4


def test_a_record_that_comes_again_changes_nothing() -> None:
    once, twice = Driver(handler()), Driver(handler())
    for user, at_s, items in random_log(20):
        once.buy(user, at_s, *items)
        twice.buy(user, at_s, *items)
        twice.seq[user] -= len(items)
        assert lists(twice.buy(user, at_s, *items)) == []
    assert state_of(once.scorer) == state_of(twice.scorer)


def test_health_comes_every_so_many_events() -> None:
    drive = Driver(handler(health_events=10))
    for user, at_s, items in random_log(40):
        drive.buy(user, at_s, *items)
    health = [messages.decode(ModelHealth, o.value) for o in drive.outputs if o.topic == topics.MODEL_HEALTH]
    assert [h.events for h in health] == [10 * (i + 1) for i in range(len(health))]
    blocks = [b for h in health for b in h.blocks]
    assert all(b.n >= 1 and b.blend >= 0 and b.popularity > 0 for b in blocks)
    places = [np.exp(b.blend) for b in blocks if b.n == 1]
    assert np.allclose(places, np.round(places))
    assert max(places) > 1
    assert sum(b.n for b in blocks) <= health[-1].tested


def test_health_tells_the_strongest_segment_before_each_block() -> None:
    drive = Driver(handler(health_events=3))
    for at_s, mass in ((0.0, {"Toys": 1.0}), (100.0, {"Toys": 1.0, "Garden": 2.0}), (200.0, {}), (300.0, {})):
        drive.mass = mass  # as it is after the block
        drive.buy("ann", at_s, "i1")
    drive.buy("ann", 400.0, "i1", "i1")
    health = [messages.decode(ModelHealth, o.value) for o in drive.outputs if o.topic == topics.MODEL_HEALTH]
    assert [block.segment for h in health for block in h.blocks] == ["", "Toys", "Garden", ""]


def test_health_counts_what_the_live_version_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "item_ids", ("i1",))
    drive = Driver(handler(health_events=2))
    drive.buy("ann", 0.0, "i2", "i2")  # there is no version yet
    drive.version("v1")
    drive.buy("ann", 100.0, "i1", "i2", "i3", "i1")
    health = [messages.decode(ModelHealth, o.value) for o in drive.outputs if o.topic == topics.MODEL_HEALTH]
    assert [h.unknown for h in health] == [0, 1, 2]


def test_a_new_version_is_on_probation_for_so_many_interactions() -> None:
    drive = Driver(handler(health_events=5, probation_events=20, shadow_share=0.0))
    for item in ITEMS[:9]:
        drive.item(item)
    drive.version("v1")
    drive.version("v2", parent="v1", live_at_s=900.0)
    for at_s in range(0, 3_000, 30):
        drive.buy(f"u{at_s % 4}", float(at_s), ITEMS[at_s % 7])
    health = [messages.decode(ModelHealth, o.value) for o in drive.outputs if o.topic == topics.MODEL_HEALTH]
    told = [(block.at_s, block.parent is not None) for h in health for block in h.blocks]
    compared = [at_s for at_s, parent in told if parent]
    assert compared == [at_s for at_s, _ in told if min(compared) <= at_s <= max(compared)]  # every block
    assert (min(compared), max(compared)) == (900.0, 900.0 + 30 * 19)
    assert {block.group for h in health for block in h.blocks} == {group_of(f"u{n}") for n in (0, 2)}


class Moody(Model):
    """Likes the opposite after a long history."""

    def user_vector(self, item_vectors: Any, times_s: Any) -> Any:
        return np.array([1.0 if len(times_s) < 4 else -1.0, 0.0, 0.0, 0.0], np.float32)


def test_after_a_change_a_version_is_compared_under_the_same_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "Model", Moody)
    drive = Driver(handler(health_events=5, probation_events=1_000))
    drive.changed_s = {"u0": 600.0, "u1": 600.0}
    for item in ITEMS[:9]:
        drive.item(item)
    drive.version("v1")
    drive.version("v2", parent="v1")
    for at_s in range(0, 1_500, 50):
        drive.buy(f"u{at_s % 4}", float(at_s), ITEMS[at_s % 7])
    health = [messages.decode(ModelHealth, o.value) for o in drive.outputs if o.topic == topics.MODEL_HEALTH]
    gains = [block.parent for h in health for block in h.blocks if block.at_s > 700.0]
    assert len(gains) > 10
    assert gains == pytest.approx([0.0] * len(gains), abs=1e-9)  # it is the same model
    assert drive.scorer.parts[0].people["u0"].odds != 0.0


def test_what_was_compared_with_the_version_before_is_not_told_of_the_next() -> None:
    drive = Driver(handler(health_events=1_000, group_timeout_s=60.0))
    for item in ITEMS[:9]:
        drive.item(item)
    drive.version("v1")
    drive.version("v2", parent="v1")
    for at_s in (0.0, 100.0):
        drive.buy("ann", at_s, "i1")
        drive.buy("bob", at_s, "i1")
    drive.buy("ann", 200.0, "i1")  # bob's block is learned, this one stays open
    part = drive.scorer.parts[0]
    assert part.since_health[-1].parent is not None
    assert part.people["ann"].open is not None
    assert np.isfinite(part.people["ann"].open.losses[3])
    drive.version("v3", parent="v1")
    drive.buy("cid", 230.0, "i3")
    assert [block.parent for block in part.since_health] == [None] * len(part.since_health)
    assert np.isnan(part.people["ann"].open.losses[3:]).all()
    assert (part.version, part.since_swap) == ("v3", 1)


class Opposite(Model):
    """Likes what the other one does not."""

    def user_vector(self, item_vectors: Any, times_s: Any) -> Any:
        return np.array([-1.0, 0.0, 0.0, 0.0], np.float32)


def in_shadow() -> Driver:
    """v1 likes what nobody takes, and v2, in shadow, what they do take."""

    def loader(version: ModelVersion) -> "Future[NextItem]":
        future: Future[NextItem] = Future()
        future.set_result(Model() if version.version == "v1" else Opposite())
        return future

    drive = Driver(ScorerHandler(settings(health_events=5), loader))
    for item in ITEMS[:9]:
        drive.item(item)
    drive.version("v1")
    rng = np.random.default_rng(0)
    for at_s in range(0, 6_000, 30):
        if at_s == 3_000:
            drive.version("v2", parent="v1", verdict="undecided")
        drive.buy(f"u{at_s % 4}", float(at_s), ITEMS[rng.integers(9) if at_s < 600 else rng.integers(3)])
    return drive


def test_a_candidate_in_shadow_has_weights_of_its_own_and_keeps_them_when_it_serves() -> None:
    drive = in_shadow()
    part = drive.scorer.parts[0]
    assert part.shadow_blend is not None
    theirs, own = part.shadow_blend.weights.copy(), part.blend.weights.copy()
    assert theirs[0, MODEL] > own[0, MODEL] + 0.05  # what was learned of v1 says nothing good of a model
    health = [messages.decode(ModelHealth, o.value) for o in drive.outputs if o.topic == topics.MODEL_HEALTH]
    gains = [(block.at_s, block.shadow) for h in health for block in h.blocks]
    assert {gain is None for at_s, gain in gains if at_s < 3_000} == {True}
    assert {gain is None for at_s, gain in gains if at_s > 3_100} == {False}
    ruling = Ruling("v2", "promoted", 6_000.0, 0.0, "it is better", {})
    drive.send(topics.MODEL_VERSIONS, ruling.key.decode(), messages.encode(ruling))
    drive.buy("new", 6_001.0, "i1")
    assert [part.version, part.shadow, part.shadow_blend] == ["v2", "", None]
    assert np.abs(part.blend.weights - theirs).max() < np.abs(part.blend.weights - own).max()


def test_a_candidate_that_leaves_the_shadow_in_vain_leaves_nothing() -> None:
    drive = in_shadow()
    part = drive.scorer.parts[0]
    own = part.blend
    ruling = Ruling("v2", "refused", 6_000.0, 0.0, "it is not", {})
    drive.send(topics.MODEL_VERSIONS, ruling.key.decode(), messages.encode(ruling))
    drive.buy("new", 6_001.0, "i1")
    assert [part.version, part.shadow, part.shadow_blend] == ["v1", "", None]
    assert part.blend is own
    assert not any(p.open.shadow_gradient.any() for p in part.people.values() if p.open)


def test_what_another_scorer_learned_counts_too() -> None:
    one, two = Driver(handler(), 0), Driver(handler(), 1)
    one.buy("ann", 0.0, "i1", "i2")
    one.buy("bob", 100.0, "i3")
    for out in one.scorer.snapshot():
        if out.topic == topics.ITEM_STATS:
            two.scorer.on_record(Record(out.topic, 0, 0, out.key, out.value))
    two.buy("cid", 100.0, "i1")
    assert two.scorer.ranker.counts()[two.scorer.catalogue.ordinals["i2"]] == 1.0


def test_someone_new_is_ranked_by_what_people_alike_took() -> None:
    drive = Driver(handler(), 0)
    for item in ITEMS:
        drive.item(item)
    for n in range(8):
        drive.attributes = {f"u{n}": {"land": "fr" if n % 2 else "es"}, "ann": {"land": "fr"}, "eve": {"land": "es"}}
        drive.buy(f"u{n}", 100.0 * n, "i3" if n % 2 else "i9")
    for name, liked, other in (("ann", "i3", "i9"), ("eve", "i9", "i3")):
        (made,) = lists(drive.buy(name, 1_000.0, "i5"))
        said = {item.item_id: item.reasons.get("popular among people alike", 0.0) for item in made.items}
        assert said[liked] > 0 > said.get(other, -1.0)
    two = Driver(handler(), 1)  # of another partition, from the changelog
    for out in drive.scorer.snapshot():
        if out.topic == topics.ITEM_STATS:
            two.scorer.on_record(Record(out.topic, 0, 0, out.key, out.value))
    groups, again = drive.scorer.tables[0].groups, two.scorer.tables[0].groups
    of, to = drive.scorer.catalogue.ordinals, two.scorer.catalogue.ordinals
    assert all(groups.row(of[item]) == again.row(to[item]) for item in ("i3", "i9"))


def test_newcomers_are_ranked_by_what_people_took_first() -> None:
    drive = Driver(handler(), 0)
    for n in range(9):
        for step, item in enumerate(("i3", "i9", "i9", "i9")):  # everybody begins with i3, and goes on with i9
            drive.buy(f"u{n}", 1_000.0 * n + 100.0 * step, item)
    stages = drive.scorer.parts[0].stats.groups.row(drive.scorer.catalogue.ordinals["i3"])[1][STAGE]
    assert stages.keys() == {EVERYBODY, "0"}
    (made,) = lists(drive.buy("ann", 20_000.0, "i5"))
    said = {item.item_id: item.reasons.get("popular at this stage", 0.0) for item in made.items}
    assert said["i9"] > 0.0 >= said.get("i3", 0.0)  # with one thing, people went on with i9


def test_where_everybodys_loss_rises_the_weights_move_fast() -> None:
    followed, ignored = Driver(handler()), Driver(ScorerHandler(load(drift={"follow_population": False}), model_loader))
    for drive in (followed, ignored):
        for n in range(400):  # two items of three that are popular; then others, equally often
            drive.buy(f"u{n}", 100.0 * n, ITEMS[(n * n) % 3 + (0 if n < 300 else 6)])
    (told,) = (entry for entry in followed.scorer.journal if entry["event"] == "weights-reopened")
    assert float(str(told["before"])) + 0.1 < float(str(told["after"]))
    assert 300 * 100.0 - 1_000.0 <= float(str(told["began_s"])) <= 310 * 100.0
    assert (followed.scorer.figures()["reopened_total",], ignored.scorer.figures()["reopened_total",]) == (1, 0)
    of, to = (drive.scorer.parts[0].blend.curvature.trace() for drive in (followed, ignored))
    assert of < to
    assert not any(entry["event"] == "weights-reopened" for entry in ignored.scorer.journal)


def test_people_without_a_list_are_served_the_one_for_newcomers() -> None:
    drive = Driver(handler(k=2, warm_up_events=10))
    for n in range(10):
        drive.buy(f"u{n % 5}", 100.0 * n, "i3" if n < 5 else "i1")
    drive.buy("u0", 5_000.0, "i1", "i2", "i1", "i1", "i1", "i1", "i1", "i1", "i1")
    assert lists(drive.outputs, newcomers=True) == []  # the one after ten interactions was still in the warm-up
    drive.buy("u0", 6_000.0, "i2")
    (made,) = lists(drive.outputs, newcomers=True)
    assert (made.user_id, made.answers, made.at) == ("~newcomer", "u0-6000.0-0", events.rfc3339(6_000.0))
    listed = [item.item_id for item in made.items]
    assert listed == [drive.scorer.catalogue.ids[i] for i in drive.scorer.parts[0].newcomers]
    hits = drive.scorer.parts[0].served.hits_10
    drive.buy("ann", 7_000.0, *listed)
    assert drive.scorer.parts[0].people["ann"].open is not None
    assert drive.scorer.parts[0].served.hits_10 == hits + 2


def test_before_there_is_a_list_for_newcomers_they_are_served_what_is_popular() -> None:
    drive = Driver(handler(k=1))
    for n in range(3):
        drive.buy(f"u{n}", 100.0 * n, "i7")
    drive.buy("u0", 300.0, "i8")
    served = drive.scorer.parts[0].served
    for user, item, more in (("ann", "i7", 1), ("bob", "i8", 0)):
        hits = served.hits_10
        drive.buy(user, 1_000.0, item)
        assert served.hits_10 == hits + more
    assert lists(drive.outputs, newcomers=True) == []


def test_a_damaged_record_is_refused_by_name() -> None:
    with pytest.raises(BadRecord, match="value must be a UserState in msgpack"):
        Driver(handler()).send(topics.USER_STATES, "ann", b"\xc1")


class WithLinear(Model):
    """One whose linear part says that who has i1 wants i7."""

    linear = LinearModel(
        ("i1", "i7"),
        Table(np.array([[1], [0]], np.int32), np.array([[9.0], [0.0]], np.float32)),
        Table(np.array([[1], [0]], np.int32), np.zeros((2, 1), np.float32)),
    )


def test_the_linear_model_of_a_version_speaks_for_what_like_people_have() -> None:
    future: Future[NextItem] = Future()
    future.set_result(WithLinear())
    drive = Driver(ScorerHandler(settings(k=3), lambda _: future))
    for name in ITEMS:
        drive.item(name)
    for t, name in enumerate(ITEMS):
        drive.buy("eve", float(t), name)
    drive.version("v1")
    (made,) = lists(drive.buy("ann", 100.0, "i1"))
    said = {item.item_id: item.reasons for item in made.items}
    assert made.items[0].item_id == "i7"
    assert max(said["i7"], key=lambda name: said["i7"][name]) == "bought by like people"
    assert made.items[0].score == pytest.approx(sum(said["i7"].values()), abs=0.001)


def said(drive: Driver, user: str, at_s: float, fresh: Sequence[Fresh], fast: Sequence[float]) -> list[Output]:
    """A record of user-states whose newest event is a text."""
    seq = drive.seq[user] = drive.seq.get(user, 0) + len(fresh)
    vector = messages.as_bytes(np.array([*fast, *[0.0] * 60], np.float32))
    message = UserState(
        user, seq, 0.0, at_s, "s", vector, vector, {}, [], [], [], [], [], drive.offset, "", list(fresh), "q1"
    )
    return drive.send(topics.USER_STATES, user, messages.encode(message))


def warm() -> Driver:
    drive = Driver(handler(warm_up_events=3, health_events=4))
    for item in ITEMS:
        drive.item(item)
    for n in range(5):
        drive.buy("bob", 1.0 + n, f"i{n}")
    return drive


def test_a_text_makes_the_list_anew_for_a_person_with_and_without_a_past() -> None:
    drive = warm()
    search = Fresh("q1", "", 9.0, 0.0, "search", 77)
    (cold,) = lists(said(drive, "ann", 9.0, [search], [1.0, 0.0, 0.0, 0.0]))
    (again,) = lists(said(drive, "ann", 9.0, [], [0.0, 1.0, 0.0, 0.0]))
    (known,) = lists(said(drive, "bob", 9.0, [], [0.0, 1.0, 0.0, 0.0]))
    assert [(x.user_id, x.answers, len(x.items)) for x in (cold, again, known)] == [
        ("ann", "q1", 3), ("ann", "q1", 3), ("bob", "q1", 3)
    ]  # fmt: skip
    part = drive.scorer.parts[0]
    ids = drive.scorer.catalogue.ids
    assert [ids[i] for i in part.people["ann"].served] == [item.item_id for item in again.items]
    assert lists(drive.buy("ann", 10.0, "i1"))[0].answers == "ann-10.0-0"
    opened = part.people["ann"].open
    assert opened is not None
    assert [ids[i] for i in opened.served] == [item.item_id for item in again.items]  # what was served is what counts


def test_an_event_about_no_item_is_neither_tested_nor_learned() -> None:
    drive, calm = warm(), warm()
    for one in (drive, calm):
        one.state("bob", 20.0, ["i7"], "g")
    before = drive.scorer.parts[0]
    tested, health = before.arrival.tested, len([o for o in drive.outputs if o.topic == topics.MODEL_HEALTH])
    for n in range(4):
        said(drive, "bob", 21.0, [Fresh(f"q{n}", "", 21.0, 0.0, "search", 90 + n)], [0.0, 0.0, 0.0, 0.0])
    part = drive.scorer.parts[0]
    assert (part.arrival.tested, part.events, part.clock_s, part.through) == (tested, 6, 21.0, 93)
    assert len([o for o in drive.outputs if o.topic == topics.MODEL_HEALTH]) == health
    assert part.people["bob"].open is not None  # a search ends no basket
    assert "" not in drive.scorer.catalogue.ordinals
    for one in (drive, calm):
        one.state("bob", 22.0, ["i8"], "g")
        one.buy("eve", 100.0, "i1")
    assert state_of(drive.scorer)["counts"] == state_of(calm.scorer)["counts"]
    assert part.untested == 0


def test_nothing_is_listed_before_the_warm_up_whatever_is_said() -> None:
    drive = Driver(handler(warm_up_events=3))
    drive.item("i1")
    assert said(drive, "ann", 1.0, [], [1.0, 0.0, 0.0, 0.0]) == []


def test_a_block_that_pauses_keeps_what_is_known_of_the_persons_interests() -> None:
    """Events of one group an hour apart are two blocks, though they come in one record."""
    drive = Driver(handler())
    drive.buy("ann", 100.0, "i1")
    vector = messages.as_bytes(np.ones(64, np.float32))
    fresh = [Fresh(f"e{n}", f"i{n}", at_s, 1.0, "purchase") for n, at_s in ((2, 1_000.0), (3, 5_000.0))]
    message = UserState("ann", 3, 0.0, 5_000.0, "s", vector, vector, {}, [], [], [], [], [], 9, "visit", fresh)
    drive.scorer.parts[0].people["ann"].open.profile = profile = Profile("s", np.ones(64, np.float32))  # type: ignore[union-attr]
    seen: list[Profile] = []
    close = drive.scorer._close

    def closing(part: Part, user_id: str, person: Person) -> None:
        close(part, user_id, person)
        seen.append(person.profile)

    drive.scorer._close = closing  # type: ignore[method-assign]
    drive.send(topics.USER_STATES, "ann", messages.encode(message))
    assert [one is profile for one in seen] == [True, True]  # the first visit's, and that of the second's first block
