"""One order, from the moment it is placed until it is delivered or cancelled."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from headrace.demo.couriers import Courier
from headrace.demo.happenings import CityRow
from headrace.demo.restaurants import Dish, Restaurant


class OrderState(enum.StrEnum):
    """What an order goes through, in this order; `cancelled` may follow `placed`."""

    PLACED = "placed"
    ACCEPTED = "accepted"
    COOKING = "cooking"
    PICKED_UP = "picked_up"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


ENDED = frozenset({OrderState.DELIVERED, OrderState.CANCELLED})


@dataclass(slots=True)
class Order:
    """An order of one dish to one place.

    Attributes
    ----------
    courier
        Who brings it, once somebody was sent.
    changed_at
        When it came into its state.
    cooked, fetched
        Whether the food is ready, and whether the courier stands in the restaurant.
    """

    order_id: str
    restaurant: Restaurant
    dish: Dish
    x: float
    y: float
    placed_at: int
    changed_at: int = 0
    state: OrderState = OrderState.PLACED
    courier: Courier | None = None
    cooked: bool = field(default=False)
    fetched: bool = field(default=False)

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in ENDED

    def row(self, at: int) -> CityRow:
        """The row of the table `orders`."""
        return {
            "order_id": self.order_id,
            "restaurant_id": self.restaurant.restaurant_id,
            "item_id": self.dish.item_id,
            "state": self.state.value,
            "courier_id": None if self.courier is None else self.courier.courier_id,
            "x": self.x,
            "y": self.y,
            "placed_at": self.placed_at,
            "changed_at": at,
        }
