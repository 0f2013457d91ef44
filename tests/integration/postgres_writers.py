"""Writers of the torture run: ordinary SQL from several connections, drawn from a seed."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import psycopg

from headrace.core.clock import SystemClock

CLOCK = SystemClock()
ACCOUNTS, STARTING = 40, 1000
BIG = 50_000

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE accounts (id bigint PRIMARY KEY, shard int NOT NULL DEFAULT 0, owner text NOT NULL, balance bigint NOT NULL);
CREATE TABLE ledger (account bigint PRIMARY KEY, amount bigint NOT NULL, note text);
CREATE TABLE marks (writer int PRIMARY KEY, shard int NOT NULL DEFAULT 0, n bigint NOT NULL);
CREATE TABLE moves (id bigserial PRIMARY KEY, src bigint NOT NULL, dst bigint NOT NULL, amount bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE typed (id bigint PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, num numeric, t text,
    vc varchar(40), ch char(8), ts timestamp, tz timestamptz, d date, tm time, iv interval, u uuid, j json, jb jsonb,
    ints int[], texts text[], by bytea, mood mood, pos positive, r int4range, net inet, bits varbit);
CREATE TABLE wide (id int PRIMARY KEY, body text, n int NOT NULL, note text);
ALTER TABLE wide ALTER body SET STORAGE EXTERNAL;
CREATE TABLE pairs (b text, v numeric, a int, at timestamptz, PRIMARY KEY (a, b));
CREATE TABLE parts (region text NOT NULL, id int NOT NULL, v int NOT NULL, PRIMARY KEY (region, id))
    PARTITION BY LIST (region);
CREATE TABLE parts_north PARTITION OF parts FOR VALUES IN ('north');
CREATE TABLE parts_south PARTITION OF parts FOR VALUES IN ('south', 'south-east');
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
CREATE TABLE full_rows (id int NOT NULL, code text, body text);
ALTER TABLE full_rows REPLICA IDENTITY FULL;
ALTER TABLE full_rows ALTER body SET STORAGE EXTERNAL;
CREATE TABLE scratch (id int PRIMARY KEY, v text);
CREATE TABLE bulk (id bigint PRIMARY KEY, batch int NOT NULL, v text NOT NULL);
CREATE TABLE undeclared (id bigserial PRIMARY KEY, v text);
INSERT INTO undeclared (v) SELECT 'n' FROM generate_series(1, 10);
INSERT INTO bulk SELECT i, 0, md5(i::text) FROM generate_series(1, 3000) i;
"""
REGIONS = ("north", "south", "south-east", "west", "")
TEXTS = (
    "",
    "ordinary",
    "it's",
    'quo"ted',
    "back\\slash",
    "tab\tnew\nline\r",
    "ünïcödé ☃ 😀",
    "\\N",
    "NULL",
    "{a,b}",
    " pad ",
)


def fill(dsn: str) -> None:
    """Make the tables, and what the invariant starts from."""
    with psycopg.connect(dsn) as db:
        db.execute(TABLES)  # pyright: ignore
        for n in range(ACCOUNTS):
            db.execute("INSERT INTO accounts VALUES (%s, 0, %s, %s)", [n, f"owner {n}", STARTING])
            db.execute("INSERT INTO ledger VALUES (%s, %s)", [n, STARTING])


class Writer(threading.Thread):
    """One connection that commits what it draws until it is stopped, and waits while it is paused.

    Attributes
    ----------
    marks
        What it knows to be committed: (our clock after the commit, its own counter, which the commit wrote).
    """

    def __init__(self, number: int, dsn: str, seed: int, *, big: bool = False) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.number = number
        self.marks: list[tuple[int, int]] = []
        self.commits = 0
        self.error: BaseException | None = None
        self._dsn = dsn
        self._draw = Random(f"{seed}-{number}")
        self._big = big
        self._run_on = threading.Event()
        self._idle = threading.Event()
        self._stopping = threading.Event()
        self._fresh = 1_000 * (number + 1)

    def pause(self) -> None:
        self._run_on.clear()

    def go_on(self) -> None:
        self._idle.clear()
        self._run_on.set()

    def wait_idle(self, seconds: float = 60.0) -> None:
        assert self._idle.wait(seconds), f"{self.name} did not pause: {self.error!r}"

    def stop(self) -> None:
        self._stopping.set()
        self._run_on.set()
        self.join(60)

    def run(self) -> None:
        db: psycopg.Connection[Any] | None = None
        while not self._stopping.is_set():
            if not self._run_on.is_set():
                self._idle.set()
                self._run_on.wait()
                continue
            try:
                if db is None or db.closed:
                    # Values stand in the text, so that their types are guessed as in a person's SQL.
                    db = psycopg.connect(self._dsn, connect_timeout=5, cursor_factory=psycopg.ClientCursor)
                self._transaction(db)
            except (psycopg.OperationalError, psycopg.errors.IntegrityError):
                # Deadlocks, restarts, keys that others took: the database says what holds, and it is asked.
                with contextlib.suppress(psycopg.Error):
                    if db is not None and not db.closed:
                        db.rollback()
                self._stopping.wait(0.02)
            except BaseException as error:  # whoever looks after the run reports it
                self.error = error
                break
        if db is not None:
            db.close()

    def _transaction(self, db: psycopg.Connection[Any]) -> None:
        draw = self._draw
        if self._big and draw.random() < 0.3:
            self._bulk(db)
        for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
            self._action()(db)
        if draw.random() < 0.1:
            db.rollback()
            return
        n = (self.marks[-1][1] if self.marks else 0) + draw.randint(1, 3)
        n = db.execute(
            "INSERT INTO marks AS m VALUES (%s, 0, %s) ON CONFLICT (writer) DO UPDATE "
            "SET n = greatest(m.n + 1, excluded.n) RETURNING n",
            [self.number, n],
        ).fetchone()[0]  # pyright: ignore
        db.commit()
        self.marks.append((CLOCK.now(), n))
        self.commits += 1
        if draw.random() < 0.2:
            self._stopping.wait(draw.random() * 0.03)

    def _action(self) -> Callable[[psycopg.Connection[Any]], None]:
        return self._draw.choices(
            (self._transfer, self._rename, self._open_and_close, self._typed, self._wide, self._pairs, self._parts,
             self._full, self._scratch, self._savepoint, self._undeclared),
            (8, 1, 1, 4, 4, 4, 4, 4, 3, 2, 1),
        )[0]  # fmt: skip

    def _transfer(self, db: psycopg.Connection[Any]) -> None:
        found = db.execute(
            "SELECT id FROM accounts ORDER BY random() LIMIT 2"
        ).fetchall()  # locked in order below, so that few deadlock
        if len(found) < 2:
            return
        (src,), (dst,) = found
        amount = self._draw.randint(1, 50)
        ids = sorted((src, dst))
        locked = db.execute("SELECT id FROM accounts WHERE id = ANY (%s) ORDER BY id FOR UPDATE", [ids]).fetchall()
        if len(locked) < 2:
            return
        for account, change in ((src, -amount), (dst, amount)):
            db.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", [change, account])
            db.execute("UPDATE ledger SET amount = amount + %s WHERE account = %s", [change, account])
        db.execute("INSERT INTO moves (src, dst, amount) VALUES (%s, %s, %s)", [src, dst, amount])

    def _rename(self, db: psycopg.Connection[Any]) -> None:
        """A key change, in two tables at once."""
        found = db.execute("SELECT id FROM accounts ORDER BY random() LIMIT 1 FOR UPDATE").fetchone()
        if found is not None:
            self._fresh += 1
            db.execute("UPDATE accounts SET id = %s WHERE id = %s", [self._fresh, found[0]])
            db.execute("UPDATE ledger SET account = %s, note = 'moved' WHERE account = %s", [self._fresh, found[0]])

    def _open_and_close(self, db: psycopg.Connection[Any]) -> None:
        self._fresh += 1
        db.execute("INSERT INTO accounts VALUES (%s, 0, 'new', 0)", [self._fresh])
        db.execute("INSERT INTO ledger VALUES (%s, 0)", [self._fresh])
        gone = db.execute("DELETE FROM accounts WHERE balance = 0 AND id < %s RETURNING id", [self._fresh]).fetchall()
        db.execute("DELETE FROM ledger WHERE account = ANY (%s)", [[row[0] for row in gone]])

    def _typed(self, db: psycopg.Connection[Any]) -> None:
        ids = [self._draw.randint(1, 60) for _ in range(self._draw.choice((1, 1, 5)))]
        if self._draw.random() < 0.2:
            db.execute("DELETE FROM typed WHERE id = ANY (%s)", [ids])
            return
        for number in ids:
            values = self._values()
            names = [name for name in values if self._draw.random() < 0.8] or ["t"]
            marks = ", ".join(["%s"] * (len(names) + 1))
            sets = ", ".join(f"{name} = excluded.{name}" for name in names)
            db.execute(
                f"INSERT INTO typed (id, {', '.join(names)}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {sets}",  # pyright: ignore
                [number, *(values[name] for name in names)],
            )

    def _values(self) -> dict[str, Any]:
        draw = self._draw
        text = draw.choice(TEXTS)
        doc = {"k": text, "n": draw.randint(-(2**53), 2**53), "list": [1, None, True, {"x": 1.5}], "": {}}
        values: dict[str, Any] = {
            "b": draw.random() < 0.5,
            "i2": draw.choice((-32768, 0, 32767)),
            "i4": draw.randint(-(2**31), 2**31 - 1),
            "i8": draw.choice((-(2**63), 2**63 - 1, draw.randint(-9, 9))),
            "f4": draw.choice((0.1, -1.5e-30, 3.4e38)),
            "f8": draw.choice((draw.random(), 5e-324, 1.7976931348623157e308, -0.0)),
            "num": draw.choice(("12345678901234567890.123456789", "-0.00001", "1.10", "0", "1e40")),
            "t": text,
            "vc": text[:40],
            "ch": text[:3],
            "ts": f"{draw.randint(1, 9999):04}-01-31 23:59:59.{draw.randint(0, 999999):06}",
            "tz": f"{draw.randint(1900, 2100)}-06-01 12:00:00.000001+{draw.randint(0, 12):02}",
            "d": f"{draw.randint(1, 9999):04}-02-28",
            "tm": f"{draw.randint(0, 23):02}:00:00.5",
            "iv": f"{draw.randint(-400, 400)} days {draw.randint(-9, 9)} hours 0.25 seconds",
            "u": f"{draw.getrandbits(128):032x}",
            "j": json.dumps(doc),
            "jb": json.dumps(draw.choice((doc, [1, [2, []]], "text", 7, True))),
            "ints": draw.choice(([], [1, 2, None], [-(2**31)])),
            "texts": draw.choice(([], [text, None, "NULL"], list(TEXTS))),
            "by": draw.randbytes(draw.choice((0, 1, 300))),
            "mood": draw.choice(("sad", "ok", 'it\'s "fine"')),
            "pos": draw.randint(1, 9),
            "r": draw.choice(("[1,5)", "empty", "(,3]")),
            "net": draw.choice(("10.0.0.1", "10.1.0.0/16", "::1")),
            "bits": draw.choice(("", "1", "010101")),
        }
        return {name: None if draw.random() < 0.15 else value for name, value in values.items()}

    def _wide(self, db: psycopg.Connection[Any]) -> None:
        draw = self._draw
        number = draw.randint(1, 25)
        kind = draw.random()
        if kind < 0.3:
            db.execute(
                "INSERT INTO wide VALUES (%s, %s, 0, %s) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                [number, self._body(), draw.choice(TEXTS)],
            )
        elif kind < 0.7:  # the body is left alone
            db.execute("UPDATE wide SET n = n + 1, note = %s WHERE id BETWEEN %s AND %s",
                       [draw.choice((None, *TEXTS)), number, number + draw.choice((0, 0, 4))])  # fmt: skip
        elif kind < 0.85:  # a new key, and the body is left alone
            db.execute("UPDATE wide SET id = %s WHERE id = %s", [draw.randint(1, 25), number])
        else:
            db.execute("DELETE FROM wide WHERE id = %s", [number])

    def _body(self) -> str | None:
        return self._draw.choice((None, "short", self._draw.randbytes(4_000).hex(), self._draw.randbytes(20_000).hex()))

    def _pairs(self, db: psycopg.Connection[Any]) -> None:
        draw = self._draw
        a, b = draw.randint(1, 8), draw.choice(TEXTS)
        kind = draw.random()
        if kind < 0.5:
            db.execute(
                "INSERT INTO pairs (a, b, v, at) SELECT %s, %s || i, %s, now() FROM generate_series(1, %s) i "
                "ON CONFLICT (a, b) DO UPDATE SET v = pairs.v + 1",
                [a, b, draw.choice((None, "0.10", "-5")), draw.choice((1, 3, 30))],
            )
        elif kind < 0.75:
            db.execute("UPDATE pairs SET a = a + 1, at = NULL WHERE a = %s AND b LIKE %s", [a, f"{b[:1]}%"])
        else:
            db.execute("DELETE FROM pairs WHERE a = %s", [a])

    def _parts(self, db: psycopg.Connection[Any]) -> None:
        draw = self._draw
        region, number = draw.choice(REGIONS), draw.randint(1, 100)
        kind = draw.random()
        if kind < 0.5:
            db.execute(
                "INSERT INTO parts VALUES (%s, %s, %s) ON CONFLICT (region, id) DO UPDATE SET v = parts.v + 1",
                [region, number, draw.randint(-5, 5)],
            )
        elif kind < 0.75:  # from one partition to another
            db.execute("UPDATE parts SET region = %s, v = v + 1 WHERE region = %s AND id = %s",
                       [draw.choice(REGIONS), region, number])  # fmt: skip
        elif kind < 0.97:
            db.execute("DELETE FROM parts WHERE region = %s AND id < %s", [region, number // 4])
        else:
            # Of the whole table: the server does not send the TRUNCATE of one partition (its documented limit).
            db.execute("TRUNCATE parts")

    def _full(self, db: psycopg.Connection[Any]) -> None:
        draw = self._draw
        number = draw.randint(1, 30) + 1_000 * self.number  # nothing keeps two writers from the same key
        kind = draw.random()
        if kind < 0.4:
            db.execute("DELETE FROM full_rows WHERE id = %s", [number])
            db.execute("INSERT INTO full_rows VALUES (%s, %s, %s)", [number, draw.choice(TEXTS), self._body()])
        elif kind < 0.8:
            db.execute("UPDATE full_rows SET code = %s WHERE id = %s", [draw.choice((None, *TEXTS)), number])
        else:
            db.execute("DELETE FROM full_rows WHERE id = %s", [number])

    def _scratch(self, db: psycopg.Connection[Any]) -> None:
        draw = self._draw
        if draw.random() < 0.06:
            db.execute(f"TRUNCATE {draw.choice(('scratch', 'scratch, wide', 'pairs, scratch'))}")  # pyright: ignore
        db.execute(
            "INSERT INTO scratch SELECT i, %s FROM generate_series(%s, %s) i ON CONFLICT (id) DO UPDATE SET v = excluded.v",
            [draw.choice(TEXTS), number := draw.randint(1, 500), number + draw.choice((0, 10, 300))],
        )

    def _savepoint(self, db: psycopg.Connection[Any]) -> None:
        """What is rolled back to a savepoint was never there; sometimes it is large enough to have been streamed."""
        count = self._draw.choice((3, 3, 2000))
        for keep in (self._draw.random() < 0.5, self._draw.random() < 0.5):
            db.execute("SAVEPOINT s")
            db.execute(
                "INSERT INTO scratch SELECT i, 'saved' FROM generate_series(1000, %s) i "
                "ON CONFLICT (id) DO UPDATE SET v = scratch.v || '.'",
                [1000 + count],
            )
            self._wide(db)
            db.execute("RELEASE s" if keep else "ROLLBACK TO s")
        if count > 100:
            db.execute("DELETE FROM scratch WHERE id > 1100")

    def _undeclared(self, db: psycopg.Connection[Any]) -> None:
        db.execute("UPDATE undeclared SET v = left(v || 'x', 100) WHERE mod(id, 3) = 0")

    def _bulk(self, db: psycopg.Connection[Any]) -> None:
        """A transaction of tens of thousands of rows, together with money that moves."""
        draw = self._draw
        kind = draw.random()
        if kind < 0.4:
            db.execute(
                "INSERT INTO bulk SELECT i, 1, md5(i::text) FROM generate_series(%s, %s) i "
                "ON CONFLICT (id) DO UPDATE SET batch = bulk.batch + 1",
                [first := draw.randint(1, 30_000), first + BIG],
            )
        elif kind < 0.7:
            db.execute("UPDATE bulk SET batch = batch + 1, v = v || 'y' WHERE id <= %s", [BIG])
        elif kind < 0.85:
            db.execute("DELETE FROM bulk WHERE mod(id, 2) = %s", [draw.randint(0, 1)])
        elif kind < 0.95:
            db.execute("DELETE FROM bulk")
        else:
            db.execute("TRUNCATE bulk")
        self._transfer(db)
