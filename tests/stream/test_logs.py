from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from stream import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_where_nobody_reads_along() -> None:
    out = io.StringIO()
    logs.configure(stream=out)
    structlog.get_logger().bind(consumer="interest").info("swapped", version="v3", where="items[0]@1")
    logging.getLogger("kafka.client").error("gone %s", "away")
    logging.getLogger("kafka.client").warning("not shown")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "level": "info", "consumer": "interest", "event": "swapped", "version": "v3", "where": "items[0]@1",
    }  # fmt: skip
    assert second["event"] == "gone away"


def test_key_value_on_a_terminal() -> None:
    out = Terminal()
    logs.configure(level="WARNING", stream=out)
    log = structlog.get_logger()
    log.info("not shown")
    log.warning("parked", where="items[0]@1", reason="a b")
    assert out.getvalue().endswith("level=warning event=parked where=items[0]@1 reason=a b\n")
