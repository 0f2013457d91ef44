"""The data in a prompt: every JSON value that begins a line, as rows with a name.

    <context view="recommend" age="0.4s">       the name is the `view` or `name` of the tag above,
    [{"name": "Soup", "price": 9.50}, ...]      or the tag itself, or the word before a colon (`recommend:`)
    </context>

| value                                     | rows                                       |
|-------------------------------------------|--------------------------------------------|
| a list of objects                         | its objects                                |
| objects on lines that follow each other   | one each                                   |
| an object with a list `rows`              | those; `view` or `name` beside it names it |
| an object whose values are such           | one context for each key                   |
| any other object                          | one row                                    |
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, cast

from headrace.mockllm.picking import Number, Row

_DECODER = json.JSONDecoder(parse_float=Number)
_START = re.compile(r"^[ \t]*(?=[\[{])", re.M)
_ATTRIBUTE = re.compile(r"""\b(?:view|name)=["']?([\w.-]+)""")
_WORD = re.compile(r"[\s#*<\-]*([A-Za-z_][\w.-]*)[^:>\n]*[:>]?[*\s]*$")


@dataclass(slots=True)
class Context:
    """Rows that stand in a prompt, and what they are called there (empty: nothing names them)."""

    name: str
    rows: list[Row]


def contexts(prompt: str) -> list[Context]:
    """All contexts of a prompt, in order.

    >>> contexts('What sells?\\n<context view="recommend">\\n[{"name": "Soup"}]\\n</context>')
    [Context(name='recommend', rows=[{'name': 'Soup'}])]
    """
    found: list[Context] = []
    end, alone = 0, False
    for match in _START.finditer(prompt):
        if match.end() < end:
            continue
        try:
            value, stop = _DECODER.raw_decode(prompt, match.end())
        except ValueError:
            continue
        follows = alone and not prompt[end : match.start()].strip()
        new = _read(value, _name(prompt[end : match.start()]))
        end, alone = stop, isinstance(value, dict) and len(new) == 1 and new[0].rows == [value]
        if follows and alone:
            found[-1].rows.append(cast("Row", value))
        else:
            found += new
    return found


def _read(value: Any, name: str) -> list[Context]:
    rows = _rows(value)
    if rows is not None:
        return [Context(name, rows)]
    if not isinstance(value, dict):
        return []
    table = cast("dict[str, Any]", value)
    inner = _rows(table.get("rows"))
    if inner is not None:
        given: Any = table.get("view") or table.get("name")
        return [Context(given if isinstance(given, str) else name, inner)]
    parts = {key: _read(part, key) for key, part in table.items() if _holds_rows(part)}
    if parts:
        return [context for part in parts.values() for context in part]
    return [Context(name, [table])]


def _holds_rows(value: Any) -> bool:
    if isinstance(value, dict):
        return _rows(cast("dict[str, Any]", value).get("rows")) is not None
    return bool(value) and _rows(value) is not None


def _rows(value: Any) -> list[Row] | None:
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if all(isinstance(item, dict) for item in items):
            return cast("list[Row]", items)
    return None


def _name(before: str) -> str:
    lines = [line for line in before.splitlines() if line.strip() and not line.strip().startswith(("```", "</"))]
    if not lines:
        return ""
    attribute = _ATTRIBUTE.search(lines[-1])
    if attribute is not None:
        return attribute[1]
    word = _WORD.match(lines[-1])
    return word[1] if word is not None else ""
