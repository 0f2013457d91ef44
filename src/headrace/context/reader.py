"""Answering "what, and how old": one reader of the store, in any process.

The order matters: the board is read first and the snapshot opened after, so that the snapshot holds at least what the
board claims. The writer does it the other way round: first the commit, then the board.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import apsw

from headrace.context.assess import (
    Assessment,
    Promise,
    age_at,
    assess_refreshed,
    assess_table,
    combine,
    limit_of,
    strictest,
)
from headrace.context.parameters import check_names, convert
from headrace.context.policy import FreshnessPolicy
from headrace.context.readset import Changed, Present, Read, ReadSet, Validity, compare
from headrace.context.value import ContextValue, InputAge
from headrace.core.clock import Clock
from headrace.core.errors import BadParameter, ReadError, StaleContext, Unavailable
from headrace.core.frontier import Status
from headrace.core.names import unknown
from headrace.core.schema import SHOWERS, Column, Row, Schema, Stored
from headrace.store.board import Board
from headrace.store.connection import open_reader
from headrace.views.view import ViewPlan

_REFUSED = "read with the policy 'flag' to get it anyway; /freshness says which source is behind"

POLL = 0.002
"""Seconds between two looks at the board while a read waits for freshness."""

TIME_LIMIT = 10.0
"""Seconds after which a read is given up: a view that scans millions of rows must not hold up all others."""


@dataclass(frozen=True, slots=True)
class Readable:
    """One view or table, ready to be read.

    Attributes
    ----------
    plan
        The view's plan; None for a table.
    tables
        The tables below it, those under other views included.
    refreshed
        The refreshed views below it (and itself, if it is one).
    promise
        The view's own promise; its inputs' promises hold where it has none.
    policy
        What to do when it is not fresh.
    """

    name: str
    statement: str
    columns: tuple[Column, ...]
    parameters: tuple[Column, ...]
    tables: tuple[str, ...]
    refreshed: tuple[str, ...]
    needs_now: bool
    promise: int | None
    policy: FreshnessPolicy
    plan: ViewPlan | None = None

    @property
    def width(self) -> int:
        """How many columns are shown."""
        return len(self.columns)

    def shower(self) -> Callable[[Row], dict[str, Any]]:
        """A function from a stored row to the mapping that a user sees."""
        names = tuple(column.name for column in self.columns)
        special = [(c.name, SHOWERS[c.type]) for c in self.columns if c.type in SHOWERS]
        if not special:
            return lambda row: dict(zip(names, row, strict=False))

        def show(row: Row) -> dict[str, Any]:
            shown = dict(zip(names, row, strict=False))
            for name, convert_value in special:
                if shown[name] is not None:
                    shown[name] = convert_value(shown[name])
            return shown

        return show


def table_readable(schema: Schema, promise: Promise) -> Readable:
    """How one key of a table is read."""
    columns = ", ".join(f'"{name}"' for name in schema.names)
    where = " AND ".join(f'"{name}" = :{name}' for name in schema.key)
    return Readable(
        name=schema.name,
        statement=f'SELECT {columns}, _source_ts, _txn FROM "{schema.name}" WHERE {where}',
        columns=schema.columns,
        parameters=tuple(schema.column(name) for name in schema.key),
        tables=(schema.name,),
        refreshed=(),
        needs_now=False,
        promise=promise.freshness,
        policy=promise.policy or strictest([]),
    )


@dataclass(frozen=True, slots=True)
class Library:
    """Everything that can be read, and what was promised for it."""

    views: Mapping[str, Readable]
    tables: Mapping[str, Readable]
    promises: Mapping[str, Promise]


@dataclass(frozen=True, slots=True)
class _Look:
    """What the board said before a snapshot was opened, so that the snapshot holds at least as much.

    `txn`: everything up to this commit stamp is visible. `ages`: by the readable's identity.
    """

    now: int
    txn: int
    ages: dict[int, Assessment]


class ContextReader:
    """Reads views and rows with their ages. One per thread; local reads take tens of microseconds.

    Parameters
    ----------
    path
        The store's database file.
    library
        What can be read.
    board
        The engine's board: frontiers and last commits.
    clock
        What time it is.
    """

    def __init__(self, path: Path, library: Library, *, board: Board, clock: Clock) -> None:
        self._db = open_reader(path)
        self._library = library
        self._board = board
        self._clock = clock
        self._showers = {
            (r.name, r.plan is None): r.shower() for r in (*library.views.values(), *library.tables.values())
        }
        self._deadline = 0.0
        self._db.set_progress_handler(self._over_time, 1_000_000)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def view(self, name: str) -> Readable:
        """The view `name`, or `UnknownName`."""
        try:
            return self._library.views[name]
        except KeyError:
            raise unknown("view", name, self._library.views) from None

    def table(self, name: str) -> Readable:
        """The keyed table `name`, or `UnknownName`."""
        try:
            return self._library.tables[name]
        except KeyError:
            raise unknown("keyed table", name, self._library.tables) from None

    async def read(
        self,
        view: str,
        params: Mapping[str, Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """The rows of a view for these parameters, with their ages.

        Parameters
        ----------
        until
            The instant (seconds of the monotonic clock) at which a wait ends, whatever the policy says.

        Raises
        ------
        UnknownName, BadParameter
            No such view, or parameters that do not fit.
        StaleContext
            The policy refuses what is not fresh.
        """
        readable = self.view(view)
        bindings = self._bind(readable, params)
        await self._wait([readable], policy, max_age, until)
        return self._answer(readable, bindings, policy, max_age, self._look([readable], max_age))

    async def read_many(
        self,
        reads: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> list[ContextValue]:
        """Several views in one snapshot: what one of them shows, the others know of as well."""
        prepared = [(readable := self.view(name), self._bind(readable, params)) for name, params in reads]
        readables = [readable for readable, _ in prepared]
        await self._wait(readables, policy, max_age, until)
        look = self._look(readables, max_age)
        with self._snapshot():
            return [self._answer(readable, bindings, policy, max_age, look) for readable, bindings in prepared]

    async def get(
        self,
        table: str,
        key: Any,
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """The row of one key: no row or one. A composite key is a sequence in the order of its declaration."""
        readable = self.table(table)
        bindings = self._bind_key(readable, key)
        await self._wait([readable], policy, max_age, until)
        return self._answer(readable, bindings, policy, max_age, self._look([readable], max_age))

    async def get_many(
        self,
        table: str,
        keys: Sequence[Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """The rows of many keys in one snapshot, in the order of `keys`; keys without a row are left out."""
        readable = self.table(table)
        bindings = [self._bind_key(readable, key) for key in keys]
        await self._wait([readable], policy, max_age, until)
        look = self._look([readable], max_age)
        with self._snapshot():
            return self._answer(readable, bindings, policy, max_age, look)

    def validate(self, readset: ReadSet) -> Validity:
        """Which of these reads no longer hold, all compared in one snapshot."""
        now = self._clock.now()
        tables = {table for read in readset.reads for table in read.inputs}
        ages = {t: assess_table(self._board, t, self._library.promises[t], now) for t in tables}
        suspects = [read for read in readset.reads if self._touched(read)]
        changed = []
        if suspects:
            with self._snapshot():
                changed = [found for read in suspects if (found := compare(read, self._again(read))) is not None]
        return Validity(changed, combine(ages).as_of)

    def current(self, readset: ReadSet) -> Present:
        """Whether the same reads made now would show the same rows, in one snapshot.

        Not the same as `validate`: a view of the last hour is read for the hour that ends now, and the ages count too.
        A read that was fresh and is not, or that its policy would refuse or wait for, is to be made anew. Rows count by
        what they show: one that was written again with the same values is the same.
        """
        now, txn = self._clock.now(), self._board.committed
        ages = self._ages(readset, now)
        held: list[Read] = []
        with self._snapshot():
            for read, age in zip(readset.reads, ages, strict=True):
                found = self._now(read, txn, now)
                if (changed := _other(read, self._readable(read), age.status) or _differs(read, found)) is not None:
                    return Present([changed], None, readset)
                held.append(replace(found, status=age.status))
        return _present([], ReadSet(tuple(held), readset.validator), ages, now)

    def again(self, readset: ReadSet) -> Present:
        """The same reads made now, in one snapshot, and all of them that show other rows.

        Unlike `current`, it waits for nothing and compares rows alone: a status that became another is told with the
        reads of now, and is no change.

        Raises
        ------
        StaleContext
            The policy of a read refuses what is not fresh, and it is not fresh now.
        """
        now, txn = self._clock.now(), self._board.committed
        ages = self._ages(readset, now)
        changed: list[Changed] = []
        held: list[Read] = []
        with self._snapshot():
            for read, age in zip(readset.reads, ages, strict=True):
                readable = self._readable(read)
                if (read.policy or readable.policy).refuses(age.status):
                    raise StaleContext(self._too_old(readable, age, now, read.max_age), hint=_REFUSED)
                found = self._now(read, txn, now)
                if (other := _differs(read, found)) is not None:
                    changed.append(other)
                held.append(replace(found, status=age.status))
        return _present(changed, ReadSet(tuple(held), readset.validator), ages, now)

    def frontiers(self, readset: ReadSet) -> dict[str, int | None]:
        """Up to when each input of these reads is complete now (microseconds), refreshed views among them."""
        now = self._clock.now()
        found = {table: self._board.frontier(table).as_of(now) for read in readset.reads for table in read.inputs}
        for read in readset.reads:
            found |= {view: self._board.view_as_of(view) for view in self._readable(read).refreshed}
        return found

    def table_age(self, table: str, now: int) -> InputAge:
        """How old a table is at `now`, measured against its own promise."""
        return assess_table(self._board, table, self._library.promises[table], now)

    def assess(self, readable: Readable, now: int, max_age: int | None = None) -> Assessment:
        """How old an answer of `readable` is at `now`."""
        limit = max_age if max_age is not None else (readable.promise if readable.plan else None)
        ages = {t: assess_table(self._board, t, self._library.promises[t], now, limit) for t in readable.tables}
        for name in readable.refreshed:
            inner = self._library.views[name]
            below = combine({t: ages[t] for t in inner.tables})
            promise = limit if limit is not None else inner.promise
            ages[name] = assess_refreshed(self._board, name, below, promise, now)
        return combine(ages)

    def _bind(self, readable: Readable, params: Mapping[str, Any]) -> dict[str, Stored]:
        check_names(params, readable.parameters, readable.name)
        return {p.name: convert(p.name, p.type, params.get(p.name)) for p in readable.parameters}

    def _bind_key(self, readable: Readable, key: Any) -> dict[str, Stored]:
        values = cast("Sequence[Any]", key) if isinstance(key, list | tuple) else (key,)
        if len(values) != len(readable.parameters):
            names = ", ".join(p.name for p in readable.parameters)
            raise BadParameter(
                f"the key of {readable.name!r} is ({names}), and {len(values)} values were given: {key!r:.80}",
                hint=f"give, in this order: {names}",
            )
        return {p.name: convert(p.name, p.type, v) for p, v in zip(readable.parameters, values, strict=True)}

    async def _wait(
        self, readables: list[Readable], policy: FreshnessPolicy | None, max_age: int | None, until: float
    ) -> None:
        wait = max(policy.wait if policy else r.policy.wait for r in readables) if readables else 0
        if not wait:
            return
        until = min(until, self._clock.monotonic() + wait / 1_000_000)
        while (left := until - self._clock.monotonic()) > 0:
            now = self._clock.now()
            if all(self.assess(r, now, max_age).status is Status.FRESH for r in readables):
                return
            await self._clock.sleep(min(POLL, left))

    def _look(self, readables: Sequence[Readable], max_age: int | None) -> _Look:
        """Look at the board, once for all reads of one snapshot and before it is opened."""
        now = self._clock.now()
        different = {id(readable): readable for readable in readables}
        return _Look(
            now=now,
            txn=self._board.committed,
            ages={place: self.assess(readable, now, max_age) for place, readable in different.items()},
        )

    def _answer(
        self,
        readable: Readable,
        bindings: dict[str, Stored] | Sequence[dict[str, Stored]],
        policy: FreshnessPolicy | None,
        max_age: int | None,
        look: _Look,
    ) -> ContextValue:
        now, age = look.now, look.ages[id(readable)]
        many = [bindings] if isinstance(bindings, dict) else bindings
        terms = (age.status, policy, max_age)
        reads = tuple(self._read(readable, one, look.txn, now, *terms) for one in many)
        content = reads[0].content if len(reads) == 1 else [row for read in reads for row in read.content]
        show = self._showers[readable.name, readable.plan is None]
        value = ContextValue(
            name=readable.name,
            rows=[show(row) for row in content],
            now=now,
            as_of=age.as_of,
            status=age.status,
            changed=[cast("int | None", row[readable.width]) for row in content],
            inputs=age.inputs,
            readset=ReadSet(reads, self),
        )
        if (policy or readable.policy).refuses(value.status):
            raise StaleContext(self._too_old(readable, age, now, max_age), answer=value, hint=_REFUSED)
        return value

    def _too_old(self, readable: Readable, age: Assessment, now: int, max_age: int | None) -> str:
        """Why the policy of a read refuses its answer, with what it was measured against."""
        promises = {name: one.freshness for name, one in self._library.promises.items()}
        promises |= {name: view.promise for name, view in self._library.views.items() if name in age.inputs}
        limit = limit_of(age.inputs, max_age, readable.promise if readable.plan else None, promises)
        return f"{readable.name!r} is {age.status}: its as-of age is {age_at(age, now)}{limit}; its policy is to refuse"

    def _ages(self, readset: ReadSet, now: int) -> list[Assessment]:
        """How old each of these reads is at `now`; to be asked before the snapshot is opened."""
        return [self.assess(self._readable(read), now, read.max_age) for read in readset.reads]

    def _now(self, read: Read, txn: int, now: int) -> Read:
        """The same read made now, on the same terms; itself where no query is needed to know that it is the same."""
        readable = self._readable(read)
        if not self._moved(readable, read):
            return read
        return self._read(readable, {**read.bindings}, txn, now, read.status, read.policy, read.max_age)

    def _read(
        self,
        readable: Readable,
        bindings: dict[str, Stored],
        txn: int,
        now: int,
        status: Status | None = None,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
    ) -> Read:
        bound = {**bindings, "_now": now} if readable.needs_now else bindings
        content = self._fetch(readable, bound)
        return Read(readable.name, bound, readable.tables, txn, content, readable.width, status, policy, max_age)

    def _fetch(self, readable: Readable, bindings: Mapping[str, Stored]) -> tuple[Row, ...]:
        self._deadline = self._clock.monotonic() + TIME_LIMIT
        try:
            return tuple(self._db.execute(readable.statement, bindings))
        except apsw.InterruptError:
            raise ReadError(
                f"reading {readable.name!r} took longer than {TIME_LIMIT:g} s and was given up",
                hint="`headrace explain` shows which index is missing; or declare the view with refresh=",
            ) from None
        except (apsw.BusyError, apsw.LockedError, apsw.SchemaChangeError) as error:
            raise Unavailable(
                f"{readable.name!r} cannot be read now: {error}", hint="the engine is starting: read it again"
            ) from error

    def _over_time(self) -> bool:
        return self._clock.monotonic() > self._deadline

    @contextmanager
    def _snapshot(self) -> Generator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def _readable(self, read: Read) -> Readable:
        return self._library.views.get(read.name) or self._library.tables[read.name]

    def _moved(self, readable: Readable, read: Read) -> bool:
        """Whether the rows of a read may be others now: a commit touched its inputs, or it looks at the clock."""
        return readable.needs_now or self._touched(read)

    def _touched(self, read: Read) -> bool:
        readable = self._readable(read)
        # A read of a commit that the engine does not know (a power cut took it back) proves nothing; nor does a 0: an
        # engine that is just starting has not said yet what changed last.
        if readable.refreshed or read.txn > self._board.committed:
            return True
        return any(not 0 < self._board.last_change(table) <= read.txn for table in readable.tables)

    def _again(self, read: Read) -> tuple[Row, ...]:
        readable = self._readable(read)
        if readable.needs_now and "_now" not in read.bindings:
            raise BadParameter(f"the read of {read.name!r} does not say when it was", hint="read it again")
        return self._fetch(readable, read.bindings)


def _other(read: Read, readable: Readable, status: Status) -> Changed | None:
    """Why a read is to be made anew whatever its rows are."""
    policy = read.policy or readable.policy
    if status is not read.status:
        return Changed(read, f"{read.name!r} was {read.status or 'of unknown age'} and is {status}")
    if status is not Status.FRESH and (policy.wait or policy.refuses(status)):
        return Changed(read, f"{read.name!r} is {status}, and its policy is {policy}")
    return None


def _present(changed: list[Changed], readset: ReadSet, ages: Sequence[Assessment], now: int) -> Present:
    inputs = {name: one for age in ages for name, one in age.inputs.items()}
    old = tuple(None if age.as_of is None else max(now - age.as_of, 0) for age in ages)
    return Present(changed, combine(inputs).as_of, readset, old)


def _differs(read: Read, found: Read) -> Changed | None:
    """What a reader would see that it did not see then."""
    return None if found is read or found.shown == read.shown else compare(read, found.content)
