"""Sizes for people."""

from __future__ import annotations

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
