"""Where a server is: scheme, host, port."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from headrace.core.errors import Misuse

_PORTS = {"http": 80, "https": 443}
_SPACE = re.compile(r"[\x00-\x20\x7f]")
_HOST = re.compile(r"[A-Za-z0-9._~%:-]+")


class Origin(NamedTuple):
    """One server that requests go to.

    >>> Origin.parse("https://api.example.com/v1")
    Origin(scheme='https', host='api.example.com', port=443)
    >>> Origin("http", "::1", 8000).authority
    b'[::1]:8000'
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Origin:
        """The origin of a URL.

        Raises
        ------
        Misuse
            It is no `http://` or `https://` URL.
        """
        hint = 'write for example "http://127.0.0.1:8000"'
        if _SPACE.search(url):  # `urlsplit` takes line breaks away without a word
            raise Misuse(f"{url!r:.100} is no URL: white space in it is to be percent-encoded", hint=hint)
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            raise Misuse(f"{url!r:.100} is no URL: an address in brackets is not closed, or none", hint=hint) from None
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise Misuse(f"{url!r:.100} is no URL: a port is a number from 1 to 65535", hint=hint)
        if parts.scheme not in _PORTS or not host:
            raise Misuse(f"{url!r:.100} is no http or https URL", hint=hint)
        if not _is_host(host):
            raise Misuse(f"{url!r:.100} is no URL: {host!r:.80} is no name of a server", hint=hint)
        return cls(parts.scheme, host, _PORTS[parts.scheme] if port is None else port)

    @property
    def authority(self) -> bytes:
        """The value of the `host` header."""
        return _authority(self)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority.decode()}"


def _is_host(host: str) -> bool:
    """Whether a resolver takes it: what it does not, it raises no `OSError` for."""
    if ":" in host:
        return _HOST.fullmatch(host) is not None
    try:
        return _HOST.fullmatch(host.encode("idna").decode()) is not None
    except UnicodeError:  # a label that is empty or too long
        return False


@lru_cache(maxsize=1024)
def _authority(origin: Origin) -> bytes:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    text = host if origin.port == _PORTS.get(origin.scheme) else f"{host}:{origin.port}"
    return text.encode("idna" if not text.isascii() else "ascii")
