"""Who may come in: API keys, and the `Host` and `Origin` checks of a server that listens on loopback.

A page that a browser has open can send requests to 127.0.0.1. Two things keep it out: its requests carry its own
`Origin`, and a name that an attacker points at 127.0.0.1 (DNS rebinding) stands in the `Host` header.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from headrace.server.problem import Problem
from headrace.server.settings import Settings, is_loopback

OPEN_PATHS = frozenset({"/healthz"})
"""What needs no key: whoever restarts the process must see that it is alive."""


class Guard:
    """Decides whether a request may go on; holds digests of the keys, never the keys."""

    def __init__(self, settings: Settings) -> None:
        self._digests = [_digest(key.encode()) for key in settings.api_keys]
        self._local = settings.loopback
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        # The few names of this server come again with each request; the cache is bounded because a stranger fills it.
        self._host_ok = lru_cache(maxsize=64)(self._judge_host)

    def refuse(self, path: str, headers: Mapping[bytes, bytes], *, keys: bool = True) -> Problem | None:
        """Why the request is refused, or None. `headers` has lower-case names; `keys`: whether it needs a key."""
        if self._local:
            if not self._host_ok(headers.get(b"host", b"")):
                return Problem(
                    421,
                    "misdirected",
                    "This server is not that host",
                    "the Host header names neither this machine nor an allowed host",
                    hint="call it as 127.0.0.1 or localhost, or serve with --allowed-host and that name",
                )
            origin = headers.get(b"origin")
            if origin is not None and not self._origin_ok(origin):
                return Problem(
                    403,
                    "foreign-origin",
                    "Requests from this web page are refused",
                    "the Origin header names another site",
                    hint="call the server from a backend, or serve with --allowed-host and the name of that site",
                )
        if keys and self._digests and path not in OPEN_PATHS and not self.knows(headers):
            return _UNAUTHORIZED
        return None

    def knows(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the request carries one of the API keys."""
        given = headers.get(b"x-api-key")
        if given is None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer":
                return False
        digest = _digest(given.strip())
        # Every key is compared, so that the time taken does not tell which one was near.
        return sum([hmac.compare_digest(digest, known) for known in self._digests]) > 0

    def _judge_host(self, value: bytes) -> bool:
        name = _host_name(value.decode("latin-1"))
        return is_loopback(name) or name.lower() in self._hosts

    def _origin_ok(self, value: bytes) -> bool:
        try:
            name = urlsplit(value.decode("latin-1")).hostname
        except ValueError:  # brackets that hold no address
            return False
        return name is not None and (is_loopback(name) or name in self._hosts)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _host_name(value: str) -> str:
    """The host of a `Host` header, without port and brackets."""
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0]


_UNAUTHORIZED = Problem(
    401,
    "unauthorized",
    "An API key is needed",
    "the request carries no known API key",
    hint="send it as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'",
    headers=((b"www-authenticate", b"Bearer"),),
)
