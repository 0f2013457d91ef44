"""Our server as a user runs it: `headrace serve app.py`, with its engine and HTTP workers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.process import free_port, running, wait_for
from harness.setting import BENCHMARKS


@dataclass(frozen=True)
class Served:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def served(
    app: str, data: Path, *, workers: int = 1, env: Mapping[str, str] | None = None, core: int | None = None
) -> Iterator[Served]:
    """Serve `benchmarks/apps/<app>.py` over the store in `data` until the context ends."""
    port = free_port()
    data.mkdir(parents=True, exist_ok=True)
    log = data.parent / f"{app}.log"
    file = BENCHMARKS / "apps" / f"{app}.py"
    options = ["--data", data, "--port", str(port), "--workers", str(workers)]
    command = [sys.executable, "-m", "headrace", "serve", file, *options]
    with running(command, log=log, cwd=data.parent, env=env, core=core) as child:
        wait_for(f"http://127.0.0.1:{port}/readyz", child, log=log)
        yield Served(port, child)
