"""Row rules over a run of good rows: SQL in bulk by SQLite, functions record by record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import apsw

from headrace.contracts.breach import Breach, value_text
from headrace.contracts.contract import Contract
from headrace.contracts.expression import compile_expression
from headrace.contracts.rules import Rule
from headrace.contracts.runs import UpsertRun
from headrace.core.schema import Row, Schema, show


class RowRules:
    """The rules of one contract, ready to run.

    SQL is evaluated by an in-memory SQLite over the stored values with their columns' affinities, so that it means what
    it means in the store: only false is a violation.
    """

    def __init__(self, contract: Contract) -> None:
        self._schema = contract.schema
        self._checks = [_Check.of(rule, contract.schema) for rule in contract.rules]
        self.wants_records = any(check.statement is None for check in self._checks)
        """Whether a rule is a function and needs Pydantic objects."""
        sql = [check for check in self._checks if check.statement is not None]
        self._suspect = _statement(contract.schema, [check.expression for check in sql]) if sql else None
        self._db: Any = None

    def __bool__(self) -> bool:
        return bool(self._checks)

    def check(self, run: UpsertRun) -> tuple[dict[int, Breach], int]:
        """The breaches by position in the run, and how many columns were set to NULL (in the run's rows)."""
        suspects: Sequence[int] = range(len(run.rows)) if self.wants_records else self._suspects(run.rows)
        breaches: dict[int, Breach] = {}
        nulled = 0
        for position in suspects:
            broken, repaired = self._check_one(run, position)
            nulled += repaired
            if broken is not None:
                breaches[position] = broken
        return breaches, nulled

    def _suspects(self, rows: list[Row]) -> list[int]:
        """Positions of the rows that break any SQL rule."""
        if self._suspect is None:
            return []
        numbered = [(*row, i) for i, row in enumerate(rows)]
        return [found[0] for found in self._connection().executemany(self._suspect, numbered)]

    def _check_one(self, run: UpsertRun, position: int) -> tuple[Breach | None, int]:
        nulled = 0
        for check in self._checks:
            message = self._broken(check, run, position)
            if message is None:
                continue
            if check.rule.on_violation != "null":
                return self._breach(check.rule, message, run.rows[position]), nulled
            gone = {self._schema.position(name) for name in check.rule.columns}
            run.rows[position] = tuple(None if i in gone else cell for i, cell in enumerate(run.rows[position]))
            nulled += len(gone)
        return None, nulled

    def _broken(self, check: _Check, run: UpsertRun, position: int) -> str | None:
        """Why the rule is broken, or None when it holds."""
        if check.statement is not None:
            found = self._connection().execute(check.statement, (*run.rows[position], 0)).fetchall()
            return (check.rule.message or f"the record breaks the rule {check.rule.name!r}") if found else None
        if run.records is None:
            return None
        return _call(check.rule, run.records[position])

    def _breach(self, rule: Rule, message: str, row: Row) -> Breach:
        shown = {c.name: show(c.type, row[i]) for i, c in enumerate(self._schema.columns) if c.name in rule.columns}
        value: Any = next(iter(shown.values())) if len(shown) == 1 else shown
        column = rule.columns[0] if rule.columns else ""
        return Breach(rule.name, column, value_text(value) if shown else "", message, rule.on_violation)

    def _connection(self) -> Any:
        if self._db is None:
            self._db = apsw.Connection(":memory:")
            self._db.execute("PRAGMA case_sensitive_like = ON")  # LIKE minds case, as in views
        return self._db


@dataclass(frozen=True, slots=True)
class _Check:
    rule: Rule
    expression: str
    statement: str | None

    @classmethod
    def of(cls, rule: Rule, schema: Schema) -> _Check:
        if rule.sql is None:
            return cls(rule, "", None)
        expression = compile_expression(rule.sql, schema)
        return cls(rule, expression, _statement(schema, [expression]))


def _statement(schema: Schema, expressions: list[str]) -> str:
    """A query that gives the row's number back when one of the expressions is false for it."""
    # CAST gives a parameter its column's affinity, on which comparisons depend.
    columns = [f'CAST(?{i} AS {c.type.storage}) AS "{c.name}"' for i, c in enumerate(schema.columns, 1)]
    number = f"?{len(schema.columns) + 1} AS _number"
    broken = " OR ".join(f"NOT ({expression})" for expression in expressions)
    return f"SELECT _number FROM (SELECT {', '.join([*columns, number])}) WHERE {broken}"


def _call(rule: Rule, record: Any) -> str | None:
    try:
        answer = cast("Callable[[Any], Any]", rule.check)(record)
        if isinstance(answer, str):
            return answer or rule.message or f"the record breaks the rule {rule.name!r}"
        holds = answer is None or bool(answer)
    # The boundary to user code: a rule that raises must not stop the stream; it counts as broken and says why.
    except Exception as error:
        return f"the rule {rule.name!r} raised {type(error).__name__}: {error}"
    return None if holds else rule.message or f"the record breaks the rule {rule.name!r}"
