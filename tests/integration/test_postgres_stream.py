"""A real server's commits, followed: whatever happens in it, the model equals the database at quiet points."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from datetime import datetime
from decimal import Decimal

import psycopg
import pytest
from postgres_mirror import Follower, Mirror, same
from postgres_server import dsn, server  # noqa: F401

from headrace.contracts.infer import schema_of
from headrace.core.records import Record
from headrace.core.schema import TableKind
from headrace.sources import Postgres


class Item(Record):
    id: int
    name: str | None
    price: Decimal | None = None
    at: datetime | None = None
    active: bool | None = None
    score: float | None = None


ITEMS = schema_of(Item, name="items", kind=TableKind.TABLE, key="id")
CREATE = (
    "CREATE TABLE items (id bigint PRIMARY KEY, name text, price numeric, at timestamptz, active bool, score float8)"
)
FILL = """INSERT INTO items SELECT i, 'n' || i, i / 7.0, now() + i * interval '1 s', i % 2 = 0, i * 1.5
FROM generate_series({}, {}) i"""


@pytest.fixture
def sql(dsn: str):  # noqa: F811
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


async def test_a_table_is_copied_and_then_followed(dsn, sql, tmp_path):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(FILL.format(1, 5000))
    follower = Follower({"items": Postgres(dsn)}, Mirror(ITEMS), tmp_path)
    try:
        await follower.caught_up()
        same(follower, dsn)
        sql.execute("UPDATE items SET name = 'x' WHERE id % 3 = 0")
        sql.execute("DELETE FROM items WHERE id % 5 = 0")
        sql.execute(FILL.format(6000, 6100))
        sql.execute("UPDATE items SET id = id + 100000 WHERE id < 50")
        await follower.caught_up()
        same(follower, dsn)
        assert not follower.errors
    finally:
        await follower.close()
