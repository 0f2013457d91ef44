"""Sizes for people."""

from __future__ import annotations

import re

from headrace.core.errors import DeclarationError

_UNITS = ("KiB", "MiB", "GiB", "TiB")


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


def parse_size(text: str) -> int:
    """Bytes of a size as people write it.

    Raises
    ------
    DeclarationError
        When the text is not a size.

    Examples
    --------
    >>> parse_size("2GiB"), parse_size("1.5 MiB"), parse_size("4096")
    (2147483648, 1572864, 4096)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB|TiB)?\s*", text)
    if found is None:
        raise DeclarationError(f"{text!r} is not a size", hint='write a number and a unit: "512MiB", "2GiB"')
    return int(float(found[1]) * 1024 ** (_UNITS.index(found[2]) + 1 if found[2] else 0))
