"""A call on its way: its attempts, its failures and its money."""

from __future__ import annotations

import math
from decimal import Decimal

from msgspec import Struct

from headrace.models.action import Attempt
from headrace.models.budget import Extra
from headrace.models.call import Call
from headrace.models.failure import Failure
from headrace.models.spending import Hold
from headrace.models.upstream import Lease, Upstream

_NOBODY: frozenset[str] = frozenset()


class Running(Struct, eq=False):
    """An attempt under way.

    Attributes
    ----------
    flight
        The call that it is for.
    late_at
        When it is tried elsewhere as well, if nothing has come (instant).
    hedge_at
        When it is late enough to be hedged (instant); None: never.
    idle_by
        When a stream that has begun is taken for stalled (instant).
    armed
        The next instant at which a timer looks at it.
    came
        Tokens of its stream that have come, about.
    """

    flight: Flight
    attempt: Attempt
    upstream: Upstream
    lease: Lease
    hold: Hold
    late_at: float
    hedge_at: float | None = None
    idle_by: float = 0.0
    armed: float = 0.0
    came: int = 0

    @property
    def begun(self) -> bool:
        """Whether its first byte has come."""
        return self.lease.first_at is not None

    @property
    def end(self) -> float:
        """When all of it must have come, or of a stream that has not begun its first byte (instant)."""
        end, deadline = self.attempt.clock.end, self.attempt.call.deadline
        return end if end < deadline else deadline

    def begin(self, now: float) -> None:
        """Its first byte has come: from here on, its call waits for the rest."""
        call = self.attempt.call
        self.idle_by = now + self.attempt.clock.idle
        if call.last > call.deadline:
            call.deadline = call.last

    def flowing(self, now: float) -> bool:
        """Whether its answer is coming in."""
        return self.begun and now < self.idle_by

    def written(self, now: float) -> int:
        """Tokens of its answer that were written by now, as far as one can tell, for the bill of one that is cut off.

        Of an answer that is no stream nobody sees that: it is the share of its usual length that its time is of the
        usual time.
        """
        call = self.attempt.call
        if call.stream:
            return self.came
        usual = self.upstream.latencies.usual(now, call)
        share = (now - self.attempt.started) / usual if usual > 0 else 0.0
        return math.ceil(call.output_tokens * min(share, 1.0))

    def due(self) -> float:
        """When something of it may be wrong next (instant)."""
        end, hedge_at = self.end, self.hedge_at
        if self.lease.first_at is not None:
            due = self.idle_by
        elif hedge_at is not None and hedge_at < self.late_at:
            due = hedge_at
        else:
            due = self.late_at
        return end if end < due else due

    def over(self, now: float) -> str:
        """Which of its times is over, in words; empty: none is."""
        attempt, clock, end = self.attempt, self.attempt.clock, self.end
        if now >= end:
            if end >= attempt.call.deadline:
                return "its deadline passed"
            return f"the answer took longer than {clock.end - attempt.started:g} s (timeouts.total)"
        if self.begun and now >= self.idle_by:
            return f"nothing came for {clock.idle:g} s (timeouts.idle)"
        return ""


class Flight(Struct):
    """All that is known of one call.

    Attributes
    ----------
    running
        Attempts under way.
    winner
        The attempt whose first byte was the first.
    tried, barred
        Upstreams that failed it; those of them that would fail it again.
    failures, last
        How many of its attempts failed, and how the last one did.
    over
        Which time of the last one was over, in words; empty: it failed otherwise.
    next
        What its next attempt is for; None: it is the first.
    retry_at
        When it goes back to the queue (instant).
    timed
        Whether a timer rings at its deadline. While an attempt is under way that is not needed: it ends by then.
    cost
        Of the attempts that have ended; None once one had no price.
    """

    call: Call
    running: list[Running] = []
    winner: Running | None = None
    tried: frozenset[str] = _NOBODY
    barred: frozenset[str] = _NOBODY
    failures: int = 0
    last: Failure | None = None
    over: str = ""
    next: Extra | None = None
    retry_at: float | None = None
    timed: bool = False
    cost: Decimal | None = Decimal(0)

    def pay(self, amount: Decimal | None) -> None:
        """Add what an attempt cost."""
        self.cost = None if amount is None or self.cost is None else self.cost + amount
