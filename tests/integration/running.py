"""Servers as processes, for tests that stop, kill and restart them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from headrace.core.clock import SystemClock

CLOCK = SystemClock()
MAIN = """
import sys
from headrace.server.settings import Settings
from headrace.server.plan import Plan
from headrace.server.supervisor import serve
from headrace.core.errors import HeadraceError
app, data, workers, reload, composition = sys.argv[1:]
plan = Plan(app, Settings(port=0, workers=int(workers), drain_timeout=5), data=data, reload=reload == "1",
            composition=composition, announce=lambda text: print(text, flush=True))
try:
    sys.exit(serve(plan))
except HeadraceError as error:
    sys.exit(str(error))
"""


class Running:
    """A server of its own process family, over an app file in `tmp`."""

    def __init__(
        self,
        tmp: Path,
        *,
        workers: int = 2,
        reload: bool = False,
        text: str = "one",
        composition: str = "file_composition:composition",
    ) -> None:
        self.data = tmp
        self.app = tmp / "app.py"
        self.app.write_text(text)
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, str(self.app), str(tmp), str(workers), str(int(reload)), composition],
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "serving" in line:
                return line.split()[-1]
        raise AssertionError(self.process.stderr.read() if self.process.stderr else "")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(40)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Program(Running):
    """A server as a user starts it: `headrace dev app.py`, and the like."""

    def __init__(self, tmp: Path, *words: str, text: str) -> None:
        self.data = tmp / ".headrace"
        self.app = tmp / "app.py"
        self.app.write_text(text)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *words, "--port", "0"],
            cwd=tmp,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def eventually(check, *, seconds: float = 40.0):
    end = CLOCK.monotonic() + seconds
    while True:
        try:
            return check()
        except (AssertionError, httpx.TransportError, OSError, ValueError):
            if CLOCK.monotonic() > end:
                raise
            pause(0.05)
