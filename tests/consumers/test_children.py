from __future__ import annotations

import sys
from pathlib import Path

from consumers import children


def test_output_goes_to_the_log_and_its_last_line_is_found(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    child = children.start([sys.executable, "-c", "print('one'); print('two'); print()"], log)
    assert child.wait(10) == 0
    assert children.last_line(log) == "two"
    assert children.last_line(tmp_path / "none") == ""
    children.stop([child])  # ending what has ended does nothing


def test_free_ports_are_free() -> None:
    assert 1024 <= children.free_port() <= 65535
