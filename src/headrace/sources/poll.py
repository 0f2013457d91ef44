"""Poll: the result of a SQL query, read again and again; the batch twin from which many start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import unquote

from headrace.core.changes import Batch, Position, Rows
from headrace.core.clock import Clock
from headrace.core.durations import Duration, format_duration, parse_duration
from headrace.core.errors import DeclarationError, MissingExtra, SourceError
from headrace.core.findings import Finding, Grade
from headrace.core.schema import Schema
from headrace.sources.base import Opening, Partition, Source
from headrace.sources.pace import Pace
from headrace.sources.thread import OwnThread
from headrace.sources.url import masked, secrets_of

CHUNK = 2_000
"""Rows that are fetched, and so held in memory, at once."""

RETRY = 5.0
"""Seconds after a failed poll until the next one, at most: a rare poll does not wait for its next turn."""

LEAVE = 2.0
"""Seconds that a query under way has to end when the source is closed, after it was asked to."""

_NUDGE = 0.1
"""Seconds between two attempts to interrupt it: it may not have begun yet."""

log = logging.getLogger("headrace.source")


class Poll(Source):
    """The rows of a query, every so often, from any database that SQLAlchemy knows (extra `sql`).

    Each poll is one full copy, as of the instant at which the query began: that is its age, and between two polls it
    grows. Rows that a copy does not bring any more are deleted when it is complete. A poll that fails leaves the table
    as it was, and the age grows on.

    Parameters
    ----------
    url
        An SQLAlchemy URL: "postgresql+psycopg://user:password@host/db", "sqlite:///shop.db". Never shown with its
        password.
    query
        A SELECT whose columns have the names of the record's fields.
    every
        From the beginning of one poll to that of the next.
    replace
        False: rows are only upserted, none deleted (the query reads a part, say the last hour).
    params
        Values of the query's `:named` parameters.
    expect
        Rarely needed: a poll that fails is a health problem by itself.

    Raises
    ------
    DeclarationError
        When a parameter cannot be true.

    Examples
    --------
    >>> Poll("postgresql://ann:s3cret@db/shop", "SELECT * FROM items", every="5m").describe()
    'poll of postgresql://ann:***@db/shop every 5m, full copies'
    """

    kind: ClassVar[str] = "poll"
    envelope = False

    def __init__(
        self,
        url: str,
        query: str,
        *,
        every: Duration = "30s",
        replace: bool = True,
        params: Mapping[str, Any] | None = None,
        expect: Duration | None = None,
    ) -> None:
        if not query.strip():
            raise DeclarationError("the query of Poll is empty", hint="give a SELECT")
        if "://" not in url:
            raise DeclarationError(f"{url!r} is not an SQLAlchemy URL", hint='write for example "sqlite:///shop.db"')
        self.url = url
        self.query = query
        self.every = parse_duration(every)
        self.replace = replace
        self.params = dict(params or {})
        # Between two polls it is silent by design: silence is a sign of trouble only after a poll was missed.
        self.expect = 2 * self.every if expect is None else parse_duration(expect)

    def __repr__(self) -> str:
        return f"<{self.describe()}>"

    async def open(self, opening: Opening) -> Sequence[Partition]:
        return [await PollPartition.opened(self, opening.clock)]

    async def examine(self, opening: Opening) -> Sequence[Finding]:
        """Whether the database answers the query, and with the record's columns. The query is begun, as in a poll."""
        return await asyncio.to_thread(_examined, self, opening.schema)

    def describe(self) -> str:
        what = "full copies" if self.replace else "upserts"
        return f"poll of {masked(self.url)} every {format_duration(self.every)}, {what}"


class PollPartition:
    """Polls in a thread of its own, with a connection of its own: many drivers bind a connection to its thread."""

    name = "poll"

    def __init__(self, source: Poll, engine: Any, clock: Clock) -> None:
        self._source = source
        self._engine = engine
        self._clock = clock
        self._thread = OwnThread("headrace-poll")
        self._pace = Pace(source.every, clock)
        self._began = 0
        self._result: _Result | None = None
        self._driver: Any = None
        self._number = 0
        self._closed = False

    @classmethod
    async def opened(cls, source: Poll, clock: Clock) -> PollPartition:
        """A partition whose engine exists; nothing is connected yet."""
        return cls(source, await asyncio.to_thread(_engine, source), clock)

    async def next_batch(self) -> Batch | None:
        if self._closed or (self._result is None and self._pace.rest):
            return None
        return await self._thread.run(self._step)

    def next_awake(self) -> float:
        return 0.0 if self._result is not None else self._pace.rest

    async def acknowledge(self, position: Position) -> None:
        """Nothing to forget: the next poll reads everything again."""

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        releasing = asyncio.ensure_future(self._thread.run(self._release))
        for _ in range(round(LEAVE / _NUDGE)):
            await asyncio.wait([releasing], timeout=_NUDGE)
            if releasing.done():
                break
            await asyncio.to_thread(self._interrupt)
        if not releasing.done():
            log.warning("the query on %s does not end: it is left alone", masked(self._source.url))
            releasing.cancel()
        await self._thread.close(_NUDGE)

    def _interrupt(self) -> None:
        """Ask the driver to give up what is under way; there are several names for that, and some have none."""
        for name in ("interrupt", "cancel"):
            give_up = getattr(self._driver, name, None)
            if callable(give_up):
                with contextlib.suppress(Exception):  # a boundary: any driver's error; it is left alone then
                    give_up()
                return

    def _release(self) -> None:
        self._drop_result()
        self._engine.dispose()

    def _drop_result(self) -> None:
        result, self._result, self._driver = self._result, None, None
        if result is not None:
            result.close()

    def _step(self) -> Batch:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            result = self._result or self._begin()
            rows = result.take()
        except SQLAlchemyError as error:
            self._drop_result()
            self._pace.retry(RETRY)
            raise _failure(self._source, error) from None
        last = not result.more
        if last:
            self._drop_result()
        return self._batch(rows, first=result.chunks == 1, last=last)

    def _begin(self) -> _Result:
        # Before the query: what was committed by then is in its answer.
        self._began = self._clock.now()
        self._pace.begin()
        self._number += 1
        self._result = _Result(self._engine, self._source, self._note_driver)
        return self._result

    def _note_driver(self, connection: Any) -> None:
        self._driver = connection.connection.driver_connection

    def _batch(self, rows: list[dict[str, Any]], *, first: bool, last: bool) -> Batch:
        frontier = self._began if last else None
        if not self._source.replace:
            return Batch([Rows(rows)] if rows else (), origin=self._origin, source_ts=self._began, frontier=frontier)
        snapshot = ("only" if first else "end") if last else "part"
        return Batch([Rows(rows)], origin=self._origin, source_ts=self._began, frontier=frontier, snapshot=snapshot)

    @property
    def _origin(self) -> str:
        return f"poll:{self._number}"


class _Result:
    """The answer to one query, fetched chunk by chunk, one chunk ahead: so the last one is known to be the last."""

    def __init__(self, engine: Any, source: Poll, connected: Callable[[Any], None]) -> None:
        from sqlalchemy import text

        self.chunks = 0
        self._connection = engine.connect().execution_options(stream_results=True, max_row_buffer=CHUNK)
        try:
            connected(self._connection)
            answer = self._connection.execute(text(source.query), source.params)
            self._parts = iter(answer.mappings().partitions(CHUNK))
            self._ahead = self._fetch()
        except BaseException:
            self._connection.close()
            raise

    @property
    def more(self) -> bool:
        """Whether there is another chunk after the one that was taken."""
        return bool(self._ahead)

    def take(self) -> list[dict[str, Any]]:
        """The next chunk; empty when the query has no rows."""
        rows, self._ahead = self._ahead, self._fetch()
        self.chunks += 1
        return rows

    def close(self) -> None:
        self._connection.close()

    def _fetch(self) -> list[dict[str, Any]]:
        return [dict(row) for row in next(self._parts, ())]


def _failure(source: Poll, error: Exception) -> SourceError:
    """Without `from`: the driver's own error may hold the URL."""
    text = str(getattr(error, "orig", None) or error).strip()
    for secret in secrets_of(source.url):
        for form in {secret, unquote(secret)} - {""}:
            text = text.replace(form, "***")
    return SourceError(
        f"the query on {masked(source.url)} failed: {text:.500}",
        hint="check the query and the database; the last copy is still served, and its age grows",
        source=source.kind,
    )


def _examined(source: Poll, schema: Schema) -> list[Finding]:
    engine = _engine(source)
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    subject, place = f"table {schema.name}", masked(source.url)
    try:
        with engine.connect().execution_options(stream_results=True, max_row_buffer=1) as connection:
            answer = connection.execute(text(source.query), source.params)
            names = set(answer.keys())
            answer.close()
    except SQLAlchemyError as error:
        failure = _failure(source, error)
        return [Finding(subject, "query", Grade.PROBLEM, place, f"{failure.message}. To do: {failure.hint}.")]
    finally:
        engine.dispose()
    gone = [column for column in schema.columns if column.name not in names]
    needed = [c.name for c in gone if c.name in schema.key or (not c.nullable and c.default is None)]
    if needed:
        return [
            Finding(
                subject, "query", Grade.PROBLEM, f"without {', '.join(needed)}",
                f"The record needs them, and the query gives {', '.join(sorted(names))}: every row would go to"
                " quarantine.",
            )
        ]  # fmt: skip
    return [Finding(subject, "query", Grade.OK, f"{place} answers")]


def _engine(source: Poll) -> Any:
    try:
        import sqlalchemy
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    except ModuleNotFoundError as error:
        raise MissingExtra("polling a database", extra="sql") from error
    try:
        return sqlalchemy.create_engine(source.url, poolclass=sqlalchemy.NullPool)
    except ModuleNotFoundError as error:
        message, hint = f"the driver {error.name} is not installed", f"pip install {error.name}"
    except (ArgumentError, NoSuchModuleError):
        message, hint = "SQLAlchemy does not know such URLs", 'write for example "postgresql+psycopg://..."'
    raise SourceError(f"{masked(source.url)}: {message}", hint=hint, source=source.kind, permanent=True)
