"""The interest consumer: states, alarms, restarts, erasure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from consumers.interest import InterestHandler
from stream import events, messages, metrics
from stream.drift import Detector
from stream.errors import BadRecord, StateError, StoreError
from stream.events import Erasure, Interaction
from stream.messages import DriftAlarm, ItemVector, ModelVersion, TextVector, UserState, as_bytes, as_vector
from stream.profile import unpack
from stream.records import Output, Record, Since
from stream.settings import Drift, Settings
from stream.space import Space

if TYPE_CHECKING:
    from tests.conftest import Shop


def interaction(offset: int, user: str, /, item: str, at_s: float, partition: int = 0, **more: object) -> Record:
    said = {"event_id": f"e{offset}", "user_id": user, "item_id": item, "at": at_s * 1000, "event": "purchase"} | more
    return Record("interactions", partition, offset, user.encode(), events.encode(Interaction(**said)))  # type: ignore[arg-type]


def erasure(user: str, at_s: float) -> Record:
    return Record("erasures", 0, 0, user.encode(), events.encode(Erasure(user_id=user, at=at_s * 1000)))


def vector(item_id: str, base: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Record:
    item = ItemVector(item_id, as_bytes(base), "", "", [], True, 0.0)
    return Record("item-vectors", 0, 0, item_id.encode(), messages.encode(item))


def text(user: str, event_id: str, at_s: float, base: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Record:
    said = TextVector(event_id, user, at_s, as_bytes(base))
    return Record("text-vectors", 0, 0, user.encode(), messages.encode(said))


def version(space: str, live_at_s: float = 0.0) -> Record:
    made = ModelVersion(
        "v1", "promoted", "", 0.0, live_at_s, {0: 9}, "j1", "warm-up", {}, "v1", "", space, 1, 1.0, 1, {}, 0.0
    )
    return Record("model-versions", 0, 0, b"v1", messages.encode(made))


def handler(shop: Shop, space: Space | None = None) -> InterestHandler:
    return InterestHandler(Settings(), lambda _: space or shop.space)


def broadcasts(shop: Shop, live_at_s: float = 0.0) -> list[Record]:
    vectors = [vector(item_id, base) for item_id, base in zip(shop.ids, shop.base, strict=True)]
    return [*vectors, version(shop.space.name, live_at_s)]


def drive(made: InterestHandler, records: Sequence[Record], batch: int = 10**9) -> list[Output]:
    """Batches, each with a snapshot at its end."""
    out: list[Output] = []
    for start in range(0, len(records), batch):
        for record in records[start : start + batch]:
            out += made.on_record(record)
        out += made.snapshot()
    return out


def interrupted(shop: Shop, before: Sequence[Record], records: Sequence[Record], every: int) -> list[Output]:
    """What comes of it when the handler starts anew after every so many records."""
    made = handler(shop)
    out = drive(made, before)
    for start in range(0, len(records), every):
        out += drive(made, records[start : start + every])
        made = handler(shop)
        for offset, o in enumerate(o for o in out if o.topic == "user-states"):
            made.restore(Record(o.topic, o.partition or 0, offset, o.key, o.value))
        drive(made, before)
    return out


def states(outputs: Iterable[Output]) -> list[UserState]:
    return [messages.decode(UserState, o.value) for o in outputs if o.topic == "user-states" and o.value is not None]


def final(outputs: Iterable[Output]) -> dict[tuple[int | None, bytes | None], bytes]:
    """What compaction leaves of user-states, without `fresh`."""
    out: dict[tuple[int | None, bytes | None], bytes] = {}
    for o in outputs:
        if o.topic == "user-states":
            out.pop((o.partition, o.key), None)
            if o.value is not None:
                out[o.partition, o.key] = messages.encode(unpack(o.value))
    return out


def alarms(outputs: Iterable[Output]) -> list[tuple[int | None, DriftAlarm]]:
    return [(o.partition, messages.decode(DriftAlarm, o.value)) for o in outputs if o.topic == "drift-alarms"]


def fresh(outputs: Iterable[Output]) -> list[tuple[str, str, str]]:
    """Every event as the scorer will see it, in order: user, block, event."""
    return [(s.user_id, s.block, f.event_id) for s in states(outputs) for f in s.fresh]


def season(shop: Shop, n: int = 2_400, seed: int = 3) -> list[Record]:
    """Twelve people over two partitions; half of them change their taste after half of the time; some disorder."""
    rng = np.random.default_rng(seed)
    kinds = [shop.kind(k) for k in ("garden", "toy", "kitchen")]
    offsets = [0, 0]
    out: list[Record] = []
    while len(out) < n:
        person = int(rng.integers(12))
        moved = person % 2 == 0 and len(out) > n / 2
        at_s = float(len(out) * 60) + 1_000.0 - (500.0 if rng.random() < 0.02 else 0.0)
        for item in rng.choice(kinds[(person + moved) % 3], int(rng.integers(1, 6))):
            partition = person % 2
            event_id = f"e{len(out)}" if rng.random() > 0.02 else f"e{max(0, len(out) - 5)}"
            record = interaction(offsets[partition], f"u{person}", str(item), at_s, partition, event_id=event_id)
            offsets[partition] += 1
            out.append(record)
    return out


def test_consecutive_events_of_a_block_become_one_record(shop: Shop) -> None:
    made = handler(shop)
    records = [
        interaction(0, "ann", "toy01", 1.0, group="a"),
        interaction(1, "ann", "toy04", 1.0, group="a"),
        interaction(2, "ann", "toy07", 2.0, group="b"),
        interaction(3, "bob", "toy07", 3.0),
        interaction(4, "ann", "toy10", 4.0, group="b"),
        interaction(5, "ann", "toy13", 5.0),
        interaction(6, "ann", "toy16", 5.0),
    ]
    out = drive(made, [*broadcasts(shop), *records])
    assert [(s.user_id, s.block, [f.event_id for f in s.fresh], s.seq, s.through) for s in states(out)] == [
        ("ann", "a", ["e0", "e1"], 2, 1),
        ("ann", "b", ["e2"], 3, 2),
        ("bob", "@3.0", ["e3"], 1, 3),
        ("ann", "b", ["e4"], 4, 4),
        ("ann", "@5.0", ["e5", "e6"], 6, 6),
    ]
    assert {(o.key, o.partition) for o in out} == {(b"ann", 0), (b"bob", 0)}
    assert list(made.snapshot()) == []


def test_batches_change_nothing(shop: Shop) -> None:
    records = [*broadcasts(shop, live_at_s=30_000.0), *season(shop)]
    whole = drive(handler(shop), records)
    assert len(alarms(whole)) >= 4
    for batch in (1, 7, 500):
        split = drive(handler(shop), records, batch)
        assert final(split) == final(whole)
        assert alarms(split) == alarms(whole)
        assert fresh(split) == fresh(whole)


@pytest.mark.parametrize("every", [1, 97, 1_000])
def test_restarts_change_nothing(shop: Shop, every: int) -> None:
    records = season(shop, n=1_500 if every > 1 else 300)
    before = broadcasts(shop, live_at_s=3_000.0)
    whole = drive(handler(shop), [*before, *records])
    out = interrupted(shop, before, records, every)
    assert final(out) == final(whole)
    assert alarms(out) == alarms(whole)
    assert alarms(whole) or every == 1
    assert fresh(out) == fresh(whole)


def test_an_alarm_says_what_when_and_from_where_to_where(shop: Shop) -> None:
    rng = np.random.default_rng(0)
    items = [*rng.choice(shop.kind("garden"), 60), *rng.choice(shop.kind("toy"), 60)]
    records = [interaction(n, "ann", str(item), float(n), partition=1) for n, item in enumerate(items)]
    made = handler(shop)
    out = drive(made, [*broadcasts(shop), *records])
    (partition, alarm), *others = alarms(out)
    assert not others
    assert states(out)[-1].changed_s == alarm.began_s  # the scorer is told by the state
    assert (partition, alarm.user_id, alarm.at_s, alarm.seq, alarm.offset) == (1, "ann", 65.0, 66, 65)
    assert (alarm.scope, alarm.detector, alarm.threshold) == ("user", "page_hinkley", 3.0)
    assert alarm.evidence > 3.0
    assert (alarm.risen[0], alarm.fallen[0]) == ("Toy Thing", "Garden Thing")
    assert (alarm.began_s, alarm.events) == (60.0, alarm.seq - 60)
    assert (alarm.before, alarm.since) == (
        {"Garden Thing": 1.0, "Toy Thing": 0.0}, {"Toy Thing": 1.0, "Garden Thing": 0.0}
    )  # fmt: skip
    assert len(alarm.blamed) == 3
    assert set(alarm.blamed) <= set(shop.kind("toy"))
    journaled = next(line for line in made.journal if line["event"] == "drift-alarm")
    assert (journaled["user"], journaled["risen"]) == ("ann", alarm.risen)


def test_duplicates_by_event_id_and_by_offset_are_dropped(shop: Shop) -> None:
    made = handler(shop)
    first = interaction(3, "ann", "toy01", 1.0)
    again = [first, interaction(4, "ann", "toy01", 1.0, event_id="e3"), interaction(2, "ann", "toy04", 1.0)]
    out = drive(made, [*broadcasts(shop), first, *again], batch=1)
    assert [s.seq for s in states(out)] == [1]
    assert made.figures()["duplicate_total",] == 3
    assert made.figures()["events_total",] == 1


def test_late_and_unvectored_events_are_counted(shop: Shop) -> None:
    made = handler(shop)
    records = [
        interaction(0, "ann", "toy01", 100.0),
        interaction(1, "ann", "toy04", 99.0),
        interaction(2, "ann", "unknown", 101.0),
        interaction(3, "ann", "unknown", 102.0, event="search"),  # weight 0: it needs no vector
    ]
    out = drive(made, [*broadcasts(shop), *records])
    state = states(out)[-1]
    assert state.tail_items == ["toy01", "toy04", "unknown"]
    assert [f.weight for s in states(out) for f in s.fresh] == [1.0, 1.0, 1.0, 0.0]
    figures = made.figures()
    metrics.check(figures)
    assert [figures[name,] for name in ("events_total", "late_total", "unvectored_total", "users")] == [4, 1, 1, 1]
    assert figures["event_timestamp_seconds",] == 102.0


def test_a_malformed_record_leaves_the_state_as_it_was(shop: Shop) -> None:
    made, calm = handler(shop), handler(shop)
    good = [*broadcasts(shop), *season(shop, 50)]
    for record in good:
        made.on_record(record)
        calm.on_record(record)
        for topic in (*made.inputs, *made.broadcasts):
            with pytest.raises(BadRecord):
                made.on_record(Record(topic, 0, 99, b"x", b"\xff{"))
    with pytest.raises(BadRecord, match="vector must be 16 float32 values, got '32 bytes'"):
        made.on_record(vector("new", np.ones(8, np.float32)))
    assert list(made.snapshot()) == list(calm.snapshot())


# spaces


def test_a_space_takes_over_in_event_time_partition_by_partition(shop: Shop) -> None:
    made = handler(shop)
    drive(made, broadcasts(shop, live_at_s=100.0))
    out = drive(
        made,
        [
            interaction(0, "ann", "toy01", 99.0, partition=0),
            interaction(0, "bob", "toy01", 100.0, partition=1),
            interaction(1, "ann", "toy04", 99.5, partition=0),
            interaction(2, "ann", "toy07", 101.0, partition=0),
            interaction(3, "ann", "toy10", 50.0, partition=0),  # late: the space stays
        ],
        batch=1,
    )
    spaces = [s.space for s in states(out)]
    assert spaces[0] == spaces[2] == Space.random(16, 0).name
    assert spaces[1] == spaces[3] == spaces[4] == shop.space.name
    assert [line["event"] for line in made.journal] == ["space-adopted"] * 2


def calibrated(name: str, detector: Detector, live_at_s: float) -> Record:
    """The record of a refresh that calibrated the detector anew."""
    made = ModelVersion(
        name, "refused", "v1", 0.0, live_at_s, {0: 9}, "j2", "clock", {}, "", "", "", 1, 1.0, 1, {}, 0.0,
        detector=detector.numbers(),
    )  # fmt: skip
    return Record("model-versions", 0, 1, name.encode(), messages.encode(made))


def moving(user: str, shop: Shop, events: int = 120, partition: int = 0) -> list[Record]:
    """Half of the events are about gardens, the rest about toys."""
    rng = np.random.default_rng(0)
    items = [*rng.choice(shop.kind("garden"), events // 2), *rng.choice(shop.kind("toy"), events - events // 2)]
    return [interaction(n, user, str(item), float(n), partition) for n, item in enumerate(items)]


def test_a_detector_that_a_refresh_calibrated_takes_over_in_event_time(shop: Shop) -> None:
    never, sure = Detector(shop.space.weights, 99.0), Detector(shop.space.weights, 3.0)
    plain = drive(handler(shop), [*broadcasts(shop), *moving("ann", shop)])
    made = handler(shop)
    blind = drive(made, [*broadcasts(shop), calibrated("v2", never, live_at_s=50.0), *moving("ann", shop)])
    assert (len(alarms(plain)), len(alarms(blind))) == (1, 0)
    assert {line["threshold"] for line in made.journal if line["event"] == "space-adopted"} == {3.0, 99.0}
    assert states(blind)[-1].space == shop.space.name
    assert states(blind)[-1].slow == states(plain)[-1].slow  # the space is as it was: nothing is rebuilt
    later = [calibrated("v2", never, live_at_s=50.0), calibrated("v3", sure, live_at_s=60.0)]
    assert alarms(drive(handler(shop), [*broadcasts(shop), *later, *moving("ann", shop)])) == alarms(plain)


@pytest.mark.parametrize("every", [1, 13])
def test_restarts_keep_the_detector_that_served(shop: Shop, every: int) -> None:
    detectors = [Detector(shop.space.weights, 3.0, 1.0), Detector(shop.space.weights, 99.0, 2.0)]
    before = [*broadcasts(shop, 20.0), *(calibrated(f"v{2 + n}", d, 40.0 + 22 * n) for n, d in enumerate(detectors))]
    records = [*moving("ann", shop), interaction(120, "ann", "toy01", 30.0)]  # the last one is late
    whole = drive(handler(shop), [*before, *records])
    out = interrupted(shop, before, records, every)
    assert final(out) == final(whole)
    assert alarms(out) == alarms(whole)
    assert states(whole)[-1].changed_s > 0


def test_a_threshold_of_the_settings_stays_that_of_alarms(shop: Shop) -> None:
    settings, followed_s = Settings(drift=Drift(threshold=3.0)), []
    for reacts in (99.0, 1.0):
        made, found = InterestHandler(settings, lambda _: shop.space), Detector(shop.space.weights, 99.0, reacts)
        out = drive(made, [*broadcasts(shop), calibrated("v2", found, 0.0), *moving("ann", shop)])
        ((_, alarm),) = alarms(out)
        assert alarm.threshold == 3.0
        followed_s.append(next(state.last_s for state in states(out) if state.changed_s))
    assert followed_s[1] < followed_s[0] == alarm.at_s  # that of lists is as it was calibrated


def test_lists_follow_a_change_that_is_not_sure_enough_for_an_alarm(shop: Shop) -> None:
    made = handler(shop)
    detector = Detector(shop.space.weights, 99.0, reacts=2.0)
    out = drive(made, [*broadcasts(shop), calibrated("v2", detector, 0.0), *moving("ann", shop)])
    assert alarms(out) == []
    assert [s.changed_s for s in states(out)[-1:]] == [60.0]
    assert (made.figures()["reactions_total",], made.figures()["alarms_total", "user", "page_hinkley"]) == (1, 0)


def test_an_alarm_goes_on_with_a_change_that_lists_follow_already(shop: Shop) -> None:
    made = handler(shop)
    detector = Detector(shop.space.weights, 3.0, reacts=1.0)
    out = drive(made, [*broadcasts(shop), calibrated("v2", detector, 0.0), *moving("ann", shop)])
    sooner = next(s for s in states(out) if s.changed_s)
    ((_, alarm),) = alarms(out)
    assert sooner.last_s < alarm.at_s
    assert states(out)[-1].changed_s == sooner.changed_s
    assert made.figures()["reactions_total",] == 1


def test_states_are_rebuilt_from_their_tails(shop: Shop) -> None:
    records = [interaction(n, "ann", shop.ids[n], float(n)) for n in range(20)]
    late = drive(handler(shop), [*broadcasts(shop, live_at_s=19.0), *records])
    early = drive(handler(shop), [*broadcasts(shop), *records])
    assert states(late)[-1].slow == states(early)[-1].slow
    assert states(late)[-1].mass == states(early)[-1].mass


def test_a_space_that_does_not_fit_is_refused_and_the_old_one_serves(shop: Shop) -> None:
    def broken(_: ModelVersion) -> Space:
        raise StoreError("v1 is torn")

    made = InterestHandler(Settings(), broken)
    other = handler(shop, Space.random(8, 0))
    missing = InterestHandler(Settings(), lambda _: None)
    for one, why in ((made, "v1 is torn"), (other, "its name or"), (missing, "there is none")):
        out = drive(one, [*broadcasts(shop), interaction(0, "ann", "toy01", 1.0)])
        assert states(out)[-1].space == Space.random(16, 0).name
        assert str(one.journal[0]["because"]).startswith(why)


# texts


def test_a_text_moves_the_vectors_once(shop: Shop) -> None:
    made = handler(shop)
    drive(made, broadcasts(shop))
    out = drive(
        made,
        [
            interaction(0, "ann", "toy01", 1.0),
            text("ann", "e0", 1.0, shop.base[0]),
            text("ann", "e0", 1.0, shop.base[0]),
            interaction(1, "ann", "toy04", 2.0),
        ],
        batch=1,
    )
    first, second, third = states(out)
    assert (second.seq, second.fresh, second.block) == (1, [], "@1.0")
    assert first.fast != second.fast
    assert (third.seq, len(third.fresh)) == (2, 1)
    assert made.figures()["duplicate_total",] == 1


def test_a_text_does_not_break_a_run(shop: Shop) -> None:
    records = [
        interaction(0, "ann", "toy01", 1.0, group="g"),
        text("ann", "e0", 1.0, shop.base[0]),
        interaction(1, "ann", "toy04", 1.0, group="g"),
    ]
    whole, split = (drive(handler(shop), [*broadcasts(shop), *records], batch) for batch in (500, 1))
    assert [len(s.fresh) for s in states(whole)] == [2]
    assert final(whole) == final(split)


def test_a_text_may_begin_a_life(shop: Shop) -> None:
    out = drive(handler(shop), [*broadcasts(shop), text("ann", "e0", 5.0, shop.base[0])])
    assert [(s.seq, s.since_s, s.tail_items) for s in states(out)] == [(0, 5.0, [])]


def searched(offset: int, user: str, /, at_s: float, **more: object) -> Record:
    said = {"event_id": f"e{offset}", "user_id": user, "at": at_s * 1000, "event": "search", "text": "a toy"} | more
    return Record("interactions", 0, offset, user.encode(), events.encode(Interaction(**said)))  # type: ignore[arg-type]


def test_an_event_about_no_item_is_counted_and_moves_no_interest(shop: Shop) -> None:
    made = handler(shop)
    records = [interaction(0, "ann", "toy01", 1.0, group="g"), searched(1, "ann", 2.0), searched(1, "ann", 2.0)]
    (whole,) = states(drive(made, [*broadcasts(shop), *records]))
    assert (whole.seq, whole.through, whole.block, whole.last_s) == (2, 1, "g", 2.0)
    assert [(f.event_id, f.item_id, f.weight) for f in whole.fresh] == [("e0", "toy01", 1.0), ("e1", "", 0.0)]
    assert whole.tail_items == ["toy01"]
    figures = made.figures()
    assert [figures[name,] for name in ("events_total", "duplicate_total", "unvectored_total")] == [2, 1, 0]


def test_what_is_said_stands_before_the_block_that_follows(shop: Shop) -> None:
    """Else the scorer would test that block without it, or with it, as batches happen to end."""
    records = [
        searched(0, "ann", 1.0),
        text("ann", "e0", 1.0, shop.base[0]),
        interaction(1, "ann", "toy01", 2.0, group="g"),
        searched(2, "ann", 3.0),
        text("ann", "e2", 3.0, shop.base[0]),
        interaction(3, "ann", "toy04", 4.0, group="g"),
        text("ann", "e9", 5.0, shop.base[0]),
        interaction(4, "ann", "toy07", 6.0, group="h"),
    ]
    whole, split = (drive(handler(shop), [*broadcasts(shop), *records], batch) for batch in (500, 1))
    found = [([f.event_id for f in s.fresh], s.block, s.said) for s in states(whole)]
    assert found == [(["e0"], "", "e0"), (["e1", "e2", "e3"], "g", "e9"), (["e4"], "h", "")]
    assert [s.said for s in states(split)] == ["", "e0", "", "", "e2", "", "e9", ""]
    assert final(whole) == final(split)


def test_a_search_of_someone_new_is_a_whole_life(shop: Shop) -> None:
    records = [searched(0, "ann", 5.0), text("ann", "e0", 5.0, shop.base[0])]
    arrived = [replace(record, timestamp_ms=7_000 + n) for n, record in enumerate(records)]
    made = handler(shop)
    (out,) = drive(made, [*broadcasts(shop), *arrived])
    (state,) = states([out])
    assert (state.seq, state.since_s, state.tail_items, state.said) == (1, 5.0, [], "e0")
    assert np.any(as_vector(state.slow))
    assert out.since == Since(5.0, 7_001)
    assert drive(made, [erasure("ann", 5.0)]) == [Output("user-states", b"ann", None, 0)]


def test_attributes_stand_until_others_are_told_and_go_with_the_person(shop: Shop) -> None:
    made = handler(shop)
    records = [
        searched(0, "ann", 1.0, text=None, user={"country": "France", "age": "30s"}),
        interaction(1, "ann", "toy01", 2.0),
        interaction(2, "ann", "toy04", 3.0, user={"country": "Spain"}),
    ]
    out = drive(made, [*broadcasts(shop), *records], batch=1)
    both = {"country": "France", "age": "30s"}
    assert [s.attributes for s in states(out)] == [both, both, {"country": "Spain"}]
    whole = drive(handler(shop), [*broadcasts(shop), *records, interaction(3, "ann", "toy07", 3.0)])
    assert [(len(s.fresh), s.attributes) for s in states(whole)] == [(1, both), (1, both), (2, {"country": "Spain"})]
    same_block = [interaction(n, "ann", "toy01", 1.0, user={"age": age}) for n, age in enumerate(("20s", "20s", "30s"))]
    parts = states(drive(handler(shop), [*broadcasts(shop), *same_block]))
    assert [(len(s.fresh), s.attributes["age"]) for s in parts] == [(2, "20s"), (1, "30s")]
    again = handler(shop)
    again.restore(Record("user-states", 0, 0, b"ann", out[-1].value))
    (last,) = states(drive(again, [*broadcasts(shop), interaction(3, "ann", "toy07", 4.0)]))
    assert last.attributes == {"country": "Spain"}
    drive(again, [erasure("ann", 4.0)])
    (new,) = states(drive(again, [interaction(4, "ann", "toy07", 5.0)]))
    assert new.attributes == {}


# erasure


def test_erasure_leaves_a_tombstone_in_the_partition_of_the_state(shop: Shop) -> None:
    made = handler(shop)
    drive(made, [*broadcasts(shop), interaction(0, "ann", "toy01", 10.0, 1), interaction(0, "bob", "toy01", 10.0, 0)])
    assert drive(made, [erasure("ann", 10.0)]) == [Output("user-states", b"ann", None, 1)]
    assert (made.figures()["users",], made.figures()["erased_total",]) == (1, 1)
    assert drive(made, [erasure("ann", 10.0), erasure("carol", 10.0)]) == []
    assert "ann" not in repr(made.journal)


def test_erasure_reaches_a_run_that_is_not_written_yet(shop: Shop) -> None:
    made = handler(shop)
    out = drive(made, [*broadcasts(shop), interaction(0, "ann", "toy01", 10.0), erasure("ann", 10.0)])
    assert out == [Output("user-states", b"ann", None, 0)]


def test_events_up_to_the_erasure_are_dropped_and_a_new_life_begins_after_it(shop: Shop) -> None:
    made = handler(shop)
    drive(
        made, [*broadcasts(shop), *(interaction(n, "ann", "toy01", float(n)) for n in range(5)), erasure("ann", 20.0)]
    )
    out = drive(
        made, [interaction(5, "ann", "toy04", 20.0), interaction(6, "ann", "toy07", 21.0), erasure("ann", 20.0)]
    )
    assert [(s.seq, s.since_s, s.tail_items) for s in states(out)] == [(1, 21.0, ["toy07"])]
    assert made.figures()["users",] == 1


def test_an_erasure_known_before_the_events_drops_them(shop: Shop) -> None:
    out = drive(handler(shop), [*broadcasts(shop), erasure("ann", 20.0), interaction(0, "ann", "toy01", 10.0)])
    assert out == []


def test_after_a_restart_an_old_erasure_spares_the_new_life(shop: Shop) -> None:
    made = handler(shop)
    out = drive(made, [*broadcasts(shop), erasure("ann", 20.0), interaction(0, "ann", "toy01", 21.0)])
    again = handler(shop)
    again.restore(Record("user-states", 0, 0, b"ann", out[-1].value))
    assert drive(again, [*broadcasts(shop), erasure("ann", 20.0)]) == []
    assert again.figures()["users",] == 1


def test_forgetting_is_idempotent(shop: Shop) -> None:
    made = handler(shop)
    drive(made, [*broadcasts(shop), interaction(0, "ann", "toy01", 10.0)])
    assert list(made.forget("ann")) == [Output("user-states", b"ann", None, 0)]
    assert list(made.forget("ann")) == []


def test_a_damaged_state_is_refused(shop: Shop) -> None:
    with pytest.raises(StateError, match=r"user-states\[0\]@7 must be a user state"):
        handler(shop).restore(Record("user-states", 0, 7, b"ann", b"\x93"))


def test_without_any_vector_states_are_counters_and_tails(shop: Shop) -> None:
    out = drive(handler(shop), [interaction(0, "ann", "toy01", 1.0)])
    assert [(s.seq, s.tail_items, s.mass) for s in states(out)] == [(1, ["toy01"], {})]
    made = handler(shop)
    out = drive(made, [interaction(0, "ann", "toy01", 1.0), *broadcasts(shop), interaction(1, "ann", "toy04", 2.0)])
    assert set(states(out)[-1].mass) == {"Toy Thing"}  # rebuilt: the first counts as well
    assert states(out)[-1].mass["Toy Thing"] > 1.9


def test_a_state_carries_the_arrival_of_its_newest_interaction(shop: Shop) -> None:
    made = handler(shop)
    records = [interaction(i, "ann", item, 60.0) for i, item in enumerate(shop.ids[:3])]
    arrived = [replace(record, timestamp_ms=7_000 + record.offset) for record in records]
    (out,) = drive(made, [*broadcasts(shop), *arrived])
    assert (out.timestamp_ms, out.since) == (7_002, Since(60.0, 7_002))


def test_the_bytes_of_all_states_are_told(shop: Shop) -> None:
    made = handler(shop)
    drive(made, [*broadcasts(shop), *season(shop, 300)])

    def held() -> int:
        return sum(len(packed) for part in made._parts.values() for packed in part.states.values())

    assert made.figures()["state_bytes",] == held() > 0
    for number, part in made._parts.items():
        for user, packed in list(part.states.items()):
            made.restore(Record("user-states", number, 0, user.encode(), packed))  # once more: counted once
    assert made.figures()["state_bytes",] == held()
    for number in range(12):
        list(made.forget(f"u{number}"))
    assert made.figures()["state_bytes",] == held() == 0
