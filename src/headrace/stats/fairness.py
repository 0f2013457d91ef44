"""How evenly something was shared."""

from __future__ import annotations

from collections.abc import Iterable


def jain(shares: Iterable[float]) -> float:
    """Jain's index: 1 when all shares are equal, 1/n when one of n has everything.

    References
    ----------
    R. Jain, D. Chiu, W. Hawe: A quantitative measure of fairness and discrimination for resource allocation in shared
    computer systems. DEC Research Report TR-301, 1984.

    Examples
    --------
    >>> jain([5, 5, 5]), jain([9, 0, 0]), jain([])
    (1.0, 0.3333333333333333, 1.0)
    """
    values = list(shares)
    squares = sum(value * value for value in values)
    return 1.0 if squares == 0 else sum(values) ** 2 / (len(values) * squares)
