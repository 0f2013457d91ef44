"""An app running in this process: an engine that writes and a reader that answers, side by side."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from headrace.context.policy import FreshnessPolicy
from headrace.context.readset import ReadSet, Validity
from headrace.context.value import ContextValue
from headrace.core.changes import Receipt
from headrace.core.clock import SECOND, Clock
from headrace.core.durations import Duration, parse_duration
from headrace.core.events import Recorder
from headrace.core.finite import unfinite, with_constants
from headrace.core.names import unknown
from headrace.core.records import Record
from headrace.core.schema import to_json
from headrace.declaration.declaration import Declaration
from headrace.models.local.loading import refuse_in_worker
from headrace.models.provider import Provider
from headrace.models.reply import Caller
from headrace.pipeline.answer import Asked
from headrace.pipeline.ask import Ask, parse_priority
from headrace.pipeline.desk import Desk
from headrace.pipeline.pieces import Pieces
from headrace.runtime.desk import open_desk, open_models
from headrace.runtime.engine import Engine
from headrace.runtime.reads import LocalReads

Records = Record | Mapping[str, Any] | Sequence[Record | Mapping[str, Any]]


class Live:
    """A running app. Each view is a method: `await live.menu(restaurant_id="r7")`.

    The remote client (`headrace.connect`) and the synchronous one (`App.run_sync`) have the same face.
    """

    def __init__(
        self,
        app: Declaration,
        *,
        data: Path,
        clock: Clock,
        models: Mapping[str, Caller | Provider] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.app = app
        self.engine = Engine(app, data=data, clock=clock)
        self.reads: LocalReads
        self._clock = clock
        self._instead = dict(models or {})
        self._recorder = recorder
        self._desk: Desk | None = None
        self._stack = AsyncExitStack()
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Live:
        refuse_in_worker()
        async with AsyncExitStack() as stack:
            await self.engine.start()
            stack.push_async_callback(self.engine.stop)
            self.reads = LocalReads(
                self.app, data=self.engine.folder.path, clock=self._clock, board=self.engine.store.board
            )
            stack.callback(self.reads.close)
            if self.app.endpoints:
                clock, recorder = self._clock, self._recorder
                models = await stack.enter_async_context(
                    open_models(self.app, clock=clock, recorder=recorder, instead=self._instead)
                )
                self._desk = await stack.enter_async_context(
                    open_desk(self.app, self.reads, models, clock=clock, recorder=recorder)
                )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __getattr__(self, view: str) -> Callable[..., Awaitable[ContextValue]]:
        if view.startswith("_"):
            raise AttributeError(view)

        async def read(**params: Any) -> ContextValue:
            return await self.read(view, **params)

        return read

    async def read(
        self, view: str, /, *, _policy: str | None = None, _max_age: Duration | None = None, **params: Any
    ) -> ContextValue:
        """The rows of a view, with their ages.

        Parameters
        ----------
        _policy
            A freshness policy for this call: "serve", "flag", "wait 200ms else refuse", "refuse".
        _max_age
            A promise for this call, in place of the declared ones.
        **params
            The view's parameters.

        Raises
        ------
        UnknownName, BadParameter, StaleContext
        """
        return await self.reads.read(view, params, policy=_parse(_policy), max_age=_micros(_max_age))

    async def read_many(
        self,
        reads: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        policy: str | None = None,
        max_age: Duration | None = None,
    ) -> list[ContextValue]:
        """Several views in one snapshot: `[("menu", {"restaurant_id": "r7"}), ("order", {"order_id": "o1"})]`."""
        return await self.reads.read_many(reads, policy=_parse(policy), max_age=_micros(max_age))

    async def get(
        self, table: str, key: Any, *, policy: str | None = None, max_age: Duration | None = None
    ) -> ContextValue:
        """The latest row of one key (a tuple for a composite key): `rows` holds one row or none."""
        return await self.reads.get(table, key, policy=_parse(policy), max_age=_micros(max_age))

    async def get_many(
        self, table: str, keys: Sequence[Any], *, policy: str | None = None, max_age: Duration | None = None
    ) -> ContextValue:
        """The rows of many keys in one snapshot, in the order of `keys`; keys without a row are left out."""
        return await self.reads.get_many(table, keys, policy=_parse(policy), max_age=_micros(max_age))

    async def ask(
        self,
        path: str,
        data: Any,
        /,
        *,
        response: Any = None,
        user: str = "",
        session: str = "",
        tenant: str = "",
        priority: str = "normal",
        timeout: Duration | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Asked:
        """Ask an endpoint: `await live.ask("/recommend", {"restaurant_id": "r7"})`.

        Parameters
        ----------
        path
            Of the endpoint.
        data
            Its input: plain data, or a value of its type.
        response
            A type that the answer is to be read as; plain data if not given.
        user, session, tenant, priority
            Who asks, and how much it matters ("critical", "normal", "sheddable").
        timeout
            Longest wait; what the endpoint promises if not given.
        headers
            For the handler.

        Raises
        ------
        UnknownName
            No such endpoint.
        BadInput
            The input does not fit.
        BadReply
            The answer does not fit `response`.
        ModelError, DeadlinePassed, Overloaded, AnswerStale, UserCodeError
            No answer.
        """
        asking = self._asking(data, user, session, tenant, priority, timeout, headers)
        return await self._endpoints(path).ask(path, asking, response=response)

    def stream(
        self,
        path: str,
        data: Any,
        /,
        *,
        response: Any = None,
        user: str = "",
        session: str = "",
        tenant: str = "",
        priority: str = "normal",
        timeout: Duration | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pieces:
        """The answer of an endpoint as it comes: `async for piece in live.stream("/tell", {"restaurant_id": "r7"})`.

        What is to be said of it is there at its end: `pieces.facts`. An endpoint that does not stream gives one piece.

        Parameters
        ----------
        response
            A type that each piece is to be read as; plain data if not given.

        The other parameters are those of `ask`, and so are the errors, which come with the first piece or, as
        `StreamBroken` or what is known of the reason, with a later one.
        """
        asking = self._asking(data, user, session, tenant, priority, timeout, headers)
        return self._endpoints(path).stream(path, asking, response=response)

    def _endpoints(self, path: str) -> Desk:
        if self._desk is None:
            raise unknown("endpoint", path, ())
        return self._desk

    def _asking(
        self,
        data: Any,
        user: str,
        session: str,
        tenant: str,
        priority: str,
        timeout: Duration | None,
        headers: Mapping[str, str] | None,
    ) -> Ask:
        at = self._clock.monotonic()
        return Ask(
            data,
            f"{self._clock.now():x}-{next(self._numbers)}",
            deadline=None if timeout is None else at + parse_duration(timeout) / SECOND,
            user=user,
            session=session,
            tenant=tenant,
            priority=parse_priority(priority),
            headers={name.lower(): value for name, value in (headers or {}).items()},
        )

    async def push(self, table: str, records: Records, *, idempotency_key: str | None = None) -> Receipt:
        """Give records to a table whose source is `Push`; returns once they are on disk.

        A record is a `Record`, or a mapping; `{"op": "delete", "key": ...}` deletes.

        Raises
        ------
        Rejected, Backpressure, StoreFull, IdempotencyConflict
        """
        many = [records] if isinstance(records, Record | Mapping) else list(records)
        return await self.engine.push(table, _encode(many), idempotency_key=idempotency_key)

    async def validate(self, *answers: ContextValue) -> Validity:
        """What changed since these answers were read, compared in one snapshot; true while they all hold."""
        return self.reads.validate(sum((answer.readset for answer in answers), ReadSet()))

    async def freshness(self) -> dict[str, Any]:
        """Per table and refreshed view: as-of, age, status, source state, counters, what waits; and the problems."""
        return self.reads.freshness()


def _parse(policy: str | None) -> FreshnessPolicy | None:
    return None if policy is None else FreshnessPolicy.parse(policy)


def _micros(duration: Duration | None) -> int | None:
    return None if duration is None else parse_duration(duration)


def _encode(records: Sequence[Record | Mapping[str, Any]]) -> bytes:
    plain = [r.model_dump(mode="json") if isinstance(r, Record) else r for r in records]
    try:
        found = msgspec.json.encode(plain)
    except (TypeError, ValueError):
        found = to_json(plain).encode()
    return with_constants(records) if b"null" in found and unfinite(records) is not None else found
