"""A real server's commits, followed: whatever happens in it, the model equals the database at quiet points."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
import pytest
from postgres_mirror import Follower, Mirror, same
from postgres_server import dsn, server, sql  # noqa: F401

from headrace.contracts.infer import schema_of
from headrace.core.records import Record
from headrace.core.schema import Schema, TableKind
from headrace.sources import Postgres

pytestmark = pytest.mark.filterwarnings("error")


class Item(Record):
    id: int
    name: str | None
    price: Decimal | None = None
    at: datetime | None = None
    active: bool | None = None


class Note(Record):
    id: int
    text: str | None


class Line(Record):
    order: int
    line: int
    note: str | None


def table(record: type[Record], name: str, key: str | tuple[str, ...] = "id") -> Schema:
    return schema_of(record, name=name, kind=TableKind.TABLE, key=key)


ITEMS = table(Item, "items")
NOTES = table(Note, "notes")
CREATE = "CREATE TABLE items (id bigint PRIMARY KEY, name text, price numeric, at timestamptz, active bool)"
CREATE_NOTES = "CREATE TABLE notes (id int PRIMARY KEY, text text)"
FILL = """INSERT INTO items SELECT i, 'n' || i, i / 7.0, now() + i * interval '1 s', i % 2 = 0
FROM generate_series({}, {}) i"""

Follow = Callable[..., Follower]


@pytest.fixture
async def follow(dsn: str, tmp_path: Path) -> AsyncIterator[Follow]:  # noqa: F811
    """Makes followers, and closes them."""
    made: list[Follower] = []

    def make(sources: Mapping[str, str | None], *schemas: Schema, extra: bool = False) -> Follower:
        declared = {name: Postgres(dsn, table=at) for name, at in sources.items()}
        made.append(Follower(declared, Mirror(*schemas), tmp_path, extra=extra))
        return made[-1]

    yield make
    for follower in made:
        await follower.close()
    assert not list(tmp_path.glob("*.spool")), "files of the spool were left behind"


async def test_a_table_is_copied_and_then_followed(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(FILL.format(1, 5000))
    follower = follow({"items": None}, ITEMS)
    await follower.caught_up()
    same(follower, dsn)
    sql.execute("UPDATE items SET name = E'x\\t\\n\\\\' WHERE id % 3 = 0")
    sql.execute("DELETE FROM items WHERE id % 5 = 0")
    sql.execute(FILL.format(6000, 6100))
    sql.execute("UPDATE items SET id = id + 100000 WHERE id < 50")
    sql.execute("UPDATE items SET name = NULL, price = NULL WHERE id > 6050")
    await follower.caught_up()
    same(follower, dsn)
    assert not follower.errors


async def test_several_tables_of_a_transaction_are_one_unit(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(CREATE_NOTES)
    follower = follow({"items": None, "notes": None}, ITEMS, NOTES)
    await follower.caught_up()
    before = len(follower.mirror.units)
    with sql.transaction():
        sql.execute(FILL.format(1, 10))
        sql.execute("INSERT INTO notes SELECT i, 'a' FROM generate_series(1, 10) i")
        with contextlib.suppress(psycopg.errors.UniqueViolation), sql.transaction():
            sql.execute("DELETE FROM items")
            sql.execute("INSERT INTO notes VALUES (1, 'twice')")
        sql.execute("UPDATE items SET name = 'y' WHERE id = 3")
    await follower.caught_up()
    same(follower, dsn)
    (unit,) = follower.mirror.units[before:]
    assert {batch.table for batch in unit} == {"items", "notes"}
    assert len({batch.source_ts for batch in unit}) == 1


async def test_large_transactions_with_rolled_back_savepoints_pass_the_spool(dsn, sql, follow, monkeypatch):  # noqa: F811
    monkeypatch.setattr("headrace.sources.postgres.assembly.PILE_BYTES", 50_000)
    sql.execute(CREATE)
    sql.execute(CREATE_NOTES)
    follower = follow({"items": None, "notes": None}, ITEMS, NOTES)
    await follower.caught_up()
    before = len(follower.mirror.units)
    with psycopg.connect(dsn) as other, sql.transaction():  # two that are streamed block by block, side by side
        sql.execute(FILL.format(1, 20_000))
        other.execute("INSERT INTO notes SELECT i, repeat('a', 40) FROM generate_series(1, 20000) i")
        for n in range(3):
            with contextlib.suppress(ZeroDivisionError), sql.transaction():
                sql.execute(f"UPDATE items SET name = 'undone {n}' WHERE id % 2 = 0")
                with sql.transaction():
                    sql.execute("DELETE FROM items WHERE id % 3 = 0")
                raise ZeroDivisionError
            with sql.transaction():
                sql.execute(f"UPDATE items SET name = 'kept {n}' WHERE id % 7 = {n}")
            await follower.step()
        other.execute("UPDATE notes SET text = 'b' WHERE id % 2 = 0")
        other.commit()
        other.execute("DELETE FROM notes")
        other.execute("INSERT INTO notes SELECT i, 'never' FROM generate_series(1, 20000) i")
        other.rollback()
    await follower.caught_up(40)
    same(follower, dsn)
    assert len(follower.mirror.units) - before == 2
    assert follower.mirror.tables["notes"].rows[2,]["text"] == "b"


async def test_a_large_transaction_that_is_not_streamed_passes_the_spool(dsn, sql, follow, monkeypatch):  # noqa: F811
    monkeypatch.setattr("headrace.sources.postgres.assembly.PILE_BYTES", 5_000)
    sql.execute(CREATE)
    follower = follow({"items": None}, ITEMS)
    await follower.caught_up()
    with sql.transaction():
        sql.execute(FILL.format(1, 200))
        sql.execute("ALTER TABLE items ADD COLUMN more int DEFAULT 7")
        sql.execute("ALTER TABLE items ALTER COLUMN name TYPE varchar(80)")
        sql.execute("UPDATE items SET name = 'after' WHERE id % 2 = 0")
    sql.execute("UPDATE items SET name = 'last' WHERE id % 3 = 0")
    await follower.caught_up()
    same(follower, dsn)


async def test_two_phase_transactions_come_when_they_are_committed(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE_NOTES)
    follower = follow({"notes": None}, NOTES)
    await follower.caught_up()
    for number, last in ((1, "COMMIT"), (2, "ROLLBACK")):
        sql.execute("BEGIN")
        sql.execute(f"INSERT INTO notes SELECT i, repeat('x', 50) FROM generate_series({number}0000, {number}3000) i")
        sql.execute(f"PREPARE TRANSACTION 'p{number}'")
        await follower.caught_up()
        held = len(follower.mirror.tables["notes"].rows)
        sql.execute(f"{last} PREPARED 'p{number}'")
        await follower.caught_up()
        same(follower, dsn)
        assert held == (0 if number == 1 else len(follower.mirror.tables["notes"].rows))


async def test_values_that_an_update_does_not_touch_stay(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE_NOTES)
    sql.execute("ALTER TABLE notes ALTER text SET STORAGE EXTERNAL, ADD COLUMN n int")

    class Counted(Record):
        id: int
        text: str | None
        n: int | None

    counted = table(Counted, "notes")
    sql.execute("INSERT INTO notes SELECT i, repeat(i::text, 5000), 0 FROM generate_series(1, 20) i")
    follower = follow({"notes": None}, counted)
    await follower.caught_up()
    sql.execute("UPDATE notes SET n = n + 1")
    sql.execute("UPDATE notes SET text = 'short' WHERE id = 3")
    await follower.caught_up()
    same(follower, dsn)
    sql.execute("ALTER TABLE notes REPLICA IDENTITY FULL")
    sql.execute("UPDATE notes SET n = n + 1, id = id + 100")
    await follower.caught_up()
    same(follower, dsn)


async def test_truncate_empties_what_it_names_and_no_more(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(CREATE_NOTES)
    lines = '"order" int, line int REFERENCES notes, note text, PRIMARY KEY ("order", line)'
    sql.execute(f"CREATE TABLE lines ({lines})")
    sql.execute(FILL.format(1, 100))
    sql.execute("INSERT INTO notes SELECT i, 'a' FROM generate_series(1, 100) i")
    sql.execute("INSERT INTO lines SELECT i / 10, i, 'l' FROM generate_series(1, 100) i")
    lines = table(Line, "lines", ("order", "line"))
    follower = follow({"items": None, "notes": None, "lines": None}, ITEMS, NOTES, lines)
    await follower.caught_up()
    same(follower, dsn)
    sql.execute('UPDATE lines SET "order" = "order" + 1000 WHERE line < 20')
    with sql.transaction():
        sql.execute("INSERT INTO notes VALUES (101, 'before')")
        sql.execute("TRUNCATE notes CASCADE")
        sql.execute("INSERT INTO notes VALUES (1, 'after')")
        sql.execute("UPDATE items SET name = 'z'")
    await follower.caught_up()
    same(follower, dsn)
    assert not follower.mirror.tables["lines"].rows
    sql.execute("TRUNCATE items, notes, lines")
    await follower.caught_up()
    same(follower, dsn)


async def test_partitions_are_one_table(dsn, sql, follow):  # noqa: F811
    sql.execute("CREATE TABLE notes (id int PRIMARY KEY, text text) PARTITION BY RANGE (id)")
    sql.execute("CREATE TABLE n1 PARTITION OF notes FOR VALUES FROM (0) TO (100)")
    sql.execute("CREATE TABLE n2 PARTITION OF notes FOR VALUES FROM (100) TO (200) PARTITION BY HASH (id)")
    for i in range(3):
        sql.execute(f"CREATE TABLE n2{i} PARTITION OF n2 FOR VALUES WITH (MODULUS 3, REMAINDER {i})")
    sql.execute("INSERT INTO notes SELECT i, 'a' FROM generate_series(1, 199) i")
    follower = follow({"notes": None}, NOTES)
    await follower.caught_up()
    same(follower, dsn)
    sql.execute("UPDATE notes SET id = 0 WHERE id = 160")  # into another partition
    sql.execute("CREATE TABLE n3 PARTITION OF notes FOR VALUES FROM (200) TO (300)")
    sql.execute("INSERT INTO notes SELECT i, 'b' FROM generate_series(200, 250) i")
    sql.execute("DELETE FROM notes WHERE id % 2 = 0")
    sql.execute("UPDATE notes SET text = 'c' WHERE id > 190")
    await follower.caught_up()
    same(follower, dsn)


async def test_names_are_taken_as_they_are_written(dsn, sql, follow):  # noqa: F811
    sql.execute('CREATE SCHEMA "My.Shop"')
    sql.execute('CREATE TABLE "My.Shop"."Order ""Notes""" (id int PRIMARY KEY, text text)')
    sql.execute('CREATE TABLE "Notes" (id int PRIMARY KEY, text text)')
    for name in ('"My.Shop"."Order ""Notes"""', '"Notes"'):
        sql.execute(f"INSERT INTO {name} SELECT i, '{len(name)}' FROM generate_series(1, 9) i")
    follower = follow({"notes": '"My.Shop"."Order ""Notes"""', "others": '"Notes"'}, NOTES, table(Note, "others"))
    await follower.caught_up()
    sql.execute('UPDATE "My.Shop"."Order ""Notes""" SET text = \'x\'; DELETE FROM "Notes" WHERE id = 3')
    await follower.caught_up()
    same(follower, dsn)


@pytest.mark.parametrize("identity", ["FULL", "USING INDEX by_id"])
async def test_rows_without_a_primary_key_are_told_apart_by_their_identity(dsn, sql, follow, identity):  # noqa: F811
    sql.execute("CREATE TABLE notes (id int NOT NULL, text text)")
    sql.execute("CREATE UNIQUE INDEX by_id ON notes (id)")
    follower = follow({"notes": None}, NOTES)
    await follower.until(lambda: bool(follower.errors))
    assert "no primary key" in follower.errors[0].message
    assert 'ALTER TABLE "public"."notes" REPLICA IDENTITY FULL' in follower.errors[0].hint
    sql.execute(f"ALTER TABLE notes REPLICA IDENTITY {identity}")
    sql.execute("INSERT INTO notes SELECT i, repeat('a', 9000) FROM generate_series(1, 20) i")
    await follower.caught_up()
    sql.execute("UPDATE notes SET id = id + 100 WHERE id > 15; DELETE FROM notes WHERE id < 5")
    sql.execute("UPDATE notes SET text = 'b' WHERE id = 7")
    await follower.caught_up()
    same(follower, dsn)


async def test_an_identity_that_lacks_the_key_is_refused(dsn, sql, follow):  # noqa: F811
    sql.execute("CREATE TABLE notes (other int PRIMARY KEY, id int, text text)")
    follower = follow({"notes": None}, NOTES)
    await follower.until(lambda: bool(follower.errors))
    assert "lacks 'id' of the key" in follower.errors[0].message
    sql.execute("ALTER TABLE notes REPLICA IDENTITY NOTHING")
    await follower.until(lambda: "NOTHING" in follower.errors[-1].message)


async def test_only_declared_columns_are_copied_unless_others_are_wanted(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE_NOTES)
    sql.execute("ALTER TABLE notes ADD more int, ADD doubled int GENERATED ALWAYS AS (id * 2) STORED")
    sql.execute("INSERT INTO notes (id, more, text) VALUES (1, 5, 'a')")
    lean, rich = follow({"notes": None}, NOTES), follow({"notes": None}, NOTES, extra=True)
    rich.app = "rich"
    for follower in (lean, rich):
        await follower.caught_up()
        sql.execute("INSERT INTO notes (id, more, text) SELECT max(id) + 1, 6, 'b' FROM notes")
        await follower.caught_up()
        same(follower, dsn)
    assert all(set(row) == {"id", "text"} for row in lean.mirror.tables["notes"].rows.values())
    assert all(row["more"] in (5, 6) for row in rich.mirror.tables["notes"].rows.values())


async def test_a_generated_column_is_published_or_refused(dsn, sql, follow, server):  # noqa: F811
    sql.execute("CREATE TABLE notes (id int PRIMARY KEY, text text GENERATED ALWAYS AS (repeat('n', id)) STORED)")
    follower = follow({"notes": None}, NOTES)
    if server.version < 18:
        with pytest.raises(Exception, match="generated column: publishing it needs PostgreSQL 18"):
            await follower.caught_up()
        return
    sql.execute("INSERT INTO notes VALUES (1)")
    await follower.caught_up()
    sql.execute("INSERT INTO notes VALUES (2)")
    await follower.caught_up()
    same(follower, dsn)


async def test_events_are_appended_and_nothing_else(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE_NOTES)
    sql.execute("INSERT INTO notes SELECT i, 'old' FROM generate_series(1, 50) i")
    events = schema_of(Note, name="notes", kind=TableKind.EVENTS)
    follower = follow({"notes": None}, events)
    await follower.caught_up()
    same(follower, dsn)
    sql.execute("INSERT INTO notes SELECT i, 'new' FROM generate_series(51, 60) i")
    sql.execute("UPDATE notes SET text = 'changed' WHERE id = 3")
    sql.execute("DELETE FROM notes WHERE id = 4")
    sql.execute("TRUNCATE notes")
    await follower.caught_up()
    mirrored = follower.mirror.tables["notes"]
    assert len(mirrored.events) == 60
    assert [(bad.rule, bad.data) for bad in mirrored.bad] == [
        ("append_only", b'{"op":"update","record":{"id":3,"text":"changed"}}'),
        ("append_only", b'{"op":"delete","record":{"id":4}}'),
        ("append_only", b'{"op":"truncate"}'),
    ]


async def test_a_table_declared_later_is_copied_beside_the_stream(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(CREATE_NOTES)
    sql.execute("INSERT INTO notes SELECT i, 'a' FROM generate_series(1, 100) i")
    first = follow({"items": None}, ITEMS)
    await first.caught_up()
    await first.close()
    sql.execute(FILL.format(1, 100))
    sql.execute("UPDATE notes SET text = 'before the copy'")
    second = follow({"items": None, "notes": None}, ITEMS, NOTES)
    second.mirror.position, second.mirror.known = first.mirror.position, {"items"}
    second.mirror.tables["items"] = first.mirror.tables["items"]
    await second.until(lambda: "notes" in second.mirror.known)
    sql.execute("UPDATE notes SET text = 'after the copy' WHERE id < 10")
    sql.execute("DELETE FROM notes WHERE id > 90")
    await second.caught_up()
    same(second, dsn)
    assert not second.errors


async def test_the_same_table_may_feed_two(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE_NOTES)
    events = schema_of(Note, name="log", kind=TableKind.EVENTS)
    follower = follow({"notes": None, "log": "notes"}, NOTES, events)
    await follower.caught_up()
    sql.execute("INSERT INTO notes SELECT i, 'new' FROM generate_series(1, 60) i")
    await follower.caught_up()
    same(follower, dsn)


async def test_a_changed_shape_passes_as_it_is(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE_NOTES)
    follower = follow({"notes": None}, NOTES)
    await follower.caught_up()
    sql.execute("ALTER TABLE notes DROP COLUMN text")
    sql.execute("INSERT INTO notes VALUES (1)")
    sql.execute("ALTER TABLE notes ADD COLUMN text int[]")
    sql.execute("INSERT INTO notes VALUES (2, '{1,2}')")
    await follower.caught_up()
    rows = follower.mirror.tables["notes"].rows
    assert rows[1,] == {"id": 1}
    assert rows[2,]["id"] == 2
    sql.execute("ALTER TABLE notes RENAME TO remarks")
    sql.execute("INSERT INTO remarks VALUES (3, NULL)")
    await follower.until(lambda: (3,) in rows)
    await follower.until(lambda: "table_renamed" in [getattr(e, "kind", "") for e in follower.events.all])
    assert rows[3,]["text"] is None


async def test_frontier_and_clock_move_while_nothing_happens(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE_NOTES)
    follower = follow({"notes": None}, NOTES)
    await follower.caught_up()
    units, first = len(follower.mirror.units), follower.mirror.frontier
    for _ in range(3):
        await follower.caught_up(2)
    assert follower.mirror.frontier > first
    assert len(follower.mirror.units) == units, "an idle stream commits nothing"


async def test_the_slot_follows_while_only_other_tables_are_written(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE_NOTES)
    sql.execute("CREATE TABLE other (id int, text text)")
    follower = follow({"notes": None}, NOTES)
    await follower.caught_up()
    await follower.caught_up()  # the first time was the copy's own

    def behind() -> int:
        query = "SELECT pg_current_wal_lsn() - confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s"
        return int(sql.execute(query, ["headrace_t"]).fetchone()[0])

    sql.execute("INSERT INTO other SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) i")
    assert behind() > 48 << 20
    await follower.until(lambda: behind() < 17 << 20, 10)


async def test_writers_during_the_copy(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(FILL.format(1, 20_000))
    follower = follow({"items": None}, ITEMS)
    stop = asyncio.Event()

    async def write(seed: int) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            n = seed
            while not stop.is_set():
                n += 2
                await connection.execute("UPDATE items SET name = 'w' || %s WHERE id %% 997 = %s", [n, n % 997])  # pyright: ignore
                await connection.execute("DELETE FROM items WHERE id = %s", [n * 7 % 20_000])
                await connection.execute("INSERT INTO items VALUES (%s, 'new')", [100_000 + n])
                await asyncio.sleep(0.002)

    writers = [asyncio.create_task(write(seed)) for seed in (0, 1)]
    await follower.caught_up()
    for _ in range(5):
        await follower.caught_up()
    stop.set()
    await asyncio.gather(*writers)
    await follower.caught_up()
    same(follower, dsn)
