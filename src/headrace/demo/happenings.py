"""What the city tells the outside: writes to its tables, and questions that its customers ask."""

from __future__ import annotations

from typing import Any, NamedTuple

CityRow = dict[str, Any]
"""A row as the city holds it: instants are integers (microseconds), places are meters."""

KEYS = {
    "restaurants": "restaurant_id",
    "items": "item_id",
    "promotions": "item_id",
    "orders": "order_id",
    "couriers": "courier_id",
    "sales": "sale_id",
}
"""The tables of the city and the key of each."""


class Write(NamedTuple):
    """At `at`, the row of this key in `table` became `row` (for `sales`: this event happened)."""

    at: int
    table: str
    row: CityRow


class Suggest(NamedTuple):
    """At `at`, a customer in `zone` asks what to eat. `number` fixes the customer's taste."""

    at: int
    number: int
    zone: str


class Whereabouts(NamedTuple):
    """At `at`, a customer asks: where is my order right now?"""

    at: int
    number: int
    order_id: str


Question = Suggest | Whereabouts
Happening = Write | Suggest | Whereabouts
