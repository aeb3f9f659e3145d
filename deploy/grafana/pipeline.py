"""The dashboard `pipeline`: does everything run, and does it keep up?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.board import Mark, built, from_series
from deploy.grafana.panels import (
    GREY,
    PICKED,
    Line,
    Look,
    PanelBuilder,
    figure,
    graph,
    grown,
    high_is_bad,
    low_is_bad,
    sheet,
    states,
)

LATE_AFTER_S = 5  # as in recording.yml
BUDGET = 0.01  # of all lists may be late: alerts.yml burns it
LISTS = 'topic="recommendations"'
FIRING = 'ALERTS{alertname=~"Meander.*", alertstate="firing"}'
SECONDS_BEHIND = '(role_topic:meander_lag_records:sum{role!="tuner"} > 1000) / role_topic:meander_records:rate5m'


def dashboard() -> model.Dashboard:
    """Rows from what an operator asks first to what explains it."""
    rows = {
        "At a glance": glance(),
        "Events": events(),
        "Lag": lag(),
        "Freshness of the lists": freshness(),
        "Batches": batches(),
        "State, memory, processor": resources(),
        "Processes and their partitions": processes(),
        "Encoder": encoder(),
    }
    variables = [
        from_series("role", "Role", 'up{job="meander"}'),
        from_series("instance", "Instance", 'up{job="meander", role=~"$role"}'),
    ]
    restarts = f'sum by (role) (changes(process_start_time_seconds{{job="meander", {PICKED}}}[$__rate_interval])) > 0'
    firing = f"max by (alertname) ({FIRING})"
    marks = [Mark("Restarts", restarts, "{{role}} restarted", "purple"), Mark("Alerts", firing, "{{alertname}}", "red")]
    about = "Do Meander's processes run, and keep up with the interactions? All is well while the first row is green."
    return built("meander-pipeline", "Meander: pipeline", about, rows, variables, marks)


def glance() -> list[PanelBuilder]:
    """Eight numbers, green when all is well; below them, what is not."""
    return [
        figure("Alerts firing",
               "Alerts of deploy/prometheus/alerts.yml that fire now. Each has an entry in docs/operations.md.",
               Line(f"count({FIRING}) or vector(0)", "alerts"),
               "none", high_is_bad(1, 1)),
        figure("Roles ready, of 4",
               "Roles with a process that has its partitions and has restored their state. The tuner is not counted: "
               "it may be scaled to zero while there is nothing to train.",
               Line('count(sum by (role) (meander_ready{role!="tuner"}) > 0) or vector(0)', "roles"),
               "none", low_is_bad(4, 4)),
        figure("Processes down",
               "Processes that Prometheus knows and cannot reach.",
               Line('count(up{job="meander"} == 0) or vector(0)', "down"), "none", high_is_bad(1, 2)),
        figure("Events per second",
               "Interactions folded into people's states in the last 5 minutes.",
               Line("sum(job:meander_events:rate5m)", "events"), "cps"),
        figure("Work waiting",
               "How long the longest backlog takes at the pace of the last 5 minutes; backlogs up to 1,000 records "
               "count as none. Endless: nothing is handled at all.",
               Line(f"max({SECONDS_BEHIND}) or vector(0)", "behind"), "s", high_is_bad(60, 300)),
        figure("Arrival to list, p99",
               "99 of 100 lists were committed within this time of the arrival of the interaction that they answer, "
               "in the last 5 minutes. Empty without lists.",
               Line(f'histogram_quantile(0.99, sum by (le) (rate(meander_publish_seconds_bucket{{{LISTS}, '
                    'since="arrival"}[5m])))', "p99"),
               "s", high_is_bad(2, LATE_AFTER_S)),
        figure("Error budget burnt, last hour",
               f"How fast lists that come later than {LATE_AFTER_S} s use up what is allowed ({BUDGET:.0%} of all): "
               "at 1x it lasts exactly the month, at 14.4x two days.",
               Line(f"max(job:meander_publish_late:ratio_rate1h) / {BUDGET}", "burn"), "suffix:x", high_is_bad(1, 14.4),
               decimals=1),
        figure("Parked, last hour",
               "Malformed records that went to the topic dead-letters instead of being handled.",
               Line("round(sum(increase(instance:meander_parked:sum[1h]))) or vector(0)", "records"), "short",
               high_is_bad(1, 100)),
        states("Ready, by process",
               "Green while partitions are assigned and restored. Red: it starts, restores, or a batch has failed.",
               Line(f"max by (role, instance) (meander_ready{{{PICKED}}})", "{{role}} {{instance}}"),
               {0: ("not ready", "red"), 1: ("ready", "green")}, 12),
        sheet("Alerts that fire now", "By name, urgency and role; docs/operations.md says what to do about each.",
              {"series": f"sum by (alertname, severity, role) ({FIRING})"}, 12, "none"),
    ]  # fmt: skip


def events() -> list[PanelBuilder]:
    """What comes in, and what about it is odd."""
    odd = ("late", "duplicate", "unvectored", "untested")
    return [
        graph("Events and lists per second",
              "Interactions folded in by interest, seen by the scorer, and lists written in answer. The three lie "
              "together: one that falls behind is where things are stuck.",
              [Line("sum by (role) (rate(meander_events_total[$__rate_interval]))", "events, {{role}}"),
               Line("sum(rate(meander_recommendations_total[$__rate_interval]))", "lists")], Look("cps")),
        graph("Odd events per second",
              "late: older than the newest of their user. duplicate: dropped, the event id was known. unvectored: the "
              "item had no vector yet. untested: learned without a test, after a gap in a user's numbers.",
              [Line(f"sum(rate(meander_{name}_total[$__rate_interval]))", name) for name in odd], Look("cps")),
        graph("Parked in the last hour, by topic and field",
              "Malformed records by where they came from and which field broke a rule. The record itself, its place "
              "and the reason lie on dead-letters.",
              [Line(grown(f"meander_parked_total{{{PICKED}}}", "topic, field", "1h"), "{{topic}}: {{field}}")],
              Look("short", stacked=True)),
    ]  # fmt: skip


def lag() -> list[PanelBuilder]:
    """How far behind each role is, and whether it gets worse."""
    return [
        graph("Records waiting, by role and topic",
              "Records between what a role has handled and the end of each of its inputs.",
              [Line('role_topic:meander_lag_records:sum{role=~"$role"}', "{{role}}: {{topic}}")], Look("short", 6)),
        graph("Work waiting, by role and topic",
              "How long each backlog of over 1,000 records takes at the pace of the last 5 minutes. The tuner is left "
              "out: its one record is a training.",
              [Line(SECONDS_BEHIND, "{{role}}: {{topic}}")], Look("s", 6, steps=[(None, "transparent"), (300, "red")])),
        graph("Growth of the lag",
              "Records per second by which each backlog grew over 10 minutes. Above 0 for long: more comes in than is "
              "handled, so add processes (up to one per partition). Below 0: it catches up.",
              [Line('deriv(role_topic:meander_lag_records:sum{role=~"$role"}[10m])', "{{role}}: {{topic}}")],
              Look("cps", 6, minimum=None, steps=[(None, "transparent"), (0, "red")])),
        graph("Records waiting, by partition",
              "The twenty partitions with the longest backlog. One line above all others: a partition with more users "
              "than its share, or whose process is stuck.",
              [Line(f"topk(20, max by (role, topic, partition) (meander_lag_records{{{PICKED}}}))",
                    "{{role}}: {{topic}} {{partition}}")], Look("short", 6)),
    ]  # fmt: skip


def freshness() -> list[PanelBuilder]:
    """Seconds from an interaction to the list that answers it."""

    def quantiles(since: str) -> list[Line]:
        rate = f'sum by (le) (rate(meander_publish_seconds_bucket{{{LISTS}, since="{since}"}}[$__rate_interval]))'
        return [Line(f"histogram_quantile({q}, {rate})", name) for q, name in ((0.5, "p50"), (0.99, "p99"))]

    return [
        graph("From arrival to list",
              "Time from the append of an interaction to its topic until the list that answers it is committed.",
              quantiles("arrival"), Look("s", steps=[(None, "transparent"), (LATE_AFTER_S, "red")])),
        graph("From event time to list",
              "The same from the time at which the event happened: what people notice. It includes how long your own "
              "systems take to send it; of a replayed log it is years.",
              quantiles("event"), Look("s")),
        graph("Error budget burnt, over four windows",
              f"The share of lists later than {LATE_AFTER_S} s, in multiples of the {BUDGET:.0%} that is allowed. An "
              "alert fires when a long window and a short one are both above the line of their pair.",
              [Line(f"max(job:meander_publish_late:ratio_rate{w}) / {BUDGET}", w) for w in ("5m", "1h", "6h", "3d")],
              Look("suffix:x", steps=[(None, "transparent"), (1, "yellow"), (14.4, "red")],
                   colours={"5m": GREY, "1h": "blue", "6h": "green", "3d": "purple"})),
    ]  # fmt: skip


def batches() -> list[PanelBuilder]:
    """How the loop of each role goes round."""

    def slow(metric: str) -> Line:
        rate = f"sum by (role, le) (rate({metric}_bucket{{{PICKED}}}[$__rate_interval]))"
        return Line(f"histogram_quantile(0.99, {rate})", "{{role}}")

    ends = f"sum by (role, result) (rate(meander_batches_total{{{PICKED}}}[$__rate_interval]))"
    records = f"sum by (role, topic) (rate(meander_records_total{{{PICKED}}}[$__rate_interval]))"
    outputs = f"sum by (role, topic) (rate(meander_outputs_total{{{PICKED}}}[$__rate_interval]))"
    return [
        graph("Records handled per second", "What each role takes from its inputs.",
              [Line(records, "{{role}}: {{topic}}")], Look("cps")),
        graph("Records written per second", "What each role puts out, changelogs included.",
              [Line(outputs, "{{role}}: {{topic}}")], Look("cps")),
        graph("Batches per second, by how they ended",
              "An aborted batch was given back, and is handled again after a pause: the broker or a store did not "
              "answer. Nothing is lost by it, but nothing gets through while it lasts.",
              [Line(ends, "{{role}}: {{result}}")], Look("cps", colours={".*aborted": "red"})),
        graph("Seconds per batch, p99",
              "From the poll's return to the end of the commit. A role whose batches take long, and whose lag grows, "
              "is short of processor time or waits for the broker.",
              [slow("meander_batch_seconds")], Look("s", 12)),
        graph("Seconds per commit, p99",
              "The part of it that the broker takes. High for all roles at once: the broker is slow.",
              [slow("meander_commit_seconds")], Look("s", 12)),
    ]  # fmt: skip


def resources() -> list[PanelBuilder]:
    """What each process holds and uses."""
    return [
        graph("People with a live state", "By role, over all its processes. Each person lies in one partition.",
              [Line(f"sum by (role) (meander_users{{{PICKED}}})", "{{role}}")], Look("short", 6)),
        graph("Size of their states",
              "Bytes of people's states as interest writes them: what a restore has to read back.",
              [Line('sum(meander_state_bytes{role="interest"})', "states")], Look("bytes", 6)),
        graph("Memory, by process",
              "Resident memory. It grows with people and items, and steps up at a swap, while two models are loaded.",
              [Line(f'process_resident_memory_bytes{{job="meander", {PICKED}}}', "{{role}} {{instance}}")],
              Look("bytes", 6)),
        graph("Processor, by process",
              "Cores in use. A scorer or an interest at 1 is at its limit: one process works on one core.",
              [Line(f'rate(process_cpu_seconds_total{{job="meander", {PICKED}}}[$__rate_interval])',
                    "{{role}} {{instance}}")], Look("none", 6)),
        graph("Items known", "Items in each role's catalogue. Where roles differ for long, one of them is stuck.",
              [Line(f"max by (role) (meander_items{{{PICKED}}})", "{{role}}")], Look("short", 12)),
        graph("People forgotten on request, last hour", "Records on the topic erasures that were carried out, by role.",
              [Line(f"sum by (role) (increase(meander_erased_total{{{PICKED}}}[1h]))", "{{role}}")], Look("short", 12)),
    ]  # fmt: skip


def processes() -> list[PanelBuilder]:
    """Who is there, and since when."""
    return [
        graph("Rebalances and restarts, last hour",
              "How often partitions were assigned anew (each time followed by a restore), and processes were started. "
              "A process that comes and goes takes its whole group with it.",
              [Line(f"sum by (role) (increase(meander_restores_total{{{PICKED}}}[1h]))", "assigned, {{role}}"),
               Line(f'sum by (role) (changes(process_start_time_seconds{{job="meander", {PICKED}}}[1h]))',
                    "started, {{role}}")], Look("short", 6)),
        graph("Seconds of the newest restore", "How long a process was away after its newest assignment.",
              [Line(f"max by (role) (meander_restore_seconds{{{PICKED}}})", "{{role}}")], Look("s", 6)),
        graph("Records of the newest restore", "What it had to read back. It grows with people, compaction bounds it.",
              [Line(f"max by (role) (meander_restored_records{{{PICKED}}})", "{{role}}")], Look("short", 6)),
        sheet("Versions of Meander", "Which release runs where. More than one for long: an update stopped half-way.",
              {"processes": f"count by (role, version) (meander_build_info{{{PICKED}}})"}, 6, "no process"),
    ]  # fmt: skip


def encoder() -> list[PanelBuilder]:
    """The role that runs the text model."""
    return [
        graph("Texts encoded per second", "Of items and of interactions. A text seen before costs nothing.",
              [Line("sum by (kind) (rate(meander_encoded_total[$__rate_interval]))", "{{kind}}")], Look("cps", 12)),
        graph("Seconds per batch",
              "Median and 99th percentile. New items wait for this before they can be recommended: until then their "
              "interactions count as unvectored.",
              [Line(f'histogram_quantile({q}, sum by (le) (rate(meander_batch_seconds_bucket{{role="encoder"}}'
                    "[$__rate_interval])))", name) for q, name in ((0.5, "p50"), (0.99, "p99"))], Look("s", 12)),
    ]  # fmt: skip
