"""Which text becomes what value in which column, and what becomes of what does not fit."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.contracts.contract import Contract
from headrace.contracts.infer import schema_of
from headrace.contracts.judge import Judge
from headrace.core.changes import Batch, Tuples, Upserts
from headrace.core.records import Record
from headrace.core.schema import ColumnType, TableKind
from headrace.sources.postgres.messages import UNCHANGED
from headrace.sources.postgres.types import Types
from headrace.sources.postgres.values import Conversion

OIDS = {
    "bool": 16, "bytea": 17, "int8": 20, "text": 25, "json": 114, "point": 600, "float8": 701, "money": 790,
    "date": 1082, "time": 1083, "timestamp": 1114, "timestamptz": 1184, "interval": 1186, "timetz": 1266, "bit": 1560,
    "numeric": 1700, "uuid": 2950, "jsonb": 3802, "int4range": 3904, "tstzrange": 3910, "int4multirange": 4451,
    "_int8": 1016, "_text": 1009, "_numeric": 1231, "_box": 1020, "_jsonb": 3807, "_interval": 1187,
    "_timestamptz": 1185, "_int4range": 3905, "oid": 26, "mood": 20_001, "name_": 20_002, "pair": 20_003,
    "hstore": 20_004, "geometry": 20_005, "_mood": 20_006, "days": 20_007, "_pair": 20_008,
}  # fmt: skip
OWN = [
    (20_001, "mood", "enum", 0, 0, ","),
    (20_002, "name_", "domain", 0, 25, ","),
    (20_003, "pair", "composite", 0, 0, ","),
    (20_004, "hstore", "base", 0, 0, ","),
    (20_005, "geometry", "base", 0, 0, ":"),
    (20_006, "_mood", "array", 20_001, 0, ","),
    (20_007, "days", "domain", 0, 1186, ","),
    (20_008, "_pair", "array", 20_003, 0, ","),
]


def known() -> Types:
    types = Types()
    types.add(OWN)
    return types


def convert(kind: str, wanted: ColumnType | None, *cells: str | bytes | None) -> list[Any]:
    conversion = Conversion(known(), [("c", OIDS[kind])], {} if wanted is None else {"c": wanted})
    given_cells = [(cell.encode() if isinstance(cell, str) else cell,) for cell in cells]
    return [value for (value,) in conversion.rows(given_cells)]


C = ColumnType
NOON = datetime(2026, 1, 31, 12, 0, 0, 120_000, tzinfo=UTC)
KNOWN: list[tuple[str, ColumnType | None, str, Any]] = [
    ("bool", C.BOOLEAN, "t", True),
    ("bool", C.TEXT, "f", "false"),
    ("bool", C.INTEGER, "t", 1),
    ("int8", C.INTEGER, "-9223372036854775808", -(2**63)),
    ("int8", C.REAL, "3", 3.0),
    ("int8", C.DECIMAL, "3", "3"),
    ("int8", C.TEXT, "3", "3"),
    ("int8", C.BOOLEAN, "1", 1),
    ("oid", C.INTEGER, "4294967295", 4294967295),
    ("float8", C.REAL, "0.1", 0.1),
    ("float8", C.REAL, "-Infinity", -math.inf),
    ("float8", C.INTEGER, "5", 5),
    ("float8", C.INTEGER, "1e+20", 10**20),
    ("float8", C.INTEGER, "5.5", 5.5),
    ("float8", C.DECIMAL, "1e-07", "1e-07"),
    ("numeric", C.DECIMAL, "123456789012345678901234567890.0123456789", "123456789012345678901234567890.0123456789"),
    ("numeric", C.DECIMAL, "NaN", "NaN"),
    ("numeric", C.INTEGER, "5.000", 5),
    ("numeric", C.INTEGER, "-5", -5),
    ("numeric", C.INTEGER, "5.010", "5.010"),
    ("numeric", C.INTEGER, "NaN", "NaN"),
    ("numeric", C.REAL, "1.10", 1.1),
    ("numeric", C.REAL, "1" * 400, "1" * 400),
    ("numeric", C.REAL, "Infinity", math.inf),
    ("money", C.DECIMAL, "-$1,234.50", "-1234.50"),
    ("money", C.REAL, "$1,234.50", 1234.5),
    ("money", C.TEXT, "$1,234.50", "$1,234.50"),
    ("money", C.DECIMAL, "1.234,50 \u20ac", "1.234,50 \u20ac"),
    ("text", C.TEXT, "", ""),
    ("text", C.INTEGER, "7", "7"),
    ("timestamptz", C.TIMESTAMP, "2026-01-31 12:00:00.12+00", NOON),
    ("timestamptz", C.DATE, "2026-01-31 00:00:00+00", datetime(2026, 1, 31, tzinfo=UTC)),
    ("timestamptz", C.TEXT, "2026-01-31 12:00:00.12+00", "2026-01-31 12:00:00.12+00"),
    ("timestamptz", C.TIMESTAMP, "infinity", "infinity"),
    ("timestamptz", C.TIMESTAMP, "0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC"),
    ("timestamptz", C.TIMESTAMP, "10000-01-01 00:00:00+00", "10000-01-01 00:00:00+00"),
    ("timestamp", C.TIMESTAMP, "2026-01-31 12:00:00.12", NOON.replace(tzinfo=None)),
    ("date", C.DATE, "2026-01-31", date(2026, 1, 31)),
    ("date", C.DATE, "5874897-12-31", "5874897-12-31"),
    ("date", C.TIMESTAMP, "2026-01-31", datetime(2026, 1, 31)),  # noqa: DTZ001
    ("time", C.TIME, "12:00:00.5", time(12, 0, 0, 500_000)),
    ("time", C.TIME, "24:00:00", "24:00:00"),
    ("timetz", C.TIME, "12:00:00-05:30", time(12, tzinfo=timezone(-timedelta(hours=5, minutes=30)))),
    ("interval", C.DURATION, "1 day -01:00:00", "PT82800S"),
    ("interval", C.DURATION, "1 mon", "1 mon"),
    ("days", C.DURATION, "2 days", "P2D"),
    ("uuid", C.UUID, "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000a"),
    ("bytea", C.BYTES, "\\xff00", b"\xff\0"),
    ("bytea", C.BYTES, "\\377", "\\377"),
    ("bytea", C.TEXT, "\\xff00", "\\xff00"),
    ("json", C.JSON, '{"a": [1, 123456789012345678901234567890]}', {"a": [1, 123456789012345678901234567890]}),
    ("json", C.JSON, '"\\ud800"', "\ud800"),
    ("json", C.JSON, "[" * 20_000 + "]" * 20_000, "[" * 20_000 + "]" * 20_000),
    ("jsonb", C.TEXT, '{"a": 1}', '{"a": 1}'),
    ("jsonb", C.JSON, "null", None),
    ("_int8", C.JSON, "{1,NULL,3}", [1, None, 3]),
    ("_int8", C.JSON, "[0:1][1:2]={{1,2},{3,4}}", [[1, 2], [3, 4]]),
    ("_int8", C.JSON, "{}", []),
    ("_int8", C.TEXT, "{1}", "{1}"),
    ("_int8", C.JSON, "{x", "{x"),
    ("_text", C.JSON, '{"a b","",NULL,"NULL","\\"\\\\"}', ["a b", "", None, "NULL", '"\\']),
    ("_numeric", C.JSON, "{1.10,NaN}", ["1.10", "NaN"]),
    ("_box", C.JSON, "{(1,1),(0,0);(2,2),(1,1)}", ["(1,1),(0,0)", "(2,2),(1,1)"]),
    ("_jsonb", C.JSON, '{"{\\"a\\": 1}",2}', [{"a": 1}, 2]),
    ("_interval", C.JSON, '{"1 day","1 mon"}', ["P1D", "1 mon"]),
    ("_timestamptz", C.JSON, '{"2026-01-31 12:00:00.12+00",infinity}', [NOON, "infinity"]),
    ("_mood", C.JSON, "{happy,sad}", ["happy", "sad"]),
    (
        "int4range",
        C.JSON,
        "[1,5)",
        {"lower": 1, "upper": 5, "lower_inc": True, "upper_inc": False, "empty": False},
    ),
    (
        "tstzrange",
        C.JSON,
        '["2026-01-31 12:00:00.12+00",infinity]',
        {"lower": NOON, "upper": "infinity", "lower_inc": True, "upper_inc": True, "empty": False},
    ),
    (
        "_int4range",
        C.JSON,
        '{"(,5)",empty}',
        [
            {"lower": None, "upper": 5, "lower_inc": False, "upper_inc": False, "empty": False},
            {"lower": None, "upper": None, "lower_inc": False, "upper_inc": False, "empty": True},
        ],
    ),
    (
        "int4multirange",
        C.JSON,
        "{[1,3)}",
        [{"lower": 1, "upper": 3, "lower_inc": True, "upper_inc": False, "empty": False}],
    ),
    ("int4range", C.TEXT, "[1,5)", "[1,5)"),
    ("hstore", C.JSON, '"a"=>"1", "b"=>NULL', {"a": "1", "b": None}),
    ("hstore", C.TEXT, '"a"=>"1"', '"a"=>"1"'),
    ("mood", C.TEXT, "happy", "happy"),
    ("mood", C.INTEGER, "happy", "happy"),
    ("name_", C.TEXT, "x", "x"),
    ("pair", C.TEXT, "(1,a)", "(1,a)"),
    ("point", C.TEXT, "(1,2)", "(1,2)"),
    ("bit", C.TEXT, "101", "101"),
    # Columns that the record does not declare become what they are.
    ("int8", None, "3", 3),
    ("numeric", None, "3.0", "3.0"),
    ("jsonb", None, "[1]", [1]),
    ("point", None, "(1,2)", "(1,2)"),
]


@pytest.mark.parametrize(("kind", "wanted", "text", "value"), KNOWN, ids=lambda value: str(value)[:30])
def test_known_values_alone_and_among_nulls(kind: str, wanted: ColumnType | None, text: str, value: Any) -> None:
    for found in (convert(kind, wanted, text), convert(kind, wanted, None, text, None, text)[1:2]):
        assert found == [value]
        assert type(found[0]) is type(value)
    assert convert(kind, wanted, None, None) == [None, None]


def test_what_does_not_fit_does_not_touch_the_others() -> None:
    assert convert("timestamptz", C.TIMESTAMP, "2026-01-31 12:00:00.12+00", "infinity", None) == [
        NOON,
        "infinity",
        None,
    ]


def test_bytes_that_are_not_utf_8_stay_bytes() -> None:
    assert convert("text", C.TEXT, b"a", b"\xff", None) == ["a", b"\xff", None]


@pytest.mark.parametrize(
    ("kind", "wanted", "carried"),
    [
        ("int8", C.TEXT, False), ("text", C.TIMESTAMP, False), ("mood", C.TEXT, False), ("point", C.TEXT, False),
        ("_int8", C.TEXT, False), ("_pair", C.TEXT, True), ("_pair", C.JSON, True), ("pair", C.TEXT, True),
        ("pair", C.JSON, True), ("geometry", C.TEXT, True), ("geometry", None, True), ("pair", None, True),
        ("timestamptz", C.BOOLEAN, True), ("hstore", C.TEXT, False), ("interval", C.REAL, True),
    ],
)  # fmt: skip
def test_what_is_carried_as_text_for_want_of_a_mapping_is_said(
    kind: str, wanted: ColumnType | None, carried: bool
) -> None:
    conversion = Conversion(known(), [("c", OIDS[kind])], {} if wanted is None else {"c": wanted})
    assert [(one.column, one.type.name) for one in conversion.carried] == ([("c", kind)] if carried else [])
    assert all(kind in one.message and "'c'" in one.message for one in conversion.carried)


def test_a_partial_record_leaves_out_what_did_not_change() -> None:
    conversion = Conversion(Types(), [("a", 20), ("b", 25), ("c", 25)], {})
    assert conversion.record((b"1", UNCHANGED, None)) == {"a": 1, "c": None}


def test_rows_of_another_width_are_an_error_of_the_caller() -> None:
    conversion = Conversion(Types(), [("a", 20), ("b", 25)], {})
    with pytest.raises(ValueError, match="zip"):
        conversion.rows([(b"1",)])
    assert conversion.rows([]) == []


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(OIDS)),
    st.none() | st.sampled_from(list(ColumnType)),
    st.lists(
        st.none() | st.binary(max_size=12) | st.text('t1.-+:e{}[(,"\\x NaInfinity', max_size=12).map(str.encode),
        max_size=4,
    ),
)
def test_no_text_at_all_raises(kind: str, wanted: ColumnType | None, cells: list[bytes | None]) -> None:
    cells = [cell if cell is None else cell.replace(b"\0", b"") for cell in cells]
    found = convert(kind, wanted, *cells)
    assert len(found) == len(cells)
    assert all(value is None for value, cell in zip(found, cells, strict=True) if cell is None)


class Sale(Record):
    at: datetime | None = None
    day: date | None = None
    hour: time | None = None
    lasts: timedelta | None = None
    price: Decimal | None = None
    count: int | None = None
    weight: float | None = None


@pytest.mark.parametrize(
    ("column", "kind", "text"),
    [
        ("at", "timestamptz", "infinity"), ("at", "timestamptz", "0044-03-15 12:00:00+00 BC"),
        ("at", "timestamp", "10000-01-01 00:00:00"), ("at", "date", "-infinity"), ("day", "date", "0044-03-15 BC"),
        ("day", "date", "infinity"), ("day", "timestamptz", "2026-01-31 12:00:00+00"), ("hour", "time", "24:00:00"),
        ("lasts", "interval", "1 mon"), ("lasts", "interval", "infinity"), ("lasts", "interval", "2147483647 days"),
        ("price", "numeric", "NaN"), ("price", "numeric", "-Infinity"), ("count", "numeric", "1.5"),
        ("count", "numeric", "NaN"), ("count", "float8", "Infinity"), ("count", "numeric", "9223372036854775808"),
        ("count", "numeric", "1" * 5_000), ("weight", "float8", "NaN"), ("weight", "numeric", "1" * 400),
        ("weight", "float8", "-Infinity"),
    ],
)  # fmt: skip
def test_what_no_column_can_hold_is_a_violation_of_that_column_now_and_when_replayed(
    column: str, kind: str, text: str
) -> None:
    schema = schema_of(Sale, kind=TableKind.EVENTS)
    conversion = Conversion(Types(), [(column, OIDS[kind])], {c.name: c.type for c in schema.columns})
    judge = Judge(Contract(Sale, schema))
    judged = judge.judge(Batch([Tuples(conversion.names, conversion.rows([(text.encode(),)]))]), now=0)
    assert [violation.column for violation in judged.violations] == [column]
    assert judged.changes == []
    again = judge.replay(judged.violations[0].raw, now=0)
    assert [violation.column for violation in again.violations] == [column]


def test_good_values_are_stored_as_what_they_are() -> None:
    schema = schema_of(Sale, kind=TableKind.EVENTS)
    kinds = ("timestamptz", "date", "time", "interval", "numeric", "numeric", "numeric")
    columns = [(name, OIDS[kind]) for name, kind in zip(schema.names, kinds, strict=True)]
    conversion = Conversion(Types(), columns, {c.name: c.type for c in schema.columns})
    cells = (b"1970-01-01 00:00:01+00", b"2026-01-31", b"12:00:00", b"-1 days", b"1.500", b"7.0", b"0.5")
    judged = Judge(Contract(Sale, schema)).judge(Batch([Tuples(conversion.names, conversion.rows([cells]))]), now=0)
    assert judged.changes == [Upserts([(1_000_000, "2026-01-31", "12:00:00", -86_400_000_000, "1.500", 7, 0.5)])]
