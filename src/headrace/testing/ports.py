"""The ports of reading and writing in memory: for tests of whatever stands before them, without a store.

Small on purpose: views are Python functions, rows live in a dict, a record without its key columns is quarantined,
and every freshness policy is honoured against a frontier that the test sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from headrace.context.policy import FLAG, FreshnessPolicy
from headrace.context.readset import Changed, Read, ReadSet, Validity
from headrace.context.value import ContextValue, InputAge
from headrace.core.changes import Receipt
from headrace.core.clock import Clock, SystemClock, isoformat
from headrace.core.errors import (
    BadParameter,
    IdempotencyConflict,
    PushError,
    StaleContext,
    UnknownName,
)
from headrace.core.frontier import Frontier, SourceState, judge
from headrace.core.schema import Column, ColumnType, TableKind
from headrace.server.catalog import Catalog, TableInfo, ViewInfo

Rows = list[dict[str, Any]]
ViewFunction = Callable[["MemoryPorts", Mapping[str, Any]], Rows]

ITEMS = TableInfo(
    "items",
    TableKind.TABLE,
    (
        Column("item_id", ColumnType.TEXT),
        Column("restaurant_id", ColumnType.TEXT),
        Column("price", ColumnType.REAL),
        Column("stock", ColumnType.INTEGER),
    ),
    key=("item_id",),
    record={
        "type": "object",
        "title": "Item",
        "properties": {
            "item_id": {"type": "string"},
            "restaurant_id": {"type": "string"},
            "price": {"type": "number", "exclusiveMinimum": 0},
            "stock": {"type": "integer", "minimum": 0},
        },
        "required": ["item_id", "restaurant_id", "price", "stock"],
    },
    push=True,
    description="Dishes that restaurants offer.",
)
STOCK = TableInfo(
    "stock",
    TableKind.TABLE,
    (Column("shop", ColumnType.TEXT), Column("item", ColumnType.TEXT), Column("count", ColumnType.INTEGER)),
    key=("shop", "item"),
)
MENU = ViewInfo(
    "menu",
    "What a restaurant offers now.",
    (
        Column("restaurant_id", ColumnType.TEXT, description="which restaurant"),
        Column("most", ColumnType.INTEGER, nullable=True, description="at most so many dishes"),
    ),
    ITEMS.columns,
)
CATALOG = Catalog("food", {"menu": MENU}, {"items": ITEMS, "stock": STOCK}, version="1")
"""A small catalog to test with: a view, a pushed table, and a table with a key of two columns."""


def menu(ports: MemoryPorts, params: Mapping[str, Any]) -> Rows:
    """The view of `CATALOG`."""
    rows = [row for row in ports.rows["items"].values() if row["restaurant_id"] == params["restaurant_id"]]
    return rows[: int(params.get("most") or 10)]


class MemoryPorts:
    """`Reads`, `Writes` and `Health` over plain dicts.

    Attributes
    ----------
    rows
        Per table, the rows by key.
    frontier
        Of every table alike; None: always now.
    failure
        When set, raised by every read and write.
    """

    def __init__(
        self,
        catalog: Catalog = CATALOG,
        views: Mapping[str, ViewFunction] | None = None,
        *,
        clock: Clock | None = None,
        promise: int = 2_000_000,
    ) -> None:
        self.catalog = catalog
        self.views = {"menu": menu} if views is None else dict(views)
        self.clock = clock or SystemClock()
        self.promise = promise
        self.rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {name: {} for name in catalog.tables}
        self.frontier: int | None = None
        self.failure: Exception | None = None
        self.waiting: dict[int, dict[str, Any]] = {}
        self.accepted = 0
        self._number = 0
        self._txn = 0
        self._seen: dict[str, tuple[bytes, Receipt]] = {}

    async def read(
        self,
        view: str,
        params: Mapping[str, Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
    ) -> ContextValue:
        """See `server.ports.Reads`."""
        self._fail()
        info = self.catalog.view(view)
        bound = _checked(info, params)
        bindings = {column.name: bound.get(column.name) for column in info.params}
        return self._answer(view, self.views[view](self, bound), bindings, policy, max_age)

    async def read_many(
        self,
        reads: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
    ) -> list[ContextValue]:
        """See `server.ports.Reads`."""
        return [await self.read(view, params, policy=policy, max_age=max_age) for view, params in reads]

    async def get(
        self,
        table: str,
        key: str | Sequence[Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
    ) -> ContextValue:
        """See `server.ports.Reads`."""
        self._fail()
        parts = (key,) if isinstance(key, str) else tuple(key)
        info = self.catalog.table(table)
        row = self.rows[table].get(parts)
        bindings = dict(zip(info.key, parts, strict=True))
        return self._answer(table, [row] if row else [], bindings, policy, max_age)

    async def get_many(
        self,
        table: str,
        keys: Sequence[Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
    ) -> ContextValue:
        """See `server.ports.Reads`."""
        self._fail()
        wanted = [(key,) if isinstance(key, str) else tuple(key) for key in keys]
        columns = self.catalog.table(table).key
        if any(len(key) != len(columns) for key in wanted):
            raise BadParameter(f"the key of {table!r} is ({', '.join(columns)})")
        rows = [row for key in wanted if (row := self.rows[self.catalog.table(table).name].get(key)) is not None]
        return self._answer(table, rows, {}, policy, max_age)

    def freshness(self) -> dict[str, Any]:
        """See `server.ports.Reads`."""
        self._fail()
        now = self.clock.now()
        at = now if self.frontier is None else self.frontier
        age: dict[str, Any] = {"as_of": isoformat(at), "age_ms": (now - at) / 1000}
        age["status"] = judge(Frontier(at, at), now, self.promise).value
        counters = {"accepted": self.accepted, "quarantined": len(self.waiting)}
        table = age | {"state": "running", "promise_ms": self.promise / 1000, "counters": counters}
        table["waiting"] = len(self.waiting)
        views = dict.fromkeys(self.catalog.views, age | {"inputs": table})
        tables = dict.fromkeys(self.catalog.tables, table)
        return {"now": isoformat(now), "tables": tables, "views": views, "problems": []}

    def validate(self, readset: ReadSet) -> Validity:
        """See `server.ports.Reads`: a read holds while nothing was pushed since."""
        changed = [Changed(read, "something was pushed") for read in readset.reads if read.txn < self._txn]
        return Validity(changed, self.clock.now())

    def quarantine(
        self, *, table: str | None = None, rule: str | None = None, limit: int = 100, after: int = 0
    ) -> list[dict[str, Any]]:
        """See `server.ports.Reads`."""
        found = [
            {name: value for name, value in record.items() if name != "raw"}
            for number, record in sorted(self.waiting.items())
            if number > after
            and record["table"] == (table or record["table"])
            and record["rule"] == (rule or "missing")
        ]
        return found[:limit]

    def quarantined(self, number: int) -> dict[str, Any]:
        """See `server.ports.Reads`."""
        if number not in self.waiting:
            raise UnknownName(f"there is no quarantined record {number}", hint="GET /quarantine lists them")
        return self.waiting[number]

    async def push(
        self, table: str, body: bytes, *, idempotency_key: str | None = None, origin: str = "push"
    ) -> Receipt:
        """See `server.ports.Writes`."""
        self._fail()
        digest = hashlib.sha256(body).digest()
        if idempotency_key is not None and idempotency_key in self._seen:
            before, receipt = self._seen[idempotency_key]
            if before != digest:
                raise IdempotencyConflict("the key was used with another body", hint="use a new key")
            return Receipt(receipt.txn, receipt.accepted, receipt.quarantined, receipt.duplicates, replayed=True)
        receipt = self._apply(self.catalog.table(table), _records(body), origin)
        if idempotency_key is not None:
            self._seen[idempotency_key] = (digest, receipt)
        return receipt

    async def replay(self, *, numbers: Sequence[int] | None = None, table: str | None = None) -> dict[str, int]:
        """See `server.ports.Writes`."""
        return {"replayed": 0, "still_quarantined": len(self._chosen(numbers, table))}

    async def drop(self, *, numbers: Sequence[int] | None = None, table: str | None = None) -> dict[str, int]:
        """See `server.ports.Writes`."""
        chosen = self._chosen(numbers, table)
        for number in chosen:
            del self.waiting[number]
        return {"dropped": len(chosen)}

    async def health(self) -> dict[str, Any]:
        """See `server.ports.Health`."""
        self._fail()
        return {"ready": True, "reasons": [], "gauges": {"queue_depth": 0, "durable_lag_seconds": 0.0}}

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _chosen(self, numbers: Sequence[int] | None, table: str | None) -> list[int]:
        return [
            number
            for number, record in self.waiting.items()
            if (numbers is None or number in numbers) and (table is None or record["table"] == table)
        ]

    def _answer(
        self,
        name: str,
        rows: Rows,
        params: Mapping[str, Any],
        policy: FreshnessPolicy | None,
        max_age: int | None,
    ) -> ContextValue:
        now = self.clock.now()
        at = now if self.frontier is None else self.frontier
        status = judge(Frontier(at, now, SourceState.RUNNING), now, self.promise if max_age is None else max_age)
        content = tuple((*row.values(), at, self._txn) for row in rows)
        read = Read(name, dict(params), ("items",), self._txn, content, len(rows[0]) if rows else 0)
        inputs = {"items": InputAge(at, status, "running")}
        value = ContextValue(name, rows, now, at, status, [at for _ in rows], inputs, ReadSet((read,)))
        if (policy or FLAG).refuses(status):
            raise StaleContext(f"{name!r} is {status.value}", answer=value, hint="ask with another policy")
        return value

    def _apply(self, table: TableInfo, records: list[Any], origin: str) -> Receipt:
        self._txn = max(self.clock.now(), self._txn + 1)
        accepted = 0
        for index, record in enumerate(records):
            if isinstance(record, dict) and all(name in record for name in table.key):
                row = cast("dict[str, Any]", record)
                self.rows[table.name][tuple(row[name] for name in table.key)] = row
                accepted += 1
            else:
                self._quarantine(table.name, record, f"{origin}:{index}")
        self.accepted += accepted
        return Receipt(self._txn, accepted, len(records) - accepted)

    def _quarantine(self, table: str, record: Any, position: str) -> None:
        self._number += 1
        self.waiting[self._number] = {
            "id": self._number,
            "table": table,
            "rule": "missing",
            "message": "the record has no key",
            "position": position,
            "raw": msgspec.json.encode(record).decode(),
        }


def _records(body: bytes) -> list[Any]:
    try:
        data: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        try:
            return [msgspec.json.decode(line) for line in body.splitlines() if line.strip()]
        except msgspec.DecodeError as error:
            raise PushError(f"the body is not JSON: {error}", hint="send a JSON object") from error
    if isinstance(data, list):
        return cast("list[Any]", data)
    if isinstance(data, dict):
        return [cast("dict[str, Any]", data)]
    raise PushError("the body is neither an object nor an array", hint="send a JSON object")


def _checked(view: ViewInfo, params: Mapping[str, Any]) -> dict[str, Any]:
    known = {column.name: column for column in view.params}
    for name in params:
        if name not in known:
            raise BadParameter(f"{view.name!r} has no parameter {name!r}", hint=f"it has {sorted(known)}")
    for column in view.params:
        if not column.nullable and params.get(column.name) is None:
            raise BadParameter(f"{view.name!r} needs {column.name!r}", hint="give it")
    return {name: _convert(known[name], value) for name, value in params.items()}


def _convert(column: Column, value: Any) -> Any:
    try:
        if value is None:
            return None
        if column.type is ColumnType.INTEGER and not isinstance(value, bool):
            number = int(value)
            if str(number) == str(value) or number == value:
                return number
        if column.type is ColumnType.TEXT and isinstance(value, str):
            return value
    except (TypeError, ValueError):
        pass
    raise BadParameter(f"{column.name!r} is not {column.type.value}: {value!r}", hint="check its type")
