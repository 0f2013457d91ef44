"""From a document of the standard to the Python that declares the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, cast
from uuid import UUID

from pydantic_core import SchemaError, SchemaValidator, core_schema

from headrace.contracts.infer import default_name
from headrace.contracts.odcs.document import Document
from headrace.contracts.odcs.export import BOUNDS
from headrace.contracts.odcs.load import ReadColumn, ReadContract, ReadRule, ReadTable, load
from headrace.core.durations import parse_duration
from headrace.core.errors import ContractError, DeclarationError
from headrace.core.records import Record
from headrace.core.schema import ColumnType

_PYTHON = {
    ColumnType.TEXT: "str",
    ColumnType.INTEGER: "int",
    ColumnType.REAL: "float",
    ColumnType.BOOLEAN: "bool",
    ColumnType.TIMESTAMP: "datetime",
    ColumnType.DATE: "date",
    ColumnType.TIME: "time",
    ColumnType.DURATION: "timedelta",
    ColumnType.UUID: "UUID",
    ColumnType.DECIMAL: "Decimal",
    ColumnType.BYTES: "bytes",
}
_ORDERED = frozenset(
    {
        ColumnType.INTEGER,
        ColumnType.REAL,
        ColumnType.TIMESTAMP,
        ColumnType.DATE,
        ColumnType.TIME,
        ColumnType.DURATION,
        ColumnType.DECIMAL,
    }
)
_SIZED = frozenset({ColumnType.TEXT, ColumnType.BYTES, ColumnType.JSON})
_IMPORTS = {
    "date": "datetime",
    "datetime": "datetime",
    "time": "datetime",
    "timedelta": "datetime",
    "Decimal": "decimal",
    "Any": "typing",
    "Literal": "typing",
    "UUID": "uuid",
}


def import_odcs(text: str, *, filename: str = "") -> str:
    """Python source that declares the tables of an ODCS v3 document.

    What Headrace has no word for (teams, servers, quality checks that are no row rules) is left out; checks that were
    left out are named in comments.

    Parameters
    ----------
    text
        The YAML of the document.
    filename
        For error messages.

    Raises
    ------
    ContractError
        When it is no document of the standard; the message names the line.
    """
    contract = load(Document(text, filename=filename))
    names: set[str] = set()
    tables = "\n\n".join(_table(table, names) for table in contract.tables)
    body = f"app = hr.App({contract.name!r})\n\n\n{tables}"
    return f"{_head(contract)}\n{_imports(body)}import headrace as hr\n\n{body}"


def _head(contract: ReadContract) -> str:
    return f'"""Declared from the data contract {_comment(contract.name)} (Open Data Contract Standard)."""\n'


def _comment(text: str) -> str:
    """Text that cannot end the comment or docstring it stands in."""
    return re.sub(r"[^\w .,:;()<>=!?/+*%-]", " ", " ".join(text.split()))


def _imports(body: str) -> str:
    by_module: dict[str, list[str]] = {}
    for name in sorted(_IMPORTS):
        if re.search(rf"\b{name}\b", body):
            by_module.setdefault(_IMPORTS[name], []).append(name)
    lines = [f"from {module} import {', '.join(names)}\n" for module, names in sorted(by_module.items())]
    return "".join(lines) + ("\n" if lines else "")


def _table(table: ReadTable, taken: set[str]) -> str:
    record = _class_name(table, taken)
    fields = "".join(f"    {_field(column)}\n" for column in table.columns)
    lost = "".join(f"# not carried over: {_comment(r.name)}: {_comment(r.message)}\n" for r in table.rules if _lost(r))
    return f"class {record}(hr.Record):\n{fields}\n\n{lost}{_declaration(table, record)}\n"


def _lost(rule: ReadRule) -> bool:
    return rule.expression is None


def _class_name(table: ReadTable, taken: set[str]) -> str:
    wanted: Any = table.facts.get("recordName")
    if not (isinstance(wanted, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", wanted)):
        wanted = "".join(part.capitalize() for part in _singular(table.name).split("_")) or "Row"
    name = wanted
    while name in taken or name in _IMPORTS or name in ("hr", "app"):
        name += "Record"
    taken.add(name)
    return name


def _singular(name: str) -> str:
    if name.endswith("ies"):
        return name[:-3] + "y"
    if re.search(r"(ss|us|x|z|ch|sh)es$", name):
        return name[:-2]
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name


def _field(column: ReadColumn) -> str:
    arguments = _constraints(column)
    if column.alias is not None:
        arguments.append(f"alias={column.alias!r}")
    if column.facts.get("onViolation") in ("null", "reject", "quarantine"):
        arguments.append(f"on_violation={column.facts['onViolation']!r}")
    if column.description:
        arguments.append(f"description={column.description!r}")
    default = _default(column)
    if not arguments:
        return f"{column.name}: {_annotation(column)}" + ("" if default is None else f" = {default}")
    if default is not None:
        arguments.insert(0, default)
    return f"{column.name}: {_annotation(column)} = hr.Field({', '.join(arguments)})"


def _constraints(column: ReadColumn) -> list[str]:
    """The constraints that the column's type can have; others (the length of a UUID) say nothing in Python."""
    if column.choices:
        return []
    found: list[str] = []
    for word, value in column.constraints.items():
        if word in BOUNDS:
            if column.type in _ORDERED:
                found.append(f"{word}={_literal(column, value)}")
        elif word == "pattern":
            if column.type is ColumnType.TEXT:
                found.append(f"pattern={_pattern(column, value)!r}")
        elif column.type in _SIZED:
            found.append(f"{word}={_plain(value)}")
    return found


def _pattern(column: ReadColumn, pattern: Any) -> str:
    try:
        SchemaValidator(core_schema.str_schema(pattern=str(pattern)))
    except SchemaError as error:
        raise ContractError(
            f"the pattern {pattern!r} of the column {column.name!r} cannot be used: {error}",
            hint="patterns are Rust regular expressions: no look-around, no back references",
        ) from error
    return str(pattern)


def _annotation(column: ReadColumn) -> str:
    if column.choices:
        kind = f"Literal[{', '.join(map(repr, column.choices))}]"
    else:
        kind = column.json_type if column.type is ColumnType.JSON else _PYTHON[column.type]
    return f"{kind} | None" if column.nullable else kind


def _default(column: ReadColumn) -> str | None:
    """The source of the default; None when the field is required."""
    if "default" in column.facts and column.facts["default"] is not None:
        value = column.facts["default"]
        return repr(value) if column.choices else _literal(column, value)
    if column.nullable and not column.facts.get("mustBePresent"):
        return "None"
    return None


def _literal(column: ReadColumn, value: Any) -> str:
    """The source of a default or bound."""
    try:
        return _BY_TYPE.get(column.type, _plain)(value)
    except (ValueError, TypeError, InvalidOperation) as error:
        raise ContractError(
            f"the column {column.name!r} has {value!r}, which is no {column.type}", hint="correct its default or bounds"
        ) from error


def _plain(value: Any) -> str:
    if isinstance(value, str | int | float | list | dict):
        return repr(value)  # pyright: ignore[reportUnknownArgumentType]
    return repr(str(value))


def _number(value: Any) -> str:
    return repr(value) if isinstance(value, int) else repr(float(value))


def _from_iso(kind: type[date] | type[time]) -> Any:
    def literal(value: Any) -> str:
        text = value.isoformat() if isinstance(value, date | time) else str(value)
        kind.fromisoformat(text)
        return f"{kind.__name__}.fromisoformat({text!r})"

    return literal


def _boolean(value: Any) -> str:
    return repr(bool(value))


def _duration_literal(value: Any) -> str:
    return f"timedelta(seconds={float(value)!r})"


def _decimal(value: Any) -> str:
    return f"Decimal({str(Decimal(str(value)))!r})"


def _uuid(value: Any) -> str:
    return f"UUID({str(UUID(str(value)))!r})"


def _bytes(value: Any) -> str:
    return repr(value if isinstance(value, bytes) else str(value).encode())


_BY_TYPE: dict[ColumnType, Callable[[Any], str]] = {
    ColumnType.INTEGER: _number,
    ColumnType.REAL: _number,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.TIMESTAMP: _from_iso(datetime),
    ColumnType.DATE: _from_iso(date),
    ColumnType.TIME: _from_iso(time),
    ColumnType.DURATION: _duration_literal,
    ColumnType.DECIMAL: _decimal,
    ColumnType.UUID: _uuid,
    ColumnType.BYTES: _bytes,
}


def _declaration(table: ReadTable, record: str) -> str:
    arguments = [record]
    if table.name != default_name(type(record, (Record,), {})):
        arguments.append(f"name={table.name!r}")
    key = table.key
    if key:
        arguments.append(f"key={_one_or_list(key)}")
    arguments += _facts(table)
    rules = [_rule(rule) for rule in table.rules if not _lost(rule)]
    if rules:
        arguments.append(f"rules=[{', '.join(rules)}]")
    joined = "".join(f"    {argument},\n" for argument in arguments)
    variable = f"{table.name}_" if table.name in ("app", "hr", record, *_IMPORTS) else table.name
    return f"{variable} = app.{'events' if table.is_events else 'table'}(\n{joined})"


def _one_or_list(names: list[str]) -> str:
    return repr(names[0] if len(names) == 1 else names)


def _facts(table: ReadTable) -> list[str]:
    facts, found = table.facts, list[str]()
    indexes = facts.get("indexes")
    if isinstance(indexes, list) and indexes:
        columns = cast("list[Any]", indexes)
        found.append(f"index=[{', '.join(_index(i) for i in columns)}]")
    if table.is_events:
        found.append(f"event_time={table.event_time!r}")
    for theirs, ours in (("version", "version"), ("changedAt", "changed_at")):
        if isinstance(facts.get(theirs), str):
            found.append(f"{ours}={facts[theirs]!r}")
    keep = facts.get("keep") or (table.sla.get("retention") if table.is_events else None)
    for word, value in (
        ("keep", keep),
        ("lateness", facts.get("lateness")),
        ("ahead", facts.get("ahead")),
        ("freshness", facts.get("freshness") or table.sla.get("latency")),
    ):
        if value is not None:
            found.append(f"{word}={_duration(table, word, value)!r}")
        elif word == "keep" and facts.get("kind") == "events":
            found.append("keep=None")
    for theirs, ours, usual in (("newFields", "new_fields", "ignore"), ("onViolation", "on_violation", "quarantine")):
        if facts.get(theirs) not in (None, usual):
            found.append(f"{ours}={str(facts[theirs])!r}")
    if table.description:
        found.append(f"description={table.description!r}")
    if facts.get("owner"):
        found.append(f"owner={str(facts['owner'])!r}")
    return found


def _index(columns: Any) -> str:
    names = [str(name) for name in cast("list[Any]", columns)] if isinstance(columns, list) else [str(columns)]
    return _one_or_list(names)


def _duration(table: ReadTable, word: str, value: Any) -> str:
    try:
        parse_duration(value)
    except (DeclarationError, TypeError) as error:
        raise ContractError(
            f"{table.name}: {word} is {value!r}, which is no duration", hint='write for example "2s" or "7d"'
        ) from error
    return str(value)


def _rule(rule: ReadRule) -> str:
    arguments = [repr(rule.expression)]
    if rule.name and rule.name != " ".join((rule.expression or "").split()):
        arguments.append(f"name={rule.name!r}")
    policy = rule.facts.get("onViolation")
    if policy in ("null", "reject"):
        arguments.append(f"on_violation={policy!r}")
    if rule.message:
        arguments.append(f"message={rule.message!r}")
    columns = rule.facts.get("columns")
    if isinstance(columns, list) and columns:
        arguments.append(f"columns={tuple(map(str, cast('list[Any]', columns)))!r}")
    return f"hr.Rule({', '.join(arguments)})"
