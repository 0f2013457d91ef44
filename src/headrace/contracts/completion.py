"""Records of which only some columns came: put together with the stored row, then judged like all others.

A source that follows a database does not see large values that an update left alone (PostgreSQL's unchanged TOAST).
What they are is known where the row is: in the store's transaction, after everything that came before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pydantic_core

from headrace.contracts.breach import value_text
from headrace.contracts.contract import Contract
from headrace.contracts.exact import input_names, raw_of
from headrace.core.changes import Batch, Judged, Rows, Violation
from headrace.core.schema import Column, ColumnType, Row, Stored, show


class Judging(Protocol):
    """What is needed of a `Judge`."""

    def judge(self, batch: Batch, *, now: int, watermark: int | None = None) -> Judged:
        """Judge a batch."""
        ...


@dataclass(frozen=True, slots=True)
class When:
    """When a record arrived (microseconds), the watermark of its table then, and where it stood at its source."""

    now: int
    watermark: int | None
    position: str


class Completion:
    """Completes the partial records of one table.

    Parameters
    ----------
    make_judge
        Makes a judge that only the writer's thread uses: the table's own one may be at work at the same time.
    """

    def __init__(self, contract: Contract, make_judge: Callable[[], Judging]) -> None:
        self._schema = contract.schema
        self._inputs = input_names(contract.record)
        self._input_of = {column: name for name, column in reversed(self._inputs.items())}
        self._make_judge = make_judge
        self._judge: Judging | None = None

    def of(self, record: Mapping[str, Any], when: When) -> Callable[[Row | None, str | None], Judged]:
        """The function of a `Patch`."""
        return lambda row, extra: self._complete(record, when, row, extra)

    def _complete(self, record: Mapping[str, Any], when: When, row: Row | None, extra: str | None) -> Judged:
        given = {self._inputs.get(name, name) for name in record}
        absent = [column for column in self._schema.columns if column.name not in given]
        if row is None:
            return Judged(violations=[self._incomplete(record, absent, when)])
        stored = {self._input_of[c.name]: _value(c, row[self._schema.position(c.name)]) for c in absent}
        adopted: dict[str, Any] = {} if extra is None else pydantic_core.from_json(extra)
        if self._judge is None:
            self._judge = self._make_judge()
        whole = {**adopted, **stored, **record}
        judged = self._judge.judge(Batch([Rows([whole])]), now=when.now, watermark=when.watermark)
        for violations in (judged.violations, judged.rejected):
            violations[:] = [replace(violation, position=when.position) for violation in violations]
        return judged

    def _incomplete(self, record: Mapping[str, Any], absent: list[Column], when: When) -> Violation:
        names = ", ".join(repr(column.name) for column in absent)
        message = f"the change leaves out {names}, which did not change, and the row is not stored"
        column = absent[0].name if absent else ""
        return Violation(raw_of(record), "incomplete", column, value_text(dict(record)), message, when.position)


def _value(column: Column, cell: Stored) -> Any:
    return cell if column.type is ColumnType.BYTES else show(column.type, cell)
