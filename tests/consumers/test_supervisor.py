"""Processes that belong together: one dies, all end; the supervisor ends, however, and none is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from consumers import children
from consumers.supervisor import Supervisor, environment
from stream.errors import ProcessError
from stream.metrics import Metrics
from stream.settings import Settings, load

LIVES = [sys.executable, "-c", "import time; print('alive', flush=True); time.sleep(60)"]
STUBBORN = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"]
# a supervisor in a process of its own: prints its children's ids, then waits
ALONE = """
import pathlib, sys, time
from consumers.run import stopped_by_signals
from consumers.supervisor import Supervisor
from stream.settings import Settings
import threading
stop = threading.Event()
lives = [sys.executable, "-c", "import time; time.sleep(60)"]
with stopped_by_signals(stop), Supervisor(
    Settings(), pathlib.Path(sys.argv[1]), roles=("a", "b"), command=lambda role: lives
) as supervisor:
    print(*(process.pid for process in supervisor.processes.values()), flush=True)
    stop.wait()
"""


def gone(pid: int, limit_s: float = 5.0) -> bool:
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_when_one_dies_the_message_names_it_and_all_end(tmp_path: Path) -> None:
    dies = [sys.executable, "-c", "import time; time.sleep(.2); raise SystemExit('the disk is full')"]
    commands = {"interest": LIVES, "scorer": dies}
    message = r"scorer ended, with exit code 1; its last log line: the disk is full"
    with Supervisor(Settings(), tmp_path, roles=tuple(commands), command=commands.__getitem__) as supervisor:
        pids = [process.pid for process in supervisor.processes.values()]
        supervisor.check()
        supervisor.processes["scorer"].wait(10)
        with pytest.raises(ProcessError, match=message):
            supervisor.check()
    assert all(gone(pid) for pid in pids)


def test_a_stubborn_child_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = children.start(STUBBORN, log)
    time.sleep(0.5)
    began_s = time.monotonic()
    children.stop([child], timeout_s=0.3)
    assert child.returncode == -signal.SIGKILL
    assert time.monotonic() - began_s < 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_however_the_supervisor_ends(tmp_path: Path, how: signal.Signals) -> None:
    if how == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells children of their parent's death")
    with subprocess.Popen(
        [sys.executable, "-c", ALONE, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as alone:
        assert alone.stdout is not None
        pids = [int(pid) for pid in alone.stdout.readline().split()]
        time.sleep(0.3)  # the leash is put on before the child's own program runs
        assert len(pids) == 2
        assert all(psutil.pid_exists(pid) for pid in pids)
        alone.send_signal(how)
        assert alone.wait(10) == (-how if how == signal.SIGKILL else 0)
    assert all(gone(pid) for pid in pids)


def test_children_have_the_same_settings_and_ports_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEANDER_SEED", "3")
    settings = load(kafka={"bootstrap": "b:1", "sasl_password": "hush", "topics": {"interactions": "clicks"}}, seed=4)
    show = (
        "from stream.settings import load; s = load(); print(s.model_dump_json(), s.kafka.sasl_password, sep=chr(10))"
    )
    tell = [sys.executable, "-c", show + "; print(s.kafka.sasl_password.get_secret_value(), s.http.port)"]
    with Supervisor(settings, tmp_path, roles=("a", "b"), command=lambda _: tell) as supervisor:
        for process in supervisor.processes.values():
            assert process.wait(20) == 0
        for name in ("a", "b"):
            lines = supervisor.log(name).read_text().splitlines()
            assert Settings.model_validate_json(lines[0]).model_copy(update={"http": settings.http}).seed == 4
            assert '"topics":{"interactions":"clicks"}' in lines[0]
            assert lines[2] == f"hush {supervisor.ports[name]}"
        assert supervisor.ports["a"] != supervisor.ports["b"]
    assert "MEANDER_CONFIG" not in environment(settings)
    assert os.environ["MEANDER_SEED"] == "3"


def test_what_its_children_serve(tmp_path: Path) -> None:
    from consumers.http import HttpServer
    from stream.settings import Http

    metrics, states = Metrics(), [False]
    metrics.figures.show({("alarms_total", "user", "ph"): 2.0})
    with HttpServer(Http(), metrics.registry, lambda: states[0]) as server:
        supervisor = Supervisor(Settings(), tmp_path, roles=("interest", "scorer"))
        supervisor.ports |= {"interest": int(server.address.split(":")[1]), "scorer": children.free_port()}
        assert supervisor.ready() == []
        states[0] = True
        assert supervisor.ready() == ["interest"]
        assert supervisor.figures("interest")["alarms_total", "user", "ph"] == 2
        assert supervisor.figures("scorer") == {}


def test_prometheus_is_told_where_they_are(tmp_path: Path) -> None:
    with Supervisor(Settings(), tmp_path, roles=("interest", "scorer"), command=lambda _: ["true"]) as supervisor:
        told = json.loads((tmp_path / "targets.json").read_text())
    assert told == [
        {"targets": [f"127.0.0.1:{supervisor.ports[role]}"], "labels": {"job": "meander", "role": role}}
        for role in ("interest", "scorer")
    ]
