"""A password that the server does not take: said, kept secret, tried again with patience, and mended."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
import pytest
from postgres_mirror import Follower, Mirror, same
from postgres_server import FAST, FOLDERS
from postgres_torture import Server, eventually
from postgres_writers import CLOCK, fill

from headrace.contracts.infer import schema_of
from headrace.core.errors import SourceError
from headrace.core.records import Record
from headrace.core.schema import TableKind
from headrace.demo.postgres import TemporaryPostgres
from headrace.sources import Postgres

pytestmark = pytest.mark.timeout(90)

SECRET = "s3cret p@ss/w:rd"
QUOTED = "s3cret%20p%40ss%2Fw%3Ard"
HBA = """\
host all ann 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""
ROLE = "CREATE ROLE ann LOGIN SUPERUSER PASSWORD 'another'"
MEND = f"ALTER ROLE ann PASSWORD '{SECRET}'"
REFUSED = "password authentication failed"


class Note(Record):
    id: int
    text: str | None


NOTES = schema_of(Note, name="notes", kind=TableKind.TABLE, key="id")


@pytest.fixture(params=list(FOLDERS) or ["none"], ids=lambda p: "18" if "site-packages" in p else "15")
def strict(request: pytest.FixtureRequest) -> Iterator[TemporaryPostgres]:
    """A server that asks ann for her password."""
    if request.param not in FOLDERS:
        pytest.skip("needs a PostgreSQL server")
    settings = FAST | {"password_encryption": "scram-sha-256"}
    with TemporaryPostgres(settings, folder=Path(FOLDERS[request.param])) as running:
        (running.data / "pg_hba.conf").write_text(HBA)
        with psycopg.connect(running.dsn, autocommit=True) as sql:
            sql.execute("SELECT pg_reload_conf()")
            sql.execute(ROLE)
        yield running


def dsn_of(server: TemporaryPostgres, form: str) -> str:
    if form == "url":
        return f"postgresql://ann:{QUOTED}@127.0.0.1:{server.port}/postgres"
    return f"host=127.0.0.1 port={server.port} user=ann password='{SECRET}' dbname=postgres"


def without_secret(text: str) -> None:
    for form in (SECRET, QUOTED, "s3cret"):
        assert form not in text, f"{form} in {text}"


@pytest.mark.parametrize("form", ["url", "pairs"])
async def test_a_wrong_password_is_said_without_it(strict: TemporaryPostgres, tmp_path: Path, form: str, caplog):
    caplog.set_level(logging.DEBUG)
    with psycopg.connect(strict.dsn, autocommit=True) as sql:
        sql.execute("CREATE TABLE notes (id int PRIMARY KEY, text text)")
        sql.execute("INSERT INTO notes SELECT i, 'n' || i FROM generate_series(1, 100) i")
        follower = Follower({"notes": Postgres(dsn_of(strict, form))}, Mirror(NOTES), tmp_path)
        await follower.until(lambda: len(follower.errors) >= 3)
        for error in follower.errors:
            assert isinstance(error, SourceError)
            assert f'{REFUSED} for user "ann"' in error.message
            assert "check the user and the password in the DSN; it is tried again" in error.hint
            assert not error.permanent
            without_secret(f"{error} {error!r} {error.__cause__!r} {error.__dict__}")
            assert error.__cause__ is None
        sql.execute(MEND)
        await follower.caught_up()
        same(follower, strict.dsn)
        # While it runs: what is connected goes on, and what breaks is refused until the password is right again.
        seen = len(follower.errors)
        sql.execute("ALTER ROLE ann PASSWORD 'another'")
        sql.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        await follower.until(lambda: any(REFUSED in error.message for error in follower.errors[seen:]))
        sql.execute("DELETE FROM notes WHERE id < 10")
        sql.execute(MEND)
        await follower.caught_up()
        same(follower, strict.dsn)
        await follower.close()
    without_secret(caplog.text)


@pytest.mark.slow
def test_a_served_app_tells_a_wrong_password_and_recovers(strict: TemporaryPostgres, tmp_path: Path):
    fill(strict.dsn)
    server = Server(tmp_path, dsn_of(strict, "url"))
    server.start()
    try:

        def told() -> None:
            found = server.freshness()
            texts = [f"{problem['kind']}: {problem['message']} {problem['hint']}" for problem in found["problems"]]
            assert texts
            assert all("source_failed" in text and REFUSED in text for text in texts), texts
            assert {table["status"] for table in found["tables"].values()} <= {"stale", "unknown"}
            assert {table["as_of"] for table in found["tables"].values()} == {None}
            without_secret(str(found))

        eventually(told)
        eventually(lambda: _tried(server, 5), 20)
        assert len(re.findall(REFUSED, strict.log())) <= 12, "each is one connection, and they become rare"
        with psycopg.connect(strict.dsn, autocommit=True) as sql:
            sql.execute(MEND)
        now = CLOCK.now()

        def recovered() -> None:
            found = server.freshness()
            assert not found["problems"]
            assert {table["status"] for table in found["tables"].values()} == {"fresh"}

        eventually(recovered)
        assert CLOCK.now() - now < 15_000_000
        assert not server.complaints()
    finally:
        assert server.stop() == 0
    without_secret(server.log.read_text(errors="replace"))


def _tried(server: Server, times: int) -> None:
    counts = [int(count) for count in re.findall(r"failed \((\d+) times in a row\)", server.log.read_text())]
    assert counts
    assert max(counts) >= times
