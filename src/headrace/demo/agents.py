"""The two kinds of agents. A batch agent and a live agent are the same code; only what they read from differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.demo.couriers import distance
from headrace.demo.happenings import Suggest, Whereabouts
from headrace.demo.reading import Reader

PACE = 5.5
"""Meters per second that an agent assumes of a courier when it says how long it will take."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Dishes in order of recommendation, and how old the agent's context was (ms of city time)."""

    dishes: list[dict[str, Any]]
    age_ms: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a support agent says about an order.

    Attributes
    ----------
    state
        None when the agent does not know the order at all.
    place
        Where the courier is, meters; None when nobody is on the way.
    eta
        Seconds until the courier is at the door, once the food was picked up.
    """

    state: str | None
    place: tuple[float, float] | None
    eta: float | None
    age_ms: float | None


class Recommender:
    """Answers "what should I eat?" with what sells best in the customer's zone and is in stock."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def answer(self, question: Suggest) -> Suggestion:
        """The dishes to recommend."""
        found = await self._reader.read("recommend", zone=question.zone)
        return Suggestion(found.rows, found.age_ms)


class SupportAgent:
    """Answers "where is my order right now?"."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def answer(self, question: Whereabouts) -> Report:
        """State, courier's place and time to arrival, as far as the context knows."""
        found = await self._reader.read("order_status", order_id=question.order_id)
        if not found.rows:
            return Report(None, None, None, found.age_ms)
        order = found.rows[0]
        place = _place(order)
        return Report(order["state"], place, _eta(order, place), found.age_ms)


def _place(order: dict[str, Any]) -> tuple[float, float] | None:
    if order["courier_x"] is None or order["state"] in ("delivered", "cancelled"):
        return None
    return order["courier_x"], order["courier_y"]


def _eta(order: dict[str, Any], place: tuple[float, float] | None) -> float | None:
    if order["state"] != "picked_up" or place is None:
        return None
    return distance(*place, order["home_x"], order["home_y"]) / PACE
