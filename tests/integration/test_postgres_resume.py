"""A copy that was broken off goes on with what is stored, whatever happened to the tables in between."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
import pytest
from postgres_mirror import Follower, Mirror, same
from postgres_server import dsn, server, sql  # noqa: F401

from headrace.contracts.infer import schema_of
from headrace.core.events import Copied, Copying
from headrace.core.records import Record
from headrace.core.schema import Schema, TableKind
from headrace.sources import Postgres
from headrace.sources.postgres import copying, copywork

pytestmark = pytest.mark.filterwarnings("error")

ROWS = 12_000


class Item(Record):
    id: int
    n: int
    body: str | None


class Sale(Record):
    id: int
    n: int


ITEMS = schema_of(Item, name="items", kind=TableKind.TABLE, key="id")
CREATE = "CREATE TABLE items (id bigint PRIMARY KEY, n int NOT NULL, body text)"
FILL = "INSERT INTO items SELECT i, 0, repeat('x', 200) FROM generate_series(1, {}) i"
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE NOT temporary"

Follow = Callable[..., Follower]


@pytest.fixture
async def follow(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Follow]:  # noqa: F811
    """Makes followers that copy small pieces, and closes them."""
    monkeypatch.setattr(copying, "PIECE_PAGES", 16)
    monkeypatch.setattr(copying, "CHUNK_ROWS", 200)
    monkeypatch.setattr(copywork, "AHEAD", 20_000)
    made: list[Follower] = []

    def make(*schemas: Schema, table: str | None = None) -> Follower:
        declared = {schema.name: Postgres(dsn, table=table) for schema in schemas or (ITEMS,)}
        made.append(Follower(declared, Mirror(*(schemas or (ITEMS,))), tmp_path))
        return made[-1]

    yield make
    for follower in made:
        await follower.close()


async def broken_off(follower: Follower, share: float) -> None:
    """Copy until about so much more is there, and die."""
    table = follower.mirror.tables["items"]
    await follower.open()
    goal = table.copied + table.kept + share * ROWS
    await follower.until(lambda: table.copied + table.kept >= goal and table.note is not None)
    assert follower.mirror.position is None, "it was over before it could be broken off"
    await follower.close()


async def test_what_is_stored_is_not_fetched_again_and_no_slot_is_left(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(FILL.format(ROWS))
    follower = follow()
    table = follower.mirror.tables["items"]
    await broken_off(follower, 0.6)
    assert sql.execute(SLOTS).fetchall() == []
    first = table.copied
    sql.execute("UPDATE items SET n = 1 WHERE id % 1000 = 0")
    sql.execute("DELETE FROM items WHERE id % 1000 = 1")
    sql.execute("UPDATE items SET id = id + 1000000 WHERE id % 1000 = 2")
    sql.execute("INSERT INTO items SELECT i, 2, NULL FROM generate_series(2000000, 2000099) i")
    await follower.caught_up()
    same(follower, dsn)
    assert table.kept > 0.4 * ROWS
    assert table.copied < first + 0.6 * ROWS, "most of it was not fetched again"
    assert not follower.errors


CHANGES = (
    "UPDATE items SET n = n + 1 WHERE id % 7 = {0} % 7",
    "UPDATE items SET n = n + 1 WHERE id % 3 = {0} % 3",  # moves rows into other pieces, and leaves room
    "DELETE FROM items WHERE id % 11 = {0} % 11",
    "DELETE FROM items WHERE id BETWEEN {0} AND {0} + 900",
    "UPDATE items SET id = id + 1000000 * (1 + n) WHERE id % 13 = {0} % 13 AND id < 1000000",
    "UPDATE items SET id = -id WHERE id BETWEEN {0} AND {0} + 500 AND id > 0",
    "INSERT INTO items SELECT i, 5, NULL FROM generate_series({0}, {0} + 400) i ON CONFLICT DO NOTHING",
    "INSERT INTO items SELECT i, 6, repeat('z', 900) FROM generate_series({0}, {0} + 4000) i "
    "ON CONFLICT (id) DO UPDATE SET n = items.n + 1, body = excluded.body",
    "VACUUM items",
    "VACUUM (FREEZE) items",
    "VACUUM FULL items",
    "CLUSTER items USING items_pkey",
    "TRUNCATE items",
    "BEGIN; UPDATE items SET n = n + 100 WHERE id % 2 = 0; ROLLBACK",
    "BEGIN; SAVEPOINT s; UPDATE items SET n = n + 7 WHERE id % 5 = 0; RELEASE s; COMMIT",
    "ANALYZE items",
)


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_in_between_the_copy_is_the_table(dsn, sql, follow, seed):  # noqa: F811
    draw = random.Random(seed)
    sql.execute(CREATE)
    sql.execute(FILL.format(ROWS))
    follower = follow()
    for _ in range(draw.randint(2, 4)):
        with contextlib.suppress(AssertionError):  # too little is left to be broken off
            await broken_off(follower, draw.choice((0.1, 0.2, 0.3)))
        await follower.close()
        if follower.mirror.position is not None:
            break
        for _ in range(draw.randint(0, 4)):
            heavy = draw.random() < 0.15
            change = draw.choice([c for c in CHANGES if heavy or not c.startswith(("TRUNCATE", "VACUUM F", "CLUSTER"))])
            for statement in change.split("; "):
                sql.execute(statement.format(draw.randint(1, ROWS)))
    await follower.caught_up(40)
    same(follower, dsn)
    assert all(row["id"] is not None for row in follower.mirror.tables["items"].rows.values())


async def test_a_transaction_that_was_open_when_it_broke_off_is_not_missed(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(FILL.format(ROWS))
    follower = follow()
    await follower.open()
    table = follower.mirror.tables["items"]
    await follower.until(lambda: table.copied > 500)  # the snapshot is taken
    with psycopg.connect(dsn) as other:
        other.execute("SAVEPOINT s")
        other.execute("UPDATE items SET n = 9 WHERE id % 2 = 0")
        other.execute("RELEASE s")
        await follower.until(lambda: table.copied > 0.6 * ROWS)
        await follower.close()
        other.commit()
    sql.execute("UPDATE items SET n = 8 WHERE id = 3")
    await follower.caught_up()
    same(follower, dsn)
    assert table.kept


@pytest.mark.parametrize("how", ["VACUUM FULL items", "TRUNCATE items", "ALTER TABLE items ALTER n TYPE bigint"])
async def test_a_table_that_was_rewritten_is_fetched_anew(dsn, sql, follow, how):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(FILL.format(ROWS))
    follower = follow()
    await broken_off(follower, 0.5)
    sql.execute("DELETE FROM items WHERE id % 2 = 0")
    sql.execute(how)
    await follower.caught_up()
    same(follower, dsn)
    assert not follower.mirror.tables["items"].kept


async def test_a_note_of_another_server_or_shape_is_not_believed(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(FILL.format(ROWS))
    follower = follow()
    table = follower.mirror.tables["items"]
    for word, other in (
        ('"system":"', '"system":"1'),
        ('"timeline":1', '"timeline":2'),
        ('"shape":"', '"shape":"x'),
        ("{", "["),
    ):
        await broken_off(follower, 0.2)
        assert table.note is not None
        assert word in table.note
        table.note = table.note.replace(word, other, 1)
        kept = table.kept
        await broken_off(follower, 0.1)
        assert table.kept == kept
    await follower.caught_up()
    same(follower, dsn)


async def test_the_snapshot_that_is_gone_costs_no_more_than_the_piece_that_was_read(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(FILL.format(ROWS))
    follower = follow()
    table = follower.mirror.tables["items"]
    await follower.open()
    await follower.until(lambda: table.copied > 0.6 * ROWS)
    sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headrace_t'")
    sql.execute("DELETE FROM items WHERE id % 2 = 0")
    await follower.caught_up()
    same(follower, dsn)
    assert follower.errors
    assert table.kept


async def test_partitions_come_and_go(dsn, sql, follow):  # noqa: F811
    sql.execute("CREATE TABLE items (id bigint PRIMARY KEY, n int NOT NULL, body text) PARTITION BY RANGE (id)")
    for n in range(3):
        sql.execute(
            f"CREATE TABLE items_{n} PARTITION OF items FOR VALUES FROM ({n * 4000 + 1}) TO ({n * 4000 + 4001})"
        )
    sql.execute(FILL.format(ROWS))
    follower = follow()
    await broken_off(follower, 0.7)
    sql.execute("ALTER TABLE items DETACH PARTITION items_0")
    sql.execute("CREATE TABLE items_new PARTITION OF items FOR VALUES FROM (20001) TO (30001)")
    sql.execute("INSERT INTO items SELECT i, 1, NULL FROM generate_series(20001, 22000) i")
    await follower.caught_up()
    same(follower, dsn)
    assert follower.mirror.tables["items"].kept


async def test_events_beside_it_are_copied_as_a_whole_and_do_not_keep_the_table_from_going_on(dsn, sql, follow):  # noqa: F811
    events = schema_of(Sale, name="sales", kind=TableKind.EVENTS, key="id")
    sql.execute(CREATE)
    sql.execute(FILL.format(ROWS))
    sql.execute("CREATE TABLE sales (id bigint PRIMARY KEY, n int NOT NULL)")
    sql.execute("INSERT INTO sales SELECT i, i FROM generate_series(1, 3000) i")
    follower = follow(ITEMS, events)
    await broken_off(follower, 0.5)
    assert not follower.mirror.tables["sales"].events
    sql.execute("DELETE FROM items WHERE id % 2 = 0")
    sql.execute("INSERT INTO sales SELECT i, i FROM generate_series(3001, 3100) i")
    await follower.caught_up()
    same(follower, dsn)
    assert follower.mirror.tables["items"].kept


async def test_how_far_it_is_is_told_and_that_it_is_over(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(FILL.format(ROWS))
    sql.execute("ANALYZE items")
    follower = follow()
    await follower.caught_up()
    told = [event for event in follower.events.all if isinstance(event, Copying | Copied)]
    assert isinstance(told[-1], Copied)
    found = [event for event in told if isinstance(event, Copying)]
    assert found
    assert found[0].expected == ROWS
    assert found[0].of > 10
    assert [one.rows for one in found] == sorted(one.rows for one in found)
