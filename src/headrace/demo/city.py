"""A food-delivery city, simulated event by event: pure, seeded, in city time.

    >>> import random
    >>> city = City(CityPlan(restaurants=3, couriers=5), random.Random(7))
    >>> happened = city.advance(city.now + 60_000_000)
    >>> sorted({write.table for write in happened if isinstance(write, Write)})
    ['couriers', 'items', 'orders', 'sales']

The city does not know who watches it. Nothing that an agent answers flows back: the customers who make its load order
from the true menu, and those who ask an agent leave no trace. So one seed makes one city, whoever asks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from headrace.demo.agenda import Agenda
from headrace.demo.customers import Customers
from headrace.demo.dispatch import Dispatch
from headrace.demo.happenings import CityRow, Happening, Write
from headrace.demo.ledger import Ledger
from headrace.demo.market import Market
from headrace.demo.orders import OrderState
from headrace.demo.plan import MINUTE, CityPlan
from headrace.demo.restaurants import Restaurant, build_restaurants

__all__ = ["City", "CityPlan", "OrderTruth", "Write"]

POPULARITY = 15 * MINUTE
"""How far back the views look for what sells; older sales are forgotten."""
_REMEMBERED = 30 * MINUTE
"""An order is forgotten this long after it ended."""


@dataclass(frozen=True, slots=True)
class OrderTruth:
    """What is true of an order now; `place` is where its courier is (meters), None when nobody was sent."""

    state: OrderState
    place: tuple[float, float] | None


class City:
    """The simulator, and the truth at its current instant.

    Parameters
    ----------
    plan
        How big it is.
    rng
        Where every draw comes from; two cities with equal plans and equally seeded generators are equal, bit for bit.
    """

    def __init__(self, plan: CityPlan, rng: random.Random) -> None:
        self.plan = plan
        self._agenda = Agenda(plan.start - round(plan.warm_up * MINUTE))
        self._ledger = Ledger()
        self.market = Market(plan, rng, self._agenda, self._ledger)
        self.dispatch = Dispatch(plan, rng, self._agenda, self._ledger, self.market)
        self._customers = Customers(plan, rng, self._agenda, self._ledger)
        self._wake_up(build_restaurants(plan, rng))

    @property
    def now(self) -> int:
        """The instant up to which everything has happened (microseconds)."""
        return self._agenda.now

    @property
    def tables(self) -> dict[str, dict[str, CityRow]]:
        """The rows of the city's own database now: by table, by key. Rows are replaced, never changed in place."""
        return self._ledger.tables

    def advance(self, until: int) -> list[Happening]:
        """Let everything up to `until` happen; returns writes and questions in order.

        In how many steps a stretch of time is walked makes no difference.
        """
        self._agenda.run(until)
        return self._ledger.take()

    def close(self) -> None:
        """Take no more orders for delivery."""
        self.dispatch.close()

    def available(self, item_id: str) -> bool:
        """Whether a portion of the dish can be had now."""
        return self.market.dishes[item_id].available

    def price(self, item_id: str) -> float:
        """What the dish costs now, a running promotion taken off."""
        return self.market.dishes[item_id].charged

    def order(self, order_id: str) -> OrderTruth:
        """The state of an order and the place of its courier now. Raises KeyError when it is long over."""
        order = self.dispatch.orders[order_id]
        placed = order.courier is not None and not order.ended
        return OrderTruth(order.state, order.courier.place(self.now) if placed and order.courier else None)

    def _wake_up(self, restaurants: list[Restaurant]) -> None:
        self.market.open(restaurants)
        self.dispatch.open()
        self._agenda.run(self.plan.start)
        self.dispatch.switch_on_phones()
        self._ledger.take()  # observers load `tables`; what happened before they came is no news
        self._tidy()
        self._customers.open()

    def _tidy(self) -> None:
        self._ledger.forget_sales(self.now - POPULARITY)
        self._ledger.forget_orders(self.now - _REMEMBERED)
        self.dispatch.forget_ended(self.now - _REMEMBERED)
        self._agenda.plan(self.now + MINUTE, self._tidy)
