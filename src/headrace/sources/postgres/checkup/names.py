"""Names and values as they stand in SQL statements that people copy, and that `--fix` runs."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
_WORDS = frozenset(
    re.findall(
        r"\w+",
        "all and any array as asc case check column constraint create default desc distinct do else end except false"
        " for foreign from grant group having in intersect into leading limit not null offset on only or order primary"
        " references select some table then to trailing true union unique user using when where window with",
    )
)


def identifier(name: str) -> str:
    """`name` as an identifier, quoted where it must be.

    >>> identifier("items"), identifier("Order"), identifier("user"), identifier('a"b')
    ('items', '"Order"', '"user"', '"a""b"')
    """
    if _PLAIN.fullmatch(name) and name not in _WORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """A table's full name.

    >>> qualified("public", "order")
    'public."order"'
    """
    return f"{identifier(schema)}.{identifier(name)}"


def size(count: int) -> str:
    """A number of bytes as people say it.

    >>> size(512), size(3_500_000), size(-2_000)
    ('512 B', '3.5 MB', '-2.0 kB')
    """
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
