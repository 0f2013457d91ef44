"""All endpoints of an app, running: one runner each, and whoever looks at the rows that split their traffic.

The rows are read beside the requests, at most every 250 ms: no request waits for them, and one that is answered while
they cannot be read is split as before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError
from headrace.core.events import NullRecorder, Problem, Recorder, Solved
from headrace.core.names import unknown
from headrace.pipeline.answer import Asked
from headrace.pipeline.ask import Ask
from headrace.pipeline.counters import Counters
from headrace.pipeline.input import Reader, broken
from headrace.pipeline.kept import WORDS
from headrace.pipeline.pieces import Pieces
from headrace.pipeline.runner import Runner, routes
from headrace.pipeline.split import Split
from headrace.pipeline.typed import typed

log = logging.getLogger("headrace.pipeline")

EVERY = 0.25
"""Seconds between two looks at the rows."""

Rows = Sequence[Mapping[str, Any]]


class Desk:
    """The running endpoints of an app by path; an async context manager.

    Parameters
    ----------
    runners
        By path.
    counters
        Of all of them.
    clock
        What time it is.
    rows
        Reads the rows of `headrace_routes`; None: what is declared holds.
    """

    def __init__(
        self,
        runners: Mapping[str, Runner],
        counters: Counters,
        *,
        clock: Clock,
        rows: Callable[[], Awaitable[Rows]] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.runners = dict(runners)
        self.counters = counters
        self._clock = clock
        self._rows = rows
        self._recorder = recorder or NullRecorder()
        self._seen: Rows | None = None
        self._wrong: set[str] = set()
        self._failing = False
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Desk:
        if self._rows is not None and self.runners:
            await self.look()
            self._watch = asyncio.get_running_loop().create_task(self._watching())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for runner in self.runners.values():
            await runner.aclose()

    def runner(self, path: str) -> Runner:
        """The endpoint at `path`. Raises `UnknownName`."""
        found = self.runners.get(path)
        if found is None:
            raise unknown("endpoint", path, self.runners)
        return found

    async def ask(self, path: str, ask: Ask, *, response: Any = None) -> Asked:
        """Ask an endpoint from within this process. `ask.input` may be plain data.

        Raises
        ------
        UnknownName, BadInput
            No such endpoint, or an input that does not fit.
        EndpointError, ModelError
            No answer.
        """
        found: list[Any] = []
        async for item in self._items(path, ask):
            found.append(item)
        told: Asked = found.pop()
        value: Any = found if self.runner(path).endpoint.shape.streams else found[0]
        return replace(told, value=value if response is None else typed(response).of(value))

    def stream(self, path: str, ask: Ask, *, response: Any = None) -> Pieces:
        """The pieces of an answer as they come; of an endpoint that does not stream, its answer as the only one.

        Raises
        ------
        UnknownName
            No such endpoint.
        """
        self.runner(path)
        return Pieces(self._items(path, ask), response)

    async def _items(self, path: str, ask: Ask) -> AsyncGenerator[Any]:
        """The pieces of an answer as plain data, and what is to be said of it."""
        runner = self.runner(path)
        try:
            value = Reader(runner.endpoint.shape, runner.endpoint.bounds).check(ask.input)
        except HeadraceError:
            raise
        # The boundary to user code: an input's type may have validators of the app's, which may raise anything.
        except Exception as error:
            raise broken(error, path, ask.id) from error
        answer = await runner.run(replace(ask, input=value))
        if answer.events is None:
            yield msgspec.json.decode(answer.body)
        else:
            async with aclosing(answer.events.items()) as items:
                async for item in items:
                    yield item
        yield Asked.of(None, answer.facts)

    def metrics(self) -> Iterator[str]:
        """Lines of the Prometheus text format."""
        yield from self.counters.lines()
        yield "# HELP headrace_endpoint_running Requests that run now."
        yield "# TYPE headrace_endpoint_running gauge"
        for path, runner in self.runners.items():
            yield f'headrace_endpoint_running{{endpoint="{path}"}} {runner.gate.running}'
        yield "# HELP headrace_endpoint_waiting Requests that wait now."
        yield "# TYPE headrace_endpoint_waiting gauge"
        for path, runner in self.runners.items():
            yield f'headrace_endpoint_waiting{{endpoint="{path}"}} {runner.gate.waiting}'
        yield "# HELP headrace_endpoint_turned_away_total Requests that were turned away at the door."
        yield "# TYPE headrace_endpoint_turned_away_total counter"
        for path, runner in self.runners.items():
            for why, count in runner.gate.turned.items():
                yield f'headrace_endpoint_turned_away_total{{endpoint="{path}",why="{why}"}} {count}'

        kept = [(path, runner.kept) for path, runner in self.runners.items() if runner.kept is not None]
        said: set[str] = set()
        for path, answers in kept:
            for name, kind, number in answers.lines():
                if name not in said:
                    said.add(name)
                    yield f"# HELP headrace_answer_cache_{name} {WORDS[name]}"
                    yield f"# TYPE headrace_answer_cache_{name} {kind}"
                yield f'headrace_answer_cache_{name}{{endpoint="{path}"}} {number:g}'

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the rows that split traffic, per endpoint."""
        return (runner.split.problem for runner in self.runners.values() if runner.split.problem is not None)

    async def look(self) -> None:
        """Read the rows once, and split by them."""
        if self._rows is None:
            return
        try:
            rows = list(await self._rows())
        except HeadraceError as error:  # the engine is restarting: what was known holds on
            log.debug("the rows that split traffic cannot be read: %s", error.message)
            return
        if rows == self._seen:
            return
        self._seen = rows
        for path, runner in self.runners.items():
            runner.split = Split(path, routes(runner.endpoint), rows)
        for path, runner in self.runners.items():  # a recorder that fails must not keep the others as they were
            self._tell(path, runner.split)

    def _tell(self, path: str, split: Split) -> None:
        if split.problem is not None:
            log.warning("%s (%s)", split.problem.message, split.problem.hint)
            self._wrong.add(path)
            self._recorder.record(split.problem)
        elif path in self._wrong:
            self._wrong.discard(path)
            self._recorder.record(Solved(f"endpoint:{path}", "bad_route"))

    async def _watching(self) -> None:
        while True:
            await self._clock.sleep(EVERY)
            try:
                await self.look()
            # The boundary of this task: traffic that is taken off a version must move, whatever failed before.
            except Exception as error:
                if not self._failing:
                    self._failing = True
                    log.exception("the rows that split traffic cannot be followed, and are looked at again: %s", error)
            else:
                self._failing = False
