"""What `headrace doctor` looks at: the data folder, the outside world of each source, and what models need."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.core.clock import Clock
from headrace.core.errors import DeclarationError, HeadraceError, MissingExtra, StoreError
from headrace.core.findings import Finding, Grade
from headrace.declaration.declaration import Declaration
from headrace.models.declared import DeclaredModel
from headrace.models.provider import Provider
from headrace.runtime.folder import Folder
from headrace.runtime.library import streams_of
from headrace.sources.base import Fed, Opening, Source
from headrace.store.connection import open_reader
from headrace.store.place import examine_folder
from headrace.store.positions import Positions, load


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


def examine_models(app: Declaration, environment: Mapping[str, str]) -> list[Finding]:
    """Findings about the upstreams of models and their prices. Nothing is sent: it would cost money."""
    found: list[Finding] = []
    for model in app.models.values():
        found += [_upstream(model, one, environment) for one in model.upstreams]
        found += _prices(app, model)
    return found


def _upstream(model: DeclaredModel, upstream: Provider, environment: Mapping[str, str]) -> Finding:
    subject, value = f"model {model.name}", upstream.describe()
    try:
        upstream.check(environment)
    except DeclarationError as error:
        return Finding(subject, upstream.name, Grade.PROBLEM, value, f"{error.message}. To do: {error.hint}.")
    return Finding(subject, upstream.name, Grade.OK, value)


def _prices(app: Declaration, model: DeclaredModel) -> Iterator[Finding]:
    """Prices are missed where there are some, and where an endpoint has a budget: its handler may call any model."""
    missing = ", ".join(dict.fromkeys(model.unpriced.values()))
    limited = next((endpoint.path for endpoint in app.endpoints.values() if endpoint.budget), None)
    subject, what, value = f"model {model.name}", "prices", f"none for {missing}"
    if not missing:
        yield Finding(subject, what, Grade.OK, "for all upstreams")
    elif limited is not None:
        said = f"The budget of {limited} cannot be held, and the app does not start. Give the model these prices."
        yield Finding(subject, what, Grade.PROBLEM, value, said)
    elif model.all_prices().models:
        said = "What these cost is not known, and keys with a budget do not get them. Add their prices."
        yield Finding(subject, what, Grade.WARNING, value, said)


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
    known = {table for table, _ in positions}
    found: list[tuple[Source, Opening]] = []
    for tables in streams_of(app):
        first = tables[0]
        opening = Opening(
            first.schema,
            resume={partition: at for (table, partition), at in positions.items() if table == first.name},
            clock=clock,
            app=app.name,
            tables={table.name: Fed(table.schema, table.source, table.name in known) for table in tables},
        )
        found.append((first.source, opening))
    return found


def stored_positions(data: Path) -> Positions:
    """Where each table's source stands; empty when there is no store that can be read."""
    database = Folder(data).database
    if not database.exists():
        return {}
    try:
        db = open_reader(database)
    except StoreError:
        return {}
    try:
        return load(db)
    finally:
        db.close()
