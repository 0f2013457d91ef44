"""What all tests share: the marker for programs that come from Debian's packages."""

from __future__ import annotations

import os
import shutil

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing, except in CI, where nothing is skipped."""
    for marker in item.iter_markers("needs"):
        missing = [program for program in marker.args if shutil.which(program) is None]
        if missing and os.environ.get("CI"):
            pytest.fail(f"CI must have {', '.join(missing)}: scripts/system.sh installs it")
        if missing:
            pytest.skip(f"needs {', '.join(missing)}: run make system as root")
