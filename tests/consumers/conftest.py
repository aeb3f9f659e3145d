"""The small counting consumer, for tests of the loop and of processes."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.settings import Kafka, Settings

SCRIPT = Path(__file__).with_name("counting.py")


@pytest.fixture(scope="session")
def counting() -> Any:
    """The class `Counting` of counting.py."""
    return runpy.run_path(str(SCRIPT))["Counting"]


@pytest.fixture
def counting_command() -> Callable[..., list[str]]:
    """The command line of one process of it."""

    def command(kafka: Kafka, pause_s: float = 0.0) -> list[str]:
        return [sys.executable, str(SCRIPT), Settings(kafka=kafka).model_dump_json(), str(pause_s)]

    return command
