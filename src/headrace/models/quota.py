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

from msgspec import Struct

from headrace.models.bucket import Bucket
from headrace.models.call import Usage
from headrace.models.failure import Failure
from headrace.models.headers import NOTHING, Limits, Window

_EXHAUSTED = 300.0
"""Seconds until an upstream whose credit is used up is tried again, when it does not say."""
_PAUSE = 0.25
"""Seconds of the first pause after refusals that name none; doubled with each more in a row."""
_LONGEST_PAUSE = 30.0
_TRUSTED = 3600.0
"""Seconds for which a pause is kept at most that a provider asked for: then one refusal tells whether it was meant."""
_MINUTE = 60.0


_KINDS = ("requests", "tokens", "input_tokens", "output_tokens")


class Reservation(Struct, frozen=True, gc=False):
    """What one attempt holds: one request, and these tokens."""

    input_tokens: float
    output_tokens: float

    @property
    def tokens(self) -> float:
        """All tokens."""
        return self.input_tokens + self.output_tokens


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
        self.sure = math.inf
        """An attempt of fewer tokens than this can be made now; whether a larger one can, `wait` has to find out."""
        self._buckets: dict[int, Bucket] = {}
        """Of the limits that are known, by their places among the kinds."""
        # What all attempts under way hold.
        self._requests = 0
        self._input_tokens = 0.0
        self._output_tokens = 0.0
        self._closed_until = -math.inf
        self.why = Failure.RATE_LIMITED
        """Why it is closed, where it is: rate limited, or no credit left (`Failure.QUOTA`)."""
        self._refusals = 0
        self._refused = -math.inf
        for place, known in enumerate((requests_per_minute, tokens_per_minute)):
            if known is not None:
                self._learn(place, known)

    def left(self, now: float) -> dict[str, float]:
        """What may still be reserved, per limit that is known."""
        return {_KINDS[place]: bucket.level(now) for place, bucket in self._buckets.items()}

    def wait(self, now: float, input_tokens: float, output_tokens: float) -> float:
        """Seconds until such an attempt may be made; 0: now.

        One that is larger than a limit as a whole waits for a full one: the provider may count less than we do.
        """
        tokens = input_tokens + output_tokens
        if tokens < self.sure:
            return 0.0
        wait = self._closed_until - now if now < self._closed_until else 0.0
        amounts = (1.0, tokens, input_tokens, output_tokens)
        for place, bucket in self._buckets.items():
            wait = max(bucket.wait(now, amounts[place]), wait)
        return wait

    def paused(self, now: float) -> float:
        """Seconds for which it is closed as the provider wants it; 0: it is not."""
        return max(self._closed_until - now, 0.0)

    def closed(self, now: float, input_tokens: float, output_tokens: float) -> float:
        """Seconds for which such an attempt cannot be made, whatever those under way give back; at most `wait`."""
        if not self.wait(now, input_tokens, output_tokens):
            return 0.0
        closed = self.paused(now)
        amounts = (1.0, input_tokens + output_tokens, input_tokens, output_tokens)
        held = (0.0, self._input_tokens + self._output_tokens, self._input_tokens, self._output_tokens)
        for place, bucket in self._buckets.items():
            short = min(amounts[place], bucket.capacity) - held[place]  # a request is used up, however it ends
            if short > 0:
                closed = max(bucket.wait(now, short), closed)
        return closed

    def reserve(self, now: float, input_tokens: float, output_tokens: float) -> Reservation | None:
        """Take one request and these tokens, all or nothing."""
        if self.wait(now, input_tokens, output_tokens) > 0:
            return None
        return self.take(now, input_tokens, output_tokens)

    def take(self, now: float, input_tokens: float, output_tokens: float) -> Reservation:
        """The same for whoever has asked `wait` at this instant."""
        amounts = (1.0, input_tokens + output_tokens, input_tokens, output_tokens)
        sure = math.inf
        for place, bucket in self._buckets.items():
            left = bucket.draw(now, amounts[place])
            if place and left < sure:
                sure = left
            elif left < 1.0:  # no request is left
                sure = 0.0
        self.sure = sure
        self._requests += 1
        self._input_tokens += input_tokens
        self._output_tokens += output_tokens
        return Reservation(input_tokens, output_tokens)

    def settle(self, now: float, held: Reservation, usage: Usage | None) -> None:
        """The attempt ended; without usage (it failed, or was cancelled) what it held counts as used.

        A provider may or may not count a request that it refused or that was cut off. Taking it for used errs towards
        too little; the next headers correct it.
        """
        of_input, of_output = held.input_tokens, held.output_tokens
        self._requests -= 1
        self._input_tokens -= of_input
        self._output_tokens -= of_output
        if self._requests == 0:
            self._input_tokens = self._output_tokens = 0.0  # what additions and subtractions of floats have left over
        if usage is None:
            return
        prompt, output = usage.prompt_tokens, usage.output_tokens
        taken = (0.0, of_input + of_output, of_input, of_output)
        used = (0.0, prompt + output, prompt, output)
        for place, bucket in self._buckets.items():
            # Of what is larger than a limit as a whole, no more than all of it was taken.
            spare = (taken[place] if taken[place] < bucket.capacity else bucket.capacity) - used[place]
            if place and spare:
                bucket.give(now, spare)
                if bucket.stored < self.sure:
                    self.sure = bucket.stored

    def observe(self, now: float, limits: Limits) -> None:
        """Believe what a response said. Call it after the response's own reservation was settled."""
        if limits is NOTHING:
            return
        if limits.requests is not None:
            self._believe(now, 0, limits.requests, self._requests)
        if limits.tokens is not None:
            self._believe(now, 1, limits.tokens, self._input_tokens + self._output_tokens)
        if limits.input_tokens is not None:
            self._believe(now, 2, limits.input_tokens, self._input_tokens)
        if limits.output_tokens is not None:
            self._believe(now, 3, limits.output_tokens, self._output_tokens)

    def on_success(self) -> None:
        """The upstream answers."""
        self._refusals = 0

    def on_refusal(self, now: float, failure: Failure, retry_after: float | None, started: float = math.inf) -> None:
        """It refused an attempt that `started` then: rate limited, or no credit left. A longer pause that was already
        asked for stays. What was sent before a refusal was heard counts as one with it."""
        if started >= self._refused:
            self._refusals, self._refused = self._refusals + 1, now
        if failure is Failure.QUOTA:
            pause = _EXHAUSTED if retry_after is None else min(retry_after, _TRUSTED)
        elif retry_after is not None:
            pause = min(retry_after, _TRUSTED)
        elif self._refusals > 1:
            # The first refusal of several in a row only lowers the concurrency: it may be no more than the limit
            # of what runs at once.
            pause = min(_PAUSE * 2 ** min(self._refusals - 2, 20), _LONGEST_PAUSE)
        else:
            return
        if now + pause >= self._closed_until:
            self._closed_until, self.why = now + pause, failure
        self.sure = 0.0

    def _believe(self, now: float, place: int, window: Window, held: float) -> None:
        bucket = self._buckets.get(place)
        limit, remaining, reset = window.limit, window.remaining, window.reset
        if limit is not None and limit > 0.0:
            if bucket is None:
                bucket = self._learn(place, limit)
            bucket.capacity = limit
        if bucket is None:
            return
        if remaining is None:
            bucket.stored = min(bucket.stored, bucket.capacity)
            return
        left = bucket.correct(now, remaining - held, remaining)
        if place and left < self.sure:
            self.sure = left
        elif left < 1.0:
            self.sure = 0.0
        if reset is not None and reset > 0.0 and bucket.capacity > remaining:
            bucket.rate = (bucket.capacity - remaining) / reset * (1 - self.headroom)

    def _learn(self, place: int, limit: float) -> Bucket:
        """A limit that was not known."""
        bucket = self._buckets[place] = Bucket(limit, limit / _MINUTE * (1 - self.headroom))
        self.sure = 0.0
        return bucket
