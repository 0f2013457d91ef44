"""What went wrong at the server, in words for a person: every error of the driver becomes a `SourceError` here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headrace.core.errors import SourceError
from headrace.sources.postgres.checkup.names import identifier
from headrace.sources.postgres.dsn import shown, without_secrets

if TYPE_CHECKING:
    import psycopg

KIND = "postgres"

_DENIED = "42501"

_BY_STATE = {
    "3D000": "there is no such database on this server: check the name in the DSN",
    "28P01": "check the user and the password in the DSN; it is tried again",
    "28000": "check the user in the DSN and the rules of pg_hba.conf; it is tried again",
    "42501": "a right is missing: see the message, and run headrace doctor for the exact statements",
    "53300": "the server has no connection left: raise max_connections, or wait until others have gone",
    "53400": "raise max_replication_slots (or max_wal_senders) on the server, or drop slots that nobody needs: "
    "SELECT slot_name, active FROM pg_replication_slots",
    "57P01": "the server was told to end the connection; it is tried again",
    "57P02": "the server has crashed or is restarting; it is tried again",
    "57P03": "the server is starting or stopping; it is tried again",
    "53100": "the server's disk is full",
    "55P03": "somebody waits to change or empty the table; the copy lets go, and is made anew behind that",
    "58P01": "a file is missing on the server: see its log",
    "42P01": "the table is not there any more",
}
"""Hints by SQLSTATE."""

_BY_TEXT = (
    (r"password authentication failed|no password supplied", _BY_STATE["28P01"]),
    (r"must be superuser or replication role|permission denied to (start WAL sender|use replication slots)",
     "the user may not replicate. As a superuser: ALTER ROLE {user} REPLICATION "
     "(managed servers have a role for it: GRANT rds_replication TO {user}; see the how-to)"),
    (r'permission denied for database "?(?P<name>[^" ]+)"?',
     "as its owner: GRANT CONNECT ON DATABASE {name} TO {user}"),
    (r"is not permitted to log in", "as a superuser: ALTER ROLE {user} LOGIN"),
    (r'permission denied for schema "?(?P<name>[^" ]+)"?', "as its owner: GRANT USAGE ON SCHEMA {name} TO {user}"),
    (r'permission denied for function "?(?P<name>[^" ]+)"?',
     "as a superuser: GRANT EXECUTE ON FUNCTION {name} TO {user}"),
    (r'permission denied for (table|partitioned table|relation) "?(?P<name>[^" ]+)"?',
     "as its owner: GRANT SELECT ON {name} TO {user}"),
    (r"no pg_hba\.conf entry", "the server's pg_hba.conf does not let this user in from here; it is tried again"),
    (r"database .* does not exist", _BY_STATE["3D000"]),
    (r"role .* does not exist", _BY_STATE["28P01"]),
    (r"number of requested standby connections exceeds max_wal_senders",
     "raise max_wal_senders on the server, or end replication that nobody needs: SELECT * FROM pg_stat_replication"),
    (r"too many (clients|connections)|remaining connection slots", _BY_STATE["53300"]),
    (r"the database system is", _BY_STATE["57P03"]),
    (r"session is (read-only|not read-write)|server is in hot standby",
     "none of the hosts is a primary now; after a failover it is tried again until one is"),
    (r"Connection refused|timeout expired|could not translate|No route|Network is unreachable|closed the connection"
     r"|server closed|Connection reset|Connection timed out|could not receive|SSL SYSCALL|Broken pipe",
     "is the server up, and reachable from here? It is tried again"),
)  # fmt: skip
"""Hints where there is no SQLSTATE: libpq does not tell it of a connection that was refused."""


class ConnectionLost(SourceError):
    """A connection that worked is gone: whatever depended on its session begins again."""


def failure(error: psycopg.Error, dsn: str, doing: str, *, user: str = "the user") -> SourceError:
    """The error that people see. Raise it `from None`: the driver's own may hold the DSN.

    Parameters
    ----------
    doing
        What was tried: "connecting", "creating the publication".
    """
    text = said(str(error), dsn)
    state = error.sqlstate or ""
    denied = _hint(text, user) if state == _DENIED else ""  # the words say more than the code
    hint = denied or _BY_STATE.get(state) or _hint(text, user) or "see the message; it is tried again"
    kind = ConnectionLost if _is_lost(error) else SourceError
    return kind(f"{doing} failed on {shown(dsn)}: {text}", hint=hint, source=KIND)


def said(text: str, dsn: str) -> str:
    """A server's message in one line, without passwords, and without the word that only says that it is an error."""
    return re.sub(r"\bERROR: ", "", re.sub(r"\s+", " ", without_secrets(text, dsn))).strip()[:500]


def refused(message: str, hint: str, *, permanent: bool = False) -> SourceError:
    """The server is there and is not as it must be."""
    return SourceError(message, hint=hint, source=KIND, permanent=permanent)


def _hint(text: str, user: str) -> str:
    """What to do about a message, as far as its words are known; "": they are not."""
    for pattern, hint in _BY_TEXT:
        found = re.search(pattern, text)
        if found is not None:
            names = {word: identifier(name) for word, name in found.groupdict().items()}
            return hint.format(user=user if " " in user else identifier(user), **names)
    return ""


def _is_lost(error: psycopg.Error) -> bool:
    import psycopg

    state = error.sqlstate or ""
    return isinstance(error, psycopg.OperationalError) and (not state or state.startswith(("57P", "08")))
