"""The city's own database: ordinary tables in a PostgreSQL, written by ordinary transactions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, LiteralString

from headrace.core.errors import HeadraceError, MissingExtra
from headrace.demo.happenings import KEYS, CityRow
from headrace.demo.wire import records

if TYPE_CHECKING:
    import psycopg

SCHEMA = "headrace_demo"
SLOT = "headrace_demo"
MARK = "made by headrace demo"
"""The comment by which the schema of an earlier demo is told from somebody's own."""

_TABLES: LiteralString = """
CREATE SCHEMA headrace_demo;
COMMENT ON SCHEMA headrace_demo IS 'made by headrace demo';
SET search_path = headrace_demo;
CREATE TABLE restaurants (restaurant_id text PRIMARY KEY, name text, zone text, x float8, y float8);
CREATE TABLE items (item_id text PRIMARY KEY, restaurant_id text, name text, price float8, stock int,
                    changed_at timestamptz);
CREATE TABLE promotions (item_id text PRIMARY KEY, discount float8, changed_at timestamptz);
CREATE TABLE orders (order_id text PRIMARY KEY, restaurant_id text, item_id text, state text, courier_id text,
                     x float8, y float8, placed_at timestamptz, changed_at timestamptz);
CREATE TABLE couriers (courier_id text PRIMARY KEY, x float8, y float8, seen_at timestamptz);
CREATE TABLE sales (sale_id text PRIMARY KEY, item_id text, price float8, sold_at timestamptz);
"""


class Database:
    """A connection of the city to its database.

    Parameters
    ----------
    dsn
        Where it is; the user may create a schema.

    Raises
    ------
    HeadraceError
        It cannot be reached, does not keep a log that can be followed, or holds a schema of that name already.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection[Any]

    async def __aenter__(self) -> Database:
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtra("the demo's PostgreSQL", extra="postgres") from error
        try:
            self._connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        except psycopg.Error as error:
            raise HeadraceError(f"the database cannot be reached: {error}", hint="see --dsn") from error
        try:
            await self._create()
        except psycopg.Error as error:
            await self._connection.close()
            raise HeadraceError(
                f"the demo's tables cannot be made: {error}", hint="may the user create them?"
            ) from error
        except HeadraceError:
            await self._connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._remove()
        await self._connection.close()

    async def _create(self) -> None:
        level = await self._value("SHOW wal_level")
        if level != "logical":
            raise HeadraceError(
                f"the server has wal_level = {level}, so its commits cannot be followed",
                hint="ALTER SYSTEM SET wal_level = 'logical', and restart the server",
            )
        found = await self._value(
            "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = %s", SCHEMA
        )
        if found is not None and found != MARK:
            raise HeadraceError(
                f"the database has a schema {SCHEMA!r} that is not the demo's", hint="give the DSN of another database"
            )
        await self._remove()
        await self._connection.execute(_TABLES)

    async def _remove(self) -> None:
        """Leave nothing: the slot, the publication and the tables of this demo or of one that was killed."""
        run = self._connection.execute
        await run(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s AND active", (SLOT,)
        )
        await run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (SLOT,))
        await run("DROP PUBLICATION IF EXISTS headrace_demo")
        await run("DROP SCHEMA IF EXISTS headrace_demo CASCADE")

    async def _value(self, sql: LiteralString, *parameters: str) -> str | None:
        row = await (await self._connection.execute(sql, parameters)).fetchone()
        return None if row is None else str(row[0])

    async def write(self, rows: Mapping[str, Sequence[CityRow]]) -> None:
        """Write rows of several tables in one transaction; returns when it is committed."""
        async with self._connection.transaction():
            for table, changed in rows.items():
                # Of a key that changed twice the last row is what the transaction leaves.
                latest = {row[KEYS[table]]: row for row in changed}
                if latest:
                    await self._connection.execute(_upsert(table, changed[0]), (_json(table, list(latest.values())),))


def _json(table: str, rows: Sequence[CityRow]) -> str:
    return json.dumps(records(table, rows))


def _upsert(table: str, row: CityRow) -> bytes:
    """One statement for all rows of a table. Names are the demo's own, so they may be put into the text."""
    key = KEYS[table]
    sets = ", ".join(f"{name} = excluded.{name}" for name in row if name != key)
    return (
        f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, %s)"
        f" ON CONFLICT ({key}) DO UPDATE SET {sets}"
    ).encode()
