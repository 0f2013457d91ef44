"""Couriers and how they move: straight, at a steady pace, from where they are to where they must be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace.core.clock import SECOND
from headrace.demo.happenings import CityRow


@dataclass(slots=True)
class Courier:
    """A courier on the way from (`x`, `y`), left at `left_at`, to (`to_x`, `to_y`), there at `there_at`.

    Attributes
    ----------
    pace
        Meters per second.
    busy
        Whether the courier has an order.
    """

    courier_id: str
    pace: float
    x: float
    y: float
    to_x: float
    to_y: float
    left_at: int = 0
    there_at: int = 0
    busy: bool = False

    def place(self, at: int) -> tuple[float, float]:
        """Where the courier is at an instant, in meters."""
        if at >= self.there_at:
            return self.to_x, self.to_y
        done = (at - self.left_at) / (self.there_at - self.left_at)
        return self.x + (self.to_x - self.x) * done, self.y + (self.to_y - self.y) * done

    def go(self, at: int, x: float, y: float) -> int:
        """Turn to (`x`, `y`) at the instant `at`; returns the instant of arrival."""
        self.x, self.y = self.place(at)
        self.to_x, self.to_y = x, y
        self.left_at = at
        self.there_at = at + max(1, round(distance(self.x, self.y, x, y) / self.pace * SECOND))
        return self.there_at

    def row(self, at: int) -> CityRow:
        """The row of the table `couriers`: a position as the courier's phone sends it."""
        x, y = self.place(at)
        return {"courier_id": self.courier_id, "x": round(x, 1), "y": round(y, 1), "seen_at": at}


def distance(x: float, y: float, to_x: float, to_y: float) -> float:
    """Meters between two places.

    >>> distance(0, 0, 3, 4)
    5.0
    """
    return math.hypot(to_x - x, to_y - y)
