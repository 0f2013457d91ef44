"""Where a server is: a URL or `key=value` text as libpq takes it, how it is shown, and what we add to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from headrace.core.errors import DeclarationError
from headrace.sources.url import masked, secrets_of

_URL = re.compile(r"postgres(?:ql)?://", re.ASCII)
_PAIR = re.compile(r"\s*([A-Za-z_]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)", re.ASCII)
_SECRET = re.compile(r"(?i)(\b(?:password|sslpassword|oauth_client_secret)\s*=\s*)('(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)")

PARAMETERS: Mapping[str, str] = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""What we ask of each connection unless the DSN says otherwise: a cut network is noticed within half a minute, on a
silent connection too."""


def checked(dsn: str) -> str:
    """`dsn` if it looks like one.

    >>> checked("host=db dbname=shop")
    'host=db dbname=shop'

    Raises
    ------
    DeclarationError
        It is neither a PostgreSQL URL nor pairs.
    """
    if _URL.match(dsn) or _pairs(dsn) is not None:
        return dsn
    raise DeclarationError(
        f"{shown(dsn)!r} is no address of a PostgreSQL server",
        hint='write "postgresql://user@host/database" or "host=... dbname=... user=..."',
    )


def shown(dsn: str) -> str:
    """`dsn` without its passwords.

    >>> shown("postgresql://ann:s3cret@db/shop"), shown("host=db password='a b' user=ann")
    ('postgresql://ann:***@db/shop', 'host=db password=*** user=ann')
    """
    return masked(dsn) if "://" in dsn else _SECRET.sub(r"\1***", dsn)


def without_secrets(text: str, dsn: str) -> str:
    """`text` (a driver's error, say) without the passwords of `dsn`.

    >>> without_secrets("bad password s3cret", "host=db password=s3cret")
    'bad password ***'
    """
    pairs = _pairs(dsn) or {}
    found = secrets_of(dsn) if "://" in dsn else [value for name, value in pairs.items() if "password" in name]
    forms = {form for secret in found for form in (secret, unquote(secret))} - {""}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def _pairs(dsn: str) -> dict[str, str] | None:
    """The `key=value` pairs of `dsn`; None when it is something else."""
    found: dict[str, str] = {}
    at = 0
    while at < len(dsn.rstrip()):
        pair = _PAIR.match(dsn, at)
        if pair is None:
            return None
        value = pair[2]
        if value.startswith("'"):
            value = value[1:-1]
        found[pair[1]] = re.sub(r"\\(.)", r"\1", value)
        at = pair.end()
    return found or None


def with_defaults(given: Mapping[str, Any], application: str) -> dict[str, Any]:
    """The parameters of a connection: those of the DSN, and ours where it says nothing.

    Of several hosts the one that takes writes is meant: only there are publications made and slots kept.
    """
    several = "," in str(given.get("host", "")) + str(given.get("hostaddr", ""))
    ours = dict(PARAMETERS) | {"application_name": application}
    if several:
        ours["target_session_attrs"] = "read-write"
    return ours | dict(given)


def several(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The hosts and ports of a DSN that names several; none for one of a single host.

    >>> several({"host": "a,b", "port": "5432,5433"}), several({"host": "a,b"}), several({"host": "a"})
    ([('a', '5432'), ('b', '5433')], [('a', '5432'), ('b', '5432')], [])
    """
    hosts = str(given.get("host") or "").split(",")
    ports = str(given.get("port") or "5432").split(",")
    if len(hosts) < 2:
        return []
    return list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False))


def without_hosts(given: Mapping[str, Any], passed: Sequence[int]) -> dict[str, Any]:
    """The parameters of a connection without the hosts at these places.

    >>> without_hosts({"host": "a,b", "port": "5432,5433", "user": "ann"}, [0])
    {'host': 'b', 'port': '5433', 'user': 'ann'}
    """
    lists = ("host", "hostaddr", "port")
    left = dict(given)
    for name in lists if passed else ():
        parts = str(given.get(name) or "").split(",")
        if len(parts) > 1:
            left[name] = ",".join(part for i, part in enumerate(parts) if i not in passed)
    return left
