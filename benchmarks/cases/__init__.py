"""One module a benchmark: `run(setting)` measures and returns a `Result`. `ALL` is the order of the table."""

from __future__ import annotations

from collections.abc import Callable

from harness.figures import Result
from harness.setting import Setting

from cases import (
    endpoint,
    feast,
    freshness,
    gateway,
    ingest,
    install,
    memory,
    postgres,
    readset,
    rollup,
    router,
    soak,
    streams,
    validation,
    view,
    window,
)

ALL: dict[str, tuple[str, Callable[[Setting], Result]]] = {
    "ingest": ("JSON to durable, readable rows; beside Pathway's Python connector", ingest.run),
    "rollup": ("JSON events to count and sum by key and minute; beside Pathway's groupby", rollup.run),
    "freshness": ("push over HTTP until a reader sees it, 2,000 events/s", freshness.run),
    "feast": ("Feast's online-serving workload; beside Feast", feast.run),
    "view": ("one view of ten rows over HTTP, 32 connections", view.run),
    "window": ("24 h over 200,000 events by tiles; beside a raw scan", window.run),
    "memory": ("resident memory and cost of a row up to 10 million rows", memory.run),
    "install": ("size of a fresh core install and time of `import headrace`", install.run),
    "postgres": ("following a PostgreSQL; beside its own subscription", postgres.run),
    "readset": ("comparing a read set of 20 reads with the present, among 1 million rows", readset.run),
    "gateway": ("the gateway with all policies; beside nginx and LiteLLM's proxy", gateway.run),
    "streams": ("relaying 50 streams; beside nginx and LiteLLM's proxy", streams.run),
    "endpoint": ("a typed endpoint with one context read and a mock model", endpoint.run),
    "soak": ("the gateway for minutes with 5 % faults; ten with --full", soak.run),
    "router": ("CPU of one call through the router", router.run),
    "validation": ("judging a record, good and bad", validation.run),
}
"""Name to what it measures and how."""
