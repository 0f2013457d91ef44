"""Two answers to one question, told in words for the screen."""

from __future__ import annotations

from headrace.core.durations import format_duration
from headrace.demo.asking import Report
from headrace.demo.city import OrderTruth
from headrace.demo.couriers import distance
from headrace.demo.scoreboard import Story


def tell(order_id: str, batch: Report, live: Report, truth: OrderTruth) -> Story:
    """The story of one order."""
    return Story(
        question=f"Where is my order {order_id} right now?",
        batch=_told(batch, truth),
        live=_told(live, truth),
        truth=truth.state.replace("_", " ") + (", courier on the way" if truth.place else ""),
    )


def _told(report: Report, truth: OrderTruth) -> str:
    if report.state is None:
        return f'"I know no such order."{_age(report)}'
    text = report.state.replace("_", " ")
    if report.eta is not None:
        text += f", {round(report.eta / 60)} min away"
    if report.place is not None and truth.place is not None:
        text += f", courier {distance(*report.place, *truth.place):,.0f} m off"
    elif truth.place is not None:
        text += ", no courier yet"
    return text + _age(report)


def _age(report: Report) -> str:
    return "" if report.age_ms is None else f"  ({age(report.age_ms)} old)"


def age(ms: float) -> str:
    """An age as people say it.

    >>> age(850), age(61_000), age(12_345)
    ('0.8s', '1m1s', '12s')
    """
    if ms < 10_000:
        return f"{ms / 1000:.1f}s"
    return format_duration(round(ms / 1000) * 1_000_000)
