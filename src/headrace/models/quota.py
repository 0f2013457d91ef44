"""How much of a provider's rate limits is left, learnt from its headers; reserved before a request, settled after it.

1. Before an attempt, one request and all tokens that it may take (prompt + expected output) are reserved in one step.
   Providers admit on such an estimate too, and two calls cannot both take the last of it.
2. When it ends, the difference to what was used is given back, or charged.
3. Every response corrects the picture: the level is what the provider says is left, less what is reserved and may not
   have reached it yet. `(limit - remaining) / reset` is the rate of refill.
4. A 429 closes it for as long as the provider says, or for twice as long each time where it does not say. "No credit
   left" closes it until somebody pays: it is tried again at long intervals, and never retried here.

References
----------
OpenAI and Anthropic document their headers under "rate limits" (see `headers.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace.models.bucket import Bucket
from headrace.models.call import Usage
from headrace.models.failure import Failure
from headrace.models.headers import Limits, Window

_EXHAUSTED = 300.0
"""Seconds until an upstream whose credit is used up is tried again, when it does not say."""
_PAUSE = 0.25
"""Seconds of the first pause after refusals that name none; doubled with each more in a row."""
_LONGEST_PAUSE = 30.0
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one attempt holds: one request and these tokens."""

    input_tokens: float
    output_tokens: float

    @property
    def tokens(self) -> float:
        """All tokens."""
        return self.input_tokens + self.output_tokens

    def of(self, kind: str) -> float:
        """How much of a limit's kind it takes."""
        if kind == "requests":
            return 1.0
        return {"tokens": self.tokens, "input_tokens": self.input_tokens, "output_tokens": self.output_tokens}[kind]


class Quota:
    """The rate limits of one upstream. What is not known is not limited.

    Parameters
    ----------
    requests_per_minute, tokens_per_minute
        Known limits; others are learnt.
    headroom
        Share of the refill that is left unused, for clocks and for others who use the same key.

    Examples
    --------
    >>> quota = Quota(requests_per_minute=60, tokens_per_minute=1000)
    >>> held = quota.reserve(0.0, input_tokens=600, output_tokens=300)
    >>> quota.reserve(0.0, input_tokens=600, output_tokens=300) is None
    True
    >>> quota.settle(0.0, held, Usage(prompt_tokens=600, output_tokens=20))
    >>> quota.left(0.0)
    {'requests': 59.0, 'tokens': 380.0}
    """

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        headroom: float = 0.05,
    ) -> None:
        self.headroom = headroom
        self._buckets: dict[str, Bucket] = {}
        self._held: dict[str, float] = {}
        self._closed_until = -math.inf
        self._refusals = 0
        for kind, known in (("requests", requests_per_minute), ("tokens", tokens_per_minute)):
            if known is not None:
                self._buckets[kind] = Bucket(known, known / _MINUTE * (1 - headroom))

    def left(self, now: float) -> dict[str, float]:
        """What may still be reserved, per limit that is known."""
        return {kind: bucket.level(now) for kind, bucket in self._buckets.items()}

    def share_left(self, now: float) -> float:
        """The smallest share that is left of a limit; 1 while none is known, 0 while it is closed."""
        if now < self._closed_until:
            return 0.0
        return min((bucket.level(now) / bucket.capacity for bucket in self._buckets.values()), default=1.0)

    def wait(self, now: float, input_tokens: float, output_tokens: float) -> float:
        """Seconds until such an attempt may be made; 0: now.

        One that is larger than a limit as a whole waits for a full one: the provider may count less than we do.
        """
        wanted = Reservation(input_tokens, output_tokens)
        closed = max(self._closed_until - now, 0.0)
        return max([closed, *(bucket.wait(now, wanted.of(kind)) for kind, bucket in self._buckets.items())])

    def reserve(self, now: float, input_tokens: float, output_tokens: float) -> Reservation | None:
        """Take one request and these tokens, all or nothing."""
        if self.wait(now, input_tokens, output_tokens) > 0:
            return None
        held = Reservation(input_tokens, output_tokens)
        for kind, bucket in self._buckets.items():
            bucket.charge(now, min(held.of(kind), bucket.level(now)))
        for kind in ("requests", "tokens", "input_tokens", "output_tokens"):
            self._held[kind] = self._held.get(kind, 0.0) + held.of(kind)
        return held

    def settle(self, now: float, held: Reservation, usage: Usage | None) -> None:
        """The attempt ended; without usage (it failed, or was cancelled) what it held counts as used.

        A provider may or may not count a request that it refused or that was cut off. Taking it for used errs towards
        too little; the next headers correct it.
        """
        for kind in self._held:
            self._held[kind] = max(self._held[kind] - held.of(kind), 0.0)
        if usage is None:
            return
        used = Reservation(usage.prompt_tokens, usage.output_tokens)
        for kind, bucket in self._buckets.items():
            difference = held.of(kind) - used.of(kind)
            if difference >= 0:
                bucket.give(now, difference)
            else:
                bucket.charge(now, -difference)

    def observe(self, now: float, limits: Limits) -> None:
        """Believe what a response said. Call it after the response's own reservation was settled."""
        for kind in ("requests", "tokens", "input_tokens", "output_tokens"):
            window: Window | None = getattr(limits, kind)
            if window is not None:
                self._believe(now, kind, window)

    def on_success(self) -> None:
        """The upstream answered."""
        self._refusals = 0

    def on_refusal(self, now: float, failure: Failure, retry_after: float | None) -> None:
        """It refused: rate limited, or no credit left. A longer pause that was already asked for stays."""
        self._refusals += 1
        if failure is Failure.QUOTA:
            pause = _EXHAUSTED if retry_after is None else retry_after
        elif retry_after is not None:
            pause = retry_after
        elif self._refusals > 1:
            # The first refusal of several in a row only lowers the concurrency: it may be no more than the limit
            # of what runs at once.
            pause = min(_PAUSE * 2 ** min(self._refusals - 2, 20), _LONGEST_PAUSE)
        else:
            return
        self._closed_until = max(self._closed_until, now + pause)

    def _believe(self, now: float, kind: str, window: Window) -> None:
        bucket = self._buckets.get(kind)
        if bucket is None:
            if window.limit is None or window.limit <= 0:
                return
            bucket = self._buckets[kind] = Bucket(window.limit, window.limit / _MINUTE * (1 - self.headroom))
        if window.limit is not None and window.limit > 0:
            bucket.capacity = window.limit
        if window.remaining is None:
            return
        pending = self._held.get(kind, 0.0)
        sure = max(window.remaining - pending, 0.0)
        bucket.set(now, min(max(bucket.level(now), sure), window.remaining))
        if window.reset is not None and window.reset > 0 and bucket.capacity > window.remaining:
            bucket.rate = (bucket.capacity - window.remaining) / window.reset * (1 - self.headroom)
