"""What all tests share: the marker for programs that come from Debian's packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator

import pytest

MEASURED = pytest.StashKey[list[str]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing, except in CI, where nothing is skipped."""
    for marker in item.iter_markers("needs"):
        missing = [program for program in marker.args if shutil.which(program) is None]
        if missing and os.environ.get("CI"):
            pytest.fail(f"CI must have {', '.join(missing)}: scripts/system.sh installs it")
        if missing:
            pytest.skip(f"needs {', '.join(missing)}: run make system as root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing is skipped, whatever is missing: a test that wants to be has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> list[str]:
    """Lines about what was measured, for the end of the run: told, never asserted."""
    return pytestconfig.stash.setdefault(MEASURED, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what tests measured."""
    lines = config.stash.get(MEASURED, [])
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)
