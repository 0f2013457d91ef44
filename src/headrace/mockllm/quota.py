"""Rate limits and how providers tell them: requests and tokens a minute, in buckets that fill all the time.

A request's tokens are its prompt and what it allows for the answer; what it did not use is given back at its end.
"""

from __future__ import annotations

import math

from headrace.core.clock import SECOND, isoformat
from headrace.http1.headers import Field
from headrace.models.bucket import Bucket


class Quota:
    """The limits of one mock; `now` is monotonic seconds, `wall` the instant that Anthropic's headers are told in."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests = None if requests is None else Bucket(requests, requests / 60)
        self._tokens = None if tokens is None else Bucket(tokens, tokens / 60)

    @property
    def unlimited(self) -> bool:
        """Whether nothing is limited, and so no header is told."""
        return self._requests is None and self._tokens is None

    def take(self, now: float, tokens: float) -> tuple[str, float] | None:
        """Admit a request, or say which limit it is over and in how many seconds it is not."""
        if self._tokens is not None and (wait := self._tokens.wait(now, tokens)) > 0:
            return "tokens", wait
        if self._tokens is not None and tokens > self._tokens.capacity:
            return "tokens", 60.0
        if self._requests is not None and not self._requests.take(now, 1):
            return "requests", self._requests.wait(now, 1)
        if self._tokens is not None:
            self._tokens.take(now, tokens)
        return None

    def settle(self, now: float, reserved: float, used: float) -> None:
        """Give back what was reserved and not used."""
        if self._tokens is not None and reserved > used:
            self._tokens.give(now, reserved - used)

    def headers(self, now: float, wall: int, *, anthropic: bool) -> list[Field]:
        """What every answer says of the limits."""
        fields: list[Field] = []
        for what, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is None:
                continue
            left = math.floor(bucket.level(now) + 1e-9)
            full = bucket.wait(now, bucket.capacity)
            if anthropic:
                reset = isoformat((wall + math.ceil(full) * SECOND) // SECOND * SECOND).replace(".000000", "")
                names = [f"anthropic-ratelimit-{what}-{part}" for part in ("limit", "remaining", "reset")]
            else:
                reset = go_duration(full)
                names = [f"x-ratelimit-{part}-{what}" for part in ("limit", "remaining", "reset")]
            values = (f"{bucket.capacity:.0f}", str(left), reset)
            fields += [(name.encode(), value.encode()) for name, value in zip(names, values, strict=True)]
        return fields


def retry_after(seconds: float, *, anthropic: bool) -> list[Field]:
    """When to come again: whole seconds for all, and milliseconds as OpenAI says them."""
    fields: list[Field] = [(b"retry-after", b"%d" % max(math.ceil(seconds), 1))]
    if not anthropic:
        fields.append((b"retry-after-ms", b"%d" % max(math.ceil(seconds * 1000), 1)))
    return fields


def go_duration(seconds: float) -> str:
    """A duration as OpenAI writes it.

    >>> go_duration(0.0124), go_duration(1), go_duration(360), go_duration(8.64)
    ('12ms', '1s', '6m0s', '8.64s')
    """
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".")
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{text}s"
