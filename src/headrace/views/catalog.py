"""What names a view may read: tables, events, rollups and earlier views, with their columns."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from headrace.core.errors import DeclarationError
from headrace.core.schema import Column, Schema, TableKind
from headrace.views.rollup import Rollup
from headrace.views.view import ViewPlan


class RelationKind(enum.StrEnum):
    """What a name stands for."""

    TABLE = "table"
    EVENTS = "events"
    ROLLUP = "rollup"
    VIEW = "view"


@dataclass(frozen=True, slots=True)
class Relation:
    """A name, its columns, and the declaration behind it (exactly one of `schema`, `rollup`, `view`)."""

    name: str
    kind: RelationKind
    columns: tuple[Column, ...]
    schema: Schema | None = None
    rollup: Rollup | None = None
    view: ViewPlan | None = None


class Catalog:
    """All names, in order of declaration.

    Examples
    --------
    >>> from headrace.core.schema import ColumnType
    >>> catalog = Catalog()
    >>> catalog.add_table(Schema("items", TableKind.TABLE, (Column("id", ColumnType.TEXT),), key=("id",)))
    >>> catalog.names
    ('items',)
    """

    def __init__(self) -> None:
        self._relations: dict[str, Relation] = {}

    def add_table(self, schema: Schema) -> None:
        """Add a table or a stream of events."""
        kind = RelationKind.EVENTS if schema.kind is TableKind.EVENTS else RelationKind.TABLE
        self._add(Relation(schema.name, kind, schema.columns, schema=schema))

    def add_rollup(self, rollup: Rollup) -> None:
        """Add a rollup."""
        self._add(Relation(rollup.name, RelationKind.ROLLUP, rollup.columns, rollup=rollup))

    def add_view(self, plan: ViewPlan) -> None:
        """Add a planned view."""
        self._add(Relation(plan.name, RelationKind.VIEW, plan.columns, view=plan))

    def find(self, name: str) -> Relation | None:
        """The relation of that name, or None."""
        return self._relations.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in order of declaration."""
        return tuple(self._relations)

    @property
    def relations(self) -> tuple[Relation, ...]:
        """All relations, in order of declaration."""
        return tuple(self._relations.values())

    def _add(self, relation: Relation) -> None:
        if any(name.lower() == relation.name.lower() for name in self._relations):
            raise DeclarationError(
                f"the name {relation.name!r} is taken ({self._taken(relation.name)})", hint="choose another name"
            )
        self._relations[relation.name] = relation

    def _taken(self, name: str) -> str:
        return next(r.kind.value for n, r in self._relations.items() if n.lower() == name.lower())
