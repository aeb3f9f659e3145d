"""Settings: where they come from, what is refused, what is hidden."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from stream import settings
from stream.errors import SettingsError
from stream.settings import Settings, load


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the machine: an empty directory, no MEANDER_ variable."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("MEANDER_")]:
        monkeypatch.delenv(name)


def toml(text: str) -> Path:
    path = Path("other.toml")
    path.write_text(text)
    return path


def test_defaults_need_no_file() -> None:
    assert load() == Settings()


def test_meander_toml_is_read_from_the_working_directory() -> None:
    Path("meander.toml").write_text("[scoring]\nk = 20\n")
    assert load().scoring.k == 20
    assert load().scoring.neighbours == Settings().scoring.neighbours


def test_the_file_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml("seed = 3")
    assert load(path).seed == 3
    monkeypatch.setenv("MEANDER_CONFIG", str(path))
    assert load().seed == 3


def test_a_later_source_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml("[scoring]\nk = 20\nneighbours = 30\n[kafka]\nprefix = 'f'\n")
    monkeypatch.setenv("MEANDER_SCORING__K", "21")
    assert load(path).scoring.k == 21
    read = load(path, scoring={"k": 22}, seed=4)
    assert (read.scoring.k, read.scoring.neighbours, read.kafka.prefix, read.seed) == (22, 30, "f", 4)


def test_tables_and_union_types_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEANDER_KAFKA__TOPICS", '{"interactions": "clicks"}')
    monkeypatch.setenv("MEANDER_USERS__HALF_LIFE_S", "3600")
    monkeypatch.setenv("MEANDER_SCORING__REPEATS", "false")
    read = load()
    assert read.kafka.topics == {"interactions": "clicks"}
    assert read.users.half_life_s == 3600.0
    assert read.scoring.repeats is False


def test_what_a_source_says_is_known_even_if_it_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not settings.says("kafka", "bootstrap")
    path = toml("[kafka]\nbootstrap = '127.0.0.1:9092'\n")
    assert settings.says("kafka", "bootstrap", path)
    assert not settings.says("kafka", "prefix", path)
    monkeypatch.setenv("MEANDER_KAFKA__BOOTSTRAP", "127.0.0.1:9092")
    assert settings.says("kafka", "bootstrap")


def test_variables_of_kubernetes_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEANDER_PORT", "MEANDER_SCORER_SERVICE_HOST", "MEANDER_SERVICE_PORT_HTTP", "MEANDER_PORT_80_TCP"):
        monkeypatch.setenv(name, "10.0.0.1")
    assert load() == Settings()


REFUSED = [
    ("[kafka]\nbootstrp = 'x'", r"^kafka\.bootstrp is no setting; see docs/settings\.md for all of them$"),
    ("[sccoring]\nk = 1", r"^sccoring is no setting"),
    ("[scoring]\nk = 0", r"^scoring\.k: input should be greater than or equal to 1, got 0$"),
    ("[scoring]\nk = 'ten'", r"^scoring\.k: input should be a valid integer.*got 'ten'$"),
    ("[trigger]\npolicy = 'often'", r"^trigger\.policy: input should be 'drift', 'clock', 'continuous' or 'never'"),
    ("[users]\nhalf_life_s = 0", r"^users\.half_life_s.*: input should be greater than 0, got 0$"),
    ("[users]\ntail = 20", r"^model\.context must be at most users\.tail \(20\), got 50$"),
    ("[model]\ndim = 65", r"^model\.dim must be a multiple of model\.heads \(2\), got 65$"),
    (
        "[kafka]\nsecurity_protocol = 'SASL_SSL'",
        r"^kafka\.sasl_mechanism must be set when security_protocol is SASL_SSL$",
    ),
    ("seed = ", r"^other\.toml must be TOML: "),
    ("[trigger]\nstep_worth = -1", r"trigger\.step_worth: input should be greater than or equal to 0, got -1"),
    ("[trigger]\nfalse_trigger_events = 10", r"trigger\.false_trigger_events: .* equal to 1000, got 10"),
    ("[trigger]\nunknown_share = 0", r"trigger\.unknown_share: input should be greater than 0, got 0"),
    ("[trigger]\nmin_new_share = 0.1", r"trigger\.min_new_share is no setting"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text.replace("\n", " ") for text, _ in REFUSED])
def test_what_is_refused_is_named(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(toml(text))


def test_a_named_file_must_exist() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml must exist; it was named as the settings file"):
        load(Path("nowhere.toml"))
    with pytest.raises(SettingsError, match=r"must be a file that can be read: .*directory"):
        load(Path.cwd())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MEANDER_KAFKA__BOOTSTRP", "x", r"kafka\.bootstrp is no setting"),
        ("MEANDER_BOOTSTRAP", "x", r"the environment variable MEANDER_BOOTSTRAP is no setting"),
        ("MEANDER_SCORING__K", "0", r"scoring\.k: input should be greater than or equal to 1, got '0'"),
        ("MEANDER_KAFKA", "{", r"the environment must hold JSON for a table or list: .*kafka"),
    ],
)
def test_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        load()


def test_an_override_is_checked_too() -> None:
    with pytest.raises(SettingsError, match=r"scoring\.kk is no setting"):
        load(scoring={"kk": 1})


def test_secrets_are_masked_and_still_usable() -> None:
    read = load(toml("[kafka]\nsasl_password = 'hush'\nssl_password = 'hush'\n"))
    assert "hush" not in str(settings.masked(read))
    assert "hush" not in repr(read)
    assert read.kafka.sasl_password is not None
    assert read.kafka.sasl_password.get_secret_value() == "hush"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().scoring.k = 5  # type: ignore[misc]
