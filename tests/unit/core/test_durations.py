from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.durations import format_duration, parse_duration
from headrace.core.errors import DeclarationError


@given(st.integers(1, 10**9))
def test_what_is_written_can_be_read(seconds: int) -> None:
    assert parse_duration(format_duration(seconds * 1_000_000)) == seconds * 1_000_000


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("250ms", 250_000),
        ("1.5s", 1_500_000),
        (" 5 m ", 300_000_000),
        ("1h30m", 5_400_000_000),
        ("2w", 1_209_600_000_000),
    ],
)
def test_durations_are_read(text: str, micros: int) -> None:
    assert parse_duration(text) == micros


def test_numbers_are_seconds() -> None:
    assert parse_duration(2) == parse_duration(2.0) == parse_duration(timedelta(seconds=2)) == 2_000_000


_LONG = "9" * 30 + "d"


@pytest.mark.parametrize("wrong", ["", "5", "s", "5 parsecs", "5s!", "-1s", _LONG, 1e300, 0, -2, timedelta(0), True])
def test_what_is_no_duration_is_refused_with_its_value(wrong: object) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_duration(wrong)  # type: ignore[arg-type]
    assert repr(wrong)[:30] in caught.value.message
    assert caught.value.hint
