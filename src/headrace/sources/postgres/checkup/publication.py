"""Whether the publication brings every change of every table, and may be made or extended by us."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from headrace.core.findings import Finding, Grade
from headrace.sources.postgres.checkup.facts import Facts, PublicationFacts, TableFacts, Wanted
from headrace.sources.postgres.checkup.fit import STORED
from headrace.sources.postgres.checkup.names import identifier, qualified
from headrace.sources.postgres.checkup.table import replicable

OPERATIONS = ("insert", "update", "delete", "truncate")


def examine_publication(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Findings about the publication."""
    subject = f"publication {wanted.publication}"
    tables = {name: table for name, table in facts.tables.items() if table is not None and replicable(table)}
    publication = facts.publication
    if publication is None:
        yield _absent(facts, wanted, subject, tables)
        return
    yield _operations(publication, subject, tables)
    yield from _roots(publication, subject, tables)
    yield from _generated(facts, publication, wanted, subject, tables)
    yield _tables(facts, publication, subject, tables)
    for name, table in tables.items():
        yield from _restrictions(publication, name, table, wanted)


def _absent(facts: Facts, wanted: Wanted, subject: str, tables: Mapping[str, TableFacts]) -> Finding:
    server = facts.server
    statement = _create(wanted.publication, tables, generated=bool(_sends_generated(facts, wanted)))
    foreign = sorted(name for name, table in tables.items() if not table.owned)
    if server.superuser or (server.may_create and not foreign):
        safe = bool(statement) and _all_identified(tables.values()) and None not in facts.tables.values()
        return Finding(subject, "state", Grade.OK, "not there yet", "The first start makes it.", statement, safe=safe)
    lacks = [f"CREATE on the database {server.database}"] if not server.may_create else []
    lacks += [f"ownership of {', '.join(foreign)}"] if foreign else []
    return Finding(
        subject,
        "state",
        Grade.PROBLEM,
        "not there yet",
        f"It has to be made, and {server.user} lacks {' and '.join(lacks)}. Let the tables' owner make it.",
        statement,
    )


def _create(name: str, tables: Mapping[str, TableFacts], *, generated: bool) -> tuple[str, ...]:
    if not tables:
        return ()
    listed = ", ".join(dict.fromkeys(qualified(table.schema, table.name) for table in tables.values()))
    options = "publish_via_partition_root = true" + (", publish_generated_columns = stored" if generated else "")
    return (f"CREATE PUBLICATION {identifier(name)} FOR TABLE {listed} WITH ({options});",)


def _sends_generated(facts: Facts, wanted: Wanted) -> list[str]:
    """The stored generated columns that records want, and that this version can send."""
    if facts.server.version < STORED:
        return []
    return [
        f"{name}.{column}"
        for name, schema in wanted.schemas.items()
        if (table := facts.tables.get(name)) is not None
        for column in schema.names
        if column in table.columns and table.columns[column].generated == "s"
    ]


def _generated(
    facts: Facts, publication: PublicationFacts, wanted: Wanted, subject: str, tables: Mapping[str, TableFacts]
) -> Iterator[Finding]:
    columns = _sends_generated(facts, wanted)
    if columns and not publication.generated:
        yield Finding(
            subject, "publish_generated_columns", Grade.PROBLEM, f"none, not {', '.join(columns)}",
            "Changes would arrive without the generated columns that the records want.",
            (f"ALTER PUBLICATION {identifier(publication.name)} SET (publish_generated_columns = stored);",),
            safe=_ours(publication, tables),
        )  # fmt: skip


def _all_identified(tables: Iterable[TableFacts]) -> bool:
    """Whether publishing them cannot make anybody's update or delete fail: the server refuses those of a published
    table without a replica identity."""
    return all(_identified(table) for table in tables)


def _identified(table: TableFacts) -> bool:
    if table.kind == "p":
        return all(leaf.identity == "f" or leaf.identity_columns for leaf in table.partitions)
    return table.identity == "f" or bool(table.identity_columns)


def _operations(publication: PublicationFacts, subject: str, tables: Mapping[str, TableFacts]) -> Finding:
    missing = [operation for operation in OPERATIONS if operation not in publication.operations]
    if not missing:
        return Finding(subject, "operations", Grade.OK, "all")
    return Finding(
        subject,
        "operations",
        Grade.PROBLEM,
        f"without {', '.join(missing)}",
        "Changes of that kind would not arrive, and rows here would be wrong for good.",
        (f"ALTER PUBLICATION {identifier(publication.name)} SET (publish = '{', '.join(OPERATIONS)}');",),
        safe=_ours(publication, tables) and _all_identified(tables.values()),
    )


def _roots(publication: PublicationFacts, subject: str, tables: Mapping[str, TableFacts]) -> Iterator[Finding]:
    partitioned = sorted(name for name, table in tables.items() if table.kind == "p")
    if not partitioned:
        return
    if publication.via_root:
        yield Finding(subject, "publish_via_partition_root", Grade.OK, "true")
        return
    yield Finding(
        subject,
        "publish_via_partition_root",
        Grade.PROBLEM,
        "false",
        f"Changes of {', '.join(partitioned)} would arrive under the names of the partitions.",
        (f"ALTER PUBLICATION {identifier(publication.name)} SET (publish_via_partition_root = true);",),
        safe=_ours(publication, tables),
    )


def _tables(facts: Facts, publication: PublicationFacts, subject: str, tables: Mapping[str, TableFacts]) -> Finding:
    missing = {name: table for name, table in tables.items() if not _published(publication, table)}
    if not missing:
        how = "all tables of the database" if publication.all_tables else f"{len(publication.tables)} tables"
        return Finding(subject, "tables", Grade.OK, how)
    listed = ", ".join(dict.fromkeys(qualified(table.schema, table.name) for table in missing.values()))
    statement = f"ALTER PUBLICATION {identifier(publication.name)} ADD TABLE {listed};"
    may = facts.server.superuser or (publication.owned and all(table.owned for table in missing.values()))
    if may:
        return Finding(
            subject, "tables", Grade.WARNING, f"without {', '.join(missing)}", "The next start adds them.",
            (statement,), safe=_all_identified(missing.values()),
        )  # fmt: skip
    return Finding(
        subject, "tables", Grade.PROBLEM, f"without {', '.join(missing)}",
        f"They have to be added, and {facts.server.user} owns not all of them and the publication (it is"
        f" {publication.owner}'s).",
        (statement,),
    )  # fmt: skip


def _published(publication: PublicationFacts, table: TableFacts) -> bool:
    """Without publish_via_partition_root the server lists the leaves of a partitioned table in its place; that is told
    as a finding of its own."""
    if publication.all_tables or (table.schema, table.name) in publication.tables:
        return True
    if table.kind != "p" or publication.via_root:
        return False
    listed = {qualified(*name) for name in publication.tables} | {name for _, name in publication.tables}
    return bool(table.partitions) and all(leaf.name in listed for leaf in table.partitions)


def _restrictions(publication: PublicationFacts, name: str, table: TableFacts, wanted: Wanted) -> Iterator[Finding]:
    published = publication.tables.get((table.schema, table.name))
    if published is None:
        return
    full = qualified(table.schema, table.name)
    mend = (
        f"ALTER PUBLICATION {identifier(publication.name)} DROP TABLE {full};",
        f"ALTER PUBLICATION {identifier(publication.name)} ADD TABLE {full};",
    )
    if published.row_filter:
        yield Finding(
            f"table {name}", "row filter", Grade.PROBLEM, published.row_filter,
            "The publication leaves rows out, and the first copy brings them: those would never change here.", mend,
        )  # fmt: skip
    if published.columns is not None:
        schema = wanted.schemas[name]
        lacking = [c for c in schema.names if c in table.columns and c not in published.columns]
        lacking = [c for c in lacking if not table.columns[c].generated]
        if lacking:
            yield Finding(
                f"table {name}", "column list", Grade.PROBLEM, f"without {', '.join(lacking)}",
                "The publication leaves columns out that the record has: changes would arrive without them.", mend,
            )  # fmt: skip


def _ours(publication: PublicationFacts, tables: Mapping[str, TableFacts]) -> bool:
    """Whether nobody else can depend on this publication: it is ours to alter and holds our tables only."""
    known = {(table.schema, table.name) for table in tables.values()}
    leaves = {leaf.name for table in tables.values() for leaf in table.partitions}
    others = {name for name in publication.tables if name not in known and qualified(*name) not in leaves}
    others = {name for name in others if name[1] not in leaves}
    return publication.owned and not publication.all_tables and not others
