"""Rows that arrived as text (CSV): an empty cell is NULL, and JSON columns hold JSON text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic_core

from headrace.contracts.contract import Contract
from headrace.contracts.exact import input_names
from headrace.core.schema import ColumnType


class TextRows:
    """Turns cells of text into values that Pydantic reads."""

    def __init__(self, contract: Contract) -> None:
        self._columns = {name: contract.schema.column(column) for name, column in input_names(contract.record).items()}
        self._required = {name for name, field in contract.record.model_fields.items() if field.is_required()}

    def typed(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with NULL for what is empty, where the column is not text or allows NULL.

        An empty cell is left out where NULL is not allowed and there is a default.
        """
        found: dict[str, Any] = {}
        for name, value in record.items():
            column = self._columns.get(name)
            if column is None or not isinstance(value, str):
                found[name] = value
            elif value == "" and column.nullable:
                found[name] = None
            elif value == "" and column.type is not ColumnType.TEXT:
                if column.name in self._required:
                    found[name] = None
            elif column.type is ColumnType.JSON:
                found[name] = _parsed(value)
            else:
                found[name] = value
        return found


def _parsed(text: str) -> Any:
    try:
        return pydantic_core.from_json(text)
    except (ValueError, RecursionError):
        return text
