"""Names: those that Headrace keeps for itself, and what was probably meant by one that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from headrace.core.errors import UnknownName

ROUTES, ROUTING = "headrace_routes", "headrace_routing"
"""The table that says which version of an endpoint gets how much, and the view of its rows."""
OWN = frozenset({ROUTES, ROUTING})
"""Tables and views that Headrace keeps for itself: not shown among those of the app."""
_LISTED = 20


def suggest(name: str, known: Iterable[str]) -> str:
    """A hint for whoever wrote `name`: the nearest name that there is, and all of them.

    >>> suggest("pric", ["price", "stock"])
    "did you mean 'price'? there are: price, stock"
    >>> suggest("x", [])
    'there are: none'
    """
    names = [one for one in known if one not in OWN]
    near = nearest(name, names)
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    listed = f"there are: {', '.join(names[:_LISTED]) or 'none'}{more}"
    return f"did you mean {near!r}? {listed}" if near else listed


def nearest(name: str, known: Sequence[str]) -> str | None:
    """What was probably meant by `name`, if anything is near.

    >>> nearest("/recommen", ["/recommend", "/describe"]), nearest("x", ["price"])
    ('/recommend', None)
    """
    near = [one for one in known if one.lower() == name.lower()] or difflib.get_close_matches(name[:100], known, n=1)
    return near[0] if near else None


def unknown(what: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a `what` (view, table, ...) that is not declared."""
    return UnknownName(f"there is no {what} {name!r:.100}", hint=suggest(name, sorted(known)))
