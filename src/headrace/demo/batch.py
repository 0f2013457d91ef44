"""The batch side: the app's own endpoints over the batch twin, in place of the live context.

Handlers, prompts, model, deadlines and fallbacks are those of the live side. A batch copy keeps no versions of its
rows, so nothing can be checked when an answer goes out: as far as the copy knows, nothing ever changes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from headrace.app import App
from headrace.context.policy import FreshnessPolicy
from headrace.context.readset import Present, ReadSet, Validity
from headrace.context.value import ContextValue
from headrace.core.clock import Clock
from headrace.core.errors import UnknownName
from headrace.demo.reading import Reading
from headrace.models.reply import Caller
from headrace.pipeline.answer import Asked
from headrace.pipeline.ask import Ask
from headrace.pipeline.counters import Counters
from headrace.pipeline.desk import Desk
from headrace.pipeline.ports import Reads
from headrace.pipeline.runner import Runner
from headrace.pipeline.running import Means


class Copy(Protocol):
    """Answers views as of one instant; `twin.Twin` is one."""

    @property
    def loaded_at(self) -> int | None:
        """That instant; None before there is a copy."""
        ...

    async def read(self, view: str, /, **params: Any) -> Reading:
        """The rows of `view` for these parameters."""
        ...


class CopyReads:
    """A copy as a context that endpoints read (`pipeline.ports.Reads`)."""

    def __init__(self, twin: Copy, clock: Clock) -> None:
        self._twin = twin
        self._clock = clock

    async def read(
        self,
        view: str,
        params: Mapping[str, Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """A view of the copy. It makes no promise, so no policy can be broken."""
        found = await self._twin.read(view, **params)
        return ContextValue(
            name=view,
            rows=found.rows,
            now=self._clock.now(),
            as_of=self._twin.loaded_at,
            status=found.status,
            changed=[None] * len(found.rows),
            inputs={},
            readset=ReadSet(),
        )

    async def read_many(
        self,
        reads: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> list[ContextValue]:
        """Several views; between two reads of one loop turn the copy stays as it is."""
        return [await self.read(view, params, policy=policy, max_age=max_age) for view, params in reads]

    async def get(
        self,
        table: str,
        key: Any,
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """The app's agents read views only. Raises `UnknownName`."""
        raise UnknownName(f"the batch copy has no table {table!r} to read by key", hint="read a view")

    async def get_many(
        self,
        table: str,
        keys: Sequence[Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """As `get`."""
        return await self.get(table, keys, policy=policy, max_age=max_age)

    def validate(self, readset: ReadSet) -> Validity:
        """Nothing is known to have changed."""
        return Validity([], self._twin.loaded_at)

    def current(self, readset: ReadSet) -> Present:
        """As `validate`."""
        return Present([], self._twin.loaded_at, readset, (None,) * len(readset.reads))

    def again(self, readset: ReadSet) -> Present:
        """As `validate`."""
        return self.current(readset)

    def frontiers(self, readset: ReadSet) -> Mapping[str, int | None]:
        """There are no inputs."""
        return {}


class Endpoints:
    """An app's endpoints over some context, asked from within this process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._numbers = itertools.count(1)

    async def ask(self, path: str, data: Any, /) -> Asked:
        """The answer of the endpoint at `path`, as plain data."""
        return await self._desk.ask(path, Ask(data, f"batch-{next(self._numbers)}"))


@asynccontextmanager
async def open_endpoints(
    app: App, reads: Reads, models: Mapping[str, Caller], clock: Clock
) -> AsyncGenerator[Endpoints]:
    """The endpoints of `app` as they are declared, reading `reads`."""
    means = Means(reads, models, frozenset(app.views), frozenset(app.tables), clock)
    runners = {path: Runner(endpoint, means) for path, endpoint in app.endpoints.items()}
    async with Desk(runners, Counters(), clock=clock) as desk:
        yield Endpoints(desk)
