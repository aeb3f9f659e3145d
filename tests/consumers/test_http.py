from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from consumers.http import HttpServer
from stream.errors import SettingsError
from stream.metrics import Metrics
from stream.settings import Http


def get(server: HttpServer, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{server.address}/{page}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_pages() -> None:
    metrics, ready = Metrics(), [False]
    metrics.counter("parked_total").labels("items", "at").inc(3)
    with HttpServer(Http(), metrics.registry, lambda: ready[0]) as server:
        assert server.address.startswith("127.0.0.1:")
        assert get(server, "healthz") == (200, "alive\n")
        assert get(server, "readyz") == (503, "not assigned or not restored yet\n")
        ready[0] = True
        assert get(server, "readyz") == (200, "ready\n")
        assert 'meander_parked_total{field="at",topic="items"} 3.0' in get(server, "metrics")[1]
        assert get(server, "else") == (404, "there are /metrics, /healthz and /readyz\n")


def test_an_address_that_is_taken_is_named() -> None:
    with HttpServer(Http(), Metrics().registry, lambda: True) as server:
        port = int(server.address.split(":")[1])
        with pytest.raises(SettingsError, match=f"http.host and http.port must be free to listen on: 127.0.0.1:{port}"):
            HttpServer(Http(port=port), Metrics().registry, lambda: True)
