"""Child processes: pinned measurements that print one line of JSON, and servers that are stopped by their id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.setting import BENCHMARKS, ROOT

QUIET = {
    # Peers must not report home; each has had its own word for that over the years.
    "DO_NOT_TRACK": "1",
    "FEAST_USAGE": "False",
    "FEAST_TELEMETRY": "False",
    "PATHWAY_MONITORING_SERVER": "",
    "PATHWAY_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}


class Failed(Exception):
    """A child did not do its work; the message holds the end of what it wrote."""


def measure(
    script: str,
    *arguments: object,
    python: str | Path = sys.executable,
    core: int | None = None,
    timeout: float = 900,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run `benchmarks/<script>` in a process of its own and return the JSON object of its last line."""
    done = subprocess.run(
        [str(python), str(BENCHMARKS / script), *map(str, arguments)],
        env=environment(env),
        preexec_fn=_pin(core),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise Failed(f"{script} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return json.loads(lines[-1])


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of children: our package and the benchmarks can be imported, peers stay quiet."""
    paths = [str(BENCHMARKS), str(ROOT / "src")]
    return {**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(paths), **(more or {})}


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    core: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process with all its children, stopped on leaving: SIGTERM, then SIGKILL after 15 s."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            list(map(str, command)),
            env=environment(env),
            cwd=cwd,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=_pin(core),
            start_new_session=True,
        )
    try:
        yield child
    finally:
        _stop(child)


def wait_for(
    url: str, child: subprocess.Popen[bytes], *, log: Path, timeout: float = 120, any_status: bool = False
) -> None:
    """Wait until `url` answers 200 (or anything). Raises `Failed` when the server ends or the time is over."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if child.poll() is not None:
            break
        if _answers(url, any_status):
            return
        time.sleep(0.05)
    raise Failed(f"no answer from {url}: {log.read_text(errors='replace')[-2000:]}")


def _answers(url: str, any_status: bool) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return any_status or answer.status == 200
    except urllib.error.HTTPError:
        return any_status
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident(pid: int) -> int:
    """Bytes of resident memory of a process and all its descendants, shared pages of files included (Linux)."""
    total = 0
    for member in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def private(pid: int) -> int:
    """Like `resident`, but memory of the processes alone: pages of files (the page cache) are left out (Linux)."""
    total = 0
    for member in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in fields if line.startswith("RssAnon")) * 1024
    return total


def cpu(pid: int) -> float:
    """Seconds of processor time that a process and all its descendants have used (Linux)."""
    ticks = 0
    for member in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """Ids of all children of a process and theirs (Linux)."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def _pin(core: int | None) -> Any:
    if core is None or not hasattr(os, "sched_setaffinity"):
        return None
    return lambda: os.sched_setaffinity(0, {core})


def _stop(child: subprocess.Popen[bytes]) -> None:
    members = descendants(child.pid)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(5)
    for member in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
