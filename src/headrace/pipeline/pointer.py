"""Where in a JSON document something is."""

from __future__ import annotations

from collections.abc import Iterable


def pointer(place: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901).

    >>> pointer(("items", 0, "a/b"))
    '/items/0/a~1b'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)
