from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import meander
from producers import log, terminal
from stream.bus import MemoryBus
from stream.errors import BrokerError, LogError, MeanderError, SettingsError, TopicError
from stream.events import Interaction, Item
from stream.events import encode as encode_outside
from stream.messages import ModelVersion, UserState, as_bytes, encode
from stream.records import Output

Call = Callable[..., Result]


def version(name: str, parent: str = "") -> ModelVersion:
    return ModelVersion(name, "promoted", parent, 100.0, 0.0, {0: 9}, "j", "warm-up", {}, "p", "", "", 40, 1.25, 900,
                        {}, 0.0)  # fmt: skip


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> MemoryBus:
    memory = MemoryBus()
    monkeypatch.setattr(meander, "_bus", lambda settings: memory)
    return memory


@pytest.fixture
def call() -> Call:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(meander.app, list(arguments), env={"COLUMNS": "140"})

    return invoke


def test_every_command_has_help(call: Call) -> None:
    text = call("--help").output
    for command in ("up", "run", "produce", "replay", "tune", "record", "models", "user", "topics", "demo", "settings"):
        assert command in text
        assert call(command, "--help").exit_code == 0
    for option in ("--dataset", "--path", "--interactions", "--items", "--policy", "--no-repeats", "--seed", "--limit",
                   "--recommendations", "--report", "--json"):  # fmt: skip
        assert option in call("replay", "--help").output, option
    assert "--speed" in call("produce", "replay", "--help").output


def test_help_loads_neither_torch_nor_the_client() -> None:
    code = "import sys, meander; print(sorted({'torch', 'transformers', 'kafka', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tuning_wants_its_extra(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    raised = call("tune", "--dataset", "online-retail").exception
    assert isinstance(raised, SettingsError)
    assert str(raised) == "meander tune needs Optuna: pip install 'meander[tune]'"


def test_an_interrupted_tuning_says_how_to_go_on(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    log.write(tmp_path / "log.jsonl", [Interaction(event_id="e", user_id="u", item_id="i", at=0)])
    monkeypatch.setattr("consumers.tune.tune", interrupted)
    result = call("tune", str(tmp_path / "log.jsonl"))
    assert result.exit_code == 130
    assert result.output.strip() == "meander: stopped; the same command goes on with what is in runs/tune/log.jsonl"


def test_settings_are_printed_masked(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "meander.toml"
    path.write_text('seed = 7\n[kafka]\nsasl_password = "hush"\n')
    shown = json.loads(call("settings", "--config", str(path)).output)
    assert (shown["seed"], shown["kafka"]["sasl_password"]) == (7, "**********")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["settings", "--config", "absent.toml"], "absent.toml must exist"),
        (["replay", "--dataset", "netflix"], "dataset must be one of online-retail, ml-100k, got 'netflix'"),
        (["replay", "--dataset", "ml-100k"], "GroupLens"),
        (["produce", "replay", "absent.jsonl"], "absent.jsonl cannot be read"),
        (["produce", "synthetic", "--users", "0"], "synthetic users must be at least 1, got 0"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["meander", *arguments])
    with pytest.raises(SystemExit) as caught:
        meander.main()
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert said.err.startswith("meander: ")
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 130), (BrokerError("it is gone"), 1)])
def test_exit_codes(raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: object) -> None:
        raise raised

    monkeypatch.setattr(meander, "_bus", broken)
    monkeypatch.setattr(sys, "argv", ["meander", "models"])
    with pytest.raises(SystemExit) as caught:
        meander.main()
    assert caught.value.code == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"],
        ["replay", "--dataset", "ml-100k", "--interactions", "log.jsonl"],
        ["produce", "replay"],
        ["produce", "replay", "log.jsonl", "--dataset", "ml-100k"],
    ],
)
def test_a_replay_wants_one_log(call: Call, arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "give either a data set (--dataset NAME) or an event log" in result.output


def test_the_bundled_data_set_goes_into_the_topics(call: Call, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "ensure_topics", lambda kafka: None)
    monkeypatch.setattr(terminal, "topic_states", lambda kafka, groups: {})
    result = call("produce", "replay", "--dataset", "online-retail", "--limit", "7")
    assert result.exit_code == 0
    assert (bus.ends("items"), bus.ends("interactions")) == ({0: 3_665}, {0: 7})


def test_models_are_listed_and_rolled_back(call: Call, bus: MemoryBus) -> None:
    bus.send([Output("model-versions", v.version.encode(), encode(v)) for v in (version("v1"), version("v2", "v1"))])
    for arguments in (["models"], ["models", "list"]):
        lines = call(*arguments).output.splitlines()
        assert [line.split()[:2] for line in lines[1:]] == [["v2", "live"], ["v1", "promoted"]]
    assert call("models", "rollback", "--reason", "complaints").output == "v2 is rolled back: complaints\n"
    lines = call("models", "list").output.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["v2", "rolled"], ["v1", "live"]]


def test_a_user_in_words(call: Call, bus: MemoryBus) -> None:
    zero = as_bytes(np.zeros(64, np.float32))
    state = UserState("ann", 1, 0.0, 0.0, "s", zero, zero, {"Toys": 1.0}, ["mug"], [0], [], [], [], 0, "b", [])
    bus.send([Output("user-states", b"ann", encode(state))])
    assert "ann: 1 interaction from 1970-01-01 to 1970-01-01. Interests: Toys 100%." in call("user", "ann").output
    assert isinstance(call("user", "bob").exception, MeanderError)


def test_what_is_recorded_reads_back(call: Call, bus: MemoryBus, tmp_path: Path) -> None:
    event = Interaction(event_id="e1", user_id="ann", item_id="mug", at=60_000)
    bus.send([Output("items", b"mug", encode_outside(Item(item_id="mug"))), Output("items", b"x", b"junk")])
    bus.send([Output("interactions", b"ann", encode_outside(event))])
    path = tmp_path / "log.jsonl.gz"
    result = call("record", "--topic", "items", "--topic", "interactions", "--out", str(path))
    assert result.output.replace("\n", "") == f"2 lines in {path}; left out: 1 malformed, 0 deleted"
    assert list(log.read_interactions(path)) == [event]
    assert isinstance(call("record", "--topic", "clicks", "--out", str(path)).exception, TopicError)


def test_synthetic_users_and_their_truth_as_files(call: Call, tmp_path: Path) -> None:
    out, truth = tmp_path / "log.jsonl", tmp_path / "truth.jsonl"
    arguments = ["--users", "10", "--items", "16", "--events", "50", "--swaps", "0.5", "--gradual", "0"]
    result = call("produce", "synthetic", *arguments, "--out", str(out), "--truth", str(truth))
    assert result.exit_code == 0
    assert len(list(log.read_interactions(out))) == 50
    assert len(list(log.read_items(out))) == 16
    assert len(truth.read_text().splitlines()) == 5


def test_produce_sends_what_the_log_holds(
    call: Call, bus: MemoryBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from producers import terminal

    monkeypatch.setattr(terminal, "ensure_topics", lambda kafka: None)
    monkeypatch.setattr(terminal, "topic_states", lambda kafka, groups: {})
    path = tmp_path / "log.jsonl"
    log.write(path, [Item(item_id="mug"), Interaction(event_id="e1", user_id="ann", item_id="mug", at=60_000)])
    result = call("produce", "replay", str(path), "--speed", "60")
    assert "sent 1 items and 1 interactions" in result.output
    assert bus.ends("interactions") == {0: 1}


def test_replay_passes_its_options_on(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from consumers import playback

    seen: dict[str, Any] = {}

    def play(name: str, items: Any, interactions: Any, settings: Any, recommendations: Any, report: Any) -> Any:
        seen.update(
            name=name, items=items, events=list(interactions), settings=settings, files=(recommendations, report)
        )
        return {"hit_rate_10": 0.5}

    monkeypatch.setattr(playback, "play", play)
    path = tmp_path / "log.jsonl"
    log.write(path, [Interaction(event_id=f"e{n}", user_id="ann", item_id="mug", at=n) for n in range(5)])
    result = call("replay", "--interactions", str(path), "--policy", "never", "--no-repeats", "--seed", "3", "--limit",
                  "2", "--recommendations", "r.jsonl", "--json", "-")  # fmt: skip
    assert json.loads(result.output) == {"hit_rate_10": 0.5}
    assert (seen["name"], len(seen["events"]), len(seen["items"])) == ("log.jsonl", 2, 1)
    settings = seen["settings"]
    assert (settings.trigger.policy, settings.scoring.repeats, settings.seed) == ("never", False, 3)
    assert seen["files"] == (Path("r.jsonl"), None)
    call("replay", "--interactions", str(path), "--json", str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text()) == {"hit_rate_10": 0.5}


def test_a_limit_and_a_bad_policy_are_refused(call: Call) -> None:
    assert call("replay", "--dataset", "online-retail", "--limit", "0").exit_code == 2
    assert call("replay", "--dataset", "online-retail", "--policy", "often").exit_code == 2
    assert call("run", "cook").exit_code == 2


def test_a_malformed_log_is_no_traceback(tmp_path: Path, call: Call) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event_id": "e1"}\n')
    result = call("replay", "--interactions", str(path))
    assert isinstance(result.exception, LogError)
    assert "line 1" in str(result.exception)
