"""The bins of a DDSketch, as numbers that SQL can sort and add up (`stats/ddsketch.py` has the formula)."""

from __future__ import annotations

from headrace.core.schema import Stored
from headrace.stats.ddsketch import GAMMA, SHIFT, bin_of


def sketch_bin(value: Stored) -> int:
    """The DDSketch bin of a number.

    >>> sketch_bin(1.0), sketch_bin(0), sketch_bin(-1.0)
    (40000, 0, -40000)
    """
    return bin_of(float(value))  # pyright: ignore[reportArgumentType]


def bin_value(column: str) -> str:
    """SQL of the value that a bin stands for; no value in the bin is further from it than the sketch's accuracy."""
    size = f"2.0 * pow({GAMMA!r}, abs({column}) - {SHIFT}) / {GAMMA + 1!r}"
    return f"CASE WHEN {column} = 0 THEN 0.0 ELSE sign({column}) * {size} END"
