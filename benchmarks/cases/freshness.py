"""From right before a push is sent until a reader sees the row, at a fixed rate, durable."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from harness.figures import Result
from harness.process import cpu, environment, measure
from harness.serving import served
from harness.setting import BENCHMARKS, Setting

RATE = 2_000
CONNECTIONS = 128
"""Enough that a durable answer of 60 ms does not hold the next push back: 2,000/s need 120 under way then."""
POLL = 0.001


def run(setting: Setting) -> Result:
    """One event a request, then 20 events a request; a reader in a process of its own polls every millisecond."""
    result = Result("freshness")
    seconds = setting.pick(4, 20)
    one = _measure(setting, size=1, seconds=seconds, how="store")
    many = _measure(setting, size=20, seconds=seconds, how="store")
    over_http = _measure(setting, size=1, seconds=seconds, how="http")
    _add(result, "one event a request", one, targets=True)
    _add(result, "20 events a request", many)
    _add(result, "one event a request, read over HTTP", over_http)
    result.notes += [
        f"{RATE:,} events/s, open loop over {CONNECTIONS} connections, {seconds} s; one HTTP worker and one engine;"
        f" polls every {POLL * 1000:g} ms. Server, sender and reader share the machine's cores.",
        "Visible is not durable: a reader sees a row once it is committed, the sender is answered once it is fsynced.",
    ]
    return result


def _measure(setting: Setting, *, size: int, seconds: int, how: str) -> dict[str, Any]:
    folder = setting.folder("freshness")
    with served("pings", folder / "data") as server:
        where = folder / "data" if how == "store" else server.port
        pings = RATE * seconds
        command = ["workers/ping_reader.py", how, where, pings, POLL, seconds + 30]
        reader = subprocess.Popen(
            [sys.executable, str(BENCHMARKS / command[0]), *map(str, command[1:])],
            env=environment(),
            stdout=subprocess.PIPE,
        )
        try:
            reader.stdout.readline()  # it polls now  # type: ignore[union-attr]
            before = cpu(server.process.pid)
            sent = measure("workers/ping_sender.py", server.port, RATE, size, seconds, CONNECTIONS)
            spent = cpu(server.process.pid) - before
            out, _ = reader.communicate(timeout=60)
        finally:
            reader.kill()
        return {
            "pings": pings,
            "server_cpu_us": spent / sent["answered"] * 1e6,
            **sent,
            **json.loads(out.splitlines()[-1]),
        }


def _add(result: Result, label: str, found: dict[str, Any], *, targets: bool = False) -> None:
    for name, target in (("p50", 10.0), ("p99", 60.0)):
        result.add(
            f"{label}: sent to readable {name}",
            found["ms"][name],
            "ms",
            target=target if targets else None,
            better="less",
            detail=found,
        )
    for name in ("p50", "p99"):
        result.add(f"{label}: sent to durable answer {name}", found["ack_ms"][name], "ms", better="less")
    result.add(f"{label}: sent, as achieved", found["rate"], "events/s", detail={"statuses": found["statuses"]})
    result.add(f"{label}: processor time of the server", found["server_cpu_us"], "us/request", better="less")
    if found["seen"] < found["pings"]:
        result.notes.append(f"{label}: only {found['seen']:,} of {found['pings']:,} were seen")
