"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

REQUIRED_IN_CI = ("kafka", "embedded")  # markers of tests that need a broker


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is set, turn a skipped test of a real broker into a failure: there it must run."""
    report = yield
    needs = [name for name in REQUIRED_IN_CI if item.get_closest_marker(name)]
    if os.environ.get("CI") and needs and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, but in CI tests marked {needs[0]} must run: {report.longrepr}"
    return report
