"""Rights at the server that are missing or taken away: named with what grants them; then all goes on by itself."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from postgres_mirror import same
from postgres_server import dsn, server, sql  # noqa: F401
from test_postgres_trouble import CREATE, SOME, follow, refusal, when_free  # noqa: F401

from headrace.sources import Postgres

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def ann(sql, dsn):  # noqa: F811
    """The address of an ordinary user who may follow `notes`, and no more; PUBLIC may neither connect nor use."""
    sql.execute(CREATE)
    sql.execute(SOME)
    database = dsn.rsplit("/", 1)[1]
    sql.execute("DROP ROLE IF EXISTS ann; CREATE ROLE ann LOGIN REPLICATION")
    sql.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC; REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    sql.execute(f"GRANT CONNECT ON DATABASE {database} TO ann; GRANT USAGE ON SCHEMA public TO ann")
    sql.execute("GRANT SELECT ON notes TO ann")
    sql.execute("CREATE PUBLICATION headrace_t FOR TABLE notes WITH (publish_via_partition_root = true)")
    yield dsn.replace("postgres@", "ann@")
    sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ann'")
    sql.execute("DROP OWNED BY ann; DROP ROLE ann")


RIGHTS = {
    "SELECT": ("REVOKE SELECT ON notes FROM ann", "GRANT SELECT ON public.notes TO ann"),
    "USAGE": ("REVOKE USAGE ON SCHEMA public FROM ann", "GRANT USAGE ON SCHEMA public TO ann"),
    "CONNECT": ("REVOKE CONNECT ON DATABASE {database} FROM ann", "GRANT CONNECT ON DATABASE {database} TO ann"),
    "LOGIN": ("ALTER ROLE ann NOLOGIN", "ALTER ROLE ann LOGIN"),
    "REPLICATION": ("ALTER ROLE ann NOREPLICATION", "ALTER ROLE ann REPLICATION"),
    "publication": ("ALTER PUBLICATION headrace_t DROP TABLE notes", 'ALTER PUBLICATION "headrace_t" ADD TABLE'),
}


def granted(sql, hint: str, statement: str) -> None:  # noqa: F811
    """Do what the hint says."""
    assert statement in hint
    found = re.search(r"((?:GRANT|ALTER)[^;(]+)", hint)
    assert found is not None
    sql.execute(found[1])


@pytest.mark.parametrize("right", RIGHTS)
async def test_a_right_that_is_missing_at_the_start_is_named_and_once_granted_all_goes_on(dsn, sql, follow, ann, right):  # noqa: F811
    revoke, grant = (text.format(database=dsn.rsplit("/", 1)[1]) for text in RIGHTS[right])
    sql.execute(revoke)
    follower = follow(Postgres(ann))
    error = await refusal(follower)
    assert not error.permanent
    granted(sql, error.hint, grant)
    await follower.caught_up()
    same(follower, dsn)


@pytest.mark.parametrize("right", RIGHTS)
async def test_a_right_that_is_taken_away_while_it_follows(dsn, sql, follow, ann, right, monkeypatch):  # noqa: F811
    monkeypatch.setattr("headrace.sources.postgres.fence.LOOK_EVERY", 0.2)
    revoke, grant = (text.format(database=dsn.rsplit("/", 1)[1]) for text in RIGHTS[right])
    follower = follow(Postgres(ann))
    await follower.caught_up()
    await follower.caught_up()
    sql.execute(revoke)
    sql.execute("UPDATE notes SET text = 'after' WHERE id < 10")
    if right in ("SELECT", "USAGE"):  # the stream needs neither, nor does going on with it
        sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ann'")
        await follower.caught_up()
        same(follower, dsn)
        sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ann'")
        await when_free(sql, "SELECT pg_drop_replication_slot('headrace_t')")  # a copy needs both
        del follower.errors[:]
        await follower.until(lambda: any("may not" in error.message for error in follower.errors))
    else:
        sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ann'")
        await follower.until(lambda: any(grant.split(" TO ")[0] in error.hint for error in follower.errors))
    granted(sql, follower.errors[-1].hint, grant)
    await follower.caught_up()
    same(follower, dsn)


async def test_each_partition_must_be_readable(dsn, sql, follow, ann):  # noqa: F811
    sql.execute("ALTER PUBLICATION headrace_t DROP TABLE notes; DROP TABLE notes")
    sql.execute("CREATE TABLE notes (id int PRIMARY KEY, text text) PARTITION BY RANGE (id)")
    sql.execute("CREATE TABLE notes_1 PARTITION OF notes FOR VALUES FROM (0) TO (5000)")
    sql.execute("ALTER PUBLICATION headrace_t ADD TABLE notes; GRANT SELECT ON notes TO ann")
    sql.execute(SOME)
    follower = follow(Postgres(ann))
    error = await refusal(follower)
    granted(sql, error.hint, "GRANT SELECT ON public.notes_1 TO ann")
    await follower.caught_up()
    same(follower, dsn)


async def test_rights_are_asked_for_by_statement(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(SOME)
    sql.execute("DROP ROLE IF EXISTS ann")
    sql.execute("CREATE ROLE ann LOGIN")
    follower = follow(Postgres(dsn.replace("postgres@", "ann@")))
    error = await refusal(follower)
    assert "ALTER ROLE ann REPLICATION" in error.hint
    sql.execute("ALTER ROLE ann REPLICATION")
    error = await refusal(follower)
    assert 'CREATE PUBLICATION "headrace_t" FOR TABLE "public"."notes"' in error.hint
    sql.execute(error.hint.split("run: ")[1].split(";")[0])
    error = await refusal(follower)
    assert "ann may not read public.notes" in error.message
    granted(sql, error.hint, "GRANT SELECT ON public.notes TO ann")
    await follower.caught_up()
    same(follower, dsn)
    sql.execute("REVOKE SELECT ON notes FROM ann")  # the stream needs no right to read
    sql.execute("DELETE FROM notes WHERE id = 1")
    await follower.caught_up()
    same(follower, dsn)
    await follower.close()
    sql.execute("DROP OWNED BY ann; DROP ROLE ann")
