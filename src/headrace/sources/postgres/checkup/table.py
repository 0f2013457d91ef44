"""Whether a table can be followed: what it is, who may read it, what identifies its rows, and whether they fit."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.core.findings import Finding, Grade
from headrace.core.schema import Schema, TableKind
from headrace.sources.postgres.checkup.facts import Facts, TableFacts, Wanted
from headrace.sources.postgres.checkup.fit import examine_columns
from headrace.sources.postgres.checkup.names import identifier, qualified

KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "c": "a composite type",
    "i": "an index",
    "I": "an index",
    "t": "a TOAST table",
}
"""What a publication cannot hold, by relkind."""

FULL_COSTS = (
    "FULL writes the whole old row to the log at every update and delete, so it is printed and never done by --fix."
)


def examine_table(name: str, facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Findings about the table of the app's table `name`."""
    table, schema, subject = facts.tables.get(name), wanted.schemas[name], f"table {name}"
    source = str(wanted.sources[name])
    if table is None:
        yield Finding(
            subject, "table", Grade.PROBLEM, source,
            f"There is no table {source} on the search path of {facts.server.user} in the database"
            f" {facts.server.database}. Write its schema too: Postgres(table=\"schema.table\").",
        )  # fmt: skip
        return
    full = qualified(table.schema, table.name)
    if not replicable(table):
        yield _unreplicable(table, subject, full)
        return
    yield Finding(subject, "table", Grade.OK, full + (" (partitioned)" if table.kind == "p" else ""))
    yield _rights(table, subject, full, facts)
    if table.filtered:
        yield _filtered(subject, full, facts)
    yield _identity(table, schema, subject, full, superuser=facts.server.superuser)
    yield from _uniqueness(table, schema, subject)
    yield from examine_columns(table, schema, subject, facts.server.version)


def replicable(table: TableFacts) -> bool:
    """Whether a publication can hold it."""
    return table.kind in ("r", "p") and table.persistence == "p"


def uncovered(table: TableFacts, key: tuple[str, ...]) -> list[str]:
    """Where an update or delete would not say which row it is of: the table itself, or leaves of it."""
    own = [qualified(table.schema, table.name)] if not _covers(table.identity, table.identity_columns, key) else []
    return [*own, *odd_leaves(table, key)]


def odd_leaves(table: TableFacts, key: tuple[str, ...]) -> list[str]:
    """The partitions that do not tell their rows apart as their root does: rows may move between partitions."""
    return [
        leaf.name
        for leaf in table.partitions
        if leaf.identity not in ("f", table.identity) or not _covers(leaf.identity, leaf.identity_columns, key)
    ]


def _covers(identity: str, columns: frozenset[str], key: tuple[str, ...]) -> bool:
    return identity == "f" or (bool(columns) and set(key) <= columns)


def _unreplicable(table: TableFacts, subject: str, full: str) -> Finding:
    if table.kind in KINDS:
        value = f"{full} is {KINDS[table.kind]}"
        message = "Only tables are replicated. Follow the tables below it and declare the view in the app, or poll it."
        return Finding(subject, "table", Grade.PROBLEM, value, message)
    if table.persistence == "u":
        message = "The changes of an unlogged table are written nowhere. Logging it rewrites the whole table."
        return Finding(
            subject, "table", Grade.PROBLEM, f"{full} is unlogged", message, (f"ALTER TABLE {full} SET LOGGED;",)
        )
    return Finding(
        subject, "table", Grade.PROBLEM, f"{full} is temporary", "Only its own session sees a temporary table."
    )


def _rights(table: TableFacts, subject: str, full: str, facts: Facts) -> Finding:
    user = facts.server.user
    mend: list[str] = []
    if not table.may_use_schema:
        mend.append(f"GRANT USAGE ON SCHEMA {identifier(table.schema)} TO {identifier(user)};")
    if not table.may_select:
        mend.append(f"GRANT SELECT ON {full} TO {identifier(user)};")
    closed = [leaf.name for leaf in table.partitions if not leaf.may_select]
    if closed:  # the copy reads the partitions themselves
        mend.append(f"GRANT SELECT ON {', '.join(closed)} TO {identifier(user)};")
    if not mend:
        return Finding(subject, "rights", Grade.OK, "SELECT" + (", owner" if table.owned else ""))
    return Finding(
        subject, "rights", Grade.PROBLEM, f"{user} may not read it",
        f"The first copy reads the table. Let its owner, {table.owner}, grant that.", tuple(mend),
    )  # fmt: skip


def _filtered(subject: str, full: str, facts: Facts) -> Finding:
    user = identifier(facts.server.user)
    return Finding(
        subject, "row-level security", Grade.PROBLEM, "active",
        "Policies hide rows from the first copy, and the stream brings the changes of all rows. Let the user bypass"
        " them (a superuser must grant that), or follow with another user.",
        (f"ALTER ROLE {user} BYPASSRLS;",),
    )  # fmt: skip


IDENTITIES = {"d": "primary key", "i": "index", "f": "full", "n": "nothing"}


def _identity(table: TableFacts, schema: Schema, subject: str, full: str, *, superuser: bool) -> Finding:
    what = "replica identity"
    columns = ", ".join(sorted(table.identity_columns)) if table.identity != "f" else ""
    value = IDENTITIES[table.identity] + (f" ({columns})" if columns else "")
    if table.identity == "d" and not columns:
        value = "none: no primary key"
    lacking = uncovered(table, schema.key)
    if not lacking:
        return Finding(subject, what, Grade.OK, value)
    places = "" if lacking == [full] else f" in {', '.join(lacking[:5])}{' ...' if len(lacking) > 5 else ''}"
    if schema.kind is TableKind.EVENTS:
        return _events_identity(table, subject, value, places)
    if table.identity_columns and not places:
        message = f"Deletes say {columns}, and the key is declared as {', '.join(schema.key)}."
    else:
        message = (
            f"Nothing identifies a changed row{places}. Once the table is published, the server refuses every update"
            " and delete of it."
        )
    return _identity_mend(table, schema, subject, full, value, message, lacking, superuser=superuser)


def _events_identity(table: TableFacts, subject: str, value: str, places: str) -> Finding:
    if table.identity_columns and not places:  # inserts need none, and updates of events are not followed
        return Finding(subject, "replica identity", Grade.OK, value)
    return Finding(
        subject, "replica identity", Grade.WARNING, value,
        f"Events are only inserted, so none is needed{places}; but once the table is published, the server refuses"
        " every update and delete of it, also those that tidy it up.",
    )  # fmt: skip


def _identity_mend(
    table: TableFacts,
    schema: Schema,
    subject: str,
    full: str,
    value: str,
    message: str,
    lacking: list[str],
    *,
    superuser: bool,
) -> Finding:
    index = next((one for one in table.indexes if one.identifies and set(schema.key) <= set(one.columns)), None)
    if index is not None and table.kind != "p":
        using = "DEFAULT" if index.primary else f"USING INDEX {identifier(index.name)}"
        return Finding(
            subject, "replica identity", Grade.PROBLEM, value, message,
            (f"ALTER TABLE {full} REPLICA IDENTITY {using};",), safe=table.owned or superuser,
        )  # fmt: skip
    if table.kind == "p" and table.identity == "d" and full not in lacking:  # the partitions have the root's key
        statements = [f"ALTER TABLE {place} REPLICA IDENTITY DEFAULT;" for place in lacking]
        return Finding(
            subject, "replica identity", Grade.PROBLEM, value, message, tuple(statements),
            safe=table.owned or superuser,
        )  # fmt: skip
    statements = [f"ALTER TABLE {place} REPLICA IDENTITY FULL;" for place in lacking]
    if table.identity == "d" and not table.identity_columns and table.kind != "p":
        statements.insert(0, f"ALTER TABLE {full} ADD PRIMARY KEY ({', '.join(map(identifier, schema.key))});  -- or:")
    return Finding(subject, "replica identity", Grade.PROBLEM, value, f"{message} {FULL_COSTS}", tuple(statements))


def _uniqueness(table: TableFacts, schema: Schema, subject: str) -> Iterator[Finding]:
    if not schema.key:
        return
    key = ", ".join(schema.key)
    found = next((one for one in table.indexes if set(one.columns) <= set(schema.key)), None)
    if found is not None:
        yield Finding(subject, "key", Grade.OK, f"{key}, unique by {found.name}")
        return
    yield Finding(
        subject, "key", Grade.WARNING, f"{key}, not known to be unique",
        "Nothing at the source keeps two rows from having the same key; here the later change of them would win.",
    )  # fmt: skip
