"""A typed endpoint: one context read, one call of a mock model, an answer checked against what was read."""

from __future__ import annotations

import json
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from harness.figures import Result, median
from harness.process import cpu, free_port, measure, running, wait_for
from harness.serving import served
from harness.setting import Setting

RATE = 300
"""Requests a second, open loop."""
ITEMS = 9_970


def run(setting: Setting) -> Result:
    """The endpoint, and the same question put to its model directly, in turns."""
    result = Result("endpoint")
    folder = setting.folder("endpoint")
    data = folder / "data"
    measure("workers/fill.py", "shop", data, ITEMS, ITEMS)
    with ExitStack() as stack:
        port, log = free_port(), folder / "mock.log"
        mock = [sys.executable, "-m", "headrace", "mock-llm", "--port", str(port)]
        child = stack.enter_context(running(mock, log=log, core=setting.core))
        wait_for(f"http://127.0.0.1:{port}/v1/models", child, log=log)
        env = {"HEADRACE_BENCH_UPSTREAMS": f"http://127.0.0.1:{port}/v1"}
        server = stack.enter_context(served("answers", data, env=env, core=0))
        stages = _stages(server.port)
        body = {"restaurant_id": "r7"}
        question = {"model": "mock", "messages": [{"role": "user", "content": "a question"}], "max_tokens": 16}
        runs: list[dict[str, Any]] = []
        for _ in range(setting.pick(1, 5)):
            before = cpu(server.process.pid)
            ours = _attack(setting, folder, server.port, "/recommend", body)
            spent = (cpu(server.process.pid) - before) / ours["sent"] * 1e6
            direct = _attack(setting, folder, port, "/v1/chat/completions", question)
            runs.append({"ours": ours, "direct": direct, "cpu_us": spent})
    for name, target in (("p50", 1.0), ("p99", 5.0)):
        own = [run["ours"]["ms"][name] - run["direct"]["ms"][name] for run in runs]
        result.add(f"our own time: {name}", median(own), "ms", target=target, better="less", runs=own)
    share = min(run["ours"]["share"] for run in runs) * 100
    result.add("answered", share, "%", target=100.0, detail={"runs": runs, "stages": stages})
    result.add("CPU per request", median([run["cpu_us"] for run in runs]), "us", better="less")
    result.notes.append(
        f"Open loop of {RATE}/s over 16 connections; our own time is the endpoint's less that of its model asked"
        " directly in the same way. One read of ten rows, JSON schema of the answer sent, read set validated."
        f" Server on core 0, mock model and load on core {setting.core}; one quiet request: {stages}."
    )
    return result


def _stages(port: int) -> str:
    """What the server says of one request, warm."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [client.post("/recommend", json={"restaurant_id": "r7"}) for _ in range(50)]
    answers[-1].raise_for_status()
    return re.sub(r";dur=", " ", answers[-1].headers["server-timing"])


def _attack(setting: Setting, folder: Path, port: int, path: str, body: Any) -> dict[str, Any]:
    count = RATE * setting.pick(3, 10)
    plan = {"port": port, "rate": RATE, "connections": 16, "timeout": 5, "path": path}
    file = folder / "plan.json"
    file.write_text(json.dumps(plan | {"bodies": [json.dumps(body)] * count}))
    return measure("workers/open_loop.py", file, core=setting.core)
