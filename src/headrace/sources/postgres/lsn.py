"""Log sequence numbers: places in a server's write-ahead log, as whole numbers here and as text `16/B374D848` there."""

from __future__ import annotations

import re

from headrace.core.errors import SourceError

Lsn = int
"""A place in the write-ahead log: bytes since its beginning. 0 is no place."""

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", re.ASCII)


def parse_lsn(text: str) -> Lsn:
    """The number of `text`.

    >>> parse_lsn("16/B374D848")
    97500059720

    Raises
    ------
    SourceError
        The text is no LSN.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise SourceError(f"{text!r} is no log sequence number", hint="it looks like 16/B374D848")
    return int(found[1], 16) << 32 | int(found[2], 16)


def format_lsn(lsn: Lsn) -> str:
    """The text of `lsn`, as the server writes it.

    >>> format_lsn(97500059720)
    '16/B374D848'
    """
    return f"{lsn >> 32:X}/{lsn & 0xFFFF_FFFF:X}"
