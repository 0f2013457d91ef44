"""Intervals: from PostgreSQL's text (IntervalStyle `postgres`) to ISO 8601 text, where they have one fixed length."""

from __future__ import annotations

import re

_FORM = re.compile(
    r"(?:([+-]?\d+) years? ?)?(?:([+-]?\d+) mons? ?)?(?:([+-]?\d+) days? ?)?"
    r"(?:([+-]?)(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?"
)
_DAY = 86_400_000_000
_SECOND = 1_000_000


def iso_duration(text: str) -> str:
    """The duration as ISO 8601 text; a day has 24 hours.

    >>> iso_duration("1 day 02:00:00.5"), iso_duration("-1 days +02:00:00"), iso_duration("00:00:00")
    ('P1DT7200.5S', '-PT79200S', 'PT0S')

    Raises
    ------
    ValueError
        It has months or years, which have no fixed length, or it is infinite.
    """
    found = _FORM.fullmatch(text)
    if found is None or not text:
        raise ValueError("no interval")
    years, months, days, sign, hours, minutes, seconds, fraction = found.groups()
    if years or months:
        raise ValueError("months have no fixed length")
    time = 0
    if hours:
        time = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * _SECOND + int((fraction or "").ljust(6, "0"))
    total = int(days or 0) * _DAY + (-time if sign == "-" else time)
    return _written(total)


def _written(micros: int) -> str:
    days, rest = divmod(abs(micros), _DAY)
    seconds, fraction = divmod(rest, _SECOND)
    decimals = f".{fraction:06d}".rstrip("0") if fraction else ""
    time = f"T{seconds}{decimals}S" if rest or not days else ""
    return f"{'-' if micros < 0 else ''}P{f'{days}D' if days else ''}{time}"
