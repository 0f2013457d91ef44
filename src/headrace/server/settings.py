"""How the server is reached, who may use it, and how much one client may ask of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.core.errors import DeclarationError
from headrace.core.sizes import LARGEST_BODY, format_size

_MIB = 1024 * 1024
_SHORTEST_KEY = 16
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
"""What `HEADRACE_LOG` may say."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the HTTP edge; sizes in bytes, waits in seconds unless said otherwise.

    Attributes
    ----------
    host, port
        Where to listen. A host that is not a loopback address needs `api_keys`. Port 0: any free one.
    workers
        HTTP worker processes.
    api_keys
        Any of them opens everything; empty: no key is asked for (loopback only).
    allowed_hosts
        Further names under which a loopback server may be called (`Host` header, without port).
    max_body
        Largest pushed body. It is read in pieces and refused as soon as it is over.
    max_bodies
        What the bodies of all requests of a worker take together, of those that are longer than 64 KiB; more are
        answered 503.
    max_url, max_headers
        Longest request target; together they are what the target and all headers may take.
    max_reads
        Most reads in one `POST /context`.
    max_concurrency
        Most requests in flight per worker; more are answered 503 at once.
    max_wait
        Longest `wait` of a freshness policy that a client may ask for, microseconds.
    header_timeout, body_timeout
        How long a client may take to send its headers, and its body.
    keep_alive
        How long an idle connection is kept.
    keys
        File of the gateway's virtual keys; None: `keys.yaml` in the data folder.
    mcp
        Whether the views are offered as MCP tools at `/mcp` (where the extra is installed).
    drain_timeout
        How long requests in flight may take to finish when the server is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    workers: int = 1
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_hosts: tuple[str, ...] = ()
    max_body: int = LARGEST_BODY
    max_bodies: int = 256 * _MIB
    max_url: int = 8 * 1024
    max_headers: int = 32 * 1024
    max_reads: int = 100
    max_concurrency: int = 1000
    max_wait: int = 30_000_000
    header_timeout: float = 10.0
    body_timeout: float = 60.0
    keep_alive: float = 75.0
    drain_timeout: float = 20.0
    keys: str | None = None
    mcp: bool = True

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def check(self) -> None:
        """Refuse settings under which anybody on the network could read and write.

        Raises
        ------
        DeclarationError
            The host is not a loopback address and there is no API key; a key is too short; there are no workers, or
            there is less room for all bodies than for one.
        """
        if self.workers < 1:
            raise DeclarationError(f"{self.workers} workers cannot serve", hint="use at least one worker")
        if self.max_bodies < self.max_body:
            raise DeclarationError(
                f"all bodies together may take {format_size(self.max_bodies)}, one alone {format_size(self.max_body)}",
                hint="give them more room: --max-bodies 256MiB",
            )
        if not self.loopback and not self.api_keys:
            raise DeclarationError(
                f"{self.host} can be reached by other machines, and no API key is set",
                hint="set HEADRACE_API_KEYS (or HEADRACE_API_KEYS_FILE), or listen on 127.0.0.1",
            )
        if any(len(key) < _SHORTEST_KEY for key in self.api_keys):
            raise DeclarationError(
                f"an API key is shorter than {_SHORTEST_KEY} characters",
                hint='make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"',
            )


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine only.

    >>> is_loopback("localhost"), is_loopback("127.0.0.9"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load_keys(environ: Mapping[str, str]) -> tuple[str, ...]:
    """API keys from `HEADRACE_API_KEYS` (comma-separated) and `HEADRACE_API_KEYS_FILE` (one a line, # comments).

    >>> load_keys({"HEADRACE_API_KEYS": "first, second"})
    ('first', 'second')
    """
    keys = [key.strip() for key in environ.get("HEADRACE_API_KEYS", "").split(",")]
    file = environ.get("HEADRACE_API_KEYS_FILE")
    if file:
        keys += _read_keys(Path(file))
    return tuple(dict.fromkeys(key for key in keys if key))


def _read_keys(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DeclarationError(
            f"the file of API keys cannot be read: {error}", hint="check HEADRACE_API_KEYS_FILE and its permissions"
        ) from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
