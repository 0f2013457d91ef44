"""The hardware and software that a figure was measured on; written into every result."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Machine:
    """Facts about this machine.

    `fsync_ms` is the median time of an append of 4 KiB and its fdatasync in the work directory: durable figures
    stand on it.
    """

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    filesystem: str
    fsync_ms: float


def inspect(work: Path) -> Machine:
    """This machine's facts; `work` is where the benchmarks write."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        filesystem=_filesystem(work),
        fsync_ms=round(_fsync(work) * 1000, 3),
    )


def versions() -> dict[str, str]:
    """Versions of ours and of what it stands on."""
    import apsw

    names = ("headrace", "apsw", "msgspec", "pydantic", "sqlglot", "starlette", "uvloop", "httptools")
    found = {"sqlite": apsw.sqlite_lib_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "from the source tree"
    return found


def commit() -> str:
    """The git commit that is measured, with "+changes" when the tree differs from it; "" outside of a checkout."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--", "src", "benchmarks/*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def pace() -> float:
    """Milliseconds of a fixed piece of Python, the best of five: tells whether the machine was slowed down."""
    best = float("inf")
    for _ in range(5):
        began, total = time.perf_counter(), 0
        for number in range(500_000):
            total += number * number % 7
        best = min(best, time.perf_counter() - began)
    return round(best * 1000, 2)


def load() -> float:
    """Load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def to_dict(machine: Machine) -> dict[str, Any]:
    """Plain data for JSON."""
    return asdict(machine)


def _git(*arguments: str) -> str:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _filesystem(path: Path) -> str:
    try:
        done = subprocess.run(["df", "-PT", str(path)], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.splitlines()[-1].split()[1]


def _fsync(work: Path) -> float:
    path = work / "fsync.probe"
    taken: list[float] = []
    sync = getattr(os, "fdatasync", os.fsync)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for _ in range(50):
            os.write(descriptor, b"\0" * 4096)
            began = time.perf_counter()
            sync(descriptor)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(taken)[len(taken) // 2]
