"""What all tests share: the marker for programs that come from Debian's packages."""

from __future__ import annotations

import os
import shutil

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
