"""Servers for the tests of change capture: one per version and module, a new database for each test."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
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

OTHERS = [Path(text) for text in os.environ.get("HEADRACE_TEST_POSTGRES", "").split(os.pathsep) if text]
"""Folders with the binaries of more servers to test with: `HEADRACE_TEST_POSTGRES=/opt/pg14/bin make test`."""

FOLDERS = {str(path): path for path in dict.fromkeys((binaries(), packaged_binaries(), *OTHERS)) if path is not None}


def version(folder: str) -> str:
    """The major version of the server in a folder, for the names of tests."""
    if folder not in FOLDERS:
        return folder
    told = subprocess.run([f"{folder}/postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"\d+", told)[0]  # pyright: ignore


_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=list(FOLDERS) or ["none"], ids=version)
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
