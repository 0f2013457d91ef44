"""Durations as people write them: "250ms", "2s", "5m", "1h", "7d", "1h30m"."""

from __future__ import annotations

import re
from datetime import timedelta

from headrace.core.errors import DeclarationError

_UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_LONGEST = 10_000 * 366 * _UNITS["d"]
"""All instants lie in the years 1 to 9999."""
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)")

Duration = str | float | timedelta
"""A duration as a user may give it: text with units, seconds as a number, or a `timedelta`."""


def parse_duration(value: Duration) -> int:
    """Microseconds of a duration.

    Raises
    ------
    DeclarationError
        When the text is not a duration, or the duration is not positive or longer than all time that can be written.

    Examples
    --------
    >>> parse_duration("250ms"), parse_duration("1h30m"), parse_duration(2)
    (250000, 5400000000, 2000000)
    """
    try:
        micros = _micros(value)
    except (OverflowError, ValueError):  # infinity, NaN
        micros = _LONGEST + 1
    if micros > _LONGEST:
        raise DeclarationError(f"the duration {value!r:.40} is too long", hint='write for example "2s" or "7d"')
    if micros <= 0:
        raise DeclarationError(f"the duration {value!r} is not positive", hint='write for example "2s" or "7d"')
    return micros


def _micros(value: Duration) -> int:
    if isinstance(value, timedelta):
        return round(value.total_seconds() * 1_000_000)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * 1_000_000)
    return _parse_text(str(value))


def _parse_text(text: str) -> int:
    compact = text.strip().replace(" ", "")
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise DeclarationError(
            f"{text!r} is not a duration", hint='write a number and a unit: "250ms", "2s", "5m", "1h30m", "7d"'
        )
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts))


def format_duration(micros: int) -> str:
    """The shortest text that a person reads easily.

    >>> format_duration(250_000), format_duration(5_400_000_000), format_duration(1_234_567), format_duration(12)
    ('250ms', '1h30m', '1.235s', '12us')
    """
    if micros < 0:
        return "-" + format_duration(-micros)
    if micros < 1_000:
        return f"{micros}us"
    if micros < 1_000_000:
        return f"{micros / 1_000:.4g}ms"
    if micros < 60_000_000:
        return f"{micros / 1_000_000:.4g}s"
    return _format_long(micros)


def _format_long(micros: int) -> str:
    text = ""
    rest = micros
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            text += f"{count}{unit}"
    return text
