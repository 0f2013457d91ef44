"""What an app offers to its clients: the views, tables and records that routes, OpenAPI and MCP tools are made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.core.names import OWN, unknown
from headrace.core.schema import Column, ColumnType, TableKind


@dataclass(frozen=True, slots=True)
class ViewInfo:
    """One view.

    Attributes
    ----------
    params
        Its parameters; a nullable one may be left out.
    columns
        What each of its rows holds; `ColumnType.JSON` where the type of an expression is not known.
    tool
        Whether models are offered it as a tool.
    """

    name: str
    description: str = ""
    params: tuple[Column, ...] = ()
    columns: tuple[Column, ...] = ()
    tool: bool = True


@dataclass(frozen=True, slots=True)
class TableInfo:
    """One table or stream of events.

    Attributes
    ----------
    key
        The key columns; empty for events without a key.
    record
        The JSON schema of one record, as Pydantic gives it.
    push
        Whether records may be pushed to it.
    """

    name: str
    kind: TableKind
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])
    push: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that one app offers. `version` is the app's own, for people; `endpoints` are paths."""

    app: str
    views: Mapping[str, ViewInfo]
    tables: Mapping[str, TableInfo]
    version: str = "0"
    description: str = ""
    endpoints: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def shown(self) -> Catalog:
        """The same without what Headrace keeps for itself."""
        views = {name: view for name, view in self.views.items() if name not in OWN}
        tables = {name: table for name, table in self.tables.items() if name not in OWN}
        return replace(self, views=views, tables=tables)

    def view(self, name: str) -> ViewInfo:
        """The view `name`. Raises `UnknownName` with the nearest name."""
        found = self.views.get(name)
        if found is None:
            raise unknown("view", name, self.views)
        return found

    def table(self, name: str) -> TableInfo:
        """The table `name`. Raises `UnknownName` with the nearest name."""
        found = self.tables.get(name)
        if found is None:
            raise unknown("table", name, self.tables)
        return found


_SCHEMAS: dict[ColumnType, dict[str, Any]] = {
    ColumnType.TEXT: {"type": "string"},
    ColumnType.INTEGER: {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    ColumnType.REAL: {"type": "number"},
    ColumnType.BOOLEAN: {"type": "boolean"},
    ColumnType.TIMESTAMP: {"type": "string", "format": "date-time"},
    ColumnType.DATE: {"type": "string", "format": "date"},
    ColumnType.TIME: {"type": "string", "format": "time"},
    ColumnType.DURATION: {"type": "number", "description": "seconds"},
    ColumnType.UUID: {"type": "string", "format": "uuid"},
    ColumnType.DECIMAL: {"type": "string", "pattern": r"^[-+]?[0-9]+(\.[0-9]+)?$"},
    ColumnType.BYTES: {"type": "string", "contentEncoding": "base64"},
    ColumnType.JSON: {},
}


def json_schema(column: Column) -> dict[str, Any]:
    """The JSON schema of a column's shown form (see `core.schema`).

    >>> json_schema(Column("n", ColumnType.BOOLEAN, nullable=True))
    {'type': ['boolean', 'null']}
    """
    schema = dict(_SCHEMAS[column.type])
    if column.nullable and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if column.description:
        schema["description"] = column.description
    return schema


def object_schema(columns: Iterable[Column], *, closed: bool = False) -> dict[str, Any]:
    """The JSON schema of an object with these columns; `closed` forbids others, and nullable ones may be left out."""
    listed = list(columns)
    schema: dict[str, Any] = {"type": "object", "properties": {c.name: json_schema(c) for c in listed}}
    required = [c.name for c in listed if not (closed and c.nullable)]
    if required:
        schema["required"] = required
    if closed:
        schema["additionalProperties"] = False
    return schema
