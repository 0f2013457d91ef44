"""Every source that Headrace ships keeps every law; one without a world fails here."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from headrace import sources
from headrace.demo.postgres import TemporaryPostgres
from headrace.sources import Files, Generator, Poll, Postgres, Push, Source
from headrace.testing import Scripted, conformance
from headrace.testing.conformance import Law, World


class LinesWorld(World):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder / "logs"
        self.folder.mkdir()

    def declare(self) -> Source:
        return Files(self.folder)

    async def happen(self, ids: Sequence[int]) -> None:
        with (self.folder / "things.jsonl").open("a") as file:
            file.writelines(json.dumps({"id": i, "note": "n"}) + "\n" for i in ids)

    def break_it(self) -> bool:
        self.folder.rename(self.folder.with_name("away"))
        return True

    def mend(self) -> None:
        self.folder.with_name("away").rename(self.folder)


class CsvWorld(LinesWorld):
    async def happen(self, ids: Sequence[int]) -> None:
        path = self.folder / "things.csv"
        head = "" if path.exists() else "id,note\n"
        with path.open("a") as file:
            file.write(head + "".join(f'{i},"two\nlines"\n' for i in ids))


class ParquetWorld(LinesWorld):
    """Each time a new file: a Parquet file is written once."""

    async def happen(self, ids: Sequence[int]) -> None:
        arrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        table = arrow.table({"id": list(ids), "note": ["n"] * len(ids)})
        parquet.write_table(table, self.folder / f"things-{ids[0]:09}.parquet", row_group_size=25_000)


class PollWorld(World):
    replaces = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.secrets = ("hunter2",)
        self.path = folder / "shop.db"
        self._execute("CREATE TABLE things (id INTEGER PRIMARY KEY, note TEXT)")

    def declare(self) -> Source:
        return Poll(
            f"sqlite:///file:{self.path}?uri=true&password=hunter2", "SELECT * FROM things ORDER BY id", every="10s"
        )

    async def happen(self, ids: Sequence[int]) -> None:
        self._execute("INSERT INTO things VALUES (?, 'n')", [(i,) for i in ids])

    def break_it(self) -> bool:
        self._execute("ALTER TABLE things RENAME TO away")
        return True

    def mend(self) -> None:
        self._execute("ALTER TABLE away RENAME TO things")

    def _execute(self, sql: str, rows: list[tuple[int]] | None = None) -> None:
        db = apsw.Connection(str(self.path))
        with db:
            db.execute(sql) if rows is None else db.executemany(sql, rows)
        db.close()


class PostgresWorld(World):
    """A database of its own on a server that all of them share."""

    hands_off = True
    server: TemporaryPostgres
    made = itertools.count(1)

    def __init__(self, folder: Path) -> None:
        super().__init__()
        name = f"world_{next(self.made)}"
        with psycopg.connect(self.server.dsn, autocommit=True) as database:
            database.execute(f"CREATE DATABASE {name}")
        self.secrets = ("hunter2",)
        self.slot = name
        self.dsn = self.server.dsn.replace("@", ":hunter2@").rpartition("/")[0] + f"/{name}"
        self._execute("CREATE TABLE things (id bigint PRIMARY KEY, note text NOT NULL)")

    def declare(self) -> Source:
        return Postgres(self.dsn, slot=self.slot)

    async def happen(self, ids: Sequence[int]) -> None:
        self._execute("INSERT INTO things SELECT unnest(%s::bigint[]), 'n'", list(ids))

    def break_it(self) -> bool:
        self.server.stop(signal.SIGQUIT)
        return True

    def mend(self) -> None:
        if self.server.process is None:
            self.server.start()

    async def close(self) -> None:
        self.mend()

    def _execute(self, sql: str, *parameters: object) -> None:
        with psycopg.connect(self.dsn) as database:
            database.execute(sql, parameters)  # pyright: ignore


class AsyncGeneratorWorld(World):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.ids: list[int] = []
        self.broken = False

    def declare(self) -> Source:
        async def things(position: str | None) -> AsyncIterator[Any]:
            at = int(position or 0)
            while True:
                if self.broken:
                    raise RuntimeError("no network")
                while at < len(self.ids):
                    at += 1
                    yield {"id": self.ids[at - 1], "note": "n"}, str(at)
                yield None
                await self.clock.sleep(0.001)

        return Generator(things, idle_is_complete=False)

    async def happen(self, ids: Sequence[int]) -> None:
        self.ids += ids

    def break_it(self) -> bool:
        self.broken = True
        return True

    def mend(self) -> None:
        self.broken = False


class ThreadGeneratorWorld(AsyncGeneratorWorld):
    """A plain iterator that blocks its thread while it has nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.news = threading.Event()

    def declare(self) -> Source:
        def things(position: str | None) -> Iterator[Any]:
            at = int(position or 0)
            while True:
                if self.broken:
                    raise RuntimeError("no network")
                while at < len(self.ids):
                    at += 1
                    yield {"id": self.ids[at - 1], "note": "n"}, str(at)
                yield None
                self.news.wait(0.002)

        return Generator(things, idle_is_complete=False)


class ScriptedWorld(World):
    heartbeats = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.script: list[Any] = []
        self.source = Scripted(self.script)

    def declare(self) -> Source:
        return self.source

    async def happen(self, ids: Sequence[int]) -> None:
        for start in range(0, len(ids), 1000):
            self.script.append([{"id": i} for i in ids[start : start + 1000]])


class PushWorld(World):
    partitions = 0
    heartbeats = False

    def __init__(self, folder: Path) -> None:
        super().__init__()

    def declare(self) -> Source:
        return Push(expect="30s")

    async def happen(self, ids: Sequence[int]) -> None:
        """Others push; nothing is read."""


WORLDS: dict[str, Callable[[Path], World]] = {
    "files-jsonl": LinesWorld,
    "files-csv": CsvWorld,
    "files-parquet": ParquetWorld,
    "poll": PollWorld,
    "postgres": PostgresWorld,
    "generator-async": AsyncGeneratorWorld,
    "generator-thread": ThreadGeneratorWorld,
    "scripted": ScriptedWorld,
    "push": PushWorld,
}


@pytest.fixture(scope="module", autouse=True)
def postgres() -> Iterator[None]:
    settings = {"fsync": "off", "max_replication_slots": "100", "max_wal_senders": "100"}
    with TemporaryPostgres(settings) as server:
        PostgresWorld.server = server
        yield


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = WORLDS[request.param](tmp_path)
    yield made
    await made.close()


@pytest.mark.parametrize("law", conformance.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("world", [name for name in WORLDS if name != "push"], indirect=True)
async def test_a_source_keeps(law: Law, world: World) -> None:
    await law(world)


@pytest.mark.parametrize("law", conformance.LAWS[:2], ids=lambda law: law.__name__)
@pytest.mark.parametrize("world", ["push"], indirect=True)
async def test_a_source_without_partitions_keeps(law: Law, world: World) -> None:
    await law(world)


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("name", [name for name in WORLDS if name != "push"])
async def test_no_schedule_of_crashes_loses_or_doubles(name: str, seed: int, tmp_path: Path) -> None:
    await conformance.survives_any_schedule(WORLDS[name](tmp_path), seed=seed)


def test_every_source_has_a_world(tmp_path: Path) -> None:
    shipped = {
        thing
        for name in sources.__all__
        if isinstance(thing := getattr(sources, name), type) and issubclass(thing, Source) and thing is not Source
    }
    covered = set[type[Source]]()
    for number, make in enumerate(WORLDS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        covered.add(type(make(folder).declare()))
    assert shipped <= covered, "give the new source a World in this file"


async def test_the_suite_finds_a_source_that_forgets(tmp_path: Path) -> None:
    class Forgetful(ScriptedWorld):
        async def happen(self, ids: Sequence[int]) -> None:
            await super().happen(ids)
            self.script.pop()

    with pytest.raises(conformance.LawBroken):
        await asyncio.wait_for(conformance.delivers_everything_once(Forgetful(tmp_path)), 30)
