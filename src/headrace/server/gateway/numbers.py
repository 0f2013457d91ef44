"""The number of a request: where its client's library shows it, and in the log beside the one that the client gave it.

`x-headrace-request-id` always has it. What official libraries show (`_request_id`, `error.request_id`) is another
header: a provider's own number stays in it, since that is what its support asks for; where there is none it is ours.
"""

from __future__ import annotations

import re

from headrace.http1.headers import Field, Fields
from headrace.http1.request import Request
from headrace.models.request import Dialect

_OPENAI, _ANTHROPIC = b"x-request-id", b"request-id"
_GIVEN = (b"x-request-id", b"x-client-request-id")
"""Where clients, and proxies before them, say how they call a request."""
_PROPER = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def shown(dialect: Dialect) -> bytes:
    """The header whose value the client's library shows."""
    return _ANTHROPIC if dialect is Dialect.MESSAGES else _OPENAI


def line(fields: Fields, dialect: Dialect, number: bytes) -> bytes:
    """The number as a line of a head, where an upstream gave none; each answer passes here.

    >>> line([(b"x-request-id", b"req_1")], Dialect.CHAT, b"7"), line([], Dialect.MESSAGES, b"7")
    (b'', b'request-id: 7\\r\\n')
    """
    name = shown(dialect)
    for field in fields:
        if field[0] == name:
            return b""
    return name + b": " + number + b"\r\n"


def head(dialect: Dialect, number: str) -> list[Field]:
    """The fields that have it in an answer of the gateway's own."""
    value = number.encode()
    return [(shown(dialect), value), (b"x-headrace-request-id", value)]


def logged(number: str, request: Request) -> str:
    """The number for the log, with the client's own where it gave a proper one: what strangers write forges no line.

    The client's is not the number itself: it may come twice, and attempts are told apart by the number.
    """
    named = request.named
    given = next((named[name] for name in _GIVEN if name in named), b"")
    return f"{number} ({given.decode()} of the client)" if _PROPER.fullmatch(given) else number
