"""The examples of the SQL reference are what a view answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from headrace.core.schema import Column, ColumnType, Schema, TableKind, show
from headrace.views.catalog import Catalog
from headrace.views.plan import plan

PAGE = Path(__file__).resolve().parents[3] / "docs/reference/sql.md"
EXAMPLES = re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE.read_text(), re.MULTILINE)
T = ColumnType
FACTS = Schema(
    "facts",
    TableKind.TABLE,
    (
        Column("id", T.TEXT),
        Column("seven", T.INTEGER),
        Column("half", T.REAL),
        Column("word", T.TEXT),
        Column("yes", T.BOOLEAN),
        Column("nil", T.INTEGER, nullable=True),
        Column("noon", T.TIMESTAMP),
    ),
    key=("id",),
)
NOON = 1_767_268_800_000_000


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 25


@pytest.mark.parametrize(("expression", "result"), EXAMPLES)
def test_example(make_store: Any, expression: str, result: str) -> None:
    catalog = Catalog()
    catalog.add_table(FACTS)
    store = make_store(FACTS)
    store.commit((FACTS, [("x", 7, 0.5, "Apple", 1, None, NOON)], []))
    view = plan("v", f"SELECT {expression} AS x FROM facts", catalog)
    got = show(view.columns[0].type, store.db.execute(view.statement).fetchone()[0])
    assert (type(got), got) == (type(json.loads(result)), json.loads(result))
