"""One budget for everything that is sent twice: retries, hedges, fallbacks after a failure, and shadows.

Separate allowances add up exactly when it hurts. Here every call that succeeds deposits a fraction of a token, and
every extra attempt costs a whole one, whatever it is for: when little fails, all failures are retried; when all fails,
the load grows by the deposit's share (10 %) and no more. The bucket is capped, so that a quiet hour does not save up a
storm. Hedges and shadows are a matter of comfort: each may spend only its own smaller share of it.

References
----------
M. Brooker: Fixing retries with token buckets and circuit breakers, 2022 (success deposits 0.1, a retry costs 1).
J. Dean, L. A. Barroso: The tail at scale. CACM 56(2), 2013 (hedges limited to about 5 % of requests).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

_WHOLE = 1 - 1e-9
"""A whole token: ten deposits of 0.1 are a little less than one."""


class Extra(enum.StrEnum):
    """What an attempt beyond the first is for."""

    RETRY = "retry"
    HEDGE = "hedge"
    FALLBACK = "fallback"
    SHADOW = "shadow"


@dataclass(slots=True)
class ResilienceBudget:
    """A token bucket that calls fill and extra attempts empty.

    Parameters
    ----------
    deposit
        What a success adds (tokens).
    cap
        Most that it holds; it starts with half of that.
    shares
        Kinds that may use only so many extra attempts per call started, and at most `burst` of them at once.
    unlimited
        Grants everything: to show what the budget is good for.

    Examples
    --------
    >>> budget = ResilienceBudget(cap=4)
    >>> [budget.take(Extra.RETRY) for _ in range(3)]
    [True, True, False]
    >>> for _ in range(10):
    ...     budget.on_success()
    >>> budget.take(Extra.RETRY), budget.spent
    (True, {<Extra.RETRY: 'retry'>: 3})
    """

    deposit: float = 0.1
    cap: float = 20.0
    shares: dict[Extra, float] = field(default_factory=lambda: {Extra.HEDGE: 0.025, Extra.SHADOW: 0.05})
    burst: float = 5.0
    unlimited: bool = False
    spent: dict[Extra, int] = field(default_factory=dict[Extra, int], init=False)
    """Extra attempts that were granted, by kind."""
    refused: int = field(default=0, init=False)
    """Extra attempts that were not."""
    _level: float = field(init=False)
    _own: dict[Extra, float] = field(init=False)
    _full: bool = field(default=False, init=False)
    """Whether all kinds with a share of their own have all that they may save up."""

    def __post_init__(self) -> None:
        self._level = self.cap / 2
        self._own = dict.fromkeys(self.shares, self.burst / 2)

    @property
    def level(self) -> float:
        """Tokens that are left; never negative."""
        return self._level

    def fill(self, kind: Extra) -> float:
        """How full it is for this kind: 0 to 1."""
        common = self._level / self.cap
        return min(common, self._own[kind] / self.burst) if kind in self._own else common

    def on_start(self) -> None:
        """A call began (not an extra attempt)."""
        if self._full:
            return
        own, burst = self._own, self.burst
        self._full = True
        for kind, share in self.shares.items():
            if own[kind] < burst:
                own[kind] = min(own[kind] + share, burst)
                self._full = False

    def on_success(self) -> None:
        """A call was answered."""
        if self._level < self.cap:
            self._level = min(self._level + self.deposit, self.cap)

    def allows(self, kind: Extra) -> bool:
        """Whether `take` would grant it."""
        return self.unlimited or (self._level >= _WHOLE and self._own.get(kind, 1.0) >= _WHOLE)

    def take(self, kind: Extra) -> bool:
        """Pay for one extra attempt; False when it must not be made."""
        if not self.allows(kind):
            self.refused += 1
            return False
        if not self.unlimited:
            self._level = max(self._level - 1, 0.0)
            if kind in self._own:
                self._own[kind] = max(self._own[kind] - 1, 0.0)
                self._full = False
        self.spent[kind] = self.spent.get(kind, 0) + 1
        return True
