"""What `headrace doctor` looks at: the data folder of an app, and the outside world of each of its sources."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.core.changes import Position
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError, MissingExtra, StoreError
from headrace.core.findings import Finding, Grade
from headrace.declaration.declaration import Declaration
from headrace.runtime.folder import Folder
from headrace.sources.base import Fed, Opening, Source
from headrace.store.connection import open_reader
from headrace.store.disk import examine_folder


@dataclass(frozen=True, slots=True)
class Examined:
    """One source, how it would be opened, and what was found."""

    source: Source
    opening: Opening
    findings: Sequence[Finding]


async def examine_sources(app: Declaration, *, data: Path, clock: Clock) -> list[Examined]:
    """Ask every source, those of one stream once and all of them at the same time."""
    openings = _openings(app, data, clock)
    found = await asyncio.gather(*(_examine(source, opening) for source, opening in openings))
    pairs = zip(openings, found, strict=True)
    return [Examined(source, opening, findings) for (source, opening), findings in pairs]


def examine_data(data: Path) -> list[Finding]:
    """Findings about the data folder."""
    folder = Folder(data)
    try:
        stored = sum(path.stat().st_size for path in data.glob(f"{folder.database.name}*"))
    except OSError:  # a folder that cannot be listed is found to be so below
        stored = 0
    return examine_folder(data, stored=stored)


async def _examine(source: Source, opening: Opening) -> Sequence[Finding]:
    subject = f"table {opening.schema.name}"
    try:
        return await source.examine(opening)
    except MissingExtra as error:
        return [Finding(subject, source.kind, Grade.PROBLEM, "not installed", error.message + ".", (error.hint,))]
    except HeadraceError as error:
        return [Finding(subject, source.kind, Grade.PROBLEM, "", f"{error.message}. To do: {error.hint}.")]


def _openings(app: Declaration, data: Path, clock: Clock) -> list[tuple[Source, Opening]]:
    positions = stored_positions(data)
    streams: dict[object, list[str]] = {}
    for table in app.tables.values():
        stream = table.source.stream
        streams.setdefault((type(table.source), stream) if stream is not None else table.name, []).append(table.name)
    found: list[tuple[Source, Opening]] = []
    for names in streams.values():
        first = app.tables[names[0]]
        tables = {n: Fed(app.tables[n].schema, app.tables[n].source, known=n in positions) for n in names}
        resume = positions.get(first.name, {})
        found.append((first.source, Opening(first.schema, resume, clock, app=app.name, tables=tables)))
    return found


def stored_positions(data: Path) -> Mapping[str, Mapping[str, Position]]:
    """Where each table's source stands, by table and partition; empty when there is no store that can be read."""
    database = Folder(data).database
    if not database.exists():
        return {}
    try:
        db = open_reader(database)
    except StoreError:
        return {}
    found: dict[str, dict[str, Position]] = {}
    try:
        rows = db.execute("SELECT table_name, partition, position FROM _hr_positions WHERE position IS NOT NULL")
        for table, partition, position in rows:
            found.setdefault(str(table), {})[str(partition)] = str(position)
    finally:
        db.close()
    return found
