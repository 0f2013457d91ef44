"""What a handler is given beside its input: live context, models, and how much time is left."""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, TypeVar

from headrace.context.policy import FreshnessPolicy
from headrace.context.value import ContextValue
from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import HeadraceError
from headrace.core.events import ReadAge
from headrace.core.names import suggest, unknown
from headrace.models.call import Priority
from headrace.pipeline.model import Model
from headrace.pipeline.running import Run
from headrace.pipeline.stages import CONTEXT

V = TypeVar("V")

_MARGIN = 0.01
"""Seconds before the deadline at which a wait for fresh context ends."""

ALONE = "request"
"""What is noted when a handler looks at something that no two requests have in common."""


class Context:
    """One request's context. Each view is a method, `await ctx.menu(restaurant_id="r7")`, and each declared model an
    attribute, `await ctx.llm.chat(...)`.

    Whatever is read here is checked again before the answer goes out (`on_stale`). Every wait ends at the request's
    deadline.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Any:
        """A model or a view."""
        if name.startswith("_"):
            raise AttributeError(name)
        means = self._run.means
        if name in means.callers:
            return self.model(name)
        if name in means.views:
            return partial(self.read, name)
        known = suggest(name, [*means.views, *means.callers])
        message = f"the context has no view and no model {name!r}; {known}"
        raise AttributeError(message)

    def model(self, name: str) -> Model:
        """The declared model of any name: `ctx.model("gpt-5.1-mini")`, where it is no name of Python."""
        run, callers = self._run, self._run.means.callers
        if name not in callers:
            raise unknown("model", name, callers)
        chosen = run.instead or name
        return Model(chosen, callers[chosen], run)

    # Reading ---------------------------------------------------------------------------------------------------------

    async def read(
        self, view: str, /, *, _policy: str | None = None, _max_age: Duration | None = None, **params: Any
    ) -> ContextValue:
        """The rows of a view, with their ages; see `Live.read`."""
        return await self._note(
            self._run.means.reads.read(
                view, params, policy=self._policy(_policy), max_age=_micros(_max_age), until=self._until
            )
        )

    async def read_many(
        self,
        reads: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        policy: str | None = None,
        max_age: Duration | None = None,
    ) -> list[ContextValue]:
        """Several views in one snapshot: `[("menu", {"restaurant_id": "r7"}), ("order", {"order_id": "o1"})]`."""
        return await self._many(
            self._run.means.reads.read_many(
                reads, policy=self._policy(policy), max_age=_micros(max_age), until=self._until
            )
        )

    async def get(
        self, table: str, key: Any, *, policy: str | None = None, max_age: Duration | None = None
    ) -> ContextValue:
        """The latest row of one key (a tuple for a composite key): `rows` holds one row or none."""
        return await self._note(
            self._run.means.reads.get(
                table, key, policy=self._policy(policy), max_age=_micros(max_age), until=self._until
            )
        )

    async def get_many(
        self, table: str, keys: Sequence[Any], *, policy: str | None = None, max_age: Duration | None = None
    ) -> ContextValue:
        """The rows of many keys in one snapshot, in the order of `keys`; keys without a row are left out."""
        return await self._note(
            self._run.means.reads.get_many(
                table, keys, policy=self._policy(policy), max_age=_micros(max_age), until=self._until
            )
        )

    # The request -----------------------------------------------------------------------------------------------------

    @property
    def request_id(self) -> str:
        """Of this request: it stands in the answer, in the log and in the trace."""
        self._run.seen.add(ALONE)
        return self._run.ask.id

    @property
    def user(self) -> str:
        """Whoever asks; empty where nobody says."""
        self._run.seen.add("user")
        return self._run.ask.user

    @property
    def session(self) -> str:
        """Which conversation this belongs to; empty where nobody says."""
        self._run.seen.add("session")
        return self._run.ask.session

    @property
    def tenant(self) -> str:
        """For whom this is; empty where nobody says."""
        self._run.seen.add("tenant")
        return self._run.ask.tenant

    @property
    def priority(self) -> Priority:
        """How much it matters."""
        self._run.seen.add("priority")
        return self._run.ask.priority

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, names in lower case."""
        return Seen(self._run)

    @property
    def version(self) -> str:
        """The name of the version that answers."""
        return self._run.version

    @property
    def deadline(self) -> float:
        """The instant (seconds of the monotonic clock) at which this request is cancelled. Whoever looks at it gives an
        answer for this request alone."""
        self._run.seen.add(ALONE)
        return self._run.deadline

    @property
    def remaining(self) -> float:
        """Seconds until then; to look at it does the same."""
        self._run.seen.add(ALONE)
        return self._run.remaining

    @property
    def error(self) -> HeadraceError | None:
        """In a fallback: why it was needed."""
        return self._run.failure

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """A stage of the handler's own: `with ctx.stage("rank"): ...`; its time and its failures go by this name."""
        run = self._run
        run.stages.begin(name, run.means.clock.monotonic())
        try:
            yield
        except BaseException as error:  # seen, and raised on: it is to be told with the name of this stage
            if run.failed is None or run.failed[0] is not error:
                run.failed = (error, name)
            raise
        finally:
            run.stages.finish(run.means.clock.monotonic())

    async def _note(self, reading: Awaitable[ContextValue]) -> ContextValue:
        value = await self._timed(reading)
        self._keep(value)
        return value

    async def _many(self, reading: Awaitable[list[ContextValue]]) -> list[ContextValue]:
        values = await self._timed(reading)
        for value in values:
            self._keep(value)
        return values

    async def _timed(self, reading: Awaitable[V]) -> V:
        run = self._run
        clock = run.means.clock
        run.stages.enter(CONTEXT, clock.monotonic())
        try:
            return await reading
        except HeadraceError as error:
            run.failed = (error, run.stages.current)
            raise
        finally:
            run.stages.leave(CONTEXT, clock.monotonic())

    def _keep(self, value: ContextValue) -> None:
        run = self._run
        run.reads.extend(value.readset.reads)
        run.ages.append(ReadAge(value.name, value.age_ms, value.status.value))

    def _policy(self, text: str | None) -> FreshnessPolicy | None:
        """The policy of a read; None: that of what is read."""
        return self._run.policy if text is None else _parse(text)

    @property
    def _until(self) -> float:
        """When the wait of a read ends, whose ever policy it is: early enough to say that it was in vain."""
        return self._run.deadline - _MARGIN


NAMES = frozenset(name for name in vars(Context) if not name.startswith("_"))
"""What a context has by itself: a view or a model of such a name could not be reached as `ctx.name`."""


class Seen(Mapping[str, str]):
    """Headers that notice which of them are looked at: an answer that depends on one is kept for that one only."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getitem__(self, name: str) -> str:
        self._run.seen.add(f"header {name}")
        return self._run.ask.headers[name]

    def __iter__(self) -> Iterator[str]:
        self._run.seen.add(ALONE)
        return iter(self._run.ask.headers)

    def __len__(self) -> int:
        self._run.seen.add(ALONE)
        return len(self._run.ask.headers)


@lru_cache(maxsize=256)
def _parse(text: str) -> FreshnessPolicy:
    return FreshnessPolicy.parse(text)


def _micros(duration: Duration | None) -> int | None:
    return None if duration is None else parse_duration(duration)
