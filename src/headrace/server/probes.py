"""`/healthz`, `/readyz`, `/freshness` and `/metrics`: is it alive, can it serve, how old is what it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.core.errors import HeadraceError
from headrace.core.frontier import SourceState, Status
from headrace.core.names import OWN
from headrace.server.answers import json_response
from headrace.server.composition import Handlers
from headrace.server.metrics import Meter, escape, render_requests
from headrace.server.ports import Health, Reads

_PATIENCE = 1.0
"""Seconds for the engine to say how it is: whoever asks waits a few, and it is asked again and again."""
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Probes:
    """Tells machines how the server is doing."""

    def __init__(self, reads: Reads, health: Health | None, meter: Meter, handlers: Sequence[Handlers] = ()) -> None:
        self._reads = reads
        self._health = health
        self._meter = meter
        self._handlers = handlers

    def routes(self) -> list[Route]:
        """The routes that this object serves."""
        return [
            Route("/healthz", self.alive, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/freshness", self.freshness, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def alive(self, _request: Request) -> Response:
        """The process answers: nothing more is promised."""
        return json_response({"status": "alive"})

    async def ready(self, _request: Request) -> Response:
        """200 when reads and writes can be served, else 503 with the reasons.

        A gateway (`/v1`) needs neither the engine nor room on a disk, and whoever asks here may send it requests or
        not: with one it is 200, and what is wrong stands in `degraded`.
        """
        wrong = await self._reasons()
        lasts = any(one.lasts for one in self._handlers)
        reasons, degraded = ([], wrong) if lasts else (wrong, [])
        told = {"ready": not reasons, "reasons": reasons, "degraded": degraded}
        return json_response(told, status=503 if reasons else 200)

    async def freshness(self, _request: Request) -> Response:
        """How old each table and refreshed view is, and what is wrong."""
        return json_response(self._freshness())

    async def metrics(self, _request: Request) -> Response:
        """Everything countable, in the Prometheus text format."""
        lines = list(render_requests(self._meter.totals()))
        lines += render_freshness(self._freshness())
        lines += render_gauges(await self._engine())
        for one in self._handlers:
            lines += one.metrics()
        return Response("\n".join(lines) + "\n", media_type=_EXPOSITION)

    def _freshness(self) -> dict[str, Any]:
        found = dict(self._reads.freshness())
        for kind in ("tables", "views"):
            found[kind] = {name: one for name, one in found.get(kind, {}).items() if name not in OWN}
        # Nobody wrote down since when: these are looked at where they are, not stored.
        own = [asdict(problem) | {"since": None} for one in self._handlers for problem in one.problems()]
        return {**found, "problems": [*found.get("problems", ()), *own]} if own else found

    async def _reasons(self) -> list[str]:
        try:
            self._reads.freshness()
        except HeadraceError as error:
            return [error.message]
        engine = await self._engine()
        return [] if engine.get("ready", True) else list(engine.get("reasons") or ["the engine is not ready"])

    async def _engine(self) -> dict[str, Any]:
        if self._health is None:
            return {}
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._health.health()
        except TimeoutError:
            said = f"the engine has not answered for {_PATIENCE:g} s: it, or its disk, stands still"
            return {"ready": False, "reasons": [said], "gauges": {}}
        except HeadraceError as error:
            return {"ready": False, "reasons": [error.message], "gauges": {}}


def render_gauges(engine: Mapping[str, Any]) -> Iterator[str]:
    """The engine's own numbers."""
    yield "# HELP headrace_engine_ready Whether the engine can be reached and is ready."
    yield "# TYPE headrace_engine_ready gauge"
    yield f"headrace_engine_ready {int(engine.get('ready', True))}"
    for name, value in sorted(engine.get("gauges", {}).items()):
        yield f"# TYPE headrace_{name} gauge"
        yield f"headrace_{name} {value}"


def render_freshness(freshness: Mapping[str, Any]) -> Iterator[str]:
    """Ages, states and counters per table, and ages per view, as `Reads.freshness` gives them."""
    tables: _Ages = freshness["tables"]
    views: _Ages = freshness["views"]
    yield "# HELP headrace_as_of_age_seconds Now minus the instant up to which a table or view is complete."
    yield "# TYPE headrace_as_of_age_seconds gauge"
    for kind, ages in (("table", tables), ("view", views)):
        for name, one in ages.items():
            if one.get("age_ms") is not None:
                yield f'headrace_as_of_age_seconds{{{kind}="{escape(name)}"}} {one["age_ms"] / 1000}'
    yield from _one_hot("headrace_freshness_status", "status", "Fresh, stale or unknown.", tables, _STATUSES)
    yield from _one_hot("headrace_source_state", "state", "What the source is doing.", tables, _STATES)
    for counter in sorted({name for one in tables.values() for name in one.get("counters", ())}):
        yield f"# HELP headrace_records_{counter}_total Records {counter}, per table."
        yield f"# TYPE headrace_records_{counter}_total counter"
        for name, one in tables.items():
            yield f'headrace_records_{counter}_total{{table="{escape(name)}"}} {one["counters"].get(counter, 0)}'
    clocks = {name: one["clock"] for name, one in tables.items() if one.get("clock")}
    for what, words in (
        ("offset", "How far a source's clock is ahead of ours."),
        ("error", "How far off that may be."),
    ):
        if clocks:
            yield f"# HELP headrace_source_clock_{what}_seconds {words}"
            yield f"# TYPE headrace_source_clock_{what}_seconds gauge"
        for name, clock in clocks.items():
            yield f'headrace_source_clock_{what}_seconds{{table="{escape(name)}"}} {clock[f"{what}_ms"] / 1000}'
    copies = {name: one["copy"] for name, one in tables.items() if one.get("copy")}
    for what, words in _COPY:
        if copies:
            yield f"# HELP headrace_copy_{what} {words}"
            yield f"# TYPE headrace_copy_{what} gauge"
        for name, copy in copies.items():
            yield f'headrace_copy_{what}{{table="{escape(name)}"}} {copy[what]}'
    yield "# HELP headrace_quarantine_waiting Records that wait in quarantine now."
    yield "# TYPE headrace_quarantine_waiting gauge"
    for name, one in tables.items():
        if "waiting" in one:
            yield f'headrace_quarantine_waiting{{table="{escape(name)}"}} {one["waiting"]}'
    yield "# HELP headrace_problems Problems that last."
    yield "# TYPE headrace_problems gauge"
    yield f"headrace_problems {len(freshness.get('problems', ()))}"


_COPY = (
    ("rows", "Rows that a full copy under way has fetched."),
    ("expected_rows", "About how many rows it will fetch."),
    ("share", "About how much of it is done, 0 to 1."),
)
_Ages = Mapping[str, Mapping[str, Any]]
_STATUSES = tuple(status.value for status in Status)
_STATES = tuple(state.name.lower() for state in SourceState)


def _one_hot(metric: str, field: str, words: str, tables: _Ages, values: tuple[str, ...]) -> Iterator[str]:
    """One series per possible value, 1 for the present one: what alert rules can count on."""
    yield f"# HELP {metric} {words}"
    yield f"# TYPE {metric} gauge"
    for name, one in tables.items():
        if one.get(field) is None:
            continue
        for value in values:
            yield f'{metric}{{table="{escape(name)}",{field}="{value}"}} {int(str(one[field]) == value)}'
