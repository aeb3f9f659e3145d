"""The dashboard `drift and quality`: are the lists good, do people drift, and what does the model do about it?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.board import Mark, built, window
from deploy.grafana.panels import (
    GREY,
    Line,
    Look,
    PanelBuilder,
    figure,
    graph,
    grown,
    high_is_bad,
    low_is_bad,
    sheet,
)

RANKINGS = {"arrival": "blue", "served": "green", "popularity": GREY}
DAY_S = 86_400
TESTED = "sum(increase(meander_tested_total[$window]))"
OUTCOME = "trigger, verdict"


def dashboard() -> model.Dashboard:
    """Rows from the outcome to its causes."""
    rows = {
        "At a glance": glance(),
        "Quality of the lists": quality(),
        "By version": by_version(),
        "Drift": drift(),
        "Trainings": trainings(),
        "The live model": live_model(),
    }
    swaps = "sum by (result) (increase(meander_swaps_total[$__rate_interval])) > 0"
    running = "max by (trigger) (meander_training_progress_ratio) >= bool 0"
    marks = [
        Mark("Swaps", swaps, "version {{result}}", "green"),
        Mark("Trainings", running, "training: {{trigger}}", "purple"),
    ]
    about = "How good the lists are, measured on each interaction before it is learned, and what drift leads to."
    variables = [window("5m,15m,1h,6h,1d,7d", "1h")]
    return built("meander-quality", "Meander: drift and quality", about, rows, variables, marks)


def rate_of(metric: str, tests: str, by: str) -> str:
    """Mean of a sum over tests, by labels of which `ranking` is not on the tests."""
    shared = ", ".join(label for label in by.split(", ") if label != "ranking")
    above = f"sum by ({by}) (increase({metric}[$window]))"
    below = f"sum by ({shared}) (increase({tests}[$window]))" if shared else f"sum(increase({tests}[$window]))"
    return f"{above} / on ({shared}) group_left () {below}"


def hit_rate(ranking: str) -> str:
    """Share of the tests whose item was among the first ten."""
    hits = f'sum(increase(meander_hits_10_total{{ranking="{ranking}"}}[$window]))'
    return f"{hits} / {TESTED}"


def glance() -> list[PanelBuilder]:
    """Eight numbers."""
    return [
        figure("Live version", "The version that serves. Two of them: scorers are swapping, or one of them cannot.",
               Line("count by (version) (meander_live_version_info)", "{{version}}"), "none", names=True,
               empty="none yet"),
        figure("Hit rate at 10, arrival",
               "Share of interactions whose item was among the first ten, ranked with everything known when they came.",
               Line(hit_rate("arrival"), "arrival"), "percentunit", decimals=1),
        figure("Ahead of popularity",
               "By how many points that is above the same list for everybody. Below 0 the recommender does harm.",
               Line(f"{hit_rate('arrival')} - ({hit_rate('popularity')})", "lead"), "percentunit", low_is_bad(0, 0.005),
               decimals=1),
        figure("Hit rate at 10, served",
               "The same for the list that lay on the topic: what people could have seen. It is lower by what the "
               "list did not know yet.",
               Line(hit_rate("served"), "served"), "percentunit", decimals=1),
        figure("Age of the live model's data",
               "Event time between the newest interaction and the end of what the oldest live model has learned.",
               Line("max(job:meander_model_age_event_seconds:max)", "age"), "s", high_is_bad(15 * DAY_S, 30 * DAY_S)),
        figure("Training", "Share of the running training that is done.",
               Line("max(meander_training_progress_ratio)", "done"), "percentunit", empty="none runs", decimals=0),
        figure("Failed trainings, last day",
               "Trainings that ended without a verdict. A refused version is no failure: the gate did its work.",
               Line("round(sum(increase(instance:meander_trainings_failed:sum[1d]))) or vector(0)", "failed"), "none",
               high_is_bad(1, 3)),
        figure("Refused or rolled back, last day",
               "Versions that a scorer would not load, and returns to an older one.",
               Line('round(sum(increase(meander_swaps_total{result!="swapped"}[1d]))) or vector(0)', "swaps"), "none",
               high_is_bad(1, 3)),
    ]  # fmt: skip


def quality() -> list[PanelBuilder]:
    """What was hit, over time."""
    return [
        graph("Hit rate at 10",
              "Share of interactions whose item was among the first ten: on arrival (everything known), served (the "
              "list on the topic), and of popularity, which is the same for everybody. All interactions count, "
              "against all items.",
              [Line(rate_of("meander_hits_10_total", "meander_tested_total", "ranking"), "{{ranking}}")],
              Look("percentunit", 12, colours=RANKINGS)),
        graph("NDCG at 10", "As the hit rate, but a hit counts the more the higher it stands in the list.",
              [Line(rate_of("meander_ndcg_10_sum_total", "meander_tested_total", "ranking"), "{{ranking}}")],
              Look("percentunit", 12, colours=RANKINGS)),
        graph("Coverage of the catalogue",
              "Different items on the newest 1,000 lists of each scorer, as a share of all items. Low and falling: "
              "everybody is shown the same.",
              [Line("meander_recommended_items / meander_items", "{{instance}}"),
               Line("max(job:meander_catalogue_coverage:ratio)", "mean")], Look("percentunit", colours={"mean": GREY})),
        graph("Tests per second", "Interactions tested. The rates above are worth as much as there are of these.",
              [Line("sum by (version) (rate(meander_tested_total[$__rate_interval]))", "{{version}}")],
              Look("cps", stacked=True)),
        graph("Items that were candidates",
              "Share of tested interactions whose item could have been recommended. The others are new or not "
              "available, and count as missed.",
              [Line(f"sum(increase(meander_ranked_total[$window])) / {TESTED}", "share")],
              Look("percentunit", maximum=1)),
    ]  # fmt: skip


def by_version() -> list[PanelBuilder]:
    """The same by the version that was live, with popularity's on the same interactions beside it."""

    def lines(metric: str, tests: str) -> list[Line]:
        return [Line(rate_of(f'{metric}{{ranking=~"arrival|popularity"}}', tests, "ranking, version"),
                     "{{ranking}}, {{version}}")]  # fmt: skip

    beside = " Popularity's dashed line is over the same interactions, so a season that is hard for all shows in both."
    return [
        graph("Hit rate at 10, by version", "On arrival, by the version that was live." + beside,
              lines("meander_hits_10_total", "meander_tested_total"),
              Look("percentunit", colours={"popularity": GREY})),
        graph("Mean reciprocal rank, by version",
              "1 for an item in first place, 1/2 in second, 0 beyond the twentieth." + beside,
              lines("meander_reciprocal_rank_20_sum_total", "meander_tested_total"),
              Look("none", colours={"popularity": GREY})),
        graph("Log-loss, by version",
              "Nats by which the model was surprised, over items that were candidates; lower is better." + beside,
              lines("meander_log_loss_sum_total", "meander_ranked_total"),
              Look("none", minimum=None, colours={"popularity": GREY})),
    ]  # fmt: skip


def drift() -> list[PanelBuilder]:
    """Alarms, and what they weigh."""
    others = 'meander_evidence{trigger!~"users|population|segment"} / meander_evidence_threshold'
    users = 'ln(clamp_min(meander_evidence{trigger="users"}, 1e-30)) / ln(meander_evidence_threshold{trigger="users"})'
    rise = 'meander_evidence{trigger=~"population|segment"} > bool meander_evidence_threshold'
    return [
        graph("Alarms per hour, by scope and detector",
              "user: a person's interests moved away from what they were. population: the loss of what is served rose, "
              "for everybody or in a segment. Where it rises for everybody, the weights of the blend move fast for a "
              "while, without a training.",
              [Line("3600 * sum by (scope, detector) (rate(meander_alarms_total[$window]))",
                    "{{scope}}: {{detector}}"),
               Line("3600 * sum(rate(meander_reopened_total[$window]))", "weights move fast")], Look("short", 8)),
        graph("People's changes per 1,000 events",
              "drift.false_alarms_per_1000 (1 unless you set it) is what people raise who do not drift. Above it, "
              "some do. Lists follow less certain ones, too, with drift.false_reactions_per_1000 (4).",
              [Line('1000 * sum(rate(meander_alarms_total{scope="user"}[$window])) / '
                    'sum(rate(meander_events_total{role="interest"}[$window]))', "alarms"),
               Line("1000 * sum(rate(meander_reactions_total[$window])) / "
                    'sum(rate(meander_events_total{role="interest"}[$window]))', "followed by lists")],
              Look("short", 8, steps=[(None, "transparent"), (1, "yellow")])),
        graph("Jobs issued and rulings, by trigger, last day",
              "Trainings that the trigger has asked for, by the evidence that decided, and candidates in shadow that "
              "it has promoted or refused.",
              [Line(grown("meander_jobs_total", "trigger", "1d"), "job: {{trigger}}"),
               Line("sum by (ruling) (increase(meander_rulings_total[1d]))", "shadow {{ruling}}")], Look("short", 8)),
        graph("Evidence, as a share of what starts a training",
              "A line per kind of evidence: at 100% it is a reason to train. users: how improbable so many alarms "
              "are, on a logarithmic scale, cut at 200%. population, segment: 0 or 100%, a rise was found or not. A "
              "training also has to be worth its price: see not-worth-it-yet in the trigger's log.",
              [Line(f"max by (trigger) (clamp_max({users}, 2))", "{{trigger}}"),
               Line(f"max by (trigger) ({others})", "{{trigger}}"), Line(f"max by (trigger) ({rise})", "{{trigger}}")],
              Look("percentunit", 16, steps=[(None, "transparent"), (1, "red")])),
        sheet("Evidence now, and its threshold",
              "The figures themselves. users is a p-value: it counts when it is below its threshold. population and "
              "segment are rises in nats, new-items a share of interactions, staleness, clock and continuous numbers "
              "of interactions.",
              {"now": "max by (trigger) (meander_evidence)",
               "threshold": "max by (trigger) (meander_evidence_threshold)"},
              8, "nothing weighed yet"),
    ]  # fmt: skip


def trainings() -> list[PanelBuilder]:
    """What was trained, how it was judged, and what it cost."""
    ended, lasted = (
        grown("meander_trainings_total", OUTCOME, "1d"),
        grown("meander_training_seconds_total", OUTCOME, "1d"),
    )
    steps, all_ended = grown("meander_training_steps_total", "job", "1d"), grown("meander_trainings_total", "job", "1d")
    return [
        graph("Trainings of the last day, by trigger and verdict",
              "Promoted goes live at once, undecided goes into shadow first, refused was no better than its parent, "
              "failed came to no verdict.",
              [Line(ended, "{{trigger}}: {{verdict}}")], Look("none", stacked=True, colours={".*failed": "red"})),
        graph("Seconds per training, mean of the last day", "Wall time of the training itself, by how it ended.",
              [Line(f"{lasted} / {ended}", "{{trigger}}: {{verdict}}")], Look("s")),
        graph("Steps per training, mean of the last day", "Optimiser steps: they follow the amount of new data.",
              [Line(f"{steps} / {all_ended}", "steps")], Look("short")),
        graph("Progress of the running training", "From 0 to 100%, by what it was started for; a gap when none runs.",
              [Line("max by (trigger) (meander_training_progress_ratio)", "{{trigger}}")],
              Look("percentunit", 12, maximum=1)),
        graph("A job waits for its version",
              "1 from the decision to train until its version is in force. At 1 for long while nothing trains: no "
              "tuner is there.",
              [Line("max(meander_job_outstanding)", "outstanding"),
               Line('max(meander_lag_records{topic="training-jobs"})', "jobs not taken")], Look("none", 12)),
    ]  # fmt: skip


def live_model() -> list[PanelBuilder]:
    """Which version serves, which is tried, how old its data is."""
    newest = 'max(meander_event_timestamp_seconds{role="scorer"})'
    return [
        graph("Scorers, by the version that serves",
              "Each scorer swaps between two of its events, so two versions overlap for a moment.",
              [Line("count by (version) (meander_live_version_info)", "{{version}}")], Look("none", 6, stacked=True)),
        graph("Scorers, by the candidate in shadow",
              "A candidate in shadow is scored beside the live version and serves nobody, until it has proved better "
              "or not.",
              [Line("count by (version) (meander_shadow_version_info)", "{{version}}")], Look("none", 6, stacked=True)),
        graph("Swaps of the last hour, by result",
              "refused: a version was damaged or did not come in time. rolled_back: an older version was swapped in.",
              [Line("sum by (result) (increase(meander_swaps_total[1h]))", "{{result}}")],
              Look("none", 6, colours={"swapped": "green", "refused": "red", "rolled_back": "yellow"})),
        graph("Blocks that wait for their group to close",
              "Baskets, orders or pages whose events are still coming. It grows when groups never end.",
              [Line("sum(meander_open_blocks)", "open")], Look("short", 6)),
        graph("Age of the live model",
              "published: wall time since it was published. data: event time between the newest interaction and the "
              "end of what it has learned.",
              [Line("time() - max(meander_model_published_timestamp_seconds > 0)", "published"),
               Line("max(job:meander_model_age_event_seconds:max)", "data")], Look("s", 12)),
        graph("Event time and data horizon",
              "Both as dates: the newest interaction that scorers have seen, and up to where the live model has "
              "learned.",
              [Line(f"1000 * {newest}", "newest interaction"),
               Line("1000 * min(meander_model_horizon_timestamp_seconds)", "data horizon")],
              Look("dateTimeAsIso", 12, minimum=None)),
    ]  # fmt: skip
