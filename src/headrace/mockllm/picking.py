"""Which rows of a context an answer is made of, and how they are said.

    first | last | all | min FIELD | max FIELD | where FIELD=VALUE

Words follow each other: `where stock=0 all`, `where zone=north min price`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from headrace.core.errors import DeclarationError

Row = dict[str, Any]
Pick = Callable[[Sequence[Row]], list[Row]]

_FIELD = re.compile(r"\{([A-Za-z_]\w*)(:json)?\}")
UNKNOWN = "unknown"
"""What is said where a row has no such field."""


class Number(float):
    """A number of a context, with the text that it had there: an answer quotes `9.50`, not `9.5`."""

    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text


def parse_pick(text: str) -> Pick:
    """The choice that a text names.

    Raises
    ------
    DeclarationError
        It names none.

    Examples
    --------
    >>> rows = [{"name": "a", "price": 3}, {"name": "b", "price": 2}]
    >>> parse_pick("min price")(rows), parse_pick("where name=a all")(rows)
    ([{'name': 'b', 'price': 2}], [{'name': 'a', 'price': 3}])
    """
    words = text.split()
    steps: list[Pick] = []
    while words:
        word = words.pop(0)
        if word in ("all", "first", "last"):
            steps.append(_SIMPLE[word])
        elif word in ("min", "max") and words:
            steps.append(_extreme(words.pop(0), largest=word == "max"))
        elif word == "where" and words and "=" in words[0]:
            field, _, value = words.pop(0).partition("=")
            steps.append(_where(field, value))
        else:
            raise DeclarationError(
                f"{text!r:.80} picks nothing", hint="all, first, last, min FIELD, max FIELD, where FIELD=VALUE"
            )
    return _chain(steps)


def _chain(steps: Sequence[Pick]) -> Pick:
    def chained(rows: Sequence[Row]) -> list[Row]:
        picked = list(rows)
        for step in steps:
            picked = step(picked)
        return picked

    return chained


_SIMPLE: dict[str, Pick] = {
    "all": lambda rows: list(rows),
    "first": lambda rows: list(rows[:1]),
    "last": lambda rows: list(rows[-1:]),
}


def _extreme(field: str, *, largest: bool) -> Pick:
    def extreme(rows: Sequence[Row]) -> list[Row]:
        having = [row for row in rows if row.get(field) is not None]
        if not having:
            return []
        # Numbers by size, all else by its text: rows of one view do not mix them.
        numeric = all(isinstance(row[field], int | float) for row in having)

        def key(row: Row) -> Any:
            return row[field] if numeric else str(row[field])

        return [max(having, key=key) if largest else min(having, key=key)]

    return extreme


def _where(field: str, value: str) -> Pick:
    return lambda rows: [row for row in rows if field in row and said(row[field]) == value]


def render(template: str, rows: Sequence[Row]) -> str:
    """What a template says of rows: of each one line, or once for all if it names `{rows}` or `{count}`.

    >>> rows = [{"name": "Soup", "price": Number("9.50")}, {"name": "Rice", "price": 3}]
    >>> render("{name}: {price}", rows), render("{count} dishes", rows)
    ('Soup: 9.50\\nRice: 3', '2 dishes')
    """
    if "{rows}" in template or "{count}" in template:
        text = template.replace("{count}", str(len(rows)))
        return text.replace("{rows}", json.dumps(rows, ensure_ascii=False))
    return "\n".join(_render_row(template, row) for row in rows)


def _render_row(template: str, row: Row) -> str:
    def value(match: re.Match[str]) -> str:
        if match[2]:
            return json.dumps(row.get(match[1]), ensure_ascii=False)
        return said(row[match[1]]) if match[1] in row else UNKNOWN

    return _FIELD.sub(value, template)


def said(value: Any) -> str:
    """A value as an answer says it.

    >>> said(True), said(None), said("x"), said([1])
    ('true', 'null', 'x', '[1]')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Number):
        return value.text
    return json.dumps(cast("object", value), ensure_ascii=False)
