"""How big the city is and how its day goes. All rates are those of the peak; `demand` scales them over the day."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.core.clock import SECOND, instant

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


@dataclass(frozen=True, slots=True)
class CityPlan:
    """The numbers that a city is built from. Two cities of one plan and one seed are the same.

    Attributes
    ----------
    restaurants, dishes
        How many restaurants, and dishes on each menu.
    couriers
        How many couriers are on the road.
    side, zones
        The city is a square of `side` meters, cut into `zones` x `zones` zones.
    orders_per_minute
        Orders for delivery at the peak, in city minutes.
    counter_sales_per_minute
        Portions sold over the counter at the peak; they take from the same stock.
    suggestions_per_minute
        Customers who ask "what should I eat?" at the peak.
    asks_every
        A customer who waits for an order asks where it is after this many minutes on average, again and again.
    portions_for
        A kitchen prepares what it expects to sell in so many minutes (a range) ...
    refill_after
        ... and a dish that sold out is back after so many minutes (a range).
    promoted
        Share of dishes that have a promotion running.
    ping_every, idle_ping_every
        A courier on the way, or waiting for work, sends a position every so many seconds.
    start
        The instant at which the city opens to observers (microseconds); it has lived `warm_up` minutes by then.
    """

    restaurants: int = 60
    dishes: int = 16
    couriers: int = 240
    side: float = 6_000.0
    zones: int = 3
    orders_per_minute: float = 16.0
    counter_sales_per_minute: float = 280.0
    suggestions_per_minute: float = 30.0
    asks_every: float = 5.0
    portions_for: tuple[float, float] = (20.0, 45.0)
    refill_after: tuple[float, float] = (4.0, 10.0)
    promoted: float = 0.1
    ping_every: float = 4.0
    idle_ping_every: float = 8.0
    start: int = instant(datetime(2026, 6, 5, 11, 50, tzinfo=UTC))
    warm_up: float = 60.0

    def zone(self, x: float, y: float) -> str:
        """The zone of a place, for example "z4".

        >>> CityPlan(side=300, zones=3).zone(150, 250)
        'z7'
        """
        last = self.zones - 1
        column = min(int(x / self.side * self.zones), last)
        row = min(int(y / self.side * self.zones), last)
        return f"z{row * self.zones + column}"

    def clamp(self, value: float) -> float:
        """`value` meters, but inside of the city."""
        return min(max(value, 0.0), self.side)


def demand(at: int) -> float:
    """How hungry the city is at an instant, between 0 and 1: a lunch peak at 12:30 and a dinner peak at 19:15.

    >>> noon = 12 * HOUR + 30 * MINUTE
    >>> demand(noon), demand(noon + 3 * HOUR) < 0.3, demand(4 * HOUR) < 0.1
    (1.0, True, True)
    """
    hour = at % (24 * HOUR) / HOUR
    lunch = math.exp(-(((hour - 12.5) / 0.9) ** 2) / 2)
    dinner = 0.95 * math.exp(-(((hour - 19.25) / 1.3) ** 2) / 2)
    return min(1.0, 0.05 + lunch + dinner)
