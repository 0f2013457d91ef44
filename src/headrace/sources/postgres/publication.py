"""The publication: which tables the server sends. Made, adopted when it fits, or refused with what mends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.core.errors import SourceError
from headrace.sources.postgres.session import Session
from headrace.sources.postgres.tables import ServerTable, quoted
from headrace.sources.postgres.trouble import KIND, refused

_LOOK = "SELECT p.*, pg_get_userbyid(p.pubowner) AS owner FROM pg_publication p WHERE pubname = %s"

_MEMBERS = "SELECT * FROM pg_publication_tables WHERE pubname = %s"

_RESTRICTED = """
SELECT c.oid::bigint AS oid FROM pg_publication_rel r
JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid
WHERE p.pubname = %s AND (to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL)
"""

_LISTED = """
SELECT r.prrelid::bigint AS oid FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
WHERE p.pubname = %s
"""

_SINCE = """
SELECT t.oid::bigint AS oid, coalesce(r.oid, p.oid)::bigint AS since
FROM unnest(%s::oid[]) AS t (oid) CROSS JOIN pg_publication p
LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = t.oid
WHERE p.pubname = %s
"""
"""A table that is published with all others, or with its schema, has no entry of its own: the publication counts."""

_VIRTUAL = "v"
_COMPUTED_SINCE = 180_000
"""The first version that can publish generated columns."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What became of the publication.

    Attributes
    ----------
    added
        The names (as declared) of tables that it did not have before.
    since
        By name, what identifies that it has the table: another number tells that the table had left it.
    """

    added: frozenset[str]
    since: Mapping[str, int]


def ensure(session: Session, name: str, tables: Sequence[ServerTable], *, version: int) -> Membership:
    """See to it that the publication is there and sends all changes of `tables`.

    Raises
    ------
    SourceError
        It does not fit, or the rights to make or change it are missing; the hint holds the exact statement.
    """
    _check_generated(tables, version)
    found = session.rows(_LOOK, [name], doing="looking for the publication")
    if not found:
        _change(session, _creation(name, tables, version), "creating the publication")
        return Membership(frozenset(table.name for table in tables), since(session, name, tables))
    _check(name, found[0], tables, version)
    missing = [table for table in tables if table.oid not in _members(session, name, found[0], tables)]
    restricted = {row["oid"] for row in session.rows(_RESTRICTED, [name], doing="looking at the publication")}
    for table in tables:
        if table.oid in restricted:
            raise refused(
                f"the publication {name} sends only some rows or columns of {table.sql}",
                f"ALTER PUBLICATION {quoted(name)} DROP TABLE {table.sql}; it is added again as a whole",
            )
    if missing:
        listed = ", ".join(table.sql for table in missing)
        _change(session, f"ALTER PUBLICATION {quoted(name)} ADD TABLE {listed}", "adding to the publication")
    return Membership(frozenset(table.name for table in missing), since(session, name, tables))


def since(session: Session, name: str, tables: Sequence[ServerTable]) -> dict[str, int]:
    """What identifies, by declared name, that the publication has a table: the oid of the entry that says so."""
    rows = session.rows(_SINCE, [[table.oid for table in tables], name], doing="looking at the publication")
    found = {row["oid"]: row["since"] for row in rows}
    return {table.name: found[table.oid] for table in tables if table.oid in found}


def published(session: Session, name: str, tables: Sequence[ServerTable]) -> frozenset[int]:
    """The oids of those of `tables` that the publication has now, under the names that they had."""
    found = session.rows(_LOOK, [name], doing="looking at the publication")
    return frozenset(_members(session, name, found[0], tables)) if found else frozenset()


def _members(session: Session, name: str, found: dict[str, Any], tables: Sequence[ServerTable]) -> set[int]:
    if found["puballtables"]:
        return {table.oid for table in tables}
    names = {
        (row["schemaname"], row["tablename"])
        for row in session.rows(_MEMBERS, [name], doing="looking at the publication")
    }
    listed = {row["oid"] for row in session.rows(_LISTED, [name], doing="looking at the publication")}
    # A partitioned table without partitions is not among the names, which are those of what is published.
    return {t.oid for t in tables if t.oid in listed or (t.namespace, t.relation) in names}


def _creation(name: str, tables: Sequence[ServerTable], version: int) -> str:
    options = ["publish_via_partition_root = true"]
    if version >= _COMPUTED_SINCE and any(table.generated for table in tables):
        options.append("publish_generated_columns = stored")
    listed = ", ".join(table.sql for table in tables)
    return f"CREATE PUBLICATION {quoted(name)} FOR TABLE {listed} WITH ({', '.join(options)})"


def _check(name: str, found: dict[str, Any], tables: Sequence[ServerTable], version: int) -> None:
    silent = [word for word in ("insert", "update", "delete", "truncate") if not found[f"pub{word}"]]
    if silent:
        raise refused(
            f"the publication {name} leaves out {', '.join(silent)}",
            f"ALTER PUBLICATION {quoted(name)} SET (publish = 'insert, update, delete, truncate')",
        )
    parted = [table for table in tables if table.is_partitioned]
    if parted and not found["pubviaroot"]:
        raise refused(
            f"the publication {name} sends the changes of {parted[0].sql} under the names of its partitions",
            f"ALTER PUBLICATION {quoted(name)} SET (publish_via_partition_root = true)",
        )
    computed = [table for table in tables if table.generated]
    if version >= _COMPUTED_SINCE and computed and found.get("pubgencols") == "n":
        raise refused(
            f"the publication {name} leaves out generated columns, and {computed[0].name} declares "
            f"{computed[0].generated[0].name!r}",
            f"ALTER PUBLICATION {quoted(name)} SET (publish_generated_columns = stored)",
        )


def _check_generated(tables: Sequence[ServerTable], version: int) -> None:
    for table in tables:
        for column in table.generated:
            if version < _COMPUTED_SINCE or column.generated == _VIRTUAL:
                why = "is virtual" if column.generated == _VIRTUAL else "needs PostgreSQL 18"
                raise refused(
                    f"{column.name!r} of {table.sql} is a generated column: publishing it {why}",
                    "leave it out of the record and compute it in a view",
                    permanent=True,
                )


def _change(session: Session, statement: str, doing: str) -> None:
    try:
        session.run(statement, doing=doing)
    except SourceError as error:
        if "permission denied" in error.message or "must be owner" in error.message:
            raise SourceError(
                error.message,
                hint=f"let the owner of the tables (or a superuser) run: {statement}; it is adopted then",
                source=KIND,
            ) from None
        raise
