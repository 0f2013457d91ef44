"""The decoder on real servers: every kind of message that the highest protocol of each brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import pq
from psycopg.conninfo import make_conninfo

from headrace.core.clock import SECOND, SystemClock
from headrace.demo.postgres import TemporaryPostgres, binaries, packaged_binaries
from headrace.sources.postgres import messages as m
from headrace.sources.postgres.lsn import format_lsn, parse_lsn
from headrace.sources.postgres.pgoutput import Decoder
from headrace.sources.postgres.wire import BODY, Keepalive, XLogData, read_wire, status_update

SETTINGS = {"logical_decoding_work_mem": "64kB", "max_prepared_transactions": "5"}
SETUP = """
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE TABLE items (id int8 PRIMARY KEY, note text, feeling mood);
ALTER TABLE items ALTER note SET STORAGE EXTERNAL;
CREATE TABLE whole (id int8, note text);
ALTER TABLE whole REPLICA IDENTITY FULL;
ALTER TABLE whole ALTER note SET STORAGE EXTERNAL;
CREATE PUBLICATION everything FOR TABLE items, whole;
"""
BIG = "x" * 5_000


class Stream:
    """A replication connection that reads messages one after the other."""

    def __init__(self, dsn: str, slot: str, options: str) -> None:
        self.connection = pq.PGconn.connect(make_conninfo(dsn, replication="database").encode())
        command = f"START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options}, publication_names 'everything')"
        started = self.connection.exec_(command.encode())
        assert started.status == pq.ExecStatus.COPY_BOTH, self.connection.error_message
        self.decoder = Decoder()

    def wire(self) -> XLogData | Keepalive:
        size, data = self.connection.get_copy_data(0)
        assert size > 0, self.connection.error_message
        return read_wire(bytes(data))

    def until(self, *last: type) -> list[m.Message]:
        """The messages up to the first of one of these types."""
        found: list[m.Message] = []
        while not found or not isinstance(found[-1], last):
            wire = self.wire()
            if isinstance(wire, XLogData):
                found.append(self.decoder.decode(wire.data, BODY))
        return found

    def status(self, lsn: int, *, reply: bool) -> None:
        self.connection.put_copy_data(status_update(lsn, lsn, lsn, now=SystemClock().now(), reply=reply))
        self.connection.flush()


@pytest.fixture(scope="module", params=[binaries, packaged_binaries], ids=["debian", "packaged"])
def server(request: pytest.FixtureRequest) -> Iterator[TemporaryPostgres]:
    folder: Path | None = request.param()
    if folder is None:
        pytest.skip("this server is not installed")
    with TemporaryPostgres(SETTINGS, folder=folder) as postgres:
        yield postgres


@pytest.fixture
def session(server: TemporaryPostgres) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.dsn, autocommit=True) as session:
        session.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP PUBLICATION IF EXISTS everything")
        session.execute(SETUP)
        yield session


@pytest.fixture
def streams(server: TemporaryPostgres, session: psycopg.Connection[Any]) -> Iterator[Any]:
    opened: list[Stream] = []

    def open_stream(options: str, *, two_phase: bool = False) -> Stream:
        # A slot of its own for each test: that of the one before may still be held for a moment.
        (count,) = session.execute("SELECT count(*) FROM pg_replication_slots").fetchone()  # type: ignore[misc]  # pyright: ignore
        slot = f"reader_{count}"
        session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput', false, %s)", [slot, two_phase])
        opened.append(Stream(server.dsn, slot, options))
        return opened[-1]

    yield open_stream
    for stream in opened:
        stream.connection.finish()


def test_an_ordinary_transaction_with_everything_in_it(session: psycopg.Connection[Any], streams: Any) -> None:
    stream = streams("proto_version '1', messages 'true'")
    before = SystemClock().now()
    with session.transaction():
        session.execute("INSERT INTO items VALUES (1, %s, 'happy'), (2, NULL, NULL)", [BIG])
        session.execute("UPDATE items SET feeling = 'sad' WHERE id = 1")
        session.execute("UPDATE items SET id = 3 WHERE id = 2")
        session.execute("DELETE FROM items WHERE id = 3")
        session.execute("SELECT pg_logical_emit_message(true, 'beat', 'content')")
        session.execute("INSERT INTO whole VALUES (1, %s)", [BIG])
        session.execute("UPDATE whole SET id = 2")
        session.execute("DELETE FROM whole")
        session.execute("TRUNCATE items, whole RESTART IDENTITY CASCADE")
    begin, *changes, commit = stream.until(m.Commit)
    assert isinstance(begin, m.Begin)
    assert isinstance(commit, m.Commit)
    assert begin.commit_lsn == commit.commit_lsn < commit.end_lsn
    assert before - SECOND <= commit.committed_at == begin.committed_at <= SystemClock().now() + SECOND

    relations = {change.name: change for change in changes if isinstance(change, m.Relation)}
    items, whole = relations["items"], relations["whole"]
    mood = next(change for change in changes if isinstance(change, m.Type))
    assert items == m.Relation(
        items.oid,
        "public",
        "items",
        "d",
        (
            m.RelationColumn("id", True, 20, -1),
            m.RelationColumn("note", False, 25, -1),
            m.RelationColumn("feeling", False, mood.oid, -1),
        ),
    )
    assert (whole.identity, [column.is_identity for column in whole.columns]) == ("f", [True, True])
    assert (mood.namespace, mood.name) == ("public", "mood")
    note = BIG.encode()
    described = (m.Relation, m.Type, m.LogicalMessage, m.Truncate)
    assert [change for change in changes if not isinstance(change, described)] == [
        m.Insert(items.oid, (b"1", note, b"happy")),
        m.Insert(items.oid, (b"2", None, None)),
        m.Update(items.oid, (b"1", m.UNCHANGED, b"sad"), has_unchanged=True),
        m.Update(items.oid, (b"3", None, None), (b"2", None, None), "K"),
        m.Delete(items.oid, (b"3", None, None), "K"),
        m.Insert(whole.oid, (b"1", note)),
        m.Update(whole.oid, (b"2", m.UNCHANGED), (b"1", note), "O", has_unchanged=True),
        m.Delete(whole.oid, (b"2", note), "O"),
    ]
    (beat,) = (change for change in changes if isinstance(change, m.LogicalMessage))
    assert (beat.transactional, beat.prefix, beat.content) == (True, "beat", b"content")
    (truncated,) = (change for change in changes if isinstance(change, m.Truncate))
    assert truncated == m.Truncate(truncated.relations, cascade=True, restart_identity=True)
    assert set(truncated.relations) == {items.oid, whole.oid}


def test_a_streamed_transaction_and_an_undone_part_of_it(
    server: TemporaryPostgres, session: psycopg.Connection[Any], streams: Any
) -> None:
    newest = server.version >= 16
    stream = streams("proto_version '4', streaming 'parallel'" if newest else "proto_version '3', streaming 'on'")
    fill = "INSERT INTO items SELECT i, repeat('y', 100), 'sad' FROM generate_series(%s::int, %s::int) i"
    with session.transaction():
        session.execute(fill, [1, 3_000])
        with session.transaction() as part:
            session.execute(fill, [3_001, 6_000])
            raise psycopg.Rollback(part)
        session.execute(fill, [6_001, 9_000])
    found = stream.until(m.StreamCommit)
    start, commit = found[0], found[-1]
    assert isinstance(start, m.StreamStart)
    assert start.is_first
    assert isinstance(commit, m.StreamCommit)
    assert start.xid == commit.xid
    assert commit.commit_lsn < commit.end_lsn
    assert (
        sum(isinstance(one, m.StreamStart) for one in found) == sum(isinstance(one, m.StreamStop) for one in found) > 1
    )
    (abort,) = (one for one in found if isinstance(one, m.StreamAbort))
    assert abort.xid == commit.xid != abort.subxid
    if newest:
        assert abort.lsn is not None
        assert abort.aborted_at is not None
        assert abs(abort.aborted_at - SystemClock().now()) < 60 * SECOND
    else:
        assert (abort.lsn, abort.aborted_at) == (None, None)
    kept = [one.new[0] for one in found if isinstance(one, m.Insert) and one.xid != abort.subxid]
    assert kept == [b"%d" % i for i in (*range(1, 3_001), *range(6_001, 9_001))]
    assert any(isinstance(one, m.Insert) and one.xid == abort.subxid for one in found)
    assert {one.xid for one in found if isinstance(one, m.Relation)} <= {abort.xid, abort.subxid}


def test_transactions_in_two_phases(server: TemporaryPostgres, session: psycopg.Connection[Any], streams: Any) -> None:
    stream = streams("proto_version '3', two_phase 'on', streaming 'on'", two_phase=True)
    for gid, end in (("good", "COMMIT"), ("bad", "ROLLBACK")):
        session.execute(f"BEGIN; INSERT INTO items VALUES (1, NULL, NULL); PREPARE TRANSACTION '{gid}'")  # type: ignore[arg-type]  # pyright: ignore
        begin, *_, insert, prepare = stream.until(m.Prepare)
        assert isinstance(begin, m.BeginPrepare)
        assert isinstance(insert, m.Insert)
        assert isinstance(prepare, m.Prepare)
        assert begin.gid == prepare.gid == gid
        assert begin.prepare_lsn == prepare.prepare_lsn
        assert begin.xid == prepare.xid
        session.execute(f"{end} PREPARED '{gid}'")  # type: ignore[arg-type]  # pyright: ignore
        (decided,) = stream.until(m.CommitPrepared, m.RollbackPrepared)
        assert isinstance(decided, m.CommitPrepared if end == "COMMIT" else m.RollbackPrepared)
        assert (decided.gid, decided.xid) == (gid, prepare.xid)
        session.execute("DELETE FROM items")
        if end == "COMMIT":
            stream.until(m.Commit)
    session.execute("INSERT INTO items SELECT i, repeat('y', 100) FROM generate_series(1, 3000) i")
    session.execute("BEGIN; UPDATE items SET note = repeat('z', 100); PREPARE TRANSACTION 'big'")
    stream.until(m.StreamCommit)
    prepared = stream.until(m.StreamPrepare)[-1]
    assert isinstance(prepared, m.StreamPrepare)
    assert prepared.gid == "big"
    session.execute("COMMIT PREPARED 'big'")
    assert isinstance(stream.until(m.CommitPrepared)[-1], m.CommitPrepared)


def test_a_status_update_is_answered_and_moves_the_slot(session: psycopg.Connection[Any], streams: Any) -> None:
    stream = streams("proto_version '1'")
    session.execute("INSERT INTO items VALUES (1, NULL, NULL)")
    commit = stream.until(m.Commit)[-1]
    assert isinstance(commit, m.Commit)
    flushed = ""
    for _ in range(50):  # the keepalive that is read may be one that was sent before our update arrived
        stream.status(commit.end_lsn, reply=True)
        answer = stream.wire()
        while not isinstance(answer, Keepalive):
            answer = stream.wire()
        assert abs(answer.sent_at - SystemClock().now()) < 60 * SECOND
        query = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE active"
        (flushed,) = session.execute(query).fetchone()  # type: ignore[misc]  # pyright: ignore
        if parse_lsn(flushed) == commit.end_lsn <= answer.end:
            break
    assert flushed == format_lsn(commit.end_lsn)
