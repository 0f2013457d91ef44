"""Restaurants and the dishes on their menus."""

from __future__ import annotations

import random
from dataclasses import dataclass

from headrace.demo.happenings import CityRow
from headrace.demo.plan import CityPlan

_FIRST = (
    "Golden", "Little", "Old", "Blue", "Corner", "River", "Garden", "Lucky", "Mama's", "Royal", "Night", "Sunny",
)  # fmt: skip
_SECOND = (
    "Wok", "Oven", "Bistro", "Tandoor", "Taqueria", "Noodle Bar", "Kitchen", "Grill", "Trattoria", "Sushi", "Diner",
    "Deli",
)  # fmt: skip
_STYLE = ("Smoky", "Crispy", "Green", "Spicy", "Grilled", "Slow", "Lemon", "Garlic", "Honey", "Sesame", "Wild", "House")
_DISH = (
    "Ramen", "Burger", "Curry", "Tacos", "Pizza", "Salad", "Dumplings", "Bowl", "Wrap", "Pasta", "Soup", "Falafel",
    "Ribs", "Pad Thai", "Paella", "Gyoza",
)  # fmt: skip


@dataclass(slots=True)
class Dish:
    """One item of a menu.

    Attributes
    ----------
    weight
        Its share of what its restaurant sells.
    batch
        Portions that the kitchen prepares at a time.
    stock
        Portions that are left now.
    supplied, sold
        Portions ever prepared and ever sold, cancelled orders taken back; supplied - sold is always the stock.
    discount
        Share of the price taken off by a running promotion; 0 when there is none.
    """

    item_id: str
    restaurant_id: str
    name: str
    price: float
    weight: float
    batch: int = 0
    stock: int = 0
    supplied: int = 0
    sold: int = 0
    discount: float = 0.0

    @property
    def available(self) -> bool:
        """Whether a portion is left."""
        return self.stock > 0

    @property
    def charged(self) -> float:
        """The price that a customer pays now."""
        return self.price * (1.0 - self.discount)

    def supply(self, portions: int) -> None:
        """The kitchen made `portions` more."""
        self.stock += portions
        self.supplied += portions

    def sell(self, portions: int) -> None:
        """`portions` are gone; negative: they came back."""
        self.stock -= portions
        self.sold += portions

    def row(self, at: int) -> CityRow:
        """The row of the table `items`."""
        return {
            "item_id": self.item_id,
            "restaurant_id": self.restaurant_id,
            "name": self.name,
            "price": self.price,
            "stock": self.stock,
            "changed_at": at,
        }


@dataclass(slots=True)
class Restaurant:
    """A restaurant, where it stands, and its menu in order of popularity. `weight` is its share of all sales."""

    restaurant_id: str
    name: str
    x: float
    y: float
    zone: str
    weight: float
    menu: list[Dish]

    def row(self) -> CityRow:
        """The row of the table `restaurants`."""
        return {
            "restaurant_id": self.restaurant_id,
            "name": self.name,
            "zone": self.zone,
            "x": self.x,
            "y": self.y,
        }


def zipf(count: int, exponent: float) -> list[float]:
    """Shares of `count` things by rank, proportional to 1 / rank ** exponent; they add up to 1 (Zipf's law).

    >>> [round(share, 3) for share in zipf(3, 1.0)]
    [0.545, 0.273, 0.182]
    """
    raw = [1.0 / rank**exponent for rank in range(1, count + 1)]
    total = sum(raw)
    return [share / total for share in raw]


def build_restaurants(plan: CityPlan, rng: random.Random) -> list[Restaurant]:
    """The restaurants of a city, the most popular first, kitchens still empty."""
    shares = zipf(plan.restaurants, 0.6)
    return [_restaurant(plan, rng, number, share) for number, share in enumerate(shares, 1)]


def _restaurant(plan: CityPlan, rng: random.Random, number: int, share: float) -> Restaurant:
    x, y = round(rng.uniform(0, plan.side), 1), round(rng.uniform(0, plan.side), 1)
    restaurant_id = f"r{number}"
    name = f"{rng.choice(_FIRST)} {rng.choice(_SECOND)}"
    names = rng.sample(_DISH, min(plan.dishes, len(_DISH)))
    menu = [
        Dish(
            item_id=f"{restaurant_id}-{rank}",
            restaurant_id=restaurant_id,
            name=f"{rng.choice(_STYLE)} {names[rank % len(names)]}",
            price=round(rng.uniform(6, 24), 1),
            weight=weight,
        )
        for rank, weight in enumerate(zipf(plan.dishes, 0.9))
    ]
    return Restaurant(restaurant_id, name, x, y, plan.zone(x, y), share, menu)
