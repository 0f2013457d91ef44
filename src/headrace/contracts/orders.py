"""Tuples of named values, as the fast decoder reads them: a type for each order of names that occurs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

_REMEMBERED = 64
"""Orders that are remembered, at most: a table has one, and another one after each change of its columns."""


@dataclass(frozen=True, slots=True)
class Order:
    """How tuples of one order of names are read.

    Attributes
    ----------
    type
        What `msgspec.convert` makes of a list of them.
    permutation
        Where in the result each column stands, in the order of the columns; None: they are in order already.
    """

    type: Any
    permutation: tuple[int, ...] | None


class Orders(dict[tuple[str, ...], Order | None]):
    """By the names of the values, how they are read; None: not by this decoder.

    Parameters
    ----------
    name
        What the record is called.
    fields
        The fields of its Struct by their names in the data, in the order of the columns.
    allow_unknown
        Whether names that are no field may be passed over.
    """

    def __init__(self, name: str, fields: Mapping[str, tuple[Any, ...]], *, allow_unknown: bool) -> None:
        super().__init__()
        self._name = name
        self._fields = fields
        self._allow_unknown = allow_unknown

    def __missing__(self, names: tuple[str, ...]) -> Order | None:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self._order(names)
        self[names] = found
        return found

    def _order(self, names: tuple[str, ...]) -> Order | None:
        unknown = [name for name in names if name not in self._fields]
        absent = [name for name in self._fields if name not in names]
        if len(set(names)) < len(names) or (unknown and not self._allow_unknown):
            return None
        if any(len(self._fields[name]) < _WITH_DEFAULT for name in absent):
            return None
        # What is not given stands at the end and becomes its default. A Pydantic field has no leading underscore.
        places = [self._fields.get(name, (f"_unknown_{i}", Any)) for i, name in enumerate((*names, *absent))]
        kind: Any = msgspec.defstruct(self._name, places, array_like=True, gc=False, kw_only=True)
        standing = [place[0] for place in places]
        permutation = tuple(standing.index(field[0]) for field in self._fields.values())
        return Order(list[kind], None if permutation == tuple(range(len(places))) else permutation)


_WITH_DEFAULT = 3
"""Parts of a field that has a default: its name, its type and the default."""
