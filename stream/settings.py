"""Every setting, in one frozen tree: one TOML file, then environment variables, then the command line.

`meander.toml` (or the file named by `MEANDER_CONFIG`) is read first; `MEANDER_KAFKA__BOOTSTRAP=...` overrides
`[kafka] bootstrap`. Unknown keys are refused.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from stream.errors import SettingsError

DAY_S = 86_400.0
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of the TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Kafka(Section):
    """How to reach the broker, and the shape of the topics."""

    bootstrap: str = Field("127.0.0.1:9092", description="HOST:PORT[,HOST:PORT …]")
    prefix: str = Field("", description="put before every topic, group and transactional id")
    instance: str = Field(
        "0", min_length=1, description="this process among its group's: unique there, the same after a restart"
    )
    partitions: int = Field(1, ge=1, le=256, description="partitions of the partitioned topics")
    replication: int = Field(1, ge=1, le=9, description="copies of each partition; 3 on a cluster")
    topics: dict[str, str] = Field(
        default_factory=dict, description="your own names for topics: interactions = 'clicks'"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how the broker is spoken to"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="needed by the two SASL protocols"
    )
    sasl_username: str | None = Field(None, description="of PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(None, description="never logged")
    ssl_cafile: str | None = Field(None, description="path of the certificates to trust; none: those of the machine")
    ssl_certfile: str | None = Field(None, description="path of the client certificate")
    ssl_keyfile: str | None = Field(None, description="path of its key")
    ssl_password: SecretStr | None = Field(None, description="of the key; never logged")
    session_timeout_ms: int = Field(10_000, ge=1_000, description="silence after which a consumer counts as dead")
    max_poll_records: int = Field(500, ge=1, description="records of one batch, at most; a batch is a transaction")
    exactly_once: bool = Field(True, description="false: at least once, for brokers such as the embedded one")

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Kafka:
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism is None:
            raise ValueError(f"kafka.sasl_mechanism must be set when security_protocol is {self.security_protocol}")
        return self


class Users(Section):
    """The state of a person."""

    tail: int = Field(50, ge=1, le=1000, description="interactions kept in the history tail")
    half_life_s: Positive | Literal["auto"] = Field(
        "auto", description="event-time half-life of the slow state, seconds"
    )
    fast_half_life_s: Positive | Literal["auto"] = Field("auto", description="event-time half-life of the fast state")
    half_life_events: float = Field(70.0, gt=0, description="count half-life of the slow state (beta .99)")
    fast_half_life_events: float = Field(5.0, gt=0, description="count half-life of the fast state")
    weights: dict[str, float] = Field(
        default_factory=lambda: {
            "view": 1.0, "click": 1.0, "cart": 1.0, "purchase": 1.0, "rating": 1.0, "review": 1.0, "search": 0.0
        },
        description="weight of each event type in the state; 0: not an interest in the item",
    )  # fmt: skip
    default_weight: float = Field(1.0, ge=0, description="weight of an event type that is not named")
    recent_ids: int = Field(12, ge=0, le=1024, description="event ids remembered against duplicates")


class Drift(Section):
    """Detection of drift in a user's interests."""

    false_alarms_per_1000: float = Field(1.0, gt=0, lt=100, description="user alarms per 1,000 stationary events")
    false_reactions_per_1000: float = Field(
        4.0,
        gt=0,
        lt=100,
        description="the same for changes that lists follow without an alarm; alarms are followed, too",
    )
    reaction_events: int = Field(20, ge=0, description="events after an alarm during which the detector rests")
    follow_population: bool = Field(
        True, description="let the blend's weights move fast where the loss of what is served rises for everybody"
    )
    threshold: Positive | Literal["auto"] = Field(
        "auto", description="of alarms; auto: from the null, at each training; `meander calibrate` finds one for a log"
    )


class Trigger(Section):
    """When training pays."""

    policy: Literal["drift", "clock", "continuous", "never"] = Field(
        "drift", description="what starts a refresh: evidence, a count, as often as allowed, nothing"
    )
    warm_up_events: int = Field(20_000, ge=1, description="interactions before the first training")
    min_new_events: int = Field(
        5_000, ge=1, description="interactions between two trainings, at least, but for a rise of the loss"
    )
    cool_down_s: float = Field(0.0, ge=0, description="event time between two trainings, at least")
    clock_events: int = Field(20_000, ge=1, description="policy clock: train every so many interactions")
    max_staleness_events: int = Field(100_000, ge=1, description="policy drift: train at the latest after so many")
    step_worth: float = Field(
        3.0, ge=0, description="policy drift: log rank that a training step is to gain, as expected; 0: steps are free"
    )
    false_trigger_events: int = Field(
        50_000, ge=1_000, description="stationary interactions to a false alarm of the population and its segments"
    )
    unknown_share: float = Field(
        0.1, gt=0, le=1, description="share of interactions about items new to the live model that is evidence"
    )
    alarm_window_events: int = Field(5_000, ge=100, description="window over which the share of alarmed users is taken")
    alarm_p_value: float = Field(1e-4, gt=0, lt=1, description="how improbable the share of alarms must be")
    go_live_delay_s: float = Field(0.0, ge=0, description="event time between a decision and its version going live")


class Model(Section):
    """The language models."""

    encoder: str = Field("minilm", description="text encoder: 'minilm' (in the package), a path or a hub name")
    encoder_max_tokens: int = Field(64, ge=8, le=512, description="a text is cut after so many")
    dim: int = Field(64, ge=8, le=1024, description="width of the next-item LM")
    layers: int = Field(2, ge=1, le=24, description="blocks of the next-item LM")
    heads: int = Field(2, ge=1, le=16, description="attention heads of a block")
    context: int = Field(50, ge=2, le=1024, description="interactions that the next-item LM sees")
    dropout: float = Field(0.5, ge=0, lt=1, description="in training")

    @model_validator(mode="after")
    def _heads_divide(self) -> Model:
        if self.dim % self.heads:
            raise ValueError(f"model.dim must be a multiple of model.heads ({self.heads}), got {self.dim}")
        return self


class Training(Section):
    """How a training runs."""

    window_events: int = Field(20_000, ge=100, description="newest interactions that a refresh sees")
    replay_ratio: float = Field(2.0, ge=0, description="old interactions replayed per new one, about: whole windows")
    warm_up_epochs: int = Field(12, ge=1, description="epochs of the first training")
    epochs: int = Field(
        2,
        ge=1,
        description="epochs of a refresh; up to warm_up_epochs for a rise of the loss that promises to pay for them",
    )
    max_steps: int = Field(
        1_400, ge=1, description="optimiser steps of the first training, at most; capped in steps, not seconds"
    )
    max_refresh_steps: int = Field(600, ge=1, description="optimiser steps of a refresh, at most")
    batch_size: int = Field(16, ge=1, description="windows of model.context interactions per optimiser step")
    learning_rate: float = Field(4e-3, gt=0, description="of the first training, at its highest")
    refresh_learning_rate: float = Field(3e-3, gt=0, description="of a refresh, at its highest")
    history_events: int = Field(500_000, ge=100, description="newest interactions that the linear item model sees")
    linear_items: int = Field(5_000, ge=0, description="most frequent items in the linear item model; 0: none")
    linear_ridge: float = Field(150.0, gt=0, description="its regularisation, in people")
    text_adapter: bool = Field(
        False, description="refreshes adapt the text encoder by LoRA; needs the extra `adapter`, see ARCHITECTURE.md"
    )
    adapter_steps: int = Field(100, ge=1, description="optimiser steps of an adapter in a refresh, 48 item texts each")
    adapter_rank: int = Field(8, ge=1, le=64, description="rank of LoRA")
    adapter_learning_rate: float = Field(5e-4, gt=0, description="of an adapter, at its highest")
    threads: int = Field(1, ge=1, description="torch threads of a training")
    nice: int = Field(10, ge=0, le=19, description="added to the niceness of the training process")
    device: str = Field("cpu", description="cpu, cuda, cuda:1, mps")
    timeout_s: float = Field(3_600.0, gt=0, description="wall time after which a training is given up")


class Gate(Section):
    """When a candidate may go live."""

    hold_out: float = Field(0.2, gt=0, lt=0.9, description="newest share of the window, never trained on")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the bounds that decide")
    mrr_margin: float = Field(0.02, ge=0, lt=1, description="reciprocal rank may fall by this share, no more")
    bootstrap: int = Field(1_000, ge=100, description="resamples of the held-out blocks")
    shadow_blocks: int = Field(
        2_000, ge=0, description="blocks an undecided candidate is shadowed for, at most; 0: refuse"
    )
    rollback: bool = Field(True, description="go back to the parent of a version that proves worse than it")
    rollback_confidence: float = Field(
        0.99, gt=0.5, lt=1, description="that the parent is better; held over the version's whole life"
    )


class Scoring(Section):
    """Ranking and the online blend."""

    k: int = Field(10, ge=1, le=1000, description="length of the lists")
    repeats: bool = Field(True, description="may items be recommended that the user already has")
    diversity: float = Field(
        0.0, ge=0, le=1, description="how much the items of a list shall differ: 0 the best ones, 1 difference alone"
    )
    fatigue: float = Field(
        0.0, ge=0, le=10, description="nats that an item loses per doubling of how often it was shown and not taken"
    )
    blend_prior: float = Field(50.0, gt=0, description="trust in the first weights of the blend: higher learns slower")
    short_half_life_s: float = Field(3 * DAY_S, gt=0, description="half-life of short decayed popularity")
    long_half_life_s: float = Field(30 * DAY_S, gt=0, description="half-life of long decayed popularity")
    neighbours: int = Field(400, ge=10, description="co-occurrence neighbours kept per item")
    group_timeout_s: float = Field(60.0, ge=0, description="event time after which an open block is learned")
    health_events: int = Field(200, ge=1, description="interactions per model-health record")
    shadow_share: float = Field(0.1, ge=0, le=1, description="share of blocks scored with parent and reference too")
    probation_events: int = Field(
        5_000, ge=0, description="interactions of a partition after a swap: every block is scored with the parent too"
    )
    warm_up_events: int = Field(0, ge=0, description="interactions per partition that are learned without being tested")


class Store(Section):
    """Where versions lie."""

    path: str = Field("runs/models", description="a directory, or any fsspec URL: s3://bucket/meander")
    keep: int = Field(3, ge=2, description="promoted versions kept on disk")


class Http(Section):
    """Metrics and health of each process."""

    host: str = Field("127.0.0.1", description="listen address; loopback unless told")
    port: int = Field(0, ge=0, le=65535, description="0: a free one, logged at start")


class Settings(BaseSettings):
    """All settings.

    >>> Settings().scoring.k
    10
    """

    model_config = SettingsConfigDict(
        env_prefix="MEANDER_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    kafka: Kafka = Kafka()
    users: Users = Users()
    drift: Drift = Drift()
    trigger: Trigger = Trigger()
    model: Model = Model()
    training: Training = Training()
    gate: Gate = Gate()
    scoring: Scoring = Scoring()
    store: Store = Store()
    http: Http = Http()
    seed: int = Field(0, ge=0, description="of every random draw, together with an event's or a job's id")

    @classmethod
    def settings_customise_sources(  # noqa: D102 - see the base class
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` puts the three sources together and hands over keyword arguments, so those come first
        return init_settings, env_settings

    @model_validator(mode="after")
    def _cross_check(self) -> Settings:
        if self.model.context > self.users.tail:
            raise ValueError(f"model.context must be at most users.tail ({self.users.tail}), got {self.model.context}")
        return self


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings: file, environment, then `overrides` (nested dicts, as from the command line).

    Raises:
        SettingsError: the file is missing or no TOML, or a setting breaks its rule.
    """
    content = _file(path)
    try:
        return Settings(**_merged(_merged(content, _environment()), overrides))
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None


def says(section: str, name: str, path: Path | None = None) -> bool:
    """Whether the file or the environment sets `[section] name`, to its default or not.

    Raises:
        SettingsError: as `load`.
    """
    return any(name in source.get(section, ()) for source in (_file(path), _environment()))


def masked(settings: Settings) -> dict[str, Any]:
    """The effective settings, for a log line; secrets show as asterisks.

    >>> masked(load(kafka={"sasl_password": "hush"}))["kafka"]["sasl_password"]
    '**********'
    """
    return settings.model_dump(mode="json")


def _file(path: Path | None) -> dict[str, Any]:
    """What the named file, or else meander.toml, says; nothing if there is none."""
    named = path or (Path(os.environ["MEANDER_CONFIG"]) if os.environ.get("MEANDER_CONFIG") else None)
    chosen = named or Path("meander.toml")
    if chosen.exists():
        try:
            return tomllib.loads(chosen.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{chosen} must be TOML: {error}") from None
        except OSError as error:
            raise SettingsError(f"{chosen} must be a file that can be read: {error}") from None
    elif named is not None:
        raise SettingsError(f"{chosen} must exist; it was named as the settings file")
    return {}


def _environment() -> dict[str, Any]:
    """What the environment says, as nested tables; a variable that is no setting is refused.

    Kubernetes gives pods variables such as `MEANDER_SCORER_SERVICE_HOST` for services of that name; those are not ours.
    """
    for name in os.environ:
        head = name.upper().removeprefix("MEANDER_").split("__")[0].lower()
        theirs = re.search("(^|_)(service_host|service_port|port)(_|$)", head)
        if name.upper().startswith("MEANDER_") and not theirs and head not in {"config", *Settings.model_fields}:
            raise SettingsError(f"the environment variable {name} is no setting; see docs/settings.md for all of them")
    try:
        return EnvSettingsSource(Settings)()
    except SourceError as error:
        raise SettingsError(f"the environment must hold JSON for a table or list: {error}") from None


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        out[key] = _merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def _one_line(error: ValidationError) -> str:
    """Name the first broken rule: setting, rule, value."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{name} is no setting; see docs/settings.md for all of them"
    if first["type"] == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    return f"{name}: {first['msg'][0].lower() + first['msg'][1:]}, got {first['input']!r}"
