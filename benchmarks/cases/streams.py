"""Relaying server-sent events: 50 streams of 100 chunks a second; beside nginx and LiteLLM's proxy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from harness import gateways
from harness.figures import Result, median
from harness.gateways import QUESTION, Gateway
from harness.process import cpu, free_port, measure, running, wait_for
from harness.setting import BENCHMARKS, Setting

STREAMS = 50
PAUSE = 0.01
"""Seconds between two chunks of a stream."""


def run(setting: Setting) -> Result:
    """The same streams through each gateway, and without one, round by round."""
    gateways.tools()
    result = Result("streams")
    folder = setting.folder("streams")
    near, far = 0, setting.core
    chunks = setting.pick(200, 1_000)
    with ExitStack() as stack:
        port = stack.enter_context(_source(folder, chunks, far))
        # Four names for one source: as many streams at once are more than a limit that begins at 16 lets through one.
        ours = stack.enter_context(gateways.headrace(folder / "ours", [port] * gateways.UPSTREAMS, core=near))
        floor = stack.enter_context(gateways.nginx(folder / "nginx", [port], core=near, buffering=False))
        peer = stack.enter_context(gateways.litellm(setting, folder, [port], core=near))
        direct = Gateway("direct", port, 0)
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(setting.pick(1, 5)):
            for one in (direct, floor, ours):
                found.setdefault(one.name, []).append(_read(folder, one, far))
        if peer is not None:
            # It cannot carry fifty such streams; two show what a chunk costs it.
            found["LiteLLM"] = [_read(folder, peer, far, streams=2)]
    _figures(result, found)
    result.notes.append(
        f"{STREAMS} streams of {chunks} chunks, one every {PAUSE * 1000:.0f} ms (about 190 bytes each);"
        f" gateway on core {near}, source and reader on core {far}; LiteLLM was given 2 streams."
    )
    return result


@contextmanager
def _source(folder: Path, chunks: int, core: int) -> Iterator[int]:
    port, log = free_port(), folder / "source.log"
    command = [sys.executable, BENCHMARKS / "workers" / "sse_source.py", str(port), str(chunks), str(PAUSE)]
    with running(command, log=log, core=core) as child:
        wait_for(f"http://127.0.0.1:{port}/", child, log=log, any_status=True)
        yield port


def _read(folder: Path, one: Gateway, core: int, *, streams: int = STREAMS) -> dict[str, Any]:
    plan = {
        "port": one.port, "path": "/v1/chat/completions", "streams": streams,
        "headers": f"Authorization: Bearer {one.key}\r\n",
        "body": QUESTION.replace('"temperature":0', '"temperature":0,"stream":true'),
    }  # fmt: skip
    file = folder / "streams.json"
    file.write_text(json.dumps(plan))
    before = cpu(one.pid) if one.pid else 0.0
    run = measure("workers/streams.py", file, core=core)
    run["cpu_us"] = (cpu(one.pid) - before) / max(run["chunks"], 1) * 1e6 if one.pid else 0.0
    return run


def _figures(result: Result, found: dict[str, list[dict[str, Any]]]) -> None:
    costs = {name: [run["cpu_us"] for run in runs] for name, runs in found.items()}
    result.add(
        "CPU per chunk", median(costs["headrace"]), "us", target=25, better="less", runs=costs["headrace"],
        peer=median(costs["nginx"]), peer_name="nginx", detail={"runs": found},
    )  # fmt: skip
    if "LiteLLM" in costs:
        ratio = median(costs["LiteLLM"]) / median(costs["headrace"])
        result.add("CPU per chunk, LiteLLM's beside ours", ratio, "x")
    for what, label in (("gap", "added gap between chunks"), ("transit", "added way of a chunk")):
        for name, target in (("p50", None), ("p99", 5.0 if what == "gap" else None)):
            direct = median([run[what][name] for run in found["direct"]])
            mine = [run[what][name] - direct for run in found["headrace"]]
            other = median([run[what][name] for run in found["nginx"]]) - direct
            result.add(
                f"{label}: {name}", median(mine), "ms", target=target, better="less", runs=mine,
                peer=other if other > 0 else None, peer_name="nginx",
            )  # fmt: skip
    broken = STREAMS * len(found["headrace"]) - sum(run["complete"] for run in found["headrace"])
    if broken:
        result.notes.append(f"ours: {broken} streams did not come to their end")
