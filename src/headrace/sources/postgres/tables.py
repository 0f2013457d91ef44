"""The declared tables as the server has them: which relation it is, its columns, and how its rows are told apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.core.errors import DeclarationError, SourceError
from headrace.core.schema import Schema, TableKind
from headrace.sources.postgres.session import Session
from headrace.sources.postgres.trouble import KIND, refused

_NAME = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')

_PATH = r"""
(current_schemas(false)::text[] || ARRAY(
    SELECT CASE WHEN s = '"$user"' THEN current_user::text ELSE btrim(s, '"') END
    FROM regexp_split_to_table(current_setting('search_path'), '\s*,\s*') WITH ORDINALITY AS p (s, i) ORDER BY i))
"""
"""The search path, those of its schemas included that our user may not use: it must be told so, and the stream needs no
such right."""

_FIND = f"""
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relreplident::text AS identity, c.relpersistence::text AS persistence
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND CASE WHEN %s::text IS NULL THEN n.nspname = ANY ({_PATH}) ELSE n.nspname = %s END
ORDER BY array_position({_PATH}, n.nspname::text)
LIMIT 1
"""

_COLUMNS = """
SELECT a.attname AS name, a.atttypid::bigint AS type, a.attgenerated::text AS generated,
       coalesce(a.attnum = ANY (i.indkey), false) AS in_identity
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indislive
     AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
WHERE a.attrelid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

_LEAVES = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relreplident::text AS identity
FROM pg_partition_tree(%s::oid::regclass) t
JOIN pg_class c ON c.oid = t.relid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.isleaf AND c.relkind <> 'p'
ORDER BY c.oid
"""


@dataclass(frozen=True, slots=True)
class Named:
    """A relation's name, as `table=` says it: the schema may be left out, and quotes are only needed around dots.

    >>> Named.parse("shop.items"), Named.parse('"My.Schema"."Items"').relation
    (Named(schema='shop', relation='items'), 'Items')
    """

    schema: str | None
    relation: str

    @classmethod
    def parse(cls, text: str) -> Named:
        """What `text` names.

        Raises
        ------
        DeclarationError
            It is no name.
        """
        parts: list[str] = []
        at = 0
        while (found := _NAME.match(text, at)) is not None:
            parts.append(found[1].replace('""', '"') if found[1] is not None else found[2])
            at = found.end()
            if at == len(text):
                break
            if text[at] != ".":
                parts.clear()
                break
            at += 1
        if at != len(text) or not 1 <= len(parts) <= 2:
            raise DeclarationError(
                f"table={text!r} is no name of a table", hint='write "items", "shop.items" or \'"My.Schema"."Items"\''
            )
        return cls(parts[0] if len(parts) == 2 else None, parts[-1])

    def __str__(self) -> str:
        return self.relation if self.schema is None else f"{self.schema}.{self.relation}"


@dataclass(frozen=True, slots=True)
class ServerColumn:
    """A column: its type's oid, how it is generated ("": not, "s": stored, "v": virtual), and whether the replica
    identity has it."""

    name: str
    type: int
    generated: str
    in_identity: bool


@dataclass(frozen=True, slots=True)
class Leaf:
    """A relation that holds rows: the table itself, or one partition of it."""

    oid: int
    schema: str
    name: str

    @property
    def sql(self) -> str:
        """Its name in SQL."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class ServerTable:
    """A declared table at the server.

    Attributes
    ----------
    schema
        How it is declared.
    extra
        Whether the fields that its record does not declare are wanted, too.
    leaves
        Where its rows lie; none when it is partitioned and has no partitions yet.
    generated
        Columns of the record that the server computes and does not publish unless it is told to.
    """

    schema: Schema
    extra: bool
    oid: int
    namespace: str
    relation: str
    is_partitioned: bool
    identity: str
    columns: tuple[ServerColumn, ...]
    leaves: tuple[Leaf, ...]

    @property
    def name(self) -> str:
        """The name that it is declared with."""
        return self.schema.name

    @property
    def is_events(self) -> bool:
        """Whether rows are only added here, whatever happens to them at the server."""
        return self.schema.kind is TableKind.EVENTS

    @property
    def sql(self) -> str:
        """Its name in SQL."""
        return f"{quoted(self.namespace)}.{quoted(self.relation)}"

    @property
    def generated(self) -> tuple[ServerColumn, ...]:
        return tuple(c for c in self.columns if c.generated and self.schema.has(c.name))

    def copied(self) -> tuple[ServerColumn, ...]:
        """The columns of a copy: what the record declares, and the others only where they are wanted."""
        return tuple(c for c in self.columns if self.schema.has(c.name) or (self.extra and not c.generated))


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL string, whatever `standard_conforming_strings` says."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'" if "\\" not in text else "E'" + escaped.replace("\\", "\\\\") + "'"


def find(session: Session, named: Named, schema: Schema, *, extra: bool) -> ServerTable:
    """The relation that `named` means.

    Raises
    ------
    SourceError
        There is none, or it cannot be followed as it is; the hint says what mends it.
    """
    found = _row(session, named)
    if found["kind"] not in ("r", "p"):
        raise refused(
            f"{named} is a {_KINDS[found['kind']]}: the server publishes the changes of tables only",
            "name the table behind it, or read it with sources.Poll",
            permanent=True,
        )
    if found["persistence"] != "p":
        raise refused(
            f"{named} is an unlogged or temporary table: the server does not publish its changes",
            f"ALTER TABLE {quoted(found['schema'])}.{quoted(found['name'])} SET LOGGED",
        )
    columns = tuple(
        ServerColumn(row["name"], row["type"], row["generated"], row["in_identity"])
        for row in session.rows(_COLUMNS, [found["oid"]], doing=f"reading the columns of {named}")
    )
    here = {"oid": found["oid"], "schema": found["schema"], "name": found["name"], "identity": found["identity"]}
    parts = session.rows(_LEAVES, [found["oid"]], doing=f"looking for the partitions of {named}")
    leaves = parts if found["kind"] == "p" else [here]
    table = ServerTable(
        schema, extra, found["oid"], found["schema"], found["name"], found["kind"] == "p", found["identity"], columns,
        tuple(Leaf(leaf["oid"], leaf["schema"], leaf["name"]) for leaf in leaves),
    )  # fmt: skip
    _check_columns(table)
    if not table.is_events:
        _check_identity(table, [leaf for leaf in leaves if leaf["identity"] != table.identity])
    return table


_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table"}


def _row(session: Session, named: Named) -> dict[str, Any]:
    for name in dict.fromkeys((named.relation, named.relation.lower())):
        rows = session.rows(_FIND, [name, named.schema, named.schema], doing=f"looking for {named}")
        if rows:
            return rows[0]
    database = session.one("SELECT current_database() AS name")["name"]
    raise SourceError(
        f"there is no table {named} in the database {database}",
        hint='was it dropped or renamed? Name it with its schema: table="schema.table"',
        source=KIND,
    )


def _check_columns(table: ServerTable) -> None:
    names = {column.name for column in table.columns}
    gone = [name for name in table.schema.key if name not in names]
    if gone:
        raise refused(
            f"the table {table.sql} has no column {', '.join(map(repr, gone))}, which is the key of {table.name}",
            f"it has: {', '.join(sorted(names))}",
        )


def _check_identity(table: ServerTable, odd: Sequence[Mapping[str, Any]]) -> None:
    """A live table needs its key in what the server sends of a row that is gone."""
    full = f"ALTER TABLE {table.sql} REPLICA IDENTITY FULL"
    identity = {c.name for c in table.columns if c.in_identity}
    if table.identity == "n" or (table.identity != "f" and not identity):
        what = "REPLICA IDENTITY NOTHING" if table.identity == "n" else "no primary key"
        raise refused(
            f"the table {table.sql} has {what}: the server does not say which rows are updated or deleted",
            f"{full}; or, with a unique index over columns that are NOT NULL: "
            f"ALTER TABLE {table.sql} REPLICA IDENTITY USING INDEX the_index",
        )
    missing = [name for name in table.schema.key if table.identity != "f" and name not in identity]
    if missing:
        raise refused(
            f"the replica identity of {table.sql} ({', '.join(sorted(identity))}) lacks "
            f"{', '.join(map(repr, missing))} of the key of {table.name}: a deleted row could not be told",
            f"{full}; or declare key={sorted(identity)!r}",
        )
    for leaf in odd:
        if leaf["identity"] not in ("f", table.identity):
            sql = f"{quoted(leaf['schema'])}.{quoted(leaf['name'])}"
            raise refused(
                f"the partition {sql} has another replica identity than {table.sql}",
                f"ALTER TABLE {sql} REPLICA IDENTITY {'FULL' if table.identity == 'f' else 'DEFAULT'}",
            )
