"""Declaring an app: tables, events, rollups and views. Everything is checked on the line that declares it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from headrace.context.assess import Promise
from headrace.context.policy import FreshnessPolicy
from headrace.contracts.contract import Contract
from headrace.contracts.infer import default_name, schema_of
from headrace.contracts.rules import Rule
from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import DeclarationError
from headrace.core.records import OnViolation, Record
from headrace.core.schema import Schema, TableKind
from headrace.declaration.declared import DeclaredRollup, Table, View
from headrace.declaration.endpoints import Endpoints
from headrace.declaration.modelling import Modelling
from headrace.declaration.place import caller, located
from headrace.pipeline.context import NAMES
from headrace.sources.base import Source
from headrace.sources.push import Push
from headrace.store.quarantine import DEFAULT_LIMIT
from headrace.views.aggregates import Aggregate
from headrace.views.catalog import Catalog
from headrace.views.plan import plan as plan_view
from headrace.views.rollup import Rollup

Columns = str | Sequence[str]
NewFields = Literal["ignore", "adopt", "quarantine"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_APP_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")

METHODS = frozenset({
    "app", "ask", "engine", "freshness", "get", "get_many", "push", "read", "read_many", "reads", "stream", "url",
    "validate",
})  # fmt: skip
"""What a running app and its clients have by themselves: a view of such a name could not be called like a method."""


class Declaration(Endpoints, Modelling):
    """What an app is made of.

    Parameters
    ----------
    name
        The app's name: letters, digits, `.`, `_` and `-`.
    quarantine_limit
        Bytes of records that may wait in quarantine, per table. A source that brings more is held back, and a push is
        refused, until records are replayed or dropped.
    """

    @located
    def __init__(self, name: str, *, quarantine_limit: int = DEFAULT_LIMIT) -> None:
        if not _APP_NAME.fullmatch(name):
            raise DeclarationError(
                f"{name!r} is not a name for an app",
                hint='use letters, digits, ".", "_" and "-": for example "food-delivery"',
                where=caller(),
            )
        super().__init__()
        self.name = name
        self.quarantine_limit = quarantine_limit
        self.tables: dict[str, Table] = {}
        self.rollups: dict[str, DeclaredRollup] = {}
        self.views: dict[str, View] = {}
        self.catalog = Catalog()

    @located
    def table(
        self,
        record: type[Record],
        *,
        key: Columns,
        name: str | None = None,
        index: Sequence[Columns] = (),
        source: Source | None = None,
        freshness: Duration | None = None,
        policy: str | None = None,
        version: str | None = None,
        changed_at: str | None = None,
        rules: Sequence[Rule] = (),
        on_violation: OnViolation = "quarantine",
        new_fields: NewFields = "ignore",
        description: str = "",
        owner: str = "",
    ) -> Table:
        """A live table: the latest row of each key.

        Parameters
        ----------
        record
            What one row is; its fields are the columns.
        key
            The column, or columns, that identify a row.
        name
            The name in SQL and URLs; the record's name in the plural if not given (`Item` -> `items`).
        index
            Secondary indexes: a column or a sequence of columns each. `headrace explain` says which are missing.
        source
            Where rows come from; `sources.Push()` if not given.
        freshness
            The promise: an answer whose as-of age is higher is not fresh. None: age alone never makes it stale.
        policy
            What to do with reads that are not fresh; see `FreshnessPolicy`.
        version
            A column whose value orders the changes of one key, so that an older one never overwrites a newer one.
        changed_at
            A timestamp column that says when the row changed at its source; value ages start there.
        rules
            Rules over the whole row.
        on_violation
            What happens to a record that breaks a rule or a column that does not say so itself: `quarantine` or
            `reject`.
        new_fields
            What to do with fields that the record does not declare: `ignore`, `adopt` (kept as JSON and turned into
            a column when the record declares it later) or `quarantine`.
        description, owner
            For people, and for the contract's export.

        Raises
        ------
        DeclarationError
            With the line of the declaration and what to do.
        """
        schema = schema_of(
            record,
            name=self._free(name or default_name(record)),
            kind=TableKind.TABLE,
            key=_columns(key),
            indexes=_indexes(index),
            version=version,
            changed_at=changed_at,
            adopt=new_fields == "adopt",
        )
        contract = Contract(
            record=record,
            schema=schema,
            rules=tuple(rules),
            on_violation=on_violation,
            new_fields=new_fields,
            freshness=_micros(freshness),
            description=description,
            owner=owner,
        )
        return self._add_table(contract, source, policy)

    @located
    def events(
        self,
        record: type[Record],
        *,
        event_time: str,
        keep: Duration | None = "7d",
        key: Columns = (),
        name: str | None = None,
        index: Sequence[Columns] = (),
        source: Source | None = None,
        freshness: Duration | None = None,
        policy: str | None = None,
        lateness: Duration | None = None,
        ahead: Duration = "5m",
        rules: Sequence[Rule] = (),
        on_violation: OnViolation = "quarantine",
        new_fields: NewFields = "ignore",
        description: str = "",
        owner: str = "",
    ) -> Table:
        """An append-only stream of events.

        Parameters
        ----------
        event_time
            The column that says when an event happened.
        keep
            How long events are kept after they happened; None: they only feed rollups and are not stored.
        key
            Columns that identify an event: a repeat of one is counted and ignored.
        lateness
            An event that happened longer than this before the latest one is too late and waits in quarantine; `keep`
            if not given.
        ahead
            An event may be at most this far in the future; beyond, a clock is wrong and it waits in quarantine.

        The other parameters are those of `table`.

        Raises
        ------
        DeclarationError
            With the line of the declaration and what to do.
        """
        schema = schema_of(
            record,
            name=self._free(name or default_name(record)),
            kind=TableKind.EVENTS,
            key=_columns(key),
            indexes=_indexes(index),
            event_time=event_time,
            keep=_micros(keep),
            adopt=new_fields == "adopt",
        )
        late = _micros(lateness) if lateness is not None else schema.keep
        _check_repeats(schema, late)
        contract = Contract(
            record=record,
            schema=schema,
            rules=tuple(rules),
            lateness=late,
            ahead=parse_duration(ahead),
            on_violation=on_violation,
            new_fields=new_fields,
            freshness=_micros(freshness),
            description=description,
            owner=owner,
        )
        return self._add_table(contract, source, policy)

    @located
    def rollup(
        self,
        name: str,
        events: Table,
        *,
        by: Columns,
        windows: Duration | Sequence[Duration],
        tile: Duration | None = None,
        **aggregates: Aggregate,
    ) -> DeclaredRollup:
        """Aggregates of events by key over sliding windows, kept as tiles.

        Parameters
        ----------
        name
            The name in SQL. Its columns are those of `by`, and `<aggregate>_<window>` for each pair.
        events
            What `app.events` returned.
        by
            The column, or columns, to group by.
        windows
            How far back each aggregate looks: `["15m", "24h"]`.
        tile
            The width of one tile, and so the precision of a window's far edge; about a sixtieth of the shortest
            window if not given.
        **aggregates
            `orders=hr.count(), spent=hr.sum("price")`.

        Raises
        ------
        DeclarationError
            With the line of the declaration and what to do.
        """
        if not isinstance(events, Table) or self.tables.get(events.name) is not events:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(
                f"the rollup {name!r} needs events of this app, not {events!r:.80}",
                hint="pass what app.events(...) returned",
            )
        if events.schema.kind is not TableKind.EVENTS:
            raise DeclarationError(
                f"the rollup {name!r} stands on {events.name!r}, which is a table without event time",
                hint="declare it with app.events(..., event_time=...), or use a GROUP BY view, which follows updates",
            )
        rollup = Rollup(
            self._free(name),
            events.schema,
            by=_columns(by),
            windows=windows,
            aggregates=aggregates,
            tile=tile,
            lateness=events.contract.lateness or 0,
        )
        declared = DeclaredRollup(rollup, caller())
        self.rollups[name] = declared
        self.catalog.add_rollup(rollup)
        return declared

    @located
    def view(
        self,
        name: str,
        sql: str,
        *,
        freshness: Duration | None = None,
        policy: str | None = None,
        refresh: Duration | None = None,
        description: str = "",
    ) -> View:
        """SQL over tables, events, rollups and other views, with named parameters (`:restaurant_id`).

        How it is computed is decided here and shown by `headrace explain`: at read, kept by affected groups, or
        refreshed every `refresh`. The SQL is a documented subset.

        Parameters
        ----------
        freshness
            The view's own promise; each input's own holds if not given.
        policy
            What to do with reads that are not fresh; the strictest of its tables' policies if not given.
        refresh
            Recompute it as a whole this often instead, and answer with the age of the last time.
        description
            What it is for: tools offered to models show it.

        Raises
        ------
        DeclarationError
            With the line of the declaration and what to do.
        """
        checked = self._free_view(name)
        if not isinstance(sql, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(
                f"the SQL of the view {name!r} is {sql!r:.80}, which is no text", hint='write it as text: "SELECT ..."'
            )
        plan = plan_view(checked, sql, self.catalog, refresh=refresh)
        parsed = FreshnessPolicy.parse(policy) if policy else None
        view = View(plan, _micros(freshness), parsed, description, caller())
        self.views[name] = view
        self.catalog.add_view(plan)
        return view

    def _free_view(self, name: str) -> str:
        self._free(name)
        if name in METHODS:
            raise DeclarationError(
                f"a view cannot be called {name!r}: a running app has a method of that name",
                hint=f"call it for example '{name}_view': then `await live.{name}_view(...)` reads it",
            )
        if name in NAMES:
            raise DeclarationError(
                f"a view cannot be called {name!r}: the context of a request has a `ctx.{name}` of its own",
                hint=f"call it for example '{name}_view': then `await ctx.{name}_view(...)` reads it",
            )
        if name in self.models:
            where = self.models[name].where
            raise DeclarationError(
                f"the name {name!r} is taken by the model declared at {where}, and `ctx.{name}` is one",
                hint="give one of them another name",
            )
        return name

    def _add_table(self, contract: Contract, source: Source | None, policy: str | None) -> Table:
        source = source or Push()
        if not isinstance(source, Source):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(
                f"{source!r:.80} is not a source",
                hint='give for example sources.Files("folder"), sources.Poll(...) or sources.Generator(...)',
            )
        promise = Promise(
            freshness=contract.freshness,
            expect=source.expect,
            policy=FreshnessPolicy.parse(policy) if policy else None,
        )
        table = Table(contract, source, promise, caller())
        self.tables[table.name] = table
        self.catalog.add_table(table.schema)
        return table

    def _free(self, name: str) -> str:
        plain = isinstance(name, str) and _NAME.fullmatch(name)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not plain or name.startswith("sqlite"):
            raise DeclarationError(
                f"{name!r:.80} is not a name for a table, rollup or view",
                hint="use letters, digits and underscores, beginning with a letter",
            )
        if "__" in name:
            raise DeclarationError(
                f"{name!r} has two underscores in a row, which Headrace's own tables have",
                hint=f"write {re.sub('_+', '_', name)!r}",
            )
        for what, names in (("table", self.tables), ("rollup", self.rollups), ("view", self.views)):
            taken = next((declared for other, declared in names.items() if other.lower() == name.lower()), None)
            if taken is not None:
                raise DeclarationError(
                    f"the name {name!r} is taken by the {what} declared at {taken.where}",
                    hint="give one of them another name (name=...)",
                )
        return name


def _indexes(index: Sequence[Columns]) -> tuple[tuple[str, ...], ...]:
    """The columns of each index; one column alone need not stand in a list."""
    return tuple(_columns(columns) for columns in ((index,) if isinstance(index, str) else index))


def _columns(columns: Columns) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _micros(duration: Duration | None) -> int | None:
    return None if duration is None else parse_duration(duration)


def _check_repeats(events: Schema, lateness: int | None) -> None:
    """A repeat is recognised by the event itself, so that must be there for as long as one may come."""
    if not events.key:
        return
    if events.keep is None:
        raise DeclarationError(
            f"the events {events.name!r} have a key and are not kept: no repeat would be recognised",
            hint="keep them, or leave the key out",
        )
    if lateness is not None and lateness > events.keep:
        raise DeclarationError(
            f"an event of {events.name!r} may come later than events are kept: a repeat of it would count again",
            hint="keep events at least as long as the lateness that is allowed",
        )
