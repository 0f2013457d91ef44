"""What SQL rules mean."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from headrace.contracts.contract import Contract
from headrace.contracts.infer import schema_of
from headrace.contracts.row_rules import RowRules
from headrace.contracts.rules import Rule
from headrace.contracts.runs import UpsertRun
from headrace.core.clock import SECOND
from headrace.core.records import Record
from headrace.core.schema import TableKind


class Promotion(Record):
    code: str
    percent: int
    price: float
    active: bool
    starts: datetime
    ends: datetime | None = None


ROW = ("abc", 10, 2.0, 1, 0, 60 * SECOND)


def broken(sql: str, row: tuple[Any, ...] = ROW) -> bool:
    contract = Contract(Promotion, schema_of(Promotion, kind=TableKind.EVENTS), (Rule(sql, name="it"),))
    breaches, _ = RowRules(contract).check(UpsertRun([row], [0]))
    return 0 in breaches


@pytest.mark.parametrize(
    "sql",
    [
        "ends > starts",
        "ends IS NULL OR ends - starts <= INTERVAL '1' MINUTE",
        "starts >= TIMESTAMP '1970-01-01 00:00:00' AND starts < TIMESTAMP '1970-01-01 00:00:00.000001'",
        "percent / 4 = 2.5",
        "percent % 4 = 2",
        "active AND percent BETWEEN 1 AND 99",
        "active = TRUE",
        "NOT active IS NULL",
        "code IN ('abc', 'def')",
        "code LIKE 'a%' AND NOT code LIKE 'b_'",
        "length(code) = 3 AND upper(code) = 'ABC' AND substr(code, 1, 1) = 'a'",
        "CASE WHEN active THEN percent > 0 ELSE percent = 0 END",
        "coalesce(ends, starts) >= starts",
        "abs(-price) = price AND round(price) = 2",
        "code || 'd' = 'abcd'",
        "percent <> price",
        "percent > '9'",  # the affinity of the column decides, as in the store
    ],
)
def test_rules_that_hold(sql: str) -> None:
    assert not broken(sql)


@pytest.mark.parametrize(
    "sql", ["ends < starts", "percent > 10", "NOT active", "code = 'ABC'", "code LIKE 'A%'", "price = 0 OR percent = 0"]
)
def test_rules_that_are_broken(sql: str) -> None:
    assert broken(sql)


def test_null_is_not_a_violation() -> None:
    assert not broken("ends > starts", (*ROW[:5], None))


def test_breaches_name_their_rows() -> None:
    contract = Contract(
        Promotion,
        schema_of(Promotion, kind=TableKind.EVENTS),
        (Rule("percent > 0", columns="percent"), Rule("price > 0", columns=("price", "percent"))),
    )
    rows = [ROW, ("b", 0, 0.0, 1, 0, None), ROW, ("c", 1, 0.0, 1, 0, None)]
    breaches, nulled = RowRules(contract).check(UpsertRun(rows, [0, 1, 2, 3]))
    assert [(i, b.rule, b.column, b.value) for i, b in breaches.items()] == [
        (1, "percent > 0", "percent", "0"),
        (3, "price > 0", "price", '{"percent":1,"price":0.0}'),
    ]
    assert nulled == 0
