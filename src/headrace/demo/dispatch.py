"""Orders on their way: accepted, cooked, fetched and brought; and the couriers who do it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from headrace.core.clock import SECOND
from headrace.demo.agenda import Agenda
from headrace.demo.couriers import Courier, distance
from headrace.demo.happenings import Whereabouts
from headrace.demo.ledger import Ledger
from headrace.demo.market import Market
from headrace.demo.orders import Order, OrderState
from headrace.demo.plan import MINUTE, CityPlan, demand
from headrace.demo.restaurants import Dish, Restaurant

_CANCELLED = 0.03
"""Share of orders that are cancelled before the restaurant accepts them."""
_REACH = 1_600.0
"""Customers live this far from the restaurant they order from: the standard deviation on each axis, meters."""


class Dispatch:
    """Takes orders, finds couriers, and moves both along."""

    def __init__(self, plan: CityPlan, rng: random.Random, agenda: Agenda, ledger: Ledger, market: Market) -> None:
        self._plan = plan
        self._rng = rng
        self._agenda = agenda
        self._ledger = ledger
        self._market = market
        self._waiting: deque[Order] = deque()
        self._placed = 0
        self._asked = 0
        self._closed = False
        self.orders: dict[str, Order] = {}
        self.couriers = {courier.courier_id: courier for courier in self._hire()}

    def open(self) -> None:
        """Start to take orders."""
        self._next_order()

    def close(self) -> None:
        """Take no more orders; those under way go on."""
        self._closed = True

    def switch_on_phones(self) -> None:
        """From now on couriers send their positions, spread evenly over the interval."""
        count = len(self.couriers)
        for number, courier in enumerate(self.couriers.values()):
            self._ledger.write(self._agenda.now, "couriers", courier.row(self._agenda.now))
            first = self._agenda.now + round(self._plan.ping_every * SECOND * (number + 1) / count)
            self._agenda.plan(first, self._ping, courier)

    def place(self, restaurant: Restaurant, dish: Dish, x: float, y: float) -> Order:
        """A customer at (`x`, `y`) orders `dish`, which must be available."""
        self._placed += 1
        order = Order(f"o{self._placed}", restaurant, dish, round(x, 1), round(y, 1), self._agenda.now)
        self.orders[order.order_id] = order
        self._write(order)
        self._market.sell(dish)
        self._plan_in(20, 90, self._accept, order)
        self._next_question(order)
        return order

    def forget_ended(self, before: int) -> None:
        """Drop orders that ended before the instant `before`."""
        for order in [order for order in self.orders.values() if order.ended and order.changed_at < before]:
            del self.orders[order.order_id]

    def _hire(self) -> list[Courier]:
        side, rng = self._plan.side, self._rng
        hired: list[Courier] = []
        for number in range(1, self._plan.couriers + 1):
            x, y, pace = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(4.0, 7.0)
            hired.append(Courier(f"c{number}", pace, x, y, x, y))
        return hired

    def _next_order(self) -> None:
        gap = self._rng.expovariate(self._plan.orders_per_minute) * MINUTE
        self._agenda.plan(self._agenda.now + max(1, round(gap)), self._order)

    def _order(self) -> None:
        if self._closed:
            return
        if self._rng.random() < demand(self._agenda.now):
            picked = self._market.pick()
            if picked is not None:
                restaurant, dish = picked
                x = self._plan.clamp(self._rng.gauss(restaurant.x, _REACH))
                y = self._plan.clamp(self._rng.gauss(restaurant.y, _REACH))
                self.place(restaurant, dish, x, y)
        self._next_order()

    def _accept(self, order: Order) -> None:
        if self._rng.random() < _CANCELLED:
            self._market.take_back(order.dish)
            self._become(order, OrderState.CANCELLED)
            return
        self._become(order, OrderState.ACCEPTED)
        self._plan_in(10, 60, self._cook, order)

    def _cook(self, order: Order) -> None:
        self._become(order, OrderState.COOKING)
        minutes = self._rng.triangular(5, 16, 8)
        self._agenda.plan(self._agenda.now + round(minutes * MINUTE), self._cooked, order)
        early = min(minutes, self._rng.uniform(3, 6))  # couriers are sent so that they arrive about when food is ready
        self._agenda.plan(self._agenda.now + round((minutes - early) * MINUTE), self._send, order)

    def _send(self, order: Order) -> None:
        restaurant = order.restaurant
        now = self._agenda.now
        idle = [courier for courier in self.couriers.values() if not courier.busy]
        if not idle:
            self._waiting.append(order)
            return
        self._assign(order, min(idle, key=lambda courier: distance(*courier.place(now), restaurant.x, restaurant.y)))

    def _assign(self, order: Order, courier: Courier) -> None:
        courier.busy = True
        order.courier = courier
        self._write(order)
        arrival = courier.go(self._agenda.now, order.restaurant.x, order.restaurant.y)
        self._agenda.plan(arrival, self._fetched, order)

    def _cooked(self, order: Order) -> None:
        order.cooked = True
        self._pick_up(order)

    def _fetched(self, order: Order) -> None:
        order.fetched = True
        self._pick_up(order)

    def _pick_up(self, order: Order) -> None:
        if not (order.cooked and order.fetched and order.courier is not None):
            return
        self._become(order, OrderState.PICKED_UP)
        self._agenda.plan(order.courier.go(self._agenda.now, order.x, order.y), self._deliver, order, order.courier)

    def _deliver(self, order: Order, courier: Courier) -> None:
        self._become(order, OrderState.DELIVERED)
        courier.busy = False
        if self._waiting:
            self._assign(self._waiting.popleft(), courier)

    def _next_question(self, order: Order) -> None:
        gap = self._rng.expovariate(1 / self._plan.asks_every) * MINUTE
        self._agenda.plan(self._agenda.now + max(SECOND, round(gap)), self._ask, order)

    def _ask(self, order: Order) -> None:
        if order.ended:
            return
        self._asked += 1
        self._ledger.ask(Whereabouts(self._agenda.now, self._asked, order.order_id))
        self._next_question(order)

    def _ping(self, courier: Courier) -> None:
        now = self._agenda.now
        self._ledger.write(now, "couriers", courier.row(now))
        every = self._plan.ping_every if courier.busy else self._plan.idle_ping_every
        self._agenda.plan(now + round(every * SECOND), self._ping, courier)

    def _become(self, order: Order, state: OrderState) -> None:
        order.state = state
        order.changed_at = self._agenda.now
        self._write(order)

    def _write(self, order: Order) -> None:
        self._ledger.write(self._agenda.now, "orders", order.row(self._agenda.now))

    def _plan_in(self, low: float, high: float, action: Callable[[Order], None], order: Order) -> None:
        self._agenda.plan(self._agenda.now + round(self._rng.uniform(low, high) * SECOND), action, order)
