"""The customers who ask an agent, and what they do with the answer.

Their questions come from the city; what they would like is fixed by the number of the question, so two agents who are
asked the same question talk to the same person.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import Any

from headrace.demo.agenda import Agenda
from headrace.demo.happenings import Suggest
from headrace.demo.ledger import Ledger
from headrace.demo.plan import MINUTE, CityPlan, demand

APPEAL = 0.35
"""The chance that one suggested dish appeals to one customer."""


class Customers:
    """People who ask what they should eat: a Poisson process that follows the demand of the day."""

    def __init__(self, plan: CityPlan, rng: random.Random, agenda: Agenda, ledger: Ledger) -> None:
        self._plan = plan
        self._rng = rng
        self._agenda = agenda
        self._ledger = ledger
        self._asked = 0

    def open(self) -> None:
        """Start to ask."""
        gap = self._rng.expovariate(self._plan.suggestions_per_minute) * MINUTE
        self._agenda.plan(self._agenda.now + max(1, round(gap)), self._ask)

    def _ask(self) -> None:
        if self._rng.random() < demand(self._agenda.now):
            self._asked += 1
            zone = f"z{self._rng.randrange(self._plan.zones**2)}"
            self._ledger.ask(Suggest(self._agenda.now, self._asked, zone))
        self.open()


def appeals(number: int, item_id: str) -> bool:
    """Whether the customer of question `number` likes a dish: a fixed fact of the two, drawn by hashing them.

    Drawn once for both agents (common random numbers), so a difference between the two is a difference in what they
    suggested, never luck.
    """
    return zlib.crc32(f"{number}:{item_id}".encode()) < APPEAL * 2**32


def choose(number: int, dishes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The dish that the customer orders: the first that appeals, or None."""
    return next((dish for dish in dishes if appeals(number, dish["item_id"])), None)
