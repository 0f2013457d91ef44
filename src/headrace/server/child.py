"""One child process of a server, as its parent sees it: started, waited for, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError
from headrace.core.problems import from_problem
from headrace.core.signalling import tell
from headrace.server.plan import Plan
from headrace.server.process import Charge, Role
from headrace.server.watch import Stamps

log = logging.getLogger("headrace.server")

_LONGEST = 2**24
"""Bytes of a report: it may name many files."""
_LOADING = 2.0
"""Seconds that a process which does not serve yet has to end."""


class Child:
    """One child process: started with a charge, and stopped."""

    def __init__(self, plan: Plan, role: Role, folder: Path, number: int, fd: int | None, clock: Clock) -> None:
        self.name = role if role != "worker" else f"worker {number}"
        self._plan = plan
        self._role: Role = role
        self._folder = folder
        self._number = number
        self._fd = fd
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._started = 0.0
        self.lived = 0.0
        self.refused: HeadraceError | None = None
        """What kept the last start from serving."""
        self.loaded = False
        """Whether the app file was loaded by then."""
        self.serving = False
        """Whether the last start came so far that it serves."""
        self.files: Stamps = {}
        """What the app was made of besides code, as it was just before it was read; None: it was not there."""

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    @property
    def status(self) -> str:
        """How it ended, for people."""
        code = None if self._process is None else self._process.returncode
        return signal.Signals(-code).name if code is not None and code < 0 else f"status {code}"

    async def start(self) -> None:
        """Start the process and wait until it serves.

        Raises
        ------
        HeadraceError
            The problem that the child reported, or that it ended without a word.
        """
        self.refused, self.loaded, self.serving = None, False, False
        read_end, write_end = os.pipe()
        try:
            passed = [fd for fd in (write_end, self._fd) if fd is not None]
            self._started = self._clock.monotonic()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace.server.process", stdin=asyncio.subprocess.PIPE, pass_fds=passed
            )
            await self._charge(self._process, write_end)
        finally:
            os.close(write_end)
        report = await _read_line(read_end)
        self.files |= {Path(name): stamp and (stamp[0], stamp[1]) for name, stamp in report.pop("files", {}).items()}
        if report.get("ready") is True:
            self.serving = True
            return
        await self.wait()
        self.loaded = report.get("loaded") is True
        ended = f"the {self.name} process ended before it served ({self.status})"
        self.refused = from_problem(report) if report else HeadraceError(ended, hint="see its output")
        raise self.refused

    async def _charge(self, process: asyncio.subprocess.Process, report: int) -> None:
        plan = self._plan
        charge = Charge(
            self._role,
            plan.app,
            plan.data,
            plan.composition,
            plan.settings,
            str(self._folder),
            self._number,
            self._fd,
            report,
        )
        if process.stdin is not None:
            process.stdin.write(msgspec.json.encode(charge) + b"\n")
            await process.stdin.drain()

    async def wait(self) -> None:
        """Until the process has ended."""
        if self._process is not None:
            await self._process.wait()
            self.lived = self._clock.monotonic() - self._started

    async def stop(self, timeout: float) -> bool:
        """Ask the process to end, and kill it after `timeout` seconds; whether it went by itself.

        One that does not serve yet has nothing under way, and may be in an app file that never ends loading.
        """
        if not self.running or self._process is None:
            return True
        if not self.serving:
            timeout = min(timeout, _LOADING)
        tell(self._process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout):
                await self.wait()
        except TimeoutError:
            log.error("%s did not end within %.0f s: killed", self.name, timeout)
            self.kill()
            await self.wait()
        return self._process.returncode != -signal.SIGKILL

    def kill(self) -> None:
        """End the process now."""
        if self.running and self._process is not None:
            tell(self._process.pid, signal.SIGKILL)


async def _read_line(fd: int) -> dict[str, Any]:
    """The one line that a child reports; {} when it ended without one."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(_LONGEST)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0))
    try:
        line = await reader.readline()
    finally:
        transport.close()
    return msgspec.json.decode(line, type=dict[str, Any]) if line else {}
