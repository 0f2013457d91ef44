"""One view of about ten rows over HTTP: one worker, 32 connections, closed loop."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from harness.figures import Result, median
from harness.process import environment, measure
from harness.serving import served
from harness.setting import BENCHMARKS, Setting

CONNECTIONS = 32
ITEMS = 9_970
"""Ten items in each of the 997 restaurants."""
WRITES = 1_000
"""Rows a second of the background load."""

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def run(setting: Setting) -> Result:
    """Quiet, then beside a steady load of pushes."""
    result = Result("view")
    seconds = setting.pick(2, 10)
    data = setting.folder("shop") / "data"
    measure("workers/fill.py", "shop", data, ITEMS, ITEMS)
    with served("shop", data) as server:
        _hammer(server.port, 1)
        quiet = [_hammer(server.port, seconds) for _ in range(setting.repeats)]
        with _writes(server.port, seconds * setting.repeats + 2):
            busy = [_hammer(server.port, seconds) for _ in range(setting.repeats)]
    for label, runs, target in (("no writes", quiet, 8_000), (f"{WRITES:,} rows/s pushed beside", busy, None)):
        rates = [run["per_second"] for run in runs]
        result.add(f"requests, {label}", median(rates), "1/s", target=target, runs=rates, detail=runs[-1])
        result.add(f"p99, {label}", median([run["ms"]["p99"] for run in runs]), "ms", better="less")
        errors = sum(run["errors"] for run in runs)
        if errors:
            result.notes.append(f"{errors} requests failed ({label})")
    tool = "wrk" if shutil.which("wrk") else "the harness's own client, which costs as much as the server"
    result.notes.append(f"{CONNECTIONS} connections, one worker, {seconds} s; 10 rows an answer; load from {tool}.")
    return result


def _hammer(port: int, seconds: int) -> dict[str, Any]:
    path = "/context/menu?restaurant_id=r7"
    if shutil.which("wrk") is None:
        return measure("workers/hammer.py", port, CONNECTIONS, seconds, path)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}{path}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),  # type: ignore[index]
        "errors": sum(map(int, re.findall(r"(?:Non-2xx or 3xx responses:|timeout) (\d+)", text))),
        "ms": {
            f"p{share}": float(value) * _UNITS[unit]
            for share, value, unit in re.findall(r"(50|90|99)%\s+([\d.]+)(us|ms|s)\b", text)
        },
    }


@contextlib.contextmanager
def _writes(port: int, seconds: int) -> Iterator[None]:
    command = [sys.executable, BENCHMARKS / "workers" / "item_sender.py", port, WRITES, 50, seconds + 5]
    child = subprocess.Popen(list(map(str, command)), env=environment(), stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.kill()
        child.wait()
