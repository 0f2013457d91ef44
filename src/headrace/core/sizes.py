"""Sizes for people."""

from __future__ import annotations

import re

from headrace.core.errors import DeclarationError

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*(bytes|B|(?:[KMGT]i?)B?)?", re.IGNORECASE)
_UNITS = ("KiB", "MiB", "GiB", "TiB")

LARGEST_BODY = 16 * 1024 * 1024
"""Bytes of a body that a server takes at all."""


def format_size(size: int) -> str:
    """Bytes as a person reads them: whole where they are, else with one decimal.

    >>> format_size(16 << 20), format_size(1_000_000), format_size(900), format_size(1 << 42)
    ('16 MiB', '976.6 KiB', '900 bytes', '4 TiB')
    """
    value, unit = float(size), "bytes"
    for larger in _UNITS:
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def parse_size(value: str | int) -> int:
    """Bytes of a size; units are powers of 1024.

    >>> parse_size("1MiB"), parse_size("64 kb"), parse_size(900)
    (1048576, 65536, 900)

    Raises
    ------
    DeclarationError
        It is none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise DeclarationError(f"{value!r:.40} is not a size", hint='write for example "64KiB" or "1MiB"')
    power = " KMGT".find((match[2] or " ")[0].upper())
    return round(float(match[1]) * 1024 ** max(power, 0))
