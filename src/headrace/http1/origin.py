"""Where a server is: scheme, host, port."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from headrace.core.errors import Misuse

_PORTS = {"http": 80, "https": 443}


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
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Misuse(f"{url!r:.100} is no URL: {error}", hint='write for example "http://127.0.0.1:8000"') from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise Misuse(f"{url!r:.100} is no http or https URL", hint='write for example "http://127.0.0.1:8000"')
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])

    @property
    def authority(self) -> bytes:
        """The value of the `host` header."""
        return _authority(self)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority.decode()}"


@lru_cache(maxsize=1024)
def _authority(origin: Origin) -> bytes:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    text = host if origin.port == _PORTS.get(origin.scheme) else f"{host}:{origin.port}"
    return text.encode("idna" if not text.isascii() else "ascii")
