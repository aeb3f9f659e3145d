"""All consumers of one machine as child processes: started together, watched, and ended together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import SecretStr

from consumers import children
from consumers.broker import EmbeddedBroker
from consumers.roles import NAMES
from stream.errors import ProcessError
from stream.metrics import parse
from stream.settings import Settings

SCRAPE_TIMEOUT_S = 0.5
TARGETS = "targets.json"


def module_command(role: str) -> list[str]:
    """The command line of one consumer."""
    return [sys.executable, "-m", "meander", "run", role]


@dataclass(slots=True)
class Supervisor:
    """Starts one process per role, each with its log file and HTTP port, for as long as the context lasts.

    `targets.json` beside the log files tells Prometheus (file_sd) where their metrics are.

    Nothing is restarted: a process that ends on its own has lost something that a restart would hide. Call `check` now
    and then; it tells. On leaving, also by an exception, all children get SIGTERM, and after 5 s SIGKILL; on Linux they
    also die when this process is killed. Enter it from a thread that lives as long as the children should.
    """

    settings: Settings
    directory: Path  # of the log files
    broker: EmbeddedBroker | None = None  # watched too, if given; its owner ends it
    roles: Sequence[str] = NAMES
    command: Callable[[str], Sequence[str]] = module_command
    ports: dict[str, int] = field(default_factory=dict)  # role → its HTTP port on loopback
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Supervisor:
        try:
            for role in self.roles:
                self.ports[role] = children.free_port()
                env = environment(self.settings) | {"MEANDER_HTTP__PORT": str(self.ports[role])}
                self.log(role).unlink(missing_ok=True)
                self.processes[role] = children.start(self.command(role), self.log(role), env)
            (self.directory / TARGETS).write_text(json.dumps(self.targets(), indent=1), encoding="utf-8")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log(self, role: str) -> Path:
        """The log file of a role."""
        return self.directory / f"{role}.log"

    def targets(self) -> list[dict[str, Any]]:
        """Where Prometheus finds the processes, in the form of its file_sd; on entering, also as `targets.json`."""
        return [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"job": "meander", "role": role}}
            for role, port in self.ports.items()
        ]

    def check(self) -> None:
        """Make sure that everything still runs.

        Raises:
            ProcessError: a process has ended; names it, its exit code, and its last log line.
        """
        for role, process in self.processes.items():
            code = process.poll()
            if code is not None:
                raise ProcessError(_obituary(role, f"exit code {code}", self.log(role)))
        if self.broker is not None and self.broker.pid is None:
            raise ProcessError(_obituary("the embedded broker", "nobody asking it to", self.broker.log))

    def ready(self) -> list[str]:
        """The roles whose partitions are assigned and restored."""
        return [role for role in self.roles if self._get(role, "readyz") is not None]

    def figures(self, role: str) -> dict[tuple[str, ...], float]:
        """A role's metrics, keyed as in `stream.metrics`; nothing while it does not answer."""
        return parse(self._get(role, "metrics") or "")

    def stop(self) -> None:
        """End all children; afterwards none is left."""
        children.stop(list(self.processes.values()))

    def _get(self, role: str, page: str) -> str | None:
        url = f"http://127.0.0.1:{self.ports[role]}/{page}"
        try:
            with urllib.request.urlopen(url, timeout=SCRAPE_TIMEOUT_S) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return None


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with its own settings in place of all `MEANDER_` variables.

    >>> json.loads(environment(Settings(seed=7))["MEANDER_KAFKA"])["partitions"]
    1
    """
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith("MEANDER_")}
    for name, value in _revealed(settings.model_dump()).items():
        env[f"MEANDER_{name.upper()}"] = json.dumps(value)
    return env


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return {key: _revealed(entry) for key, entry in value.items()} if isinstance(value, Mapping) else value


def _obituary(role: str, how: str, log: Path | None) -> str:
    said = children.last_line(log) if log is not None else ""
    return f"{role} ended, with {how}; its last log line: {said or 'none'}"
