"""The torture run: an app is served over a database that several writers change, and everything is killed in turn.

Two oracles look at it all the time: a reader, for whom no transaction may ever be half there and no as-of ahead of the
truth, and quiet points, at which the live tables must equal the database. A seed draws what is done; what comes of it
also hangs on timing, so a failure shows the seed and everything that was done.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psycopg
from postgres_writers import ACCOUNTS, CLOCK, STARTING, Writer, fill

import headrace
from headrace.core.clock import SECOND
from headrace.core.errors import HeadraceError
from headrace.core.schema import Row, Schema, TableKind, encode
from headrace.demo.postgres import TemporaryPostgres
from headrace.store.connection import open_reader

HERE = Path(__file__).parent
APP = HERE / "postgres_torture_app.py"
SLOT = "headrace_torture"
BAD_LINES = re.compile(r"Traceback|\bERROR\b|CRITICAL|Task exception|never retrieved|\w+Warning:")
NEVER = "1970-01-01T00:00:00Z"
EXPRESSIONS = {"r": "format('%%s', r)", "net": "format('%%s', net)", "bits": "format('%%s', bits)"}
"""What psycopg has classes of its own for is compared as text."""


class Server:
    """`headrace serve` as its own family of processes, and its log."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.data = folder / "data"
        self.log = folder / "serve.log"
        self.url = ""
        self.peak_kib = 0
        self._dsn = dsn
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        at = self.log.stat().st_size if self.log.exists() else 0
        path = os.pathsep.join([str(Path(headrace.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"HEADRACE_TORTURE_DSN": self._dsn, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1"}
        command = [sys.executable, "-m", "headrace", "serve", str(APP), "--data", str(self.data), "--port", "0"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        end = CLOCK.monotonic() + 60
        while True:
            found = re.search(rb"serving \S+ on (http\S+)", self.log.read_bytes()[at:])
            if found is not None:
                self.url = found[1].decode()
                return
            assert self._process.poll() is None, f"it ended: {self.tail()}"
            assert CLOCK.monotonic() < end, f"it does not serve: {self.tail()}"
            pause(0.05)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def children(self) -> list[int]:
        """The engine, then the workers."""
        try:
            text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in text.split()]

    @property
    def engine(self) -> int | None:
        """The process that writes: the one that holds the store."""
        for pid in self.children():
            with contextlib.suppress(OSError):
                if any("live.db.lock" in str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()):
                    return pid
        return None

    def kill_all(self) -> None:
        """Every process at once, as if the machine's memory had run out."""
        family = [self.process.pid, *self.children()]
        for pid in family:
            signalled(pid, signal.SIGKILL)
        self.process.wait(20)
        for pid in family[1:]:
            eventually(lambda pid=pid: not_there(pid))

    def stop(self) -> int:
        engine = self.engine
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            if engine is not None:  # let the log say where it stands
                signalled(engine, signal.SIGABRT)
            return self.process.wait(60)

    def signal_all(self, number: int) -> None:
        for pid in [self.process.pid, *self.children()]:
            signalled(pid, number)

    def freshness(self) -> dict[str, Any]:
        return httpx.get(f"{self.url}/freshness", timeout=10).raise_for_status().json()

    def read(self, view: str, **params: Any) -> dict[str, Any]:
        return httpx.get(f"{self.url}/context/{view}", params=params, timeout=10).raise_for_status().json()

    def memory(self) -> tuple[int, int]:
        """Of the engine, in KiB: resident now, and the most so far."""
        engine = self.engine
        if engine is None:
            return 0, self.peak_kib
        with contextlib.suppress(OSError, AttributeError):
            text = Path(f"/proc/{engine}/status").read_text()
            now = int(re.search(r"VmRSS:\s+(\d+)", text)[1])  # pyright: ignore
            self.peak_kib = max(self.peak_kib, int(re.search(r"VmHWM:\s+(\d+)", text)[1]))  # pyright: ignore
            return now, self.peak_kib
        return 0, self.peak_kib

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def complaints(self) -> list[str]:
        """Lines of the log that nobody should ever see."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if BAD_LINES.search(line)]

    def audit(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "headrace", "audit", str(APP), "--data", str(self.data), "--json"]
        path = os.pathsep.join([str(Path(headrace.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"HEADRACE_TORTURE_DSN": self._dsn, "PYTHONPATH": path}
        done = subprocess.run(
            [*command, "--sample", "1000"], capture_output=True, text=True, env=environment, timeout=60
        )
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def signalled(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def not_there(pid: int) -> None:
    state = ""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    assert state in ("", "Z"), f"process {pid} is still there"


def eventually(check: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = CLOCK.monotonic() + seconds
    while True:
        try:
            return check()
        except (AssertionError, httpx.HTTPError, OSError, ValueError, psycopg.Error, HeadraceError):
            if CLOCK.monotonic() > end:
                raise
            pause(0.05)


def instant(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * SECOND + moment.microsecond


class Watch(threading.Thread):
    """Reads over HTTP without a pause, and remembers the first thing that cannot be."""

    def __init__(self, server: Server, writers: list[Writer]) -> None:
        super().__init__(name="watch", daemon=True)
        self.wrong: str | None = None
        self.reads = 0
        self._server = server
        self._writers = {writer.number: writer for writer in writers}
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(0.01) and self.wrong is None:
            try:
                with httpx.Client(base_url=self._server.url, timeout=10) as client:
                    while not self._stopping.wait(0.01) and self.wrong is None:
                        self.wrong = self._look(client)
            except (httpx.TransportError, httpx.InvalidURL):
                self._stopping.wait(0.1)
            except Exception as error:  # whoever looks after the run reports it
                self.wrong = f"a read failed: {error!r}"

    def _look(self, client: httpx.Client) -> str | None:
        asked = {"reads": [{"view": "books", "params": {"shard": 0}}, {"view": "marked", "params": {"shard": 0}}]}
        answer = client.post("/context", json=asked)
        if answer.status_code == 503:
            return None
        books, marked = answer.raise_for_status().json()["answers"]
        self.reads += 1
        if books["as_of"] is None or marked["as_of"] is None:  # the engine has just begun
            return None
        rows = books["rows"]
        odd = [row for row in rows if row["balance"] != row["amount"]]
        total = sum(row["balance"] for row in rows)
        if odd or total != ACCOUNTS * STARTING:
            return f"half of a transaction as of {books['as_of']}: total {total} of {len(rows)} rows, {odd[:5]}"
        as_of, seen = instant(marked["as_of"]), {row["writer"]: row["n"] for row in marked["rows"]}
        for number, writer in self._writers.items():
            due = max((n for at, n in writer.marks[-3000:] if at <= as_of), default=0)
            if seen.get(number, 0) < due:
                return f"as of {marked['as_of']} it had committed {due}, and {seen.get(number)} is shown: {writer.name}"
        return None

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)


class Torture:
    """One run against one server."""

    def __init__(self, postgres: TemporaryPostgres, dsn: str, folder: Path, seed: int, *, writers: int = 4) -> None:
        self.seed = seed
        self.history: list[str] = []
        self.points = 0
        self.memories: list[int] = []
        self.postgres = postgres
        self.dsn = dsn
        self.server = Server(folder, dsn)
        self.writers = [Writer(n, dsn, seed, big=n == 0) for n in range(writers)]
        self.watch = Watch(self.server, self.writers)
        self.schemas = self._schemas()
        self._draw = Random(f"{seed}-chaos")
        self._began = CLOCK.monotonic()
        self._copies = 0

    def _schemas(self) -> Mapping[str, tuple[str, Schema]]:
        os.environ["HEADRACE_TORTURE_DSN"] = self.dsn
        app = headrace.load_app(APP)
        return {n: ("full_rows" if n == "whole" else n, table.schema) for n, table in app.tables.items()}

    def run(self, seconds: float, *, between: tuple[float, float] = (0.2, 2.5), quiet_every: float = 8.0) -> None:
        """Let it run for about so long, with a quiet point at least at the end.

        Raises
        ------
        AssertionError
            Something is not as it must be; the message says the seed and what was done.
        """
        try:
            fill(self.dsn)
            self.server.start()
            for writer in self.writers:
                writer.start()
                writer.go_on()
            self.watch.start()
            end = CLOCK.monotonic() + seconds
            while CLOCK.monotonic() < end:
                until = min(end, CLOCK.monotonic() + quiet_every)
                while CLOCK.monotonic() < until:
                    pause(self._draw.uniform(*between))
                    self._chaos()
                    self._still_right()
                self.quiet_point()
        except BaseException as error:
            text = "\n".join(self.history)
            raise AssertionError(
                f"seed {self.seed}, PostgreSQL {self.postgres.version}: {error}\n--- what was done\n{text}\n"
                f"--- log\n{self.server.tail()}"
            ) from error
        finally:
            self.close()

    def close(self) -> None:
        self.watch.stop()
        with contextlib.suppress(Exception):
            if self.postgres.process is None or self.postgres.process.poll() is not None:
                self.postgres.start()
        for writer in self.writers:
            if writer.is_alive():
                writer.stop()
        self.server.signal_all(signal.SIGCONT)
        self.server.stop()

    def note(self, text: str) -> None:
        self.history.append(f"{CLOCK.monotonic() - self._began:8.2f} {text}")
        if os.environ.get("HEADRACE_TORTURE_SHOW"):
            print(self.history[-1], flush=True)

    def _still_right(self) -> None:
        assert self.watch.wrong is None, self.watch.wrong
        for writer in self.writers:
            assert writer.error is None, f"{writer.name}: {writer.error!r}"
        complaints = self.server.complaints()
        assert not complaints, f"the log says: {complaints[:5]}"

    def _chaos(self) -> None:
        does = self._draw.choices(
            (self._kill_engine, self._kill_server, self._stop_server, self._kill_worker, self._freeze,
             self._terminate_sender, self._kill_sender, self._terminate_all, self._restart_postgres,
             self._crash_postgres, self._kill_postmaster, self._drop_slot, self._nothing),
            (3, 3, 1, 1, 1, 3, 1, 2, 1, 2, 1, 1, 3),
        )[0]  # fmt: skip
        self.note(does.__name__.strip("_"))
        does()

    def _nothing(self) -> None:
        pass

    def _kill_engine(self) -> None:
        engine = self.server.engine
        if engine is not None:
            signalled(engine, signal.SIGKILL)

    def _kill_worker(self) -> None:
        others = [pid for pid in self.server.children() if pid != self.server.engine]
        if others:
            signalled(self._draw.choice(others), signal.SIGKILL)

    def _kill_server(self) -> None:
        self.server.kill_all()
        pause(self._draw.choice((0, 0.5)))
        self.server.start()

    def _stop_server(self) -> None:
        assert self.server.stop() == 0, f"it did not end with 0: {self.server.tail()}"
        self.server.start()

    def _freeze(self) -> None:
        self.server.signal_all(signal.SIGSTOP)
        pause(self._draw.choice((0.3, 1.5)))
        self.server.signal_all(signal.SIGCONT)

    def _sql(self, query: str) -> list[Any]:
        try:
            with psycopg.connect(self.dsn, autocommit=True, connect_timeout=5) as db:
                return db.execute(query).fetchall()  # pyright: ignore
        except psycopg.Error as error:
            self.note(f"  {error}")
            return []

    def _terminate_sender(self) -> None:
        self._sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")

    def _kill_sender(self) -> None:
        for (pid,) in self._sql("SELECT active_pid FROM pg_replication_slots WHERE active"):
            signalled(pid, signal.SIGKILL)

    def _terminate_all(self) -> None:
        self._sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'headrace%'")

    def _restart_postgres(self) -> None:
        self._restart(signal.SIGINT)

    def _crash_postgres(self) -> None:
        self._restart(signal.SIGQUIT)

    def _kill_postmaster(self) -> None:
        self._restart(signal.SIGKILL)

    def _restart(self, how: signal.Signals) -> None:
        self.postgres.stop(how)
        pause(self._draw.choice((0, 0, 1.0)))
        eventually(self.postgres.start)  # children of a postmaster that was killed may take a moment to notice

    def _drop_slot(self) -> None:
        """What an administrator would do whose disk is full. The copy is made anew, and readers see nothing of it."""
        for _ in range(200):
            left = self._sql(
                f"""SELECT CASE WHEN active THEN pg_terminate_backend(active_pid)::text
                ELSE pg_drop_replication_slot(slot_name)::text END FROM pg_replication_slots
                WHERE slot_name = '{SLOT}'"""
            )
            if not left or left == [("",)]:
                return

    def quiet_point(self) -> None:
        """Nobody writes: when everything is in, the live tables are the database."""
        self.points += 1
        for writer in self.writers:
            writer.pause()
        for writer in self.writers:
            writer.wait_idle()
        self.note("quiet")
        now, began = CLOCK.now(), CLOCK.monotonic()
        eventually(lambda: self._is_in(now), 90)
        took = CLOCK.monotonic() - began
        self._still_right()
        eventually(self._compare, 1)
        self._check_counts()
        resident, peak = self.server.memory()
        self.memories.append(resident)
        commits = sum(writer.commits for writer in self.writers)
        self.note(
            f"equal after {took:.2f} s: {commits} commits, {self.watch.reads} reads, "
            f"{resident >> 10} MiB (at most {peak >> 10})"
        )
        for writer in self.writers:
            writer.go_on()

    def _is_in(self, now: int) -> None:
        found = self.server.freshness()
        for name in self.schemas:
            table = found["tables"][name]
            assert instant(table["as_of"] or NEVER) >= now, f"{name}: {table}, {found['problems']}"
            assert table["status"] == "fresh", f"{name}: {table}"
        assert not found["problems"], found["problems"]

    def _compare(self) -> None:
        db = open_reader(self.server.data / "live.db")
        try:
            with psycopg.connect(self.dsn) as sql:
                for name, (relation, schema) in self.schemas.items():
                    differing = difference(stored(db, schema), at_server(sql, relation, schema))
                    assert not differing, f"{name}: {differing}"
                regions = sql.execute("SELECT region, count(*), sum(v) FROM parts GROUP BY 1").fetchall()
        finally:
            db.close()
        kept = [(row["region"], row["n"], row["total"]) for row in self.server.read("by_region")["rows"]]
        assert sorted(kept) == sorted(regions), f"by_region: {kept} {regions}"
        audit = self.server.audit()
        assert not audit["differences"], audit

    def _check_counts(self) -> None:
        found = self.server.freshness()
        for name, table in found["tables"].items():
            counters = table["counters"]
            assert not counters["quarantined"], (
                f"{name}: {counters} {httpx.get(self.server.url + '/quarantine').text[:2000]}"
            )
        with psycopg.connect(self.dsn) as sql:
            events = sql.execute("SELECT count(*) FROM moves").fetchone()[0]  # pyright: ignore
        counters = found["tables"]["moves"]["counters"]
        assert counters["accepted"] == events, f"moves: {counters}, {events} rows"
        slots = self._sql("SELECT slot_name FROM pg_replication_slots WHERE NOT temporary")
        assert slots == [(SLOT,)], f"slots at the server: {slots}"


def stored(db: Any, schema: Schema) -> dict[Row, Row]:
    """The rows that readers see, by key, in storage form."""
    names = ", ".join(f'"{name}"' for name in schema.names)
    return keyed([tuple(row) for row in db.execute(f'SELECT {names} FROM "{schema.name}"')], schema)


def at_server(db: psycopg.Connection[Any], relation: str, schema: Schema) -> dict[Row, Row]:
    """The rows of the database, by key, as they would be stored."""
    names = ", ".join(EXPRESSIONS.get(name, f'"{name}"').replace("%%", "%") for name in schema.names)
    found = db.execute(f"SELECT {names} FROM {relation}").fetchall()  # pyright: ignore
    for i, name in enumerate(schema.names):
        if name in EXPRESSIONS:  # format gives no NULL
            nulls = db.execute(f'SELECT id FROM {relation} WHERE "{name}" IS NULL').fetchall()  # pyright: ignore
            gone = {row[0] for row in nulls}
            found = [(*row[:i], None, *row[i + 1 :]) if row[0] in gone else row for row in found]
    rows = [tuple(encode(c.type, v) for c, v in zip(schema.columns, row, strict=True)) for row in found]
    return keyed(rows, schema)


def keyed(rows: list[Row], schema: Schema) -> dict[Row, Row]:
    found = {tuple(row[i] for i in schema.key_positions): row for row in rows}
    assert len(found) == len(rows), f"{schema.name}: a key is there twice"
    assert schema.kind is TableKind.EVENTS or schema.key
    return found


def difference(live: dict[Row, Row], true: dict[Row, Row]) -> str:
    """What a person needs to know; empty when they are equal."""
    if live == true:
        return ""
    lacking, extra = [k for k in true if k not in live], [k for k in live if k not in true]
    other = [(live[k], row) for k, row in true.items() if k in live and live[k] != row]
    columns = [tuple((a, b) for a, b in zip(*pair, strict=True) if a != b) for pair in other[:3]]
    return (
        f"{len(live)} rows, {len(true)} at the server; lacking {len(lacking)}: {lacking[:5]}; "
        f"too many {len(extra)}: {extra[:5]}; other {len(other)}: {str(columns)[:1500]}"
    )
