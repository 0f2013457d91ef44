"""What is for sale: stock that runs out and is refilled, sales, and promotions that start and end."""

from __future__ import annotations

import bisect
import itertools
import random

from headrace.demo.agenda import Agenda
from headrace.demo.ledger import Ledger
from headrace.demo.plan import MINUTE, CityPlan, demand
from headrace.demo.restaurants import Dish, Restaurant


class Market:
    """All kitchens and counters of the city.

    Sales over the counter come as a Poisson process whose rate follows the demand of the day; which dish is sold
    follows Zipf's law over restaurants and over each menu.
    """

    def __init__(self, plan: CityPlan, rng: random.Random, agenda: Agenda, ledger: Ledger) -> None:
        self._plan = plan
        self._rng = rng
        self._agenda = agenda
        self._ledger = ledger
        self._sales = 0
        self.lost = 0
        """Customers who left because what they wanted was sold out."""

    def open(self, restaurants: list[Restaurant]) -> None:
        """Put the restaurants on the books, fill the kitchens, start selling."""
        self.restaurants = restaurants
        self.dishes = {dish.item_id: dish for restaurant in restaurants for dish in restaurant.menu}
        self._all = list(self.dishes.values())
        self._by_share = list(itertools.accumulate(restaurant.weight for restaurant in restaurants))
        self._by_rank = list(itertools.accumulate(dish.weight for dish in restaurants[0].menu))
        for restaurant in restaurants:
            self._ledger.write(self._agenda.now, "restaurants", restaurant.row())
            for dish in restaurant.menu:
                self._prepare(restaurant, dish)
        for _ in range(round(self._plan.promoted * len(self._all))):
            self._agenda.plan(self._soon(0, 30), self._promote)
        self._next_counter_sale()

    def pick(self) -> tuple[Restaurant, Dish] | None:
        """What a customer of this city wants now: a dish that is left, or None when the second try failed too."""
        restaurant = self.restaurants[bisect.bisect(self._by_share, self._rng.random() * self._by_share[-1])]
        for _ in range(2):
            dish = restaurant.menu[bisect.bisect(self._by_rank, self._rng.random() * self._by_rank[-1])]
            if dish.available:
                return restaurant, dish
        self.lost += 1
        return None

    def sell(self, dish: Dish) -> None:
        """One portion of `dish` is sold now; the last one makes the kitchen cook again."""
        now = self._agenda.now
        dish.sell(1)
        self._sales += 1
        sale = {
            "sale_id": f"s{self._sales}",
            "item_id": dish.item_id,
            "price": round(dish.charged, 2),
            "sold_at": now,
        }
        self._ledger.write(now, "sales", sale)
        self._ledger.write(now, "items", dish.row(now))
        if not dish.available:
            self._agenda.plan(self._soon(*self._plan.refill_after), self._refill, dish)

    def take_back(self, dish: Dish) -> None:
        """An order was cancelled before it was cooked: the portion can be sold again."""
        dish.sell(-1)
        self._ledger.write(self._agenda.now, "items", dish.row(self._agenda.now))

    def _prepare(self, restaurant: Restaurant, dish: Dish) -> None:
        per_minute = self._plan.counter_sales_per_minute * restaurant.weight * dish.weight
        dish.batch = max(3, round(per_minute * self._rng.uniform(*self._plan.portions_for)))
        dish.supply(max(1, round(dish.batch * self._rng.random())))
        self._ledger.write(self._agenda.now, "items", dish.row(self._agenda.now))

    def _refill(self, dish: Dish) -> None:
        if dish.available:  # a cancelled order brought a portion back and another refill is on the way
            return
        dish.supply(dish.batch)
        self._ledger.write(self._agenda.now, "items", dish.row(self._agenda.now))

    def _next_counter_sale(self) -> None:
        gap = self._rng.expovariate(self._plan.counter_sales_per_minute) * MINUTE
        self._agenda.plan(self._agenda.now + max(1, round(gap)), self._counter_sale)

    def _counter_sale(self) -> None:
        if self._rng.random() < demand(self._agenda.now):  # thinning: the rate of the peak, cut to that of the hour
            picked = self.pick()
            if picked is not None:
                self.sell(picked[1])
        self._next_counter_sale()

    def _promote(self) -> None:
        dish = self._rng.choice(self._all)
        if dish.discount == 0.0:
            dish.discount = self._rng.choice((0.1, 0.2, 0.25, 0.3))
            self._ledger.write(self._agenda.now, "promotions", self._promotion(dish))
            self._agenda.plan(self._soon(15, 45), self._end_promotion, dish)
        else:
            self._agenda.plan(self._soon(0, 1), self._promote)

    def _end_promotion(self, dish: Dish) -> None:
        dish.discount = 0.0
        self._ledger.write(self._agenda.now, "promotions", self._promotion(dish))
        self._agenda.plan(self._soon(0, 5), self._promote)

    def _promotion(self, dish: Dish) -> dict[str, object]:
        return {"item_id": dish.item_id, "discount": dish.discount, "changed_at": self._agenda.now}

    def _soon(self, low: float, high: float) -> int:
        return self._agenda.now + max(1, round(self._rng.uniform(low, high) * MINUTE))
