"""What staleness costs: each answer measured against the truth of the instant at which it is judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from headrace.demo.answering import Answering
from headrace.demo.asking import Report, Suggestion
from headrace.demo.city import City, OrderTruth
from headrace.demo.couriers import distance
from headrace.demo.customers import choose
from headrace.demo.figures import Quantiles, Rate

FAR = 250.0
"""Meters beyond which a courier's reported place is a wrong answer: about two blocks, 45 s of riding."""
PENNY = 0.005
"""Prices closer than this are equal."""


@dataclass(slots=True)
class Side:
    """The score of one world: the agents that read the batch twin, or those that read live.

    Attributes
    ----------
    sold_out
        Recommended dishes that were sold out, of all recommended dishes.
    wrong_prices
        Recommended dishes shown at a price that was not charged any more, of all recommended dishes.
    failed
        Orders of a recommended dish that could not be fulfilled, of all orders of a recommended dish.
    wrong
        Wrong answers to "where is my order right now?", of all such answers; `reasons` says why.
    errors
        Meters between the courier's reported and true place, where both are known.
    ages
        As-of age of the context behind each answer, seconds of city time.
    unknown_age
        Answers whose context could not say how old it is.
    answering
        How its answers came about.
    """

    sold_out: Rate = field(default_factory=Rate)
    wrong_prices: Rate = field(default_factory=Rate)
    failed: Rate = field(default_factory=Rate)
    wrong: Rate = field(default_factory=Rate)
    reasons: Counter[str] = field(default_factory=Counter[str])
    errors: Quantiles = field(default_factory=Quantiles)
    ages: Quantiles = field(default_factory=Quantiles)
    unknown_age: int = 0
    answering: Answering = field(default_factory=Answering)

    def judge_suggestion(self, city: City, number: int, suggestion: Suggestion) -> None:
        """Score a recommendation made to customer `number` against the city as it is now."""
        self._age(suggestion.age_ms)
        for dish in suggestion.dishes:
            self.sold_out.add(not city.available(dish["item_id"]))
            self.wrong_prices.add(abs(dish["price"] - city.price(dish["item_id"])) > PENNY)
        chosen = choose(number, suggestion.dishes)
        if chosen is not None:
            self.failed.add(not city.available(chosen["item_id"]))

    def judge_report(self, truth: OrderTruth, report: Report) -> str | None:
        """Score a support answer; returns why it is wrong, or None when it is right."""
        self._age(report.age_ms)
        if truth.place is not None and report.place is not None:
            self.errors.add(distance(*truth.place, *report.place))
        reason = fault(truth, report)
        self.wrong.add(reason is not None)
        if reason is not None:
            self.reasons[reason] += 1
        return reason

    def to_dict(self) -> dict[str, Any]:
        """All figures with their counts, JSON-ready."""
        return {
            "sold_out_recommendations": self.sold_out.to_dict(),
            "wrong_prices": self.wrong_prices.to_dict(),
            "failed_orders": self.failed.to_dict(),
            "wrong_answers": self.wrong.to_dict() | {"reasons": dict(self.reasons)},
            "courier_position_error_m": self.errors.to_dict(0.5, 0.95),
            "age_city_seconds": self.ages.to_dict(0.5, 0.99) | {"unknown": self.unknown_age},
            "answers": self.answering.to_dict(),
        }

    def _age(self, age_ms: float | None) -> None:
        if age_ms is None:
            self.unknown_age += 1
        else:
            self.ages.add(age_ms / 1000)


def fault(truth: OrderTruth, report: Report) -> str | None:
    """Why a report is wrong: `unknown_order`, `wrong_state`, `no_place` or `far_off`; None when it is right."""
    if report.state is None:
        return "unknown_order"
    if report.state != truth.state:
        return "wrong_state"
    if truth.place is None:
        return None
    if report.place is None:
        return "no_place"
    return "far_off" if distance(*truth.place, *report.place) > FAR else None
