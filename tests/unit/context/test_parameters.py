import contextlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.context.parameters import check_names, convert
from headrace.core.clock import SECOND, instant
from headrace.core.errors import BadParameter
from headrace.core.schema import Column, ColumnType

T = ColumnType


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (T.TEXT, "r7", "r7"),
        (T.INTEGER, "42", 42),
        (T.INTEGER, 42.0, 42),
        (T.REAL, "2.5", 2.5),
        (T.BOOLEAN, "TRUE", 1),
        (T.BOOLEAN, False, 0),
        (T.TIMESTAMP, "1970-01-01T00:00:01Z", SECOND),
        (T.TIMESTAMP, "1970-01-01T01:00:01 01:00", SECOND),  # a "+" in a URL arrives as a space
        (T.TIMESTAMP, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), SECOND),
        (T.TIMESTAMP, 1.5, 1_500_000),
        (T.DATE, "2026-11-21", "2026-11-21"),
        (T.DURATION, "90", 90 * SECOND),
        (T.DURATION, "1m30s", 90 * SECOND),
        (T.DURATION, timedelta(seconds=90), 90 * SECOND),
        (T.UUID, UUID(int=7), str(UUID(int=7))),
        (T.DECIMAL, "19.90", "19.90"),
        (T.BYTES, "aGk=", b"hi"),
        (T.JSON, {"a": 1}, '{"a":1}'),
        (T.TEXT, None, None),
    ],
)
def test_values_are_converted_to_their_stored_form(kind: ColumnType, value: object, stored: object) -> None:
    assert convert("p", kind, value) == stored


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (T.INTEGER, "4.2"),
        (T.INTEGER, "forty"),
        (T.INTEGER, 2**63),
        (T.REAL, "nan"),
        (T.REAL, "inf"),
        (T.BOOLEAN, "yes"),
        (T.BOOLEAN, 2),
        (T.TIMESTAMP, "yesterday"),
        (T.TIMESTAMP, [1]),
        (T.DATE, "21.11.2026"),
        (T.UUID, "7"),
        (T.DECIMAL, "much"),
        (T.BYTES, "*"),
        (T.TEXT, "\ud800"),
        (T.TEXT, {"a": 1}),
        (T.DURATION, "soon"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name_and_an_example(kind: ColumnType, value: object) -> None:
    with pytest.raises(BadParameter) as caught:
        convert("p", kind, value)
    assert "'p'" in caught.value.message
    assert caught.value.hint


@given(st.sampled_from(list(T)), st.text() | st.integers() | st.floats() | st.booleans() | st.binary() | st.none())
def test_nothing_else_is_ever_raised(kind: ColumnType, value: object) -> None:
    with contextlib.suppress(BadParameter):
        convert("p", kind, value)


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_survives_its_text(moment: datetime) -> None:
    assert convert("p", T.TIMESTAMP, moment.isoformat()) == instant(moment)


def test_unknown_and_missing_names_are_told() -> None:
    known = [Column("restaurant_id", T.TEXT), Column("limit", T.INTEGER, nullable=True)]
    with pytest.raises(BadParameter, match="has no parameter 'restaurant'") as caught:
        check_names({"restaurant": 1}, known, "menu")
    assert "restaurant_id" in caught.value.hint
    with pytest.raises(BadParameter, match="needs the parameter 'restaurant_id'"):
        check_names({}, known, "menu")
    check_names({"restaurant_id": "r7"}, known, "menu")
