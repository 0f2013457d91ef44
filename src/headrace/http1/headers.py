"""Header fields as bytes: finding, passing on, and writing them so that none can smuggle another.

Fields are a sequence of (name, value), names in lower case, values without surrounding white space, order kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

from headrace.core.errors import Misuse

Field = tuple[bytes, bytes]
"""One header field: its name in lower case, and its value."""

Fields = Sequence[Field]
"""The header fields of a message, in order."""

FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"trailer"})
"""Fields that say where a message ends. This package writes them; nobody else may."""

HOP_BY_HOP = FRAMING | {b"te", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"expect"}
"""Fields of one connection, which a relay does not pass on (RFC 9110, 7.6.1)."""


class _StatusLines(dict[int, bytes]):
    def __missing__(self, status: int) -> bytes:
        if not 200 <= status <= 599:
            raise Misuse(f"{status} is no final status", hint="answer with a status from 200 to 599")
        return b"HTTP/1.1 %d \r\n" % status


STATUS_LINES = _StatusLines(
    {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus if one.value >= 200}
)
"""By status, `HTTP/1.1 200 OK` with its CRLF. `Misuse` where that is not final: interim answers are sent by the
connection itself, and upgrades are not served."""
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORMS: dict[tuple[bytes, ...], bytes] = {}
_MANY_FORMS = 1024
_LONG_FORM = 4096


def find(fields: Fields, name: bytes) -> bytes | None:
    """The value of the first field of that name (lower case).

    >>> find([(b"host", b"a"), (b"accept", b"*/*")], b"accept")
    b'*/*'
    """
    for field, value in fields:
        if field == name:
            return value
    return None


def end_to_end(fields: Fields) -> list[Field]:
    """What a relay passes on: without the fields of one connection, and without those that `Connection` names.

    >>> end_to_end([(b"connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"content-type", b"text/plain")])
    [(b'content-type', b'text/plain')]
    """
    kept = [field for field in fields if field[0] not in HOP_BY_HOP]
    if len(kept) == len(fields) or b"connection" not in dict(fields):
        return kept
    listed = b",".join([value for name, value in fields if name == b"connection"]).lower()
    if listed in (b"close", b"keep-alive"):
        return kept
    dropped = {name.strip() for name in listed.split(b",")}
    return [field for field in kept if field[0] not in dropped]


def write(first_line: bytes, fields: Fields, last_lines: bytes, body: bytes = b"") -> bytes:
    """A message, or only its head; `first_line` and `last_lines` end with CRLF and are trusted.

    Raises
    ------
    Misuse
        A name is no token or belongs to the framing, or a value holds a line break or NUL.

    >>> write(b"GET / HTTP/1.1\\r\\n", [(b"host", b"a")], b"")
    b'GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n'
    """
    return b"%b%b%b\r\n%b" % (first_line, lines(fields), last_lines, body)


def lines(fields: Fields) -> bytes:
    """Only the fields, each on a line of its own. Raises as `write`."""
    if not fields:
        return b""
    names: tuple[bytes, ...]
    names, values = zip(*fields)  # noqa: B905 (they are pairs, and `strict` costs as much as all the rest)
    written = (_FORMS.get(names) or _form(names)) % values
    # One count over the whole is ten times cheaper than a pattern over every value.
    breaks = len(names)
    if written.count(b"\r") != breaks or written.count(b"\n") != breaks or 0 in written:
        raise Misuse("a header value holds a line break or NUL", hint="encode the value, or leave the header out")
    return written


def _form(names: tuple[bytes, ...]) -> bytes:
    """The lines of these names with room for their values. Heads repeat, so names are judged, and written, once."""
    for name in names:
        _judge(name)
    form = b"".join(name.replace(b"%", b"%%") + b": %b\r\n" for name in names)
    if len(_FORMS) < _MANY_FORMS and len(form) < _LONG_FORM:
        _FORMS[names] = form
    return form


def _judge(name: bytes) -> None:
    if _TOKEN.fullmatch(name) is None:
        raise Misuse(f"{name!r:.60} is no header name", hint="a name has letters, digits and dashes")
    if name.lower() in FRAMING:
        raise Misuse(
            f"the header {name.decode()} is written by the connection itself",
            hint="give `length` for a stream whose length is known; pass fields on through `end_to_end`",
        )


def trailers(fields: Fields) -> bytes:
    """The end of a chunked body: the last chunk, the trailers, an empty line."""
    return b"0\r\n\r\n" if not fields else write(b"0\r\n", fields, b"")
