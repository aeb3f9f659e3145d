from __future__ import annotations

from consumers.summary import Curve, read_versions, risen_and_fallen, summarise, training_row
from stream.bus import MemoryBus
from stream.messages import DriftAlarm, ModelHealth, ModelVersion, Ruling, TrainingJob, encode
from stream.records import Output

DAY_S = 86_400.0


def health(partition: int, at_s: float, events: int, **counters: int) -> ModelHealth:
    figures = {"tested": 0, "hits": 0, "served_tested": 0, "served_hits": 0, "popularity_hits": 0, **counters}
    return ModelHealth(partition, at_s, events, events, 3, **figures, ndcg=0.5, version="v1", shadow="", blocks=[],
                       new_items=0)  # fmt: skip


def alarm(user: str, at_s: float, offset: int, risen: str = "Toys", fallen: str = "Garden") -> DriftAlarm:
    return DriftAlarm(user, at_s, "user", "rank", "page_hinkley", 4.0, 3.0, 20, [risen, "Music"], [fallen], offset)


def version(name: str, verdict: str, parent: str = "", job: str = "j1") -> ModelVersion:
    return ModelVersion(name, verdict, parent, 100.0, 160.0, {0: 9}, job, "users", {"alarms": 7.0}, "p", "sum", "",
                        40, 1.25, 900, {"reason": "log-loss better", "lower": 0.01}, 0.0)  # fmt: skip


JOB = TrainingJob("j1", 90.0, "refresh", "users", {"alarms": 7.0}, {0: 9}, {0: 4}, "v1", 3)


def test_a_curve_sums_partitions_and_takes_differences() -> None:
    curve = Curve(every=1_000)
    curve.add(health(0, 10.0, 600, tested=500, hits=50, served_tested=400, served_hits=20, popularity_hits=10))
    assert curve.points == []  # 600 events are no window yet
    curve.add(health(1, 20.0, 500, tested=100, hits=10, served_tested=100, served_hits=5, popularity_hits=8))
    curve.add(health(0, 30.0, 1_700, tested=1_500, hits=250, served_tested=1_400, served_hits=120))
    assert curve.points == [
        {"at": "1970-01-01T00:00:20.000Z", "events": 1_100, "hit_rate_10": 60 / 600,
         "served_hit_rate_10": 25 / 500, "popularity_hit_rate_10": 18 / 600},
        {"at": "1970-01-01T00:00:30.000Z", "events": 2_200, "hit_rate_10": 200 / 1_000,
         "served_hit_rate_10": 100 / 1_000, "popularity_hit_rate_10": -10 / 1_000},
    ]  # fmt: skip
    assert curve.rates()["hit_rate_10"] == 260 / 1_600


def test_a_record_that_arrives_twice_changes_nothing() -> None:
    once, twice = Curve(every=100), Curve(every=100)
    rows = [health(0, 10.0, 100, tested=10, hits=1), health(0, 20.0, 200, tested=20, hits=5)]
    for row in rows:
        once.add(row)
    for row in [rows[0], rows[1], rows[0], rows[1]]:
        twice.add(row)
    assert once.points == twice.points


def test_nothing_tested_has_no_rate() -> None:
    curve = Curve(every=100)
    curve.add(health(0, 10.0, 100))
    assert curve.points[0]["hit_rate_10"] is None
    assert Curve().rates()["served_hit_rate_10"] is None


def test_segments_are_ordered_by_how_many_moved() -> None:
    alarms = [alarm("ann", 5.0, 1), alarm("bob", DAY_S + 1, 2, risen="Books"), alarm("cy", DAY_S + 2, 3)]
    assert risen_and_fallen(alarms, most=2) == [
        {"segment": "Garden", "risen": 0, "fallen": 3},
        {"segment": "Toys", "risen": 2, "fallen": 0},
    ]


def test_a_training_has_its_reason_and_its_verdict() -> None:
    row = training_row(version("v2", "promoted", "v1"), JOB)
    assert (row["at"], row["live_at_s"]) == ("1970-01-01T00:01:40.000Z", 160.0)
    assert (row["kind"], row["trigger"], row["evidence"]) == ("refresh", "users", {"alarms": 7.0})
    assert (row["verdict"], row["gate"]) == ("promoted", {"reason": "log-loss better", "lower": 0.01})
    assert training_row(version("v1", "promoted"))["kind"] == ""  # the job is not known


def test_sums_up_the_topics_of_a_run() -> None:
    bus = MemoryBus(partitions=2)
    rows = [health(0, 10.0, 700, tested=700, hits=70), health(1, 20.0, 400, tested=300, hits=30)]
    bus.send([Output("model-health", b"x", encode(row), row.partition) for row in rows])
    raised = [alarm("ann", 5.0, 1), alarm("ann", 5.0, 1), alarm("ann", 7.0, 4)]  # one lies there twice
    bus.send([Output("drift-alarms", a.user_id.encode(), encode(a)) for a in raised])
    bus.send([Output("training-jobs", b"j1", encode(JOB))])
    bus.send([Output("model-versions", v.version.encode(), encode(v)) for v in (version("v2", "undecided", "v1"),)])
    ruling = Ruling("v2", "promoted", 300.0, 300.0, "shadow ended", {"gain": 0.02})
    bus.send([Output("model-versions", b"v2/shadow", encode(ruling))])
    result = summarise(bus, {"dataset": "shop"}, every=1_000)
    assert (result["events"], result["users"], result["tested"]) == (1_100, 6, 1_000)
    assert result["hit_rate_10"] == 100 / 1_000
    assert result["alarms"] == {"user": 2, "population": 0}
    assert result["alarm_times"] == [5.0, 7.0]
    assert result["trainings"][0]["live_at_s"] == 160.0  # as no record says that it serves
    served = ModelHealth(0, 30.0, 900, 900, 3, 0, 0, 0.0, 0, 0, 0, "v2", "", [], 0)
    bus.send([Output("model-health", b"x", encode(served), 0)])
    assert summarise(bus, {})["trainings"][0]["live_at_s"] == 30.0
    assert [t["version"] for t in result["trainings"]] == ["v2"]
    assert result["rulings"][0]["ruling"] == "promoted"
    assert result["dataset"] == "shop"
    assert len(result["curves"]) == 1


def test_an_empty_run_sums_to_nothing() -> None:
    result = summarise(MemoryBus(), {})
    assert (result["events"], result["hit_rate_10"], result["trainings"]) == (0, None, [])


def test_only_the_newest_record_of_a_version_counts() -> None:
    bus = MemoryBus()
    bus.send([Output("model-versions", b"v1", encode(version("v1", verdict))) for verdict in ("undecided", "promoted")])
    bus.send([Output("model-versions", b"v9", encode(version("v9", "refused"))), Output("model-versions", b"v9", None)])
    versions, rulings = read_versions(bus)
    assert [(v.version, v.verdict) for v in versions] == [("v1", "promoted")]
    assert rulings == []
