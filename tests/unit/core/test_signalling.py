"""A child that has just ended keeps its status, whoever signals it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import pytest

from headrace.core.clock import SystemClock
from headrace.core.signalling import tell


async def test_a_child_that_has_just_ended_keeps_its_status(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    clock = SystemClock()
    statuses: list[int] = []
    for _ in range(20):
        child = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "raise SystemExit(3)")
        while child.returncode is None:  # asyncio learns of the end only after it: some of these come in between
            tell(child.pid, signal.SIGCONT)
            await clock.sleep(0)
        statuses.append(await child.wait())
    tell(child.pid, signal.SIGCONT)
    assert statuses == [3] * 20
    assert caplog.messages == []
