"""A crash between every two steps of every commit, and a power cut after any byte: nothing lost, nothing doubled.

The script below touches everything that a transaction can hold. A crash is a copy of the files at that moment (what
`kill -9` leaves); a power cut is such a copy with the log cut back to what was synced, or torn anywhere after it. Then
the store is opened again, its source resumes from the stored position, producers ask again for what was not
acknowledged, and the end must equal the run without a crash.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import pytest

from headrace.core.changes import Deletes, Judged, Receipt, Upserts, Violation
from headrace.core.clock import SimulatedClock
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.store.base import Delta, Idempotency, Submission
from headrace.store.check import check
from headrace.store.sqlite import SqliteStore
from headrace.store.steps import STEPS

TEXT, INTEGER = ColumnType.TEXT, ColumnType.INTEGER

ITEMS = Schema(
    "items",
    TableKind.TABLE,
    (Column("id", TEXT), Column("shop", TEXT), Column("stock", INTEGER)),
    key=("id",),
    indexes=(("shop",),),
)
SALES = Schema(
    "sales",
    TableKind.EVENTS,
    (Column("sale", INTEGER), Column("shop", TEXT), Column("cents", INTEGER), Column("at", ColumnType.TIMESTAMP)),
    key=("sale",),
    event_time="at",
    keep=10**12,
)


class Totals:
    """A rollup in small: cents per shop, added up event by event, so that one event twice or not at all shows."""

    name = "totals"
    inputs = frozenset({"sales"})

    def __init__(self) -> None:
        self.pending: dict[str, int] = {}

    def setup(self, db: apsw.Connection) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS totals (shop TEXT PRIMARY KEY, cents INTEGER)")

    def before(self, db: apsw.Connection, delta: Delta) -> None: ...

    def after(self, db: apsw.Connection, delta: Delta, *, txn: int) -> None:
        for _, shop, cents, _ in delta.rows:
            self.pending[str(shop)] = self.pending.get(str(shop), 0) + int(str(cents))

    def finish(self, db: apsw.Connection, *, txn: int) -> None:
        sql = "INSERT INTO totals VALUES (?, ?) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents"
        db.executemany(sql, list(self.pending.items()))
        self.pending.clear()

    def discard(self) -> None:
        self.pending.clear()

    def housekeep(self, db: apsw.Connection, *, now: int, limit: int) -> int:
        return 0


class Stock:
    """A grouped view in small: items per shop, recomputed for the shops that a change touches, before and after."""

    name = "stock"
    inputs = frozenset({"items"})

    def __init__(self) -> None:
        self.dirty: set[str] = set()

    def setup(self, db: apsw.Connection) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS stock (shop TEXT PRIMARY KEY, items INTEGER, total INTEGER)")

    def before(self, db: apsw.Connection, delta: Delta) -> None:
        self._mark(db, delta)

    def after(self, db: apsw.Connection, delta: Delta, *, txn: int) -> None:
        self._mark(db, delta)

    def _mark(self, db: apsw.Connection, delta: Delta) -> None:
        for key in delta.keys:
            self.dirty.update(str(row[0]) for row in db.execute("SELECT shop FROM items WHERE id = ?", key))

    def finish(self, db: apsw.Connection, *, txn: int) -> None:
        for shop in sorted(self.dirty):
            db.execute("DELETE FROM stock WHERE shop = ?", (shop,))
            db.execute(
                "INSERT INTO stock SELECT shop, count(*), sum(stock) FROM items WHERE shop = ? GROUP BY shop", (shop,)
            )
        self.dirty.clear()

    def discard(self) -> None:
        self.dirty.clear()

    def housekeep(self, db: apsw.Connection, *, now: int, limit: int) -> int:
        return 0


class Streamed(list[Submission]):
    """A transaction of a source over both tables, which is given to the store piece by piece."""


def _streamed(n: int, first_sale: int) -> Streamed:
    unit, places = object(), ("items", "sales")
    rows = [(f"i{i}", f"s{n}", 10 * n + i) for i in range(5, 9)]
    sales = [(first_sale + i, f"s{i % 3}", 7, 30 + i) for i in range(4)]
    bad = [Violation(b'{"id": 1}', "gt", "stock", "-1", "stock is negative", f"stream:{n}")]
    judged = [
        Judged([Upserts(list(rows))]),
        Judged([Upserts(list(sales))], max_event_time=33),
        Judged([Deletes([("i5",)])], bad),
    ]
    pieces = [
        Submission(t, j, partition="s", version=200 + n, unit=unit)
        for t, j in zip(("items", "sales", "items"), judged, strict=True)
    ]
    pieces[-1] = replace(pieces[-1], position=f"{n}", frontier=2_000 + n, places=places)
    return Streamed(pieces)


def script() -> list[list[Submission]]:
    """Groups of submissions, each committed as one transaction; per partition, positions count up."""
    draw = random.Random(7)
    groups: list[list[Submission]] = []
    sale = 0
    for n in range(8):
        rows = [(f"i{draw.randrange(12)}", f"s{draw.randrange(3)}", draw.randrange(50)) for _ in range(6)]
        changes: list[Upserts | Deletes] = [Upserts(list(rows)), Deletes([(f"i{draw.randrange(12)}",)])]
        bad = (
            [Violation(b'{"id": %d}' % n, "gt", "stock", "-1", "stock is negative", f"items:{n}")] if n % 3 == 0 else []
        )
        table = Submission(
            "items", Judged(changes, bad), partition="p", position=f"{n}", version=100 + n, frontier=1_000 + n
        )
        sales = [(sale + i - (n % 2), f"s{i % 3}", 5 + i, 10 * n + i) for i in range(5)]  # odd ones repeat a sale
        sale += 5
        pushed = Submission(
            "sales",
            Judged([Upserts(list(sales))], max_event_time=10 * n + 4),
            idempotency=Idempotency(f"push-{n}", bytes([n])),
        )
        groups.append([table, pushed])
    groups += [_streamed(1, sale), _streamed(2, sale + 2)]
    groups.insert(3, [_copy("part", [("i1", "s1", 1), ("i2", "s2", 2)], "c0", 102)])
    groups.insert(5, [_copy("end", [("i3", "s1", 3), ("i4", "s0", 4)], "c1", 103)])
    return groups


def _copy(kind: str, rows: list[tuple[str, str, int]], position: str, version: int) -> Submission:
    judged = Judged([Upserts(list(rows))])
    return Submission("items", judged, "copy", position, version=version, snapshot=kind)  # type: ignore[arg-type]


class Crash(BaseException):
    """The process is gone."""


@dataclass
class World:
    """The outside: which producers were answered, and one run of the engine on `path`."""

    path: Path
    answered: dict[str, Receipt]

    def open(self) -> SqliteStore:
        return SqliteStore.open(self.path, [ITEMS, SALES], [Totals(), Stock()], clock=SimulatedClock())

    def run(self, groups: list[list[Submission]], crash_point: Callable[[str], None] = lambda step: None) -> None:
        store = self.open()
        store.crash_point = crash_point
        try:
            for group in groups:
                if isinstance(group, Streamed):
                    if (group[-1].position or "") > store.positions("items").get("s", ""):
                        store.commit_streamed([[submission] for submission in group])
                        store.flush()
                    continue
                left = self._not_yet(store, group)
                if not left:
                    continue
                outcomes = store.commit(left)
                store.flush()
                for submission, outcome in zip(left, outcomes, strict=True):
                    assert isinstance(outcome, Receipt)
                    if submission.idempotency is not None:
                        self.answered[submission.idempotency.key] = outcome
        finally:
            # A crashed process cannot tidy up: only the lock and the handles go, as the kernel would see to.
            store.db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            store.db.close()
            store._lock.release()

    def _not_yet(self, store: SqliteStore, group: list[Submission]) -> list[Submission]:
        """A source goes on after its stored position; a producer repeats what was not answered."""
        positions = store.positions("items")
        return [
            s
            for s in group
            if (s.position is None or s.position > positions.get(s.partition, ""))
            and (s.idempotency is None or s.idempotency.key not in self.answered)
        ]

    def state(self) -> dict[str, list[tuple[object, ...]]]:
        db = apsw.Connection(str(self.path))
        found = {name: db.execute(sql).fetchall() for name, sql in STATE.items()}
        assert check(db, [ITEMS, SALES]) == []
        db.close()
        return found


STATE = {
    "items": "SELECT id, shop, stock, _version FROM items ORDER BY id",
    "sales": "SELECT sale, shop, cents, at FROM sales ORDER BY sale",
    "tombstones": "SELECT id, _version FROM _hr_tombstones_items ORDER BY id",
    "totals": "SELECT * FROM totals ORDER BY shop",
    "stock": "SELECT * FROM stock ORDER BY shop",
    "quarantine": "SELECT table_name, position, rule, value, raw FROM _hr_quarantine ORDER BY number",
    "positions": "SELECT table_name, partition, position, frontier FROM _hr_positions ORDER BY 1, 2",
    "counters": "SELECT * FROM _hr_counters ORDER BY 1, 2",
    "watermarks": "SELECT * FROM _hr_watermarks ORDER BY 1",
    "idempotency": "SELECT table_name, key, digest FROM _hr_idempotency ORDER BY 1, 2",
    "copies": "SELECT table_name FROM _hr_snapshots",
    "seen": "SELECT * FROM _hr_seen_items ORDER BY 1",
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    world = World(tmp_path_factory.mktemp("whole") / "live.db", {})
    world.run(script())
    return world.state()


def test_the_script_is_worth_it(expected: dict[str, list[tuple[object, ...]]]) -> None:
    assert all(expected[name] for name in STATE if name not in ("copies", "seen"))
    assert ("sales", "duplicates", 6) in expected["counters"]
    assert sum(int(str(row[1])) for row in expected["totals"]) == sum(int(str(row[2])) for row in expected["sales"])


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("nth", range(10))
def test_a_crash_after_any_step_changes_nothing_in_the_end(
    tmp_path: Path, expected: dict[str, list[tuple[object, ...]]], step: str, nth: int
) -> None:
    world = World(tmp_path / "live.db", {})
    seen = 0

    def crash_point(now: str) -> None:
        nonlocal seen
        if now == step:
            seen += 1
            if seen > nth:
                _copy_files(world.path, tmp_path / "crashed")
                raise Crash

    with pytest.raises(Crash):
        world.run(script(), crash_point)
    after = replace(world, path=tmp_path / "crashed" / "live.db")
    after.run(script())
    assert after.state() == expected


@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_at_any_moment_loses_nothing_that_was_answered(
    tmp_path: Path, expected: dict[str, list[tuple[object, ...]]], seed: int
) -> None:
    draw = random.Random(seed)
    world = World(tmp_path / "live.db", {})
    moments = draw.randrange(len(script()) * len(STEPS))
    wal = Path(f"{world.path}-wal")
    synced = 0

    def crash_point(now: str) -> None:
        nonlocal moments, synced
        if now == "sync":
            synced = wal.stat().st_size
        moments -= 1
        if moments < 0:
            _copy_files(world.path, tmp_path / "crashed")
            raise Crash

    with pytest.raises(Crash):
        world.run(script(), crash_point)
    cut = tmp_path / "crashed" / "live.db"
    _tear(Path(f"{cut}-wal"), synced, draw)
    after = replace(world, path=cut, answered=dict(world.answered))
    store = after.open()
    for key in world.answered:
        assert store.db.execute("SELECT 1 FROM _hr_idempotency WHERE key = ?", (key,)).get == 1
    store.close()
    after.run(script())
    assert after.state() == expected


def _copy_files(path: Path, folder: Path) -> None:
    folder.mkdir()
    for suffix in ("", "-wal"):  # the shared index is memory: it dies with the machine, and is rebuilt after a kill
        shutil.copy(f"{path}{suffix}", folder / f"{path.name}{suffix}")


def _tear(wal: Path, synced: int, draw: random.Random) -> None:
    """Of what was written after the last sync, keep a random part, with one random piece of it never written."""
    data = bytearray(wal.read_bytes())
    del data[draw.randrange(synced, len(data) + 1) :]
    if len(data) > synced:
        hole = draw.randrange(synced, len(data))
        end = min(hole + 512, len(data))
        data[hole:end] = bytes(end - hole)
    wal.write_bytes(data)
