"""From a document of the standard to what it declares, in Headrace's words."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field
from typing import Any, cast

from headrace.contracts.odcs.document import Document, Path
from headrace.contracts.odcs.export import BOUNDS
from headrace.core.schema import ColumnType

_LOGICAL = {
    "string": ColumnType.TEXT,
    "integer": ColumnType.INTEGER,
    "number": ColumnType.REAL,
    "boolean": ColumnType.BOOLEAN,
    "timestamp": ColumnType.TIMESTAMP,
    "date": ColumnType.DATE,
    "time": ColumnType.TIME,
    "object": ColumnType.JSON,
    "array": ColumnType.JSON,
}
_PHYSICAL = (
    (re.compile(r"bool", re.I), ColumnType.BOOLEAN),
    (re.compile(r"timestamp|datetime", re.I), ColumnType.TIMESTAMP),
    (re.compile(r"^date", re.I), ColumnType.DATE),
    (re.compile(r"int|serial", re.I), ColumnType.INTEGER),
    (re.compile(r"float|double|real", re.I), ColumnType.REAL),
    (re.compile(r"numeric|decimal", re.I), ColumnType.DECIMAL),
    (re.compile(r"json|struct|array|map|variant", re.I), ColumnType.JSON),
    (re.compile(r"blob|bytea|binary", re.I), ColumnType.BYTES),
)
_FORMATS = {"uuid": ColumnType.UUID, "binary": ColumnType.BYTES, "byte": ColumnType.BYTES}
_RULE_QUERY = re.compile(r"\s*SELECT\s+COUNT\(\*\)\s+FROM\s+\S+\s+WHERE\s+NOT\s*\((.*)\)\s*;?\s*\Z", re.I | re.S)
_JSON_TYPE = re.compile(r"[a-zA-Z\[\], |]{1,200}")
_JSON_WORDS = frozenset({"str", "int", "float", "bool", "list", "dict", "set", "frozenset", "tuple", "Any"})
_UNITS = {
    **dict.fromkeys(("w", "week", "weeks"), "w"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hour", "hours"), "h"),
    **dict.fromkeys(("m", "min", "minute", "minutes"), "m"),
    **dict.fromkeys(("s", "second", "seconds"), "s"),
    "ms": "ms",
}


@dataclass(slots=True)
class ReadColumn:
    """One property of a schema object."""

    name: str
    alias: str | None
    type: ColumnType
    nullable: bool
    key_position: int | None
    constraints: dict[str, Any]
    choices: list[Any]
    description: str
    facts: dict[str, Any]
    json_type: str = "Any"


@dataclass(slots=True)
class ReadRule:
    """One quality check; `expression` is None when it cannot be carried over."""

    name: str
    expression: str | None
    message: str
    facts: dict[str, Any]


@dataclass(slots=True)
class ReadTable:
    """One schema object."""

    name: str
    description: str
    columns: list[ReadColumn]
    rules: list[ReadRule]
    facts: dict[str, Any]
    sla: dict[str, str] = field(default_factory=dict[str, str])
    """Durations by SLA property: latency, retention."""

    @property
    def key(self) -> list[str]:
        """The key columns in order."""
        keyed = [(c.key_position, c.name) for c in self.columns if c.key_position is not None]
        return [name for _, name in sorted(keyed, key=lambda pair: pair[0])]

    @property
    def event_time(self) -> str | None:
        """The declared event time, or else the first timestamp that is always there."""
        declared = self.facts.get("eventTime")
        times = [c.name for c in self.columns if c.type is ColumnType.TIMESTAMP and not c.nullable]
        return declared if declared in times else next(iter(times), None)

    @property
    def is_events(self) -> bool:
        """Whether it becomes events: it says so, or it has no key to be a table by."""
        return self.facts.get("kind") == "events" or not self.key


@dataclass(slots=True)
class ReadContract:
    """A whole document."""

    name: str
    tables: list[ReadTable]


def load(document: Document) -> ReadContract:
    """What a document declares. Raises ContractError with the line of what is wrong."""
    root = document.root
    if root.get("kind") != "DataContract":
        document.fail(("kind",), f"kind is {root.get('kind')!r}, not DataContract", "write kind: DataContract")
    version = str(root.get("apiVersion", ""))
    if not version.startswith("v3."):
        document.fail(
            ("apiVersion",),
            f"apiVersion is {version or 'missing'}",
            "versions v3.0.0 to v3.1.0 of the standard are read",
        )
    tables = [_table(document, path, entry) for path, entry in document.entries(root, (), "schema")]
    if not tables:
        document.fail(("schema",), "the contract has no schema", "list at least one table under schema")
    _check_names(document, tables)
    _read_sla(document, tables)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(root.get("name") or root.get("id") or "")).strip("-._")
    return ReadContract(name if re.match(r"[A-Za-z]", name) else f"app-{name}".rstrip("-"), tables)


def _check_names(document: Document, tables: list[ReadTable]) -> None:
    """Every name once, and every table either with a key or with a time."""
    seen: set[str] = set()
    for i, table in enumerate(tables):
        if table.name.lower() in seen:
            document.fail(("schema", i, "name"), f"there are two tables {table.name!r}", "rename one of them")
        seen.add(table.name.lower())
        if table.is_events and table.event_time is None:
            document.fail(
                ("schema", i),
                f"{table.name} has no key, and no required timestamp by which its rows could be events",
                "mark its key columns with primaryKey: true",
            )


def _table(document: Document, path: Path, entry: dict[str, Any]) -> ReadTable:
    name = document.get(entry, path, "name", str)
    if not name:
        document.fail(path, "an entry of schema has no name", "give each schema object a name")
    columns = [_column(document, at, prop) for at, prop in document.entries(entry, path, "properties")]
    if not columns:
        document.fail(path, f"{name} has no properties", "list its columns under properties")
    seen: set[str] = set()
    for i, column in enumerate(columns):
        if column.name.lower() in seen:
            document.fail((*path, "properties", i), f"{name} has two columns {column.name!r}", "rename one")
        seen.add(column.name.lower())
    return ReadTable(
        _identifier(name),
        document.get(entry, path, "description", str, ""),
        columns,
        [rule for at, check in document.entries(entry, path, "quality") if (rule := _rule(document, at, check))],
        document.facts(entry, path),
    )


def _column(document: Document, path: Path, entry: dict[str, Any]) -> ReadColumn:
    name = document.get(entry, path, "name", str)
    if not name:
        document.fail(path, "a property has no name", "give each property a name")
    facts = document.facts(entry, path)
    options = document.get(entry, path, "logicalTypeOptions", dict, {})
    physical_name = document.get(entry, path, "physicalName", str)
    column = _identifier(name)
    alias = physical_name or (name if column != name else None)
    position = document.get(entry, path, "primaryKeyPosition", int, 0)
    return ReadColumn(
        name=column,
        alias=alias if alias != column else None,
        type=_type(document, path, entry, options, facts),
        nullable=not (document.get(entry, path, "required", bool, False) or entry.get("primaryKey")),
        key_position=position if document.get(entry, path, "primaryKey", bool, False) else None,
        constraints=_constraints(options),
        choices=_choices(document, path, entry),
        description=document.get(entry, path, "description", str, ""),
        facts=facts,
        json_type=_json_type(entry, facts),
    )


def _identifier(name: str) -> str:
    """The name as Python and SQL can write it."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not re.match(r"[A-Za-z]", plain):
        plain = "c" + plain if plain.startswith("_") else "c_" + plain
    return plain + "_" if keyword.iskeyword(plain) else plain


def _type(
    document: Document, path: Path, entry: dict[str, Any], options: dict[str, Any], facts: dict[str, Any]
) -> ColumnType:
    declared = facts.get("columnType")
    if declared in set(ColumnType):
        return ColumnType(declared)
    logical = document.get(entry, path, "logicalType", str)
    if logical is None:
        physical = str(entry.get("physicalType") or "")
        return next((kind for pattern, kind in _PHYSICAL if pattern.search(physical)), ColumnType.TEXT)
    if logical not in _LOGICAL:
        document.fail((*path, "logicalType"), f"logicalType is {logical!r}", f"the standard has {', '.join(_LOGICAL)}")
    kind = _LOGICAL[logical]
    return _FORMATS.get(str(options.get("format")), kind) if kind is ColumnType.TEXT else kind


def _constraints(options: dict[str, Any]) -> dict[str, Any]:
    words = {theirs: ours for ours, theirs in BOUNDS.items()} | {"pattern": "pattern"}
    words |= {f"min{what}": "min_length" for what in ("Length", "Items", "Properties")}
    words |= {f"max{what}": "max_length" for what in ("Length", "Items", "Properties")}
    return {words[name]: value for name, value in options.items() if name in words and value is not None}


def _choices(document: Document, path: Path, entry: dict[str, Any]) -> list[Any]:
    for _, check in document.entries(entry, path, "quality"):
        arguments: Any = check.get("arguments")
        if check.get("metric") == "invalidValues" and check.get("mustBe") == 0 and isinstance(arguments, dict):
            values = cast("dict[str, Any]", arguments).get("validValues")
            if isinstance(values, list) and _are_alike(cast("list[Any]", values)):
                return cast("list[Any]", values)
    return []


def _are_alike(values: list[Any]) -> bool:
    kinds: set[Any] = {type(value) for value in values}
    return kinds in ({str}, {int}, {bool})


def _json_type(entry: dict[str, Any], facts: dict[str, Any]) -> str:
    declared = facts.get("pythonType")
    if isinstance(declared, str) and _JSON_TYPE.fullmatch(declared):
        words = set(re.findall(r"[a-zA-Z]+", declared))
        if words <= _JSON_WORDS and _compiles(declared):
            return declared
    return {"array": "list[Any]", "object": "dict[str, Any]"}.get(str(entry.get("logicalType")), "Any")


def _compiles(expression: str) -> bool:
    try:
        compile(expression, "<type>", "eval")
    except (SyntaxError, ValueError):
        return False
    return True


def _rule(document: Document, path: Path, check: dict[str, Any]) -> ReadRule | None:
    name = document.get(check, path, "name", str, "")
    message = document.get(check, path, "description", str, "")
    facts = document.facts(check, path)
    expression: Any = facts.get("expression")
    if check.get("type") != "sql":
        expression = None
    elif not isinstance(expression, str):
        match = _RULE_QUERY.match(document.get(check, path, "query", str, ""))
        expression = match.group(1) if match and check.get("mustBe") == 0 else None
    return ReadRule(name, expression, message, facts)


def _read_sla(document: Document, tables: list[ReadTable]) -> None:
    for path, entry in document.entries(document.root, (), "slaProperties"):
        value, unit = entry.get("value"), _UNITS.get(str(entry.get("unit", "")).lower())
        if isinstance(value, bool) or not isinstance(value, int | float) or unit is None or value <= 0:
            continue
        elements = document.get(entry, path, "element", str, "")
        names = {part.strip().split(".")[0] for part in elements.split(",")} if elements else set[str]()
        for table in tables:
            if not names or table.name in names:
                table.sla[str(entry.get("property"))] = f"{value:.15g}{unit}"
