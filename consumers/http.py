"""Metrics and health over HTTP, for Prometheus and for whoever restarts processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from stream.errors import SettingsError
from stream.settings import Http

StartResponse = Callable[..., Any]


class HttpServer:
    """`/metrics`, `/healthz` (the process lives) and `/readyz` (partitions are assigned and restored).

    >>> from urllib.request import urlopen
    >>> with HttpServer(Http(), CollectorRegistry(), ready=lambda: True) as server:
    ...     urlopen(f"http://{server.address}/readyz").read()
    b'ready\\n'
    """

    def __init__(self, http: Http, registry: CollectorRegistry, ready: Callable[[], bool]) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        self._metrics, self._ready = make_wsgi_app(registry), ready
        try:
            self._server = make_server(http.host, http.port, self._answer, _Server, _Quiet)
        except OSError as error:
            raise SettingsError(
                f"http.host and http.port must be free to listen on: {http.host}:{http.port}: {error}"
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True)

    @property
    def address(self) -> str:
        """HOST:PORT that it listens on."""
        host, port = self._server.server_address[:2]
        return f"{host if isinstance(host, str) else host.decode()}:{port}"

    def __enter__(self) -> HttpServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            body: Iterable[bytes] = self._metrics(environ, start_response)
            return body
        if path == "/healthz":
            return _text(start_response, "200 OK", "alive")
        if path == "/readyz":
            return (
                _text(start_response, "200 OK", "ready")
                if self._ready()
                else _text(start_response, "503 Service Unavailable", "not assigned or not restored yet")
            )
        return _text(start_response, "404 Not Found", "there are /metrics, /healthz and /readyz")


class _Server(ThreadingMixIn, WSGIServer):
    """A thread per request, so that a client that hangs blocks nobody; looks up no names."""

    daemon_threads = True

    def server_bind(self) -> None:
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    """Writes no line per request."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002
        return


def _text(start_response: StartResponse, status: str, said: str) -> list[bytes]:
    body = f"{said}\n".encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
