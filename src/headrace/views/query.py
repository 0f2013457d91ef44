"""A compiled query, in parts: what plans take apart, and what becomes the text of a statement.

Every relation, base table or subquery, offers two hidden columns: `_source_ts`, the oldest change that a row is made
of, and `_txn`, the commit stamp that last wrote one of its rows. A SELECT hands them on: minimum and maximum
over its FROM.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sqlglot import exp

from headrace.views.definitions import quoted
from headrace.views.scope import Scope, Source
from headrace.views.types import Typed

Hidden = Literal["none", "one", "each"]
"""Hidden columns at the end: none; `_source_ts` and one `_txn`; `_source_ts` and one `_txn_<i>` for each relation."""


@dataclass(frozen=True, slots=True)
class Conjunct:
    """One condition of a WHERE, joined by AND with the others."""

    node: exp.Expr
    sql: str

    @property
    def parametric(self) -> bool:
        """Whether a parameter stands in it."""
        return self.node.find(exp.Placeholder) is not None


@dataclass(frozen=True, slots=True)
class Term:
    """One term of an ORDER BY, and the words after it."""

    node: exp.Expr
    sql: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Block:
    """A compiled SELECT, in parts.

    Attributes
    ----------
    outputs
        Names and expressions, in order.
    source
        The FROM with its joins, without the word.
    conditions
        What relations themselves demand (a rollup's key exists), beside the WHERE.
    group
        None: rows stand for themselves; (): all rows are one group.
    """

    scope: Scope
    outputs: dict[str, Typed]
    source: str
    conditions: tuple[str, ...]
    where: tuple[Conjunct, ...]
    group: tuple[Typed, ...] | None
    having: str
    order: tuple[Term, ...]
    tail: str
    tables: tuple[Source, ...] = field(default=())

    @property
    def row_source_ts(self) -> str:
        """The oldest change that one joined row is made of."""
        firm = [source.source_ts for source in self.tables if not source.nullable]
        loose = [f"coalesce({source.source_ts}, {firm[0]})" for source in self.tables if source.nullable]
        return _scalar("min", [*firm, *loose])

    @property
    def row_txn(self) -> str:
        """The latest commit stamp among the rows that one joined row is made of."""
        firm = [source.txn for source in self.tables if not source.nullable]
        loose = [f"coalesce({source.txn}, 0)" for source in self.tables if source.nullable]
        return _scalar("max", [*firm, *loose])

    def hidden(self, mode: Hidden) -> dict[str, str]:
        """The hidden columns by name."""
        if mode == "none":
            return {}
        if not self.tables:
            return {"_source_ts": "NULL", "_txn": "NULL"}
        low, high = ("min({})", "max({})") if self.group is not None else ("{}", "{}")
        found = {"_source_ts": low.format(self.row_source_ts)}
        if mode == "one" or len(self.tables) == 1:
            return found | {"_txn": high.format(self.row_txn)}
        return found | {f"_txn_{i}": high.format(source.txn) for i, source in enumerate(self.tables)}

    def sql(self, mode: Hidden) -> str:
        """The whole statement."""
        shown = [f"{value.sql} AS {quoted(name)}" for name, value in self.outputs.items()]
        shown += [f"{sql} AS {name}" for name, sql in self.hidden(mode).items()]
        text = f"SELECT {', '.join(shown)}"
        if self.source:
            text += f" FROM {self.source}"
        if conditions := [*self.conditions, *(conjunct.sql for conjunct in self.where)]:
            text += f" WHERE {' AND '.join(conditions)}"
        if self.group:
            text += f" GROUP BY {', '.join(value.sql for value in self.group)}"
        text += f" HAVING {self.having}" if self.having else ""
        if self.order:
            text += f" ORDER BY {', '.join(self._term(term) for term in self.order)}"
        return text + self.tail

    def _term(self, term: Term) -> str:
        # A subquery over tiles must not be computed a second time for the order: name the output by its number.
        for number, value in enumerate(self.outputs.values(), 1):
            if value.sql == term.sql:
                return f"{number}{term.suffix}"
        return f"{term.sql}{term.suffix}"


@dataclass(frozen=True, slots=True)
class Compound:
    """Compiled SELECTs joined by UNION ALL."""

    blocks: tuple[Block, ...]
    outputs: dict[str, Typed]
    tail: str

    def sql(self, mode: Hidden) -> str:
        """The whole statement; the number of hidden columns is the same in all parts."""
        each: Hidden = "one" if mode == "each" else mode
        return " UNION ALL ".join(block.sql(each) for block in self.blocks) + self.tail

    def hidden(self, mode: Hidden) -> dict[str, str]:
        """The hidden columns by name."""
        return self.blocks[0].hidden("one" if mode == "each" else mode)


Query = Block | Compound


def _scalar(function: str, terms: list[str]) -> str:
    return terms[0] if len(terms) == 1 else f"{function}({', '.join(terms)})"
