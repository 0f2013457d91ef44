"""What it means when a server does not let us in: from libpq's words to what to do.

libpq gives no SQLSTATE for a connection that was refused, so its words are what there is. They are the server's own,
in the server's language; what is not recognised is shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.core.errors import SourceError


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be refused. `permanent`: trying again cannot help."""

    name: str
    pattern: re.Pattern[str]
    hint: str
    permanent: bool = False


def _kind(name: str, pattern: str, hint: str, *, permanent: bool = False) -> Kind:
    return Kind(name, re.compile(pattern, re.IGNORECASE), hint, permanent)


KINDS = (
    _kind(
        "password",
        r"password authentication failed|no password supplied|SASL authentication failed",
        "check user and password in the dsn; `\\password <user>` in psql sets a new one",
        permanent=True,
    ),
    _kind("user", r'role ".*" does not exist', "check the user in the dsn, or CREATE ROLE it", permanent=True),
    _kind(
        "login",
        r"is not permitted to log in",
        "ALTER ROLE <user> LOGIN, or name another user in the dsn",
        permanent=True,
    ),
    _kind(
        "database",
        r'database ".*" does not exist',
        "check the database in the dsn; `psql -l` lists what there is",
        permanent=True,
    ),
    _kind(
        "hba",
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        "add a line for this user, database and address to pg_hba.conf and reload the server: logical replication"
        " needs a line with the database's name, not the word `replication`",
        permanent=True,
    ),
    _kind(
        "pooler",
        r"unsupported startup parameter|replication.*not supported|not supported.*replication"
        r"|server login has been failing|tenant or user not found|unsupported pkt type",
        "a pooler stands in between, and it does not pass replication on: name the server itself in the dsn"
        " (PgBouncer passes replication from version 1.23 on; Supavisor and Neon's pooler do not)",
        permanent=True,
    ),
    _kind(
        "connections",
        r"too many (clients|connections)|remaining connection slots|too many connections for",
        "raise max_connections, or end connections that nobody needs",
    ),
    _kind(
        "senders",
        r"number of requested standby connections exceeds max_wal_senders",
        "raise max_wal_senders and restart the server, or end replication connections that nobody needs",
    ),
    _kind(
        "replication right",
        r"must be superuser or replication role|permission denied to start WAL sender|REPLICATION attribute",
        "the user needs the REPLICATION attribute: ALTER ROLE <user> REPLICATION",
        permanent=True,
    ),
    _kind("starting", r"the database system is (starting up|shutting down|in recovery)", "wait until it is up"),
    _kind(
        "not accepting",
        r"not yet accepting connections|hot standby mode is disabled",
        "wait until it is up, or name the primary",
    ),
    _kind(
        "closed port",
        r"connection refused|no such file or directory",
        "is the server running, and does it listen there? see listen_addresses and port in postgresql.conf",
    ),
    _kind(
        "host",
        r"could not translate host name|name or service not known|failed to resolve host|nodename nor servname",
        "check the host in the dsn",
    ),
    _kind(
        "timeout",
        r"timeout expired|timed out|no route to host|network is unreachable",
        "is there a firewall or a security group in between?",
    ),
    _kind(
        "tls",
        r"SSL|certificate|GSSAPI",
        "check sslmode and sslrootcert in the dsn against what the server wants",
        permanent=True,
    ),
    _kind(
        "closed",
        r"server closed the connection unexpectedly|connection reset|terminating connection",
        "the server (or something in between) ended the connection: its log says why",
    ),
)


def kind_of(words: str) -> Kind | None:
    """Which way of being refused `words` tells of.

    >>> kind_of('FATAL:  database "shop" does not exist').name
    'database'
    """
    return next((kind for kind in KINDS if kind.pattern.search(words)), None)


def brief(words: str) -> str:
    """The server's own sentence, without what libpq puts before it.

    >>> brief('connection failed: connection to server at "::1", port 5432 failed: FATAL:  role "ann" does not exist')
    'role "ann" does not exist'
    """
    lines = [line.strip() for line in words.strip().splitlines() if line.strip()]
    text = next((line for line in lines if "FATAL:" in line), lines[0] if lines else "no answer")
    return re.sub(r"^.*?(?:FATAL|ERROR):\s*|^connection failed:\s*", "", text)


def refusal(words: str, place: str) -> SourceError:
    """The error for a connection that was refused with `words`."""
    kind = kind_of(words)
    return SourceError(
        f"connecting to {place} failed: {brief(words)}",
        hint=kind.hint if kind else "the server's log says more",
        source="postgres",
        permanent=bool(kind and kind.permanent),
    )
