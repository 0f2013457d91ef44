"""The gateway with all policies on, beside nginx as a reverse proxy (the floor) and LiteLLM's proxy.

Gateways run on one core, the model and the load on the other. Processor time per request is what holds on a shared
machine: /proc counts it for the gateway's processes, whoever else is busy.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness import gateways, wrk
from harness.figures import Result, median
from harness.gateways import QUESTION, Gateway
from harness.process import cpu, measure
from harness.setting import Setting

CONNECTIONS = 64
RATE = 500
"""Requests a second of the open loop."""


def run(setting: Setting) -> Result:
    """All gateways run at once; they are asked one after the other, round by round."""
    gateways.tools()
    result = Result("gateway")
    folder = setting.folder("gateway")
    near, far = 0, setting.core
    with ExitStack() as stack:
        ports = stack.enter_context(gateways.instant_model(folder / "model", core=far))
        ours = stack.enter_context(gateways.headrace(folder / "ours", ports, core=near))
        floor = stack.enter_context(gateways.nginx(folder / "nginx", ports, core=near))
        bare = stack.enter_context(gateways.relay(folder / "relay", ports, core=near))
        plain = stack.enter_context(gateways.instant_model(folder / "plain", core=far, numbered=False))
        again = stack.enter_context(gateways.headrace(folder / "again", plain, core=near, name="repeating"))
        peer = stack.enter_context(gateways.litellm(setting, folder, ports, core=near))
        rivals = [one for one in (floor, bare, ours, again, peer) if one is not None]
        found = _closed(setting, folder, rivals, far)
        added = _open(setting, folder, Gateway("direct", ports[0], 0), [floor, ours])
    _figures(result, found, added)
    result.peers["nginx"] = "reverse proxy, keep-alive, one worker"
    result.notes += [
        f"POST of {len(QUESTION)} bytes, an answer of about 700; closed loop of {CONNECTIONS} connections (wrk),"
        f" open loop of {RATE}/s; gateway on core {near}, model (nginx) and load on core {far}.",
        "Ours: virtual key with limits and a budget, quotas from headers, balancing over four upstreams, adaptive"
        " concurrency, deadline, hedging armed, cost, metrics. LiteLLM: master key, simple shuffle, one worker,"
        " no database and no callbacks. nginx: nothing but the relay. The bare relay is our HTTP server and client with"
        " nothing in between. No two answers of the model have the same head, as with providers; where they repeat, as"
        " with servers of one's own, is a row of its own.",
    ]
    return result


def _closed(setting: Setting, folder: Path, rivals: list[Gateway], core: int) -> dict[str, list[dict[str, Any]]]:
    seconds = setting.pick(1, 6)
    found: dict[str, list[dict[str, Any]]] = {one.name: [] for one in rivals}
    for one in rivals:
        _hammer(folder, one, 1, core)
    for _ in range(max(setting.repeats, setting.pick(1, 5))):
        for one in rivals:
            found[one.name].append(_hammer(folder, one, seconds, core))
    return found


def _hammer(folder: Path, one: Gateway, seconds: int, core: int) -> dict[str, Any]:
    before = cpu(one.pid)
    run = wrk.post(folder, one.port, QUESTION, key=one.key, connections=CONNECTIONS, seconds=seconds, core=core)
    run["cpu_us"] = (cpu(one.pid) - before) / max(run["requests"], 1) * 1e6
    return run


def _open(setting: Setting, folder: Path, direct: Gateway, rivals: list[Gateway]) -> dict[str, list[dict[str, Any]]]:
    seconds = setting.pick(2, 10)
    found: dict[str, list[dict[str, Any]]] = {one.name: [] for one in (direct, *rivals)}
    for _ in range(setting.pick(1, 5)):
        for one in (direct, *rivals):
            plan = {
                "port": one.port, "rate": RATE, "connections": 16, "timeout": 5, "path": "/v1/chat/completions",
                "headers": f"Authorization: Bearer {one.key}\r\n", "bodies": [QUESTION] * (RATE * seconds),
            }  # fmt: skip
            file = folder / "plan.json"
            file.write_text(json.dumps(plan))
            found[one.name].append(measure("workers/open_loop.py", file, core=setting.core))
    return found


def _figures(result: Result, found: dict[str, list[dict[str, Any]]], added: dict[str, list[dict[str, Any]]]) -> None:
    def runs(name: str, what: str) -> list[float]:
        return [run[what] for run in found.get(name, [])]

    ours, floor = (runs(name, "cpu_us") for name in ("headrace", "nginx"))
    ratios = [mine / theirs for mine, theirs in zip(ours, floor, strict=True)]
    result.add("CPU per request, beside nginx", median(ratios), "x", target=2.2, better="less", runs=ratios)
    result.add("CPU per request", median(ours), "us", better="less", peer=median(floor), peer_name="nginx", runs=ours)
    bare = runs("relay", "cpu_us")
    result.add(
        "CPU per request of a bare relay", median(bare), "us", better="less",
        peer=median(floor), peer_name="nginx", runs=bare,
    )  # fmt: skip
    again = runs("repeating", "cpu_us")
    result.add("CPU per request where heads of answers repeat", median(again), "us", better="less", runs=again)
    # In a short run on a busy machine a slow peer may end no request at all: such a run compares nothing.
    mutual = zip(found["headrace"], found.get("LiteLLM", []), strict=False)
    pairs = [(mine, theirs) for mine, theirs in mutual if theirs["requests"]]
    if pairs:
        gains = [mine["per_second"] / theirs["per_second"] for mine, theirs in pairs]
        result.add("requests on one core, beside LiteLLM", median(gains), "x", target=50, runs=gains)
        costs = [theirs["cpu_us"] / mine["cpu_us"] for mine, theirs in pairs]
        result.add("CPU per request, LiteLLM's beside ours", median(costs), "x", runs=costs)
    rates = runs("headrace", "per_second")
    result.add(
        "requests on one core", median(rates), "1/s", runs=rates,
        peer=median(runs("nginx", "per_second")), peer_name="nginx", detail={"runs": found},
    )  # fmt: skip
    for name, target in (("p50", 0.5), ("p99", 3.0)):
        direct = median([run["ms"][name] for run in added["direct"]])
        mine = [run["ms"][name] - direct for run in added["headrace"]]
        other = median([run["ms"][name] for run in added["nginx"]]) - direct
        result.add(
            f"added {name} at {RATE}/s", median(mine), "ms", target=target, better="less", runs=mine,
            peer=max(other, 0.001), peer_name="nginx", detail={"direct": direct},
        )  # fmt: skip
    errors = sum(run["errors"] for run in found["headrace"])
    unanswered = sum(run["sent"] - run["answered"] for run in added["headrace"])
    if errors or unanswered:
        result.notes.append(f"ours: {errors} requests failed in the closed loop, {unanswered} in the open loop")
