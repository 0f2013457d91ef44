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

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from msgspec import Struct

from headrace.core.clock import SECOND, instant

_UNITS = {b"ms": 1e-3, b"s": 1.0, b"m": 60.0, b"h": 3600.0, b"d": 86400.0}
_PART = re.compile(rb"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_NUMBER = re.compile(rb"\d+(?:\.\d+)?")
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
_PARTS = ("limit", "remaining", "reset")
_WAITS = ("retry-after-ms", "retry-after")
HEADERS: dict[str, int] = {
    name: place
    for place, (kind, word) in enumerate((kind, word) for kind in _KINDS for word in _PARTS)
    for name in (f"x-ratelimit-{word}-{kind}", f"anthropic-ratelimit-{kind}-{word}")
} | {name: len(_KINDS) * len(_PARTS) + place for place, name in enumerate(_WAITS)}
"""Names of headers that tell limits, with the places of their values in what `limits_of` takes."""
PLACES = len(_KINDS) * len(_PARTS) + len(_WAITS)
"""How many such places there are."""
_LONGEST = 86400.0
"""No window of a limit is longer than a day: a longer wait is a mistake of somebody's, and as if it were not said."""


class Window(Struct, frozen=True, gc=False):
    """One limit: how much there is in all, how much is left, and in how many seconds it is full again.

    A value that was not said is None.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


class Limits(Struct, frozen=True, gc=False):
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
    said: list[bytes | None] = [None] * PLACES
    for name, value in headers.items():
        place = HEADERS.get(name)
        if place is not None:
            said[place] = value.encode(errors="replace")
    return limits_of(said, now)


def limits_of(said: Sequence[bytes | None], now: int) -> Limits:
    """The same of values that are in their places already (`HEADERS`); None where a header did not come."""
    (
        requests_limit, requests_left, requests_reset,
        tokens_limit, tokens_left, tokens_reset,
        input_limit, input_left, input_reset,
        output_limit, output_left, output_reset,
        milliseconds, retry,
    ) = said  # fmt: skip
    return Limits(
        _window(requests_limit, requests_left, requests_reset, now),
        _window(tokens_limit, tokens_left, tokens_reset, now),
        _window(input_limit, input_left, input_reset, now),
        _window(output_limit, output_left, output_reset, now),
        None if milliseconds is None and retry is None else _retry_after(milliseconds, retry, now),
    )


# Limits and resets come with every answer, and mostly say what those of the one before said: they are read once.
def _window(limit: bytes | None, remaining: bytes | None, reset: bytes | None, now: int) -> Window | None:
    if limit is None and remaining is None and reset is None:
        return None
    seconds = None if reset is None else _duration(reset)
    if seconds is None and reset is not None:
        seconds = _until(reset, now)
    return Window(_limit(limit), _number(remaining), seconds)


def _number(text: bytes | None) -> float | None:
    if text is None:
        return None
    if text.isdigit():
        return float(text)
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


_limit = lru_cache(maxsize=1024)(_number)


def _until(text: bytes, now: int) -> float | None:
    try:
        return _sane((instant(datetime.fromisoformat(text.strip().decode())) - now) / SECOND)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _duration(text: bytes) -> float | None:
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return _sane(float(text))
    parts: list[tuple[bytes, bytes]] = _PART.findall(text)
    if parts and b"".join(number + unit for number, unit in parts) == text:
        return _sane(sum(float(number) * _UNITS[unit] for number, unit in parts))
    return None


def _retry_after(milliseconds: bytes | None, retry: bytes | None, now: int) -> float | None:
    short = _number(milliseconds)
    if short is not None:
        return _sane(short / 1000)
    text = b"" if retry is None else retry.strip()
    seconds = _number(text)
    if seconds is not None or not text:
        return _sane(seconds)
    try:
        at = parsedate_to_datetime(text.decode())
    except ValueError:
        return None
    return _sane((instant(at if at.tzinfo else at.replace(tzinfo=UTC)) - now) / SECOND)


def _sane(seconds: float | None) -> float | None:
    return max(seconds, 0.0) if seconds is not None and seconds <= _LONGEST else None
