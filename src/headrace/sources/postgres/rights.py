"""The rights that a copy needs, looked at before it begins: what is missing is told with what grants it."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.sources.postgres.checkup.names import identifier, qualified
from headrace.sources.postgres.session import Session
from headrace.sources.postgres.tables import ServerTable
from headrace.sources.postgres.trouble import refused

_MISSING = """
SELECT n.nspname::text AS schema, c.relname::text AS name, current_user::text AS user,
       has_schema_privilege(n.oid, 'USAGE') AS may_use, has_table_privilege(c.oid, 'SELECT') AS may_select
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::oid[])
  AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
ORDER BY 1, 2
"""


def check(session: Session, tables: Sequence[ServerTable]) -> None:
    """Whether our user may read `tables`, and each partition of them.

    Raises
    ------
    SourceError
        It may not; the hint holds the exact statements.
    """
    oids = [oid for table in tables for oid in (table.oid, *(leaf.oid for leaf in table.leaves))]
    rows = session.rows(_MISSING, [oids], doing="looking at the rights to read the tables")
    if not rows:
        return
    user = identifier(rows[0]["user"])
    schemas = dict.fromkeys(row["schema"] for row in rows if not row["may_use"])
    names = [qualified(row["schema"], row["name"]) for row in rows if not row["may_select"]]
    grants = [f"GRANT USAGE ON SCHEMA {identifier(schema)} TO {user};" for schema in schemas]
    grants += [f"GRANT SELECT ON {', '.join(names)} TO {user};"] if names else []
    what = [f"may not use the schema {', '.join(schemas)}"] if schemas else []
    what += [f"may not read {', '.join(names)}"] if names else []
    raise refused(
        f"{rows[0]['user']} {' and '.join(what)}, which the copy must",
        f"let the owner or a superuser run: {' '.join(grants)} It is tried again until then",
    )
