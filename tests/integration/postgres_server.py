"""Servers for the tests of change capture: one per version and module, a new database for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from headrace.demo.postgres import TemporaryPostgres, binaries, packaged_binaries

FAST = {
    "fsync": "off",
    "wal_sender_timeout": "5s",
    "logical_decoding_work_mem": "64kB",
    "max_connections": "60",
    "max_prepared_transactions": "4",
}
"""A server that streams transactions of some size while they are still under way, and misses us soon."""

FOLDERS = {str(path): path for path in dict.fromkeys((binaries(), packaged_binaries())) if path is not None}
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=list(FOLDERS) or ["none"], ids=lambda p: "18" if "site-packages" in p else "15")
def server(request: pytest.FixtureRequest) -> Iterator[TemporaryPostgres]:
    """A running server; tests that restart it bring it up again."""
    if request.param not in FOLDERS:
        pytest.skip("needs a PostgreSQL server")
    with TemporaryPostgres(FAST, folder=Path(FOLDERS[request.param])) as running:
        yield running


@pytest.fixture
def sql(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to the test's database, in autocommit mode."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def dsn(server: TemporaryPostgres) -> Iterator[str]:
    """A database of its own; slots that a test leaves behind are dropped."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # pyright: ignore
    yield f"{server.dsn.rsplit('/', 1)[0]}/{name}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(_END, [name])
        for _ in range(50):
            if not connection.execute(_LEFT, [name]).fetchall():
                break
            connection.execute(_DROP, [name])
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # pyright: ignore


_END = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s AND active"
_LEFT = "SELECT slot_name FROM pg_replication_slots WHERE database = %s"
_DROP = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s AND NOT active"
