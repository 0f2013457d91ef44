"""Feast's online-serving workload: 10,000 entities, 250 integer features in 25 groups of 10, open loop."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import peers
from harness.figures import Result
from harness.process import free_port, measure, running, wait_for
from harness.serving import served
from harness.setting import Setting

POINTS = (
    # entities, features, requests a second, p99 target in ms
    (1, 50, 10, 10.0),
    (100, 50, 10, 40.0),
    (100, 250, 10, 150.0),
)
WORKERS = 2


def run(setting: Setting) -> Result:
    """Each point on ours, then on Feast, with only one of the two servers running."""
    result = Result("feast")
    entities, seconds = setting.pick((500, 3), (10_000, 20))
    ours = _ours(setting, entities, seconds)
    feast = _feast(setting, entities, seconds, result)
    for point, found in ours.items():
        count, features, rate, target = point
        peer = feast.get(point)
        label = f"{count} x {features} at {rate}/s"
        for name, limit in (("p50", None), ("p99", target)):
            result.add(
                f"{label}: {name}",
                found["ms"].get(name, 5_000.0),
                "ms",
                target=limit,
                better="less",
                peer=None if peer is None else peer["ms"].get(name, 5_000.0),
                peer_name="Feast",
                detail={"ours": found, "feast": peer},
            )
        share = None if peer is None else peer["share"] * 100
        result.add(
            f"{label}: answered", found["share"] * 100, "%", target=100.0, peer=share, peer_name="Feast", detail={}
        )
    result.notes += [
        f"{entities:,} entities, open loop over 5 connections, 5 s time-out, {seconds} s a point, {WORKERS} workers"
        " each; times count from when a request was due, answered requests only; HTTP and JSON included.",
        "Ours has Feast's shape, 25 tables of 10 columns, joined by a view; 100 entities are one POST /context with 100"
        " reads, each answered with its own ages. Feast: SQLite online store, its Python feature server.",
    ]
    return result


def _points(entities: int, seconds: int, body: Callable[[list[int], int], Any]) -> Iterator[tuple[Any, list[str]]]:
    for point in POINTS:
        count, features, rate, _ = point
        rng = random.Random(count * features)
        yield (
            point,
            [
                json.dumps(body([rng.randrange(entities) for _ in range(count)], features))
                for _ in range(rate * seconds)
            ],
        )


def _attack(setting: Setting, port: int, path: str, bodies: list[str], rate: int) -> dict[str, Any]:
    plan = {"port": port, "rate": rate, "connections": 5, "timeout": 5, "path": path, "bodies": bodies}
    file = setting.folder("plan") / "plan.json"
    file.write_text(json.dumps({**plan, "bodies": bodies[:rate]}))
    measure("workers/open_loop.py", file)  # a second of warming up, for both sides
    file.write_text(json.dumps(plan))
    return measure("workers/open_loop.py", file)


def _ours(setting: Setting, entities: int, seconds: int) -> dict[Any, dict[str, Any]]:
    data = setting.folder("features") / "data"
    measure("workers/fill.py", "features", data, entities)

    def body(keys: list[int], features: int) -> Any:
        return {"reads": [{"view": f"service_{features}", "params": {"entity": key}} for key in keys]}

    with served("features", data, workers=WORKERS) as server:
        return {
            point: _attack(setting, server.port, "/context", bodies, point[2])
            for point, bodies in _points(entities, seconds, body)
        }


def _feast(setting: Setting, entities: int, seconds: int, result: Result) -> dict[Any, dict[str, Any]]:
    python = peers.python("feast", setting)
    if python is None:
        return {}
    folder = setting.folder("feast")
    result.peers["feast"] = measure("peers/feast_load.py", folder, entities, python=python)["version"]

    def body(keys: list[int], features: int) -> Any:
        return {"feature_service": f"service_{features}", "entities": {"entity": keys}}

    with _feature_server(python, folder) as port:
        return {
            point: _attack(setting, port, "/get-online-features", bodies, point[2])
            for point, bodies in _points(entities, seconds, body)
        }


@contextlib.contextmanager
def _feature_server(python: Path, folder: Path) -> Iterator[int]:
    port, log = free_port(), folder / "serve.log"
    options = ["-h", "127.0.0.1", "-p", str(port), "-w", str(WORKERS), "--no-access-log"]
    # Without these it would read its registry again every minute and restart its workers every 1,000 requests.
    options += ["-r", "3600", "--max-requests", "1000000"]
    command = [python.parent / "feast", "-c", folder, "serve", *options]
    with running(command, log=log, cwd=folder) as child:
        wait_for(f"http://127.0.0.1:{port}/health", child, log=log)
        yield port
