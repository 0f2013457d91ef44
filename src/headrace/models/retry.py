"""Whether a failed call is tried again, where and when.

What may be tried again is a property of the failure (`Failure.retry`), of how far the answer had come (nothing once a
stream's first token is out: the client has seen half a sentence) and of whether the call may run twice. When: at once
if another upstream can take it, since it is not that one which failed; otherwise after a wait with full jitter, or
after what the upstream asked for. Never when the deadline does not leave enough, nor more often than `attempts`.
Whether the budget allows it is asked last (`ResilienceBudget`).

References
----------
M. Brooker: Exponential backoff and jitter. AWS Architecture Blog, 2015 (full jitter).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar

from pydantic import ConfigDict

from headrace.models.bounds import STRICT, Count, Seconds
from headrace.models.call import Call
from headrace.models.failure import Failure, Where


@dataclass(frozen=True, slots=True)
class RetryRules:
    """How often and after how long.

    Parameters
    ----------
    attempts
        Most attempts of one call, the first included; hedges not counted.
    base, longest
        The wait before the n-th retry at the same upstream is drawn from 0 to `base * 2**n`, at most `longest`
        (seconds).

    Examples
    --------
    >>> rules, call = RetryRules(), Call("1", 100, 100, deadline=30.0)
    >>> rules.decide(1.0, call, Failure.TIMEOUT, failures=1, others=True, random=Random(1))
    1.0
    >>> rules.decide(1.0, call, Failure.RATE_LIMITED, failures=1, others=False, random=Random(1), retry_after=4.0)
    5.05...
    >>> rules.decide(1.0, call, Failure.BAD_REQUEST, failures=1, others=True, random=Random(1)) is None
    True
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    attempts: Count = 3
    base: Seconds = 0.2
    longest: Seconds = 5.0

    def decide(
        self,
        now: float,
        call: Call,
        failure: Failure,
        *,
        failures: int,
        others: bool,
        random: Random,
        retry_after: float | None = None,
        seen: bool = False,
        usual: float = 0.0,
    ) -> float | None:
        """When to try again after a failure (instant); None: the call has failed.

        Parameters
        ----------
        failures
            How many attempts of this call have failed, this one included.
        others
            Whether another upstream could take it now.
        retry_after
            Seconds that the upstream asked for; None when it did not.
        seen
            Whether the client has seen a part of the answer.
        usual
            Seconds that such a call usually takes.
        """
        where = failure.retry
        if where is Where.NOWHERE or failures >= self.attempts or (seen and call.stream):
            return None
        if not call.repeatable and failure not in _NOT_BEGUN:
            return None
        if not others and where is Where.ELSEWHERE:
            return None
        at = now if others else now + self._wait(failures, retry_after, random)
        return at if call.deadline - at >= usual and at < call.deadline else None

    def _wait(self, failures: int, retry_after: float | None, random: Random) -> float:
        drawn = random.random() * min(self.base * 2 ** min(failures, 30), self.longest)
        # Everybody was told the same instant, so the jitter comes on top of it.
        return drawn + (retry_after or 0.0)


_NOT_BEGUN = frozenset(
    {
        Failure.RATE_LIMITED,
        Failure.QUOTA,
        Failure.OVERLOADED,
        Failure.UNREACHABLE,
        Failure.CREDENTIALS,
        Failure.MISSING,
    }
)
"""Nothing was sent, or nothing was done: even a call with effects may be sent again."""
