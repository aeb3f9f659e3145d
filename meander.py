"""Meander's command line: a streaming recommender that follows its users as their interests drift."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stream import settings as settings_
from stream.errors import MeanderError, SettingsError
from stream.settings import Settings

if TYPE_CHECKING:
    from producers.datasets import Dataset
    from stream.kafka_bus import KafkaBus

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
produce_app = typer.Typer(help="Send items and interactions into the topics.", no_args_is_help=True)
models_app = typer.Typer(help="The versions of the model: which is live, and why.")
app.add_typer(produce_app, name="produce")
app.add_typer(models_app, name="models")

Config = Annotated[Path | None, typer.Option("--config", help="Settings file; else meander.toml, if it is there.")]
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", help="HOST:PORT[,HOST:PORT] of the broker.")]
Speed = Annotated[float, typer.Option(help="Seconds of event time per second; 0: as fast as the consumers follow.")]
Directory = Annotated[Path, typer.Option(help="Where log files go; with the embedded broker versions, too.")]
Policy = Annotated[
    Literal["drift", "clock", "continuous", "never"] | None,
    typer.Option(help="When to train; else as in the settings."),
]
Roles = Literal["encoder", "interest", "scorer", "trigger", "tuner"]
GROUPS = ("encoder", "interest", "scorer", "trigger", "tuner")
SEASON = datetime(2011, 9, 1, tzinfo=UTC)


@app.command()
def up(bootstrap: Bootstrap = None, config: Config = None, directory: Directory = Path("runs/up")) -> None:
    """Run all consumers, supervised; on the embedded broker, unless one is given here or in the settings."""
    from consumers import running

    settings, given = _settings(config, bootstrap), bootstrap or settings_.says("kafka", "bootstrap", config)
    raise typer.Exit(running.up(settings, directory, embedded=not given))


@app.command()
def run(role: Annotated[Roles, typer.Argument()], bootstrap: Bootstrap = None, config: Config = None) -> None:
    """Run one consumer, for containers."""
    from consumers.run import run_role

    raise typer.Exit(run_role(role, _settings(config, bootstrap)))


@produce_app.command("replay")
def produce_replay(
    log: Annotated[Path | None, typer.Argument(help="Event log: JSON lines, optionally gzip.")] = None,
    speed: Speed = 0.0,
    items: Annotated[Path | None, typer.Option(help="Items, if they are not in the log.")] = None,
    dataset: Annotated[str | None, typer.Option(help="In place of a log: online-retail or ml-100k.")] = None,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies; ml-100k is not bundled.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many interactions.")] = None,
    bootstrap: Bootstrap = None,
    config: Config = None,
) -> None:
    """Play an event log, or a data set; items go first."""
    _produce(_dataset(dataset, path, log, items, limit), _settings(config, bootstrap), speed)


@produce_app.command("synthetic")
def produce_synthetic(
    users: Annotated[int, typer.Option(help="How many users.")] = 500,
    items: Annotated[int, typer.Option(help="How many items.")] = 800,
    events: Annotated[int, typer.Option(help="How many interactions.")] = 20_000,
    days: Annotated[float, typer.Option(help="Days that they span.")] = 90.0,
    swaps: Annotated[float, typer.Option(help="Share of users whose interest changes at once.")] = 0.2,
    gradual: Annotated[float, typer.Option(help="Share of users whose interest changes little by little.")] = 0.1,
    category_day: Annotated[float | None, typer.Option(help="Day on which one topic's users move to another.")] = None,
    population_day: Annotated[float | None, typer.Option(help="Day on which popularity is drawn anew.")] = None,
    says: Annotated[float, typer.Option(help="Share of those who change that search for it before.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of all random draws.")] = 0,
    truth: Annotated[Path | None, typer.Option(help="Write the planted changes here, as JSON lines.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write an event log here, instead of sending.")] = None,
    speed: Speed = 0.0,
    bootstrap: Bootstrap = None,
    config: Config = None,
) -> None:
    """Send made-up users whose interests change at known times."""
    from producers import datasets, log, synthetic

    plan = synthetic.Plan(
        users=users, items=items, events=events, days=days, swaps=swaps, gradual=gradual,
        category_day=category_day, population_day=population_day, says=says, seed=seed,
    )  # fmt: skip
    world = synthetic.World(plan)
    if truth is not None:
        synthetic.write_truth(truth, world.changes)
    if out is not None:
        typer.echo(f"{log.write(out, [*world.items, *world.interactions()]):,} lines in {out}")
        return
    data = datasets.Dataset("synthetic", world.items, list(world.interactions()))
    _produce(data, _settings(config, bootstrap), speed)


@app.command()
def replay(
    dataset: Annotated[str | None, typer.Option(help="online-retail or ml-100k.")] = None,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies; ml-100k is not bundled.")] = None,
    interactions: Annotated[Path | None, typer.Option(help="An event log, in place of a data set.")] = None,
    items: Annotated[Path | None, typer.Option(help="Items, if they are not in that log.")] = None,
    policy: Policy = None,
    repeats: Annotated[
        bool | None, typer.Option(help="May items be recommended that the user already has; else as the log suggests.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all random draws.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many interactions.")] = None,
    recommendations: Annotated[Path | None, typer.Option(help="Write every list here, as JSON lines.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page here.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here; -: to stdout.")] = None,
    config: Config = None,
) -> None:
    """Run all consumers in one process over a log, with event time as the clock; deterministic."""
    data = _dataset(dataset, path, interactions, items, limit)
    overrides: dict[str, Any] = {"trigger": {"policy": policy}, "scoring": {"repeats": repeats}, "seed": seed}
    settings = settings_.load(config, **_given(overrides))
    from consumers.playback import play, suited  # after the checks above, as it loads torch

    if repeats is None and not settings_.says("scoring", "repeats", config):
        settings = suited(settings, data.interactions)

    result = play(data.name, data.items, data.interactions, settings, recommendations, report)
    if json_file is not None:
        _write_json(result, json_file)


@app.command()
def tune(
    log: Annotated[Path | None, typer.Argument(help="Event log: JSON lines, optionally gzip.")] = None,
    items: Annotated[Path | None, typer.Option(help="Items, if they are not in that log.")] = None,
    dataset: Annotated[str | None, typer.Option(help="In place of a log: online-retail or ml-100k.")] = None,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies; ml-100k is not bundled.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many, in all.")] = 30,
    events: Annotated[
        int | None, typer.Option(min=10, help="Interactions of the slice; else 20,000, or half of a shorter log.")
    ] = None,
    policy: Policy = None,
    repeats: Annotated[
        bool | None, typer.Option(help="May items be recommended that the user already has; else as the log suggests.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all random draws.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Where the study lies; else runs/tune/NAME.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here; -: to stdout.")] = None,
    config: Config = None,
) -> None:
    """Look for better settings on the beginning of a log, and tell what they gain; run again, it goes on.

    In the trials models are trained once, after the warm-up, unless a policy is given.
    """
    data = _dataset(dataset, path, log, items, None)
    overrides = {"trigger": {"policy": policy or "never"}, "scoring": {"repeats": repeats}, "seed": seed}
    settings = settings_.load(config, **_given(overrides))
    if importlib.util.find_spec("optuna") is None:
        raise SettingsError("meander tune needs Optuna: pip install 'meander[tune]'")
    from consumers import tune as tune_
    from consumers.playback import suited

    if repeats is None and not settings_.says("scoring", "repeats", config):
        settings = suited(settings, data.interactions)
    where = directory or Path("runs/tune") / data.name
    try:
        result = tune_.tune(data.name, data.items, data.interactions, settings, where, trials, events)
    except KeyboardInterrupt:
        sys.stderr.write(f"meander: stopped; the same command goes on with what is in {where}\n")
        raise typer.Exit(130) from None
    _write_json(result, json_file) if json_file is not None else typer.echo(result["toml"], nl=False)


@app.command()
def calibrate(
    log: Annotated[Path | None, typer.Argument(help="Event log: JSON lines, optionally gzip.")] = None,
    false_alarms_per: Annotated[
        float | None, typer.Option(min=10, help="Events of people who do not drift per false alarm; else as set.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Items, if they are not in that log.")] = None,
    dataset: Annotated[str | None, typer.Option(help="In place of a log: online-retail or ml-100k.")] = None,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies; ml-100k is not bundled.")] = None,
    repeats: Annotated[
        bool | None, typer.Option(help="May items be recommended that the user already has; else as the log suggests.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all random draws.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many interactions.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here; -: to stdout.")] = None,
    config: Config = None,
) -> None:
    """Find the drift detector's threshold for a log; a piece of meander.toml goes to stdout. About a minute."""
    data = _dataset(dataset, path, log, items, limit)
    settings = settings_.load(config, **_given({"scoring": {"repeats": repeats}, "seed": seed}))
    from consumers import calibrate as calibrate_
    from consumers.playback import suited
    from stream.text import TextEncoder

    if repeats is None and not settings_.says("scoring", "repeats", config):
        settings = suited(settings, data.interactions)
    encoder = TextEncoder.load(settings.model)
    per = false_alarms_per or 1000 / settings.drift.false_alarms_per_1000
    result = calibrate_.calibrate(data.name, list(data.items), data.interactions, settings, per, encoder.encode)
    _write_json(result, json_file) if json_file is not None else typer.echo(result["toml"], nl=False)


@app.command()
def record(
    topic: Annotated[list[str], typer.Option(help="interactions, items …; may be given several times.")],
    out: Annotated[Path, typer.Option(help="The log; gzip if it ends in .gz.")],
    bootstrap: Bootstrap = None,
    config: Config = None,
) -> None:
    """Dump topics to a log that `replay` and `produce replay` read back."""
    from producers.record import record as record_topics

    done = record_topics(_bus(_settings(config, bootstrap)), topic, out)
    typer.echo(f"{done.lines:,} lines in {out}; left out: {done.malformed} malformed, {done.tombstones} deleted")


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, bootstrap: Bootstrap = None, config: Config = None) -> None:
    """List the versions, unless a command is given."""
    if context.invoked_subcommand is None:
        models_list(bootstrap, config)


@models_app.command("list")
def models_list(bootstrap: Bootstrap = None, config: Config = None) -> None:
    """List the versions: state, data, reason, parent and verdict."""
    from consumers.inspect import version_lines
    from consumers.summary import read_versions
    from consumers.tables import version_table

    versions, rulings = read_versions(_bus(_settings(config, bootstrap)))
    _print(version_table(version_lines([*versions, *rulings])))


@models_app.command("rollback")
def models_rollback(
    version: Annotated[str | None, typer.Argument(help="The live one, if none is named.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the ruling.")] = "on request",
    bootstrap: Bootstrap = None,
    config: Config = None,
) -> None:
    """Take a version out of service; the one before it serves again."""
    from consumers.inspect import roll_back

    ruling = roll_back(_bus(_settings(config, bootstrap)), version, reason)
    typer.echo(f"{ruling.version} is rolled back: {ruling.reason}")


@app.command()
def user(user_id: str, bootstrap: Bootstrap = None, config: Config = None) -> None:
    """Tell a person's interests, newest interactions and recommendations, in words."""
    from consumers.inspect import read_person
    from consumers.tables import person_table

    _print(person_table(read_person(_bus(_settings(config, bootstrap)), user_id)))


@app.command()
def topics(
    create: Annotated[bool, typer.Option("--create", help="Create those that are missing, before.")] = False,
    bootstrap: Bootstrap = None,
    config: Config = None,
) -> None:
    """List the topics, their records, and how far each consumer is behind."""
    from consumers.tables import topic_table
    from stream.admin import ensure_topics, topic_states

    kafka = _settings(config, bootstrap).kafka
    if create:
        ensure_topics(kafka)
    _print(topic_table(topic_states(kafka, GROUPS), GROUPS))


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(help="Wall time that the season takes.")] = 150.0,
    season: Annotated[datetime, typer.Option(help="Where the season begins.")] = SEASON,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many interactions of the season.")] = None,
    bootstrap: Bootstrap = None,
    directory: Directory = Path("runs/demo"),
    config: Config = None,
) -> None:
    """Play a year of a real shop through everything, with a live view and a report at the end."""
    from consumers import demo as demo_
    from producers import datasets

    data = datasets.load(datasets.ONLINE_RETAIL)
    before, rest = demo_.split(data.interactions, season.replace(tzinfo=UTC).timestamp())
    show = demo_.Show(data.name, data.items, before, rest[:limit], seconds)
    settings = _settings(config, bootstrap)
    raise typer.Exit(demo_.demo(show, _play, settings, directory, embedded=bootstrap is None))


@app.command("settings")
def show_settings(config: Config = None) -> None:
    """Print the effective settings, secrets masked."""
    typer.echo(json.dumps(settings_.masked(settings_.load(config)), indent=2))


def main() -> None:
    """Run the command line; an error is one line on stderr and exit code 1.

    Matrix libraries get one thread, unless the environment says otherwise: products are small, five processes share
    the cores, and results do not depend on the machine.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when they are imported, which is later
    try:
        app()
    except MeanderError as error:
        sys.stderr.write(f"meander: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _settings(config: Path | None, bootstrap: str | None) -> Settings:
    return settings_.load(config, **({"kafka": {"bootstrap": bootstrap}} if bootstrap else {}))


def _bus(settings: Settings) -> KafkaBus:
    from stream.kafka_bus import KafkaBus

    return KafkaBus(settings.kafka)


def _given(overrides: dict[str, Any]) -> dict[str, Any]:
    """Overrides without those that are None."""
    inner = {key: _given(value) if isinstance(value, dict) else value for key, value in overrides.items()}
    return {key: value for key, value in inner.items() if value is not None and value != {}}


def _dataset(
    name: str | None, path: Path | None, interactions: Path | None, items: Path | None, limit: int | None
) -> Dataset:
    from producers import datasets

    if (name is None) == (interactions is None):
        raise typer.BadParameter("give either a data set (--dataset NAME) or an event log")
    data = datasets.load(name, path) if name is not None else datasets.from_files(interactions or Path(), items)
    return datasets.Dataset(data.name, data.items, datasets.head(data.interactions, limit))


def _produce(data: Dataset, settings: Settings, speed: float) -> None:
    """Send a data set, with a line of progress, no faster than the consumers follow."""
    from producers import terminal

    terminal.produce(_bus(settings), data, settings, speed)


def _play(bus: Any, items: Any, interactions: Any, speed: float, stop: Any, lag: Any, ahead: int) -> object:
    """Send what the demo plays."""
    from producers.replay import Backpressure, Pace, produce

    return produce(bus, items, interactions, pace=Pace(speed), stop=stop, pressure=Backpressure(lag, ahead))


def _write_json(result: dict[str, Any], path: Path) -> None:
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text) if str(path) == "-" else path.write_text(text)


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)


if __name__ == "__main__":
    main()
