"""What providers say about their limits in headers, as numbers.

| header                                                  | who       | value                                          |
|---------------------------------------------------------|-----------|------------------------------------------------|
| `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` | OpenAI    | a reset is a duration: `1s`, `6m0s`, `12ms`    |
| `anthropic-ratelimit-KIND-{limit,remaining,reset}`      | Anthropic | a reset is an instant, RFC 3339                |
| `retry-after`                                           | all       | seconds, or an HTTP date                       |
| `retry-after-ms`                                        | some      | milliseconds; it counts before `retry-after`   |

KIND is `requests`, `tokens`, `input-tokens` or `output-tokens`.

What cannot be read is left out: a header is advice, and a strange one must not fail an answer that is good.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from msgspec import Struct

from headrace.core.clock import SECOND, instant

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
_RESET = 2
_PLACES = {
    name: (kind, part)
    for kind in _KINDS
    for part, word in enumerate(("limit", "remaining", "reset"))
    for name in (f"x-ratelimit-{word}-{kind}", f"anthropic-ratelimit-{kind}-{word}")
}
_LONGEST = 31 * 86400.0
"""A wait longer than a month is a mistake of somebody's."""


class Window(Struct, frozen=True):
    """One limit: how much there is in all, how much is left, and in how many seconds it is full again.

    A value that was not said is None.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


class Limits(Struct, frozen=True):
    """All that one response said.

    Attributes
    ----------
    requests, tokens, input_tokens, output_tokens
        The limits; None where nothing was said of one.
    retry_after
        Seconds to wait; None when it was not said.
    """

    requests: Window | None = None
    tokens: Window | None = None
    input_tokens: Window | None = None
    output_tokens: Window | None = None
    retry_after: float | None = None


NOTHING = Limits()
"""A response that said nothing."""


def read_limits(headers: Mapping[str, str], now: int) -> Limits:
    """The limits that a response's headers tell.

    Parameters
    ----------
    headers
        With names in lower case.
    now
        The wall clock (microseconds since the epoch): some resets are instants.

    Examples
    --------
    >>> found = read_limits({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59",
    ...                      "x-ratelimit-reset-requests": "6m0s", "retry-after-ms": "1500"}, now=0)
    >>> found.requests, found.retry_after
    (Window(limit=60.0, remaining=59.0, reset=360.0), 1.5)
    >>> read_limits({"anthropic-ratelimit-tokens-reset": "1970-01-01T00:00:30Z"}, now=10_000_000).tokens
    Window(limit=None, remaining=None, reset=20.0)
    """
    said: dict[str, list[float | None]] = {}
    waits = False
    for name, value in headers.items():
        place = _PLACES.get(name)
        if place is not None:
            kind, part = place
            window = said.get(kind)
            if window is None:
                window = said[kind] = [None, None, None]
            window[part] = _reset(value.strip(), now) if part == _RESET else _number(value.strip())
        elif name.startswith("retry-after"):
            waits = True
    if not said and not waits:
        return NOTHING
    return Limits(
        *(Window(*said[kind]) if kind in said else None for kind in _KINDS),
        retry_after=_retry_after(headers, now) if waits else None,
    )


# These headers come with every answer, and most of their values come again.


@lru_cache(maxsize=4096)
def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


def _reset(text: str, now: int) -> float | None:
    seconds = _duration(text)
    if seconds is not None:
        return seconds
    try:
        return _sane((instant(datetime.fromisoformat(text)) - now) / SECOND)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _duration(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return _sane(float(text))
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return _sane(sum(float(number) * _UNITS[unit] for number, unit in parts))
    return None


def _retry_after(headers: Mapping[str, str], now: int) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _sane(milliseconds / 1000)
    text = headers.get("retry-after", "").strip()
    seconds = _number(text)
    if seconds is not None or not text:
        return _sane(seconds)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return _sane((instant(at if at.tzinfo else at.replace(tzinfo=UTC)) - now) / SECOND)


def _sane(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), _LONGEST)
