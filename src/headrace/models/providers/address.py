"""What all upstreams over HTTP are declared with: an address, a key, headers."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from headrace.core.errors import DeclarationError, Misuse
from headrace.http1.headers import FRAMING, Field
from headrace.http1.origin import Origin
from headrace.models.provider import Provider

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_AUTHORITIES = "SSL_CERT_FILE"
_PLAINLY = {"accept-encoding": "identity"}
"""Who is told nothing may compress an answer as they like."""
_ENDS = {
    "/chat/completions": "/chat/completions",
    "/responses": "/responses",
    "/embeddings": "/embeddings",
    "/v1/messages": "/messages",
}
"""How an address ends that is more than a base, and what of that is more."""
_TARGET = re.compile(r"[\x21-\x22\x24-\x7e]*")


class HttpProvider(Provider):
    """An upstream with an address. The parameters are those of `OpenAI`.

    Raises
    ------
    DeclarationError
        The address, the key or a header cannot be.
    """

    _path: ClassVar[str] = ""
    """The path that is meant when the address has none; empty: the address is the whole one, and nothing follows it."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None,
        name: str | None,
        key: str | None,
        key_header: str,
        headers: Mapping[str, str] | None,
        tier: int,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        local: bool,
    ) -> None:
        self.origin, self._base, self._query = _address(url, self._path)
        self._key = _key(key)
        self._key_header = _header(key_header, "")
        self._headers = headers_of(headers)
        authority = self.origin.authority.decode()
        super().__init__(
            name if name is not None else f"{authority}/{model}" if model else authority,
            model=model,
            tier=tier,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            local=local,
        )

    @property
    def url(self) -> str:
        """The address, without its query, which may hold secrets."""
        return f"{self.origin}{self._base}"

    def describe(self) -> str:
        """One line, without secrets."""
        return f"{self.model} at {self.url}" if self.model else self.url

    def check(self, environment: Mapping[str, str]) -> None:
        """Look for its key, and for the authorities that it trusts."""
        self._fields(environment)

    def _target(self, path: str) -> bytes:
        return f"{self._base}{path}{self._query}".encode()

    def _fields(self, environment: Mapping[str, str]) -> list[Field]:
        """The headers of every request, the key included."""
        if self.origin.scheme == "https":
            _check_authorities(environment)
        declared = _PLAINLY | self._headers
        fields = [(name.encode(), value.encode("latin-1")) for name, value in declared.items()]
        if self._key is None:
            return fields
        secret = environment.get(self._key, "").strip()
        if not secret:
            raise DeclarationError(
                f"the upstream {self.name!r} needs its key, and the environment variable {self._key} is not set",
                hint=f"set {self._key} where the app runs",
            )
        if not secret.isascii() or not secret.isprintable():
            raise DeclarationError(
                f"the environment variable {self._key} holds characters that no key has",
                hint="set it again, without line breaks and quotation marks of another alphabet",
            )
        bearer = self._key_header == "authorization"
        return [*fields, (self._key_header.encode(), f"Bearer {secret}".encode() if bearer else secret.encode())]


def _check_authorities(environment: Mapping[str, str]) -> None:
    """Refuse a file of certificates that cannot be read: OpenSSL passes it over, and then no server is trusted."""
    file = environment.get(_AUTHORITIES)
    if not file:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except OSError as error:  # ssl.SSLError is one too
        why = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise DeclarationError(
            f"{_AUTHORITIES} names {file!r:.200}, which cannot be used: {why}",
            hint="name a PEM file of the authorities that are trusted, or unset it for those of the system",
        ) from None


def _address(url: str, path: str) -> tuple[Origin, str, str]:
    """Origin, path without a slash at its end, and query with its question mark."""
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{url!r:.100} is no URL", hint='write for example "http://127.0.0.1:8000/v1"')
    try:
        origin = Origin.parse(url)
    except Misuse as error:
        if "@" in url:  # what is wrong may be a password with a slash in it: it is not shown
            raise _secret() from None
        raise DeclarationError(error.message, hint=error.hint) from None
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise _secret()
    base = (parts.path.rstrip("/") or path) if parts.path in ("", "/") else parts.path.rstrip("/")
    query = f"?{parts.query}" if parts.query else ""
    if parts.fragment or not _TARGET.fullmatch(base + query):
        raise DeclarationError(
            f"the address {url.partition('?')[0]!r:.100} has a fragment, or characters that must be percent-encoded",
            hint="write it as it stands in a request line",
        )
    end = next((end for end in _ENDS if base.endswith(end)), "")
    if path and end:
        less = f"{origin}{base.removesuffix(_ENDS[end]) or path}"
        raise DeclarationError(
            f"the address {f'{origin}{base}'!r:.200} ends in the path of a request, which is added to each",
            hint=f"give the base address: {less!r:.200}" + (", with the query" if query else ""),
        )
    return origin, base, query


def _secret() -> DeclarationError:
    return DeclarationError(
        "the URL of an upstream holds a user or a password", hint="name the environment variable of a key: key=..."
    )


def _key(key: str | None) -> str | None:
    text = key is None or isinstance(key, str)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not text or (key is not None and not _VARIABLE.fullmatch(key)):
        # What stands there may be the secret itself: it is not shown.
        raise DeclarationError(
            "the key of an upstream is no name of an environment variable",
            hint='give the name of the variable, not the key itself: key="OPENAI_API_KEY"',
        )
    return key


def headers_of(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of a declaration, their names in lower case.

    Raises
    ------
    DeclarationError
        They are no mapping, or one of them cannot be set.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(
            f"the headers of an upstream are {type(headers).__name__}, not names with values",
            hint='write for example headers={"x-team": "search"}',
        )
    return {_header(name, value): value for name, value in headers.items()}


def _header(name: str, value: str) -> str:
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{name!r:.60} is no name of a header", hint='write for example "x-team"')
    lower = name.lower()
    if not _HEADER.fullmatch(lower) or lower.encode() in FRAMING:
        raise DeclarationError(
            f"{name!r:.60} is no header that can be set", hint="leave it out: those of the framing are written for you"
        )
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        # What stands there may be a secret: it is not shown.
        raise DeclarationError(
            f"the value of the header {name!r:.60} is no text, but {type(value).__name__}", hint="write it in quotes"
        )
    if not value.isascii() or any(ord(character) < 32 for character in value):
        raise DeclarationError(
            f"the value of the header {name!r:.60} holds characters that no header has", hint="encode the value"
        )
    return lower
