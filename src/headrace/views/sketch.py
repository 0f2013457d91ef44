"""The bins of a DDSketch, as numbers that SQL can sort and add up.

References
----------
C. Masson, J. E. Rim, H. K. Lee: DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees.
PVLDB 12(12), 2019.
"""

from __future__ import annotations

import math

from headrace.core.schema import Stored

ACCURACY = 0.01
"""Relative accuracy of quantiles."""
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
# Bins of positive values are numbered from about 4,500 to 75,500 (doubles span 1e-308..1e308), so that bin 0 is zero,
# negative values have negative numbers, and the order of the bins is the order of the values.
_SHIFT = 40_000


def sketch_bin(value: Stored) -> int:
    """The DDSketch bin of a number.

    >>> sketch_bin(1.0), sketch_bin(0), sketch_bin(-1.0)
    (40000, 0, -40000)
    """
    number = float(value)  # pyright: ignore[reportArgumentType]
    size = abs(number)
    if size < 1e-300:
        return 0
    index = math.ceil(math.log(size) / _LOG_GAMMA) + _SHIFT
    return index if number > 0 else -index


def bin_value(column: str) -> str:
    """SQL of the value that a bin stands for; no value in the bin is further from it than `ACCURACY`."""
    size = f"2.0 * pow({_GAMMA!r}, abs({column}) - {_SHIFT}) / {_GAMMA + 1!r}"
    return f"CASE WHEN {column} = 0 THEN 0.0 ELSE sign({column}) * {size} END"
