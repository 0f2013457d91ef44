"""PostgreSQL's types: those that every server has, and how to learn of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TypeKind = Literal["base", "array", "composite", "domain", "enum", "pseudo", "range", "multirange"]

TYPES_QUERY = "SELECT 1"
"""Reads types by oid, and those that they are made of; takes one parameter, an array of oids."""


@dataclass(frozen=True, slots=True)
class PgType:
    """A type.

    Attributes
    ----------
    element
        The oid of an array's elements, of a range's bounds, of a multirange's range; 0: it has none.
    base
        The oid of the type that a domain restricts; 0: it is no domain.
    delimiter
        What stands between the values of an array of this type.
    """

    oid: int
    name: str
    kind: TypeKind
    element: int = 0
    base: int = 0
    delimiter: str = ","


class Types:
    """The types known so far, by oid."""

    def __getitem__(self, oid: int) -> PgType:
        """The type; of one that was never heard of, a base type named "oid 123", which is carried as text."""
        raise NotImplementedError

    def missing(self, oids: Iterable[int]) -> list[int]:
        """Those of the oids that `TYPES_QUERY` has to be asked for."""
        raise NotImplementedError

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take in the rows of `TYPES_QUERY`."""
        raise NotImplementedError
