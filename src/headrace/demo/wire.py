"""City rows as a producer sends them: instants become RFC 3339 text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.core.clock import isoformat
from headrace.demo.happenings import CityRow

PROMOTIONS = "promotions.jsonl"
"""The file that promotions are appended to, one JSON object a line, in the folder of the run."""

INSTANTS: dict[str, tuple[str, ...]] = {
    "restaurants": (),
    "items": ("changed_at",),
    "promotions": ("changed_at",),
    "orders": ("placed_at", "changed_at"),
    "couriers": ("seen_at",),
    "sales": ("sold_at",),
}
"""Columns that hold instants; the last one says when the row changed."""


def records(table: str, rows: Sequence[CityRow]) -> list[dict[str, Any]]:
    """The records to send for `rows`.

    >>> records("couriers", [{"courier_id": "c1", "x": 1.0, "y": 2.0, "seen_at": 1_000_000}])[0]["seen_at"]
    '1970-01-01T00:00:01.000000Z'
    """
    columns = INSTANTS[table]
    return [row | {column: isoformat(row[column]) for column in columns} for row in rows]
