"""The reading half of a running app, in the engine's process or in any other."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apsw

from headrace.context.assess import Assessment
from headrace.context.policy import FreshnessPolicy
from headrace.context.reader import ContextReader
from headrace.context.readset import Present, ReadSet, Validity
from headrace.context.value import ContextValue, InputAge
from headrace.core.clock import SECOND, Clock, ClockOffset, isoformat
from headrace.core.events import Copying, Problem
from headrace.declaration.declaration import Declaration
from headrace.runtime.folder import Folder
from headrace.runtime.library import build_library, refreshed_views
from headrace.store import disk
from headrace.store.board import Board
from headrace.store.connection import open_reader
from headrace.store.problems import stored_problems
from headrace.store.quarantine import Quarantined, counts, get, waiting


class LocalReads:
    """Reads the store of one app. Not for several threads at once.

    Parameters
    ----------
    app
        The declaration, the same as the engine's.
    data
        The engine's data folder.
    board
        The engine's own board, when it is in this process.

    Raises
    ------
    StoreError
        The engine has not made the store yet, or it runs another declaration.
    """

    def __init__(self, app: Declaration, *, data: Path, clock: Clock, board: Board | None = None) -> None:
        self.app = app
        self.clock = clock
        self._folder = Folder(data)
        self._given = board
        self._library = build_library(app)
        self._open()

    def _open(self) -> None:
        tables, views = list(self.app.tables), refreshed_views(self.app)
        board = self._given or Board.open(self._folder.board, tables=tables, views=views)
        reader = ContextReader(self._folder.database, self._library, board=board, clock=self.clock)
        self._db = open_reader(self._folder.database, cache_kib=256)
        self._board, self._reader = board, reader

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()
        self._db.close()
        if self._given is None:
            self._board.close()

    async def read(
        self,
        view: str,
        params: Mapping[str, Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """One view; see `ContextReader.read`."""
        return await self._current().read(view, params, policy=policy, max_age=max_age, until=until)

    async def read_many(
        self,
        reads: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> list[ContextValue]:
        """Many views in one snapshot; see `ContextReader.read_many`."""
        return await self._current().read_many(reads, policy=policy, max_age=max_age, until=until)

    async def get(
        self,
        table: str,
        key: Any,
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """The row of one key; see `ContextReader.get`."""
        return await self._current().get(table, key, policy=policy, max_age=max_age, until=until)

    async def get_many(
        self,
        table: str,
        keys: Sequence[Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """The rows of many keys; see `ContextReader.get_many`."""
        return await self._current().get_many(table, keys, policy=policy, max_age=max_age, until=until)

    def validate(self, readset: ReadSet) -> Validity:
        """What changed since these reads."""
        return self._current().validate(readset)

    def current(self, readset: ReadSet) -> Present:
        """Whether the same reads made now would show the same; see `ContextReader.current`."""
        return self._current().current(readset)

    def again(self, readset: ReadSet) -> Present:
        """The same reads made now; see `ContextReader.again`."""
        return self._current().again(readset)

    def frontiers(self, readset: ReadSet) -> dict[str, int | None]:
        """Up to when each input of these reads is complete now; see `ContextReader.frontiers`."""
        return self._current().frontiers(readset)

    def freshness(self) -> dict[str, Any]:
        """Per table and view: as-of, age, status, state of the source, promise, counters; and the problems."""
        reader, now = self._current(), self.clock.now()
        tables = {name: self._table(name, now) for name in self.app.tables}
        views = {name: _view(reader.assess(reader.view(name), now), now) for name in self.app.views}
        problems = [asdict(problem) | {"since": isoformat(since)} for problem, since in self._problems()]
        return {"now": isoformat(now), "tables": tables, "views": views, "problems": problems}

    def _problems(self) -> list[tuple[Problem, int]]:
        """Those that are stored, and the one that cannot be."""
        full = self._board.full_since
        unstored = [] if full is None else [(disk.problem(self._folder.database), full)]
        return unstored + stored_problems(self._db)

    def _table(self, name: str, now: int) -> dict[str, Any]:
        table, board = self.app.tables[name], self._board
        age = self._reader.table_age(name, now)
        last, watermark = board.last_change(name), board.watermark(name)
        return _input(age, now) | {
            "promise_ms": None if table.promise.freshness is None else table.promise.freshness / 1000,
            "source": table.source.kind,
            "last_change": isoformat(last) if last else None,
            "watermark": None if watermark is None else isoformat(watermark),
            "counters": board.counters(name),
            "waiting": board.waiting(name),
            "clock": _clock(board.clock(name)),
            "copy": _copy(board.copying(name), now),
        }

    def quarantine(
        self, *, table: str | None = None, rule: str | None = None, limit: int = 100, after: int = 0
    ) -> list[dict[str, Any]]:
        """Waiting records, oldest first, without their bytes."""
        self._current()
        return [_shown(found) for found in waiting(self._db, table=table, rule=rule, limit=limit, after=after)]

    def quarantined(self, number: int) -> dict[str, Any]:
        """One waiting record with its bytes: `raw` as text, or `raw_base64` where it is not UTF-8.

        Raises
        ------
        UnknownName
            No record of that number waits.
        """
        self._current()
        found = get(self._db, number)
        try:
            return _shown(found) | {"raw": found.raw.decode()}
        except UnicodeDecodeError:
            return _shown(found) | {"raw": None, "raw_base64": base64.b64encode(found.raw).decode()}

    def waiting_counts(self) -> dict[str, dict[str, int]]:
        """How many records wait, per table and rule."""
        return counts(self._db)

    def database(self) -> apsw.Connection:
        """The connection for looks into the system tables."""
        return self._db

    def _current(self) -> ContextReader:
        """The reader; opened anew after the engine was restarted with another layout of its board."""
        if self._board.retired:
            before = (self._reader, self._db, self._board)
            self._open()  # raises while the engine runs another declaration, and leaves everything as it was
            for old in before:
                old.close()
        return self._reader


def _copy(copy: Copying | None, now: int) -> dict[str, Any] | None:
    """How far the full copy is that is under way; None: there is none."""
    if copy is None:
        return None
    rate = copy.rows / max((now - copy.since) / SECOND, 1e-3)
    return {
        "rows": copy.rows,
        "expected_rows": copy.expected,
        "parts": copy.parts,
        "of_parts": copy.of,
        "share": copy.share,
        "rows_per_second": round(rate, 1),
        "since": isoformat(copy.since),
    }


def _clock(offset: ClockOffset | None) -> dict[str, float] | None:
    """How far the source's clock is ahead of ours, and how exactly that is known: the error bar of value ages."""
    return None if offset is None else {"offset_ms": offset.offset / 1000, "error_ms": offset.error / 1000}


def _view(age: Assessment, now: int) -> dict[str, Any]:
    return {
        "as_of": None if age.as_of is None else isoformat(age.as_of),
        "age_ms": None if age.as_of is None else max(now - age.as_of, 0) / 1000,
        "status": age.status.value,
        "inputs": {name: _input(inner, now) for name, inner in age.inputs.items()},
    }


def _shown(record: Quarantined) -> dict[str, Any]:
    shown = asdict(record)
    del shown["raw"]
    return {"id": shown.pop("number")} | shown | {"at": isoformat(record.at)}


def _input(age: InputAge, now: int) -> dict[str, Any]:
    return {
        "as_of": None if age.as_of is None else isoformat(age.as_of),
        "age_ms": None if age.as_of is None else max(now - age.as_of, 0) / 1000,
        "status": age.status.value,
        "state": age.state,
        "value_age_error_ms": None if age.error is None else age.error / 1000,
    }
