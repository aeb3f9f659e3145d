"""Child processes that cannot outlive their parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Run in the child before the real program takes its place. PR_SET_PDEATHSIG (1) makes the kernel kill the process when
# its parent dies, however that happens; it survives exec. The parent may have died before the call: hence the check.
_LEASH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent process has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


def start(program: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `program` (an absolute path and its arguments) in a process group of its own; its output goes to `log`.

    On Linux it is killed when this process ends, even by SIGKILL, so call this from a thread that lives as long as
    the child should. Elsewhere only `stop` ends it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-c", _LEASH, str(os.getpid()), *program],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,  # a Ctrl-C in the terminal reaches the parent alone, which stops its children
        )


def stop(children: Sequence[subprocess.Popen[bytes]], timeout_s: float = 5.0) -> None:
    """End children and their process groups: SIGTERM to all, and SIGKILL to what is there after `timeout_s` each."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
        _kill_group(child.pid)
        child.wait()


def _kill_group(pid: int) -> None:
    """Kill what a child left behind in its process group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def last_line(log: Path) -> str:
    """The last line of a log that is not empty; "" if there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 65_536))
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
