"""Intervals: what they are in ISO 8601, and that Pydantic reads that as the same duration."""

from __future__ import annotations

from datetime import timedelta

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.sources.postgres.intervals import iso_duration

DURATION = pydantic.TypeAdapter(timedelta)


def server_text(days: int, micros: int) -> str:
    """As a server with IntervalStyle `postgres` writes an interval of so many days and microseconds."""
    parts = [f"{days} day{'' if days == 1 else 's'}"] if days else []
    if micros or not days:
        minutes, rest = divmod(abs(micros), 60_000_000)
        seconds = f"{rest // 1_000_000:02d}" + (f".{rest % 1_000_000:06d}".rstrip("0") if rest % 1_000_000 else "")
        sign = "-" if micros < 0 else "+" if days < 0 else ""
        parts.append(f"{sign}{minutes // 60:02d}:{minutes % 60:02d}:{seconds}")
    return " ".join(parts)


@given(st.integers(-10_000, 10_000), st.integers(-(10**13), 10**13))
def test_days_and_times_of_any_sign(days: int, micros: int) -> None:
    text = iso_duration(server_text(days, micros))
    assert DURATION.validate_python(text) == timedelta(days=days, microseconds=micros)


@pytest.mark.parametrize(
    "text",
    ["1 mon", "1 year", "-1 years", "1 year 2 mons 3 days 04:05:06", "infinity", "-infinity", "", "x", "1 day x"],
)
def test_what_has_no_fixed_length_is_left_alone_and_no_contract_takes_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        iso_duration(text)
    with pytest.raises(pydantic.ValidationError):
        DURATION.validate_python(text)
