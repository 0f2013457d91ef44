"""The law of the fast path: what it accepts, Pydantic accepts with the equal stored row."""

from __future__ import annotations

import enum
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, get_args
from uuid import UUID

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.contracts.breach import Breach
from headrace.contracts.columns import unwrap
from headrace.contracts.contract import Contract
from headrace.contracts.exact import Accepted, ExactReader
from headrace.contracts.fast import REFUSALS, FastReader
from headrace.contracts.infer import schema_of
from headrace.core.records import Field, Record
from headrace.core.schema import TableKind

NAIVE = datetime.fromisoformat("2026-01-01T00:00:00")


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Grade(enum.Enum):
    ONE = 1
    TWO = 2


TYPES: list[tuple[Any, list[dict[str, Any]]]] = [
    (str, [{}, {"min_length": 1}, {"max_length": 3}, {"pattern": "^[a-z]+$"}, {"pattern": "b?c{1,2}$"}]),
    (int, [{}, {"gt": 0}, {"ge": -3, "lt": 10}, {"le": 2**40}]),
    (float, [{}, {"gt": 0}, {"ge": 1.5, "le": 100}]),
    (bool, [{}]),
    (datetime, [{}]),
    (date, [{}]),
    (time, [{}]),
    (timedelta, [{}]),
    (UUID, [{}]),
    (Decimal, [{}, {"gt": 0}]),
    (bytes, [{}]),
    (Literal["a", "b"], [{}]),
    (Literal[1, 2], [{}]),
    (Color, [{}]),
    (Grade, [{}]),
    (list[str], [{}]),
    (list[int], [{}]),
    (dict[str, float], [{}]),
    (dict[str, list[bool]], [{}]),
    (list[Any], [{}]),
    (Any, [{}]),
]

TOKENS = st.sampled_from(
    [
        "1",
        "0",
        "-0",
        "-0.0",
        "1.0",
        "1e3",
        "1E400",
        "-1e-400",
        "0.1",
        "1.5",
        "3.0000000000000001",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "18446744073709551616",
        "true",
        "false",
        "null",
        "NaN",
        "Infinity",
        "-Infinity",
        "01",
        "1.",
        ".5",
        "+1",
        "0x10",
        "1_000",
        '""',
        '"a"',
        '"b"',
        '"abc"',
        '"bc"',
        '"bcc\\n"',
        '"red"',
        '"RED"',
        '"1"',
        '"1.0"',
        '"true"',
        '"',
        "1",
        '"',
        '"\\u00e9"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u0000"',
        '"\\ud800x"',
        '"\\udc00\\ud800"',
        '"nan"',
        '"inf"',
        '"1e5"',
        '"2026-01-31T12:00:00Z"',
        '"2026-01-31T12:00:00"',
        '"2026-01-31',
        '12:00:00"',
        '"2026-01-31T12:00:00.1234567Z"',
        '"2026-01-31T12:00:00.123456789+05:30"',
        '"2026-01-31T12:00:00,1234567Z"',
        '"2026-01-31T12:00:00-0530"',
        '"2026-01-31t12:00:00z"',
        '"2026-01-31T12:00:00.999999-23:59"',
        '"2026-01-31T12:00:00+24:00"',
        '"2026-01-31T24:00:00Z"',
        '"2026-01-31T12:00:60Z"',
        '"2026-02-30T12:00:00Z"',
        '"0001-01-01T00:00:00+14:00"',
        '"9999-12-31T23:59:59.999999-12:00"',
        '"0000-01-01T00:00:00Z"',
        '"2026-01-31"',
        '"2026-1-31"',
        '"20260131"',
        '"2026-01-31T00:00:00"',
        '"2026-01-31T12:00"',
        '"2026-01-31T12Z"',
        '"12:00:00"',
        '"12:00"',
        '"12:00:00.5Z"',
        '"2026-01-31T12:00:00.Z"',
        '"2026-01-31T12:00:00.5"',
        '"2026-01-31T12:00:00.123456+00:00"',
        '"P1D"',
        '"PT1.5S"',
        '"1.10"',
        '"-0.00"',
        '"0.0000001"',
        '"1E+3"',
        '"00.5"',
        '"00000000-0000-0000-0000-00000000000a"',
        '"00000000-0000-0000-0000-00000000000A"',
        '"0000000000000000000000000000000a"',
        '"{00000000-0000-0000-0000-00000000000a}"',
        "1769860800",
        "1769860800000",
        "-1",
        "20000000000",
        "[]",
        "{}",
        "[1]",
        '["a"]',
        "[1.0]",
        "[true]",
        "[null]",
        "[1,9223372036854775808]",
        '{"a":1}',
        '{"a":1.5,"a":2}',
        '{"a":[true,false]}',
        '{"a":NaN}',
        '{"b":null}',
        "[[]]",
        "[{}]",
        '"MjA="',
        '"\\u006f"',
    ]
)
RAW = TOKENS | st.text(max_size=4).map(json.dumps) | st.floats().map(json.dumps) | st.integers().map(str)
RAW |= st.datetimes().map(lambda d: f'"{d.isoformat()}Z"') | st.decimals(allow_nan=False).map(lambda d: f'"{d}"')
RAW |= st.uuids().map(lambda u: f'"{u}"') | st.text(st.characters(codec="utf-8"), max_size=5).map(
    lambda t: json.dumps(t, ensure_ascii=False)
)
OBJECT_NOISE = st.sampled_from(["", "", "", '"zz":1', '"zz":NaN', '"zz":"\\ud800"', '"zz":[1,{"a":[]}]', '"f0":1', "{"])


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    fields: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 4))):
        kind, choices = draw(st.sampled_from(TYPES))
        options = dict(draw(st.sampled_from(choices)))
        optional = kind is not Any and draw(st.booleans())
        if draw(st.integers(0, 5)) == 0:
            options["alias"] = f"f{i}-alias"
        default: Any = None if optional and draw(st.booleans()) else ...
        if default is ... and draw(st.integers(0, 4)) == 0:
            default = DEFAULTS.get(kind, ...)
        fields[f"f{i}"] = (kind | None if optional else kind, Field(default, **options))
    record: Any = pydantic.create_model("Thing", __base__=Record, **fields)
    new_fields = draw(st.sampled_from(["ignore", "ignore", "quarantine"]))
    return Contract(record, schema_of(record, kind=TableKind.EVENTS), new_fields=new_fields)


DEFAULTS: dict[Any, Any] = {
    str: "x", int: 3, float: 2.5, bool: True, datetime: NAIVE, date: date(2026, 1, 1), Color: Color.RED,
    Grade: Grade.TWO, UUID: UUID(int=1), Decimal: Decimal("1.50"), bytes: b"x",
}  # fmt: skip


TYPICAL: dict[Any, list[str]] = {
    str: ['"a"', '"abc"', '"bcc"', '""', '"\u00e9"'],
    int: ["1", "7", "-0", "9223372036854775807"],
    float: ["1", "2.5", "1e2", "9007199254740993"],
    bool: ["true", "false"],
    datetime: ['"2026-01-31T12:00:00Z"', '"2026-01-31T12:00:00.5+05:30"', '"2026-01-31T12:00:00"'],
    date: ['"2026-01-31"'],
    UUID: ['"00000000-0000-0000-0000-00000000000a"'],
    Decimal: ['"1.10"', '"-0.00"', '"0.0000001"'],
    Color: ['"red"'],
    Grade: ["1", "2"],
}


def typical(kind: Any) -> st.SearchStrategy[str]:
    """Tokens that a field of this type often takes."""
    members = [member for member in get_args(kind) or (kind,) if member in TYPICAL]
    if members:
        return st.sampled_from(TYPICAL[members[0]])
    return st.sampled_from(['["a"]', "[1]", '{"a":1.5}', '{"a":[true,false]}', "1", '"a"', "null", "[]"])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Contract, bytes]:
    contract = draw(contracts())
    names = [field.alias or name for name, field in contract.record.model_fields.items()]
    kinds = [unwrap(field.annotation) for field in contract.record.model_fields.values()]
    # Mostly what fits, so that whole records are accepted often enough for the law to say something.
    values = [draw(typical(kind) if draw(st.integers(0, 6)) else RAW) for kind in kinds]
    pairs = [f'"{name}":{value}' for name, value in zip(names, values, strict=True) if draw(st.integers(0, 19))]
    if pairs and not draw(st.integers(0, 9)):
        pairs.append(f'"{names[0]}":{draw(RAW)}')  # a repeated name
    noise = draw(OBJECT_NOISE)
    text = "{" + ",".join([*pairs, *([noise] if noise else [])]) + "}"
    return contract, text.encode("utf-8", "surrogatepass")


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return one == other and [type(cell) for cell in one] == [type(cell) for cell in other]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_what_the_fast_path_accepts_pydantic_accepts_as_the_same_row(case: tuple[Contract, bytes]) -> None:
    contract, raw = case
    reader = FastReader.compile(contract)
    if reader is None:
        return
    exact = ExactReader(contract).from_json(raw)
    for decode in (
        reader.one,
        lambda data: reader.array(b"[" + data + b"]")[0],
        lambda data: reader.lines(data)[0],
        lambda data: reader.array(b"[" + b",".join([data] * 20) + b"]")[-1],  # many are read by the column
    ):
        try:
            row = decode(raw)
        except REFUSALS:
            continue
        assert isinstance(exact, Accepted), exact
        assert same(row, exact.row), (row, exact.row)


PYTHON = st.sampled_from(
    [
        *(1, 0, True, None, 1.0, 2.5, float("nan"), float("inf"), -0.0, 2**63, -(2**63), 10**30),
        *("", "a", "abc", "\ud800", "1", Color.RED, Grade.ONE, NAIVE, date(2026, 1, 1), time(1), timedelta(1)),
        *(UUID(int=5), str(UUID(int=5)), Decimal("1.5"), Decimal("NaN"), b"x", [], {}, ["a"], [1], [2**70]),
        *({"a": 1.5}, {"a": float("nan")}, {1: 2}, ("a",), {"a"}, object()),
        *("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.1234567Z", "2026-01-01", "1.50", 1769860800),
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contracts(), st.data())
def test_the_same_holds_for_python_values(contract: Contract, data: st.DataObject) -> None:
    reader = FastReader.compile(contract)
    if reader is None:
        return
    names = [field.alias or name for name, field in contract.record.model_fields.items()]
    values = {name: data.draw(PYTHON) for name in [*names, "zz"] if data.draw(st.integers(0, 9))}
    exact = ExactReader(contract).from_mapping(values)
    try:
        (row,) = reader.mappings([values])
    except REFUSALS:
        return
    assert isinstance(exact, Accepted), exact
    assert same(row, exact.row), (row, exact.row)


class Plain(Record):
    item_id: str
    price: float = Field(gt=0)
    at: datetime
    note: str | None = None


def compiled(record: type[Record]) -> FastReader | None:
    return FastReader.compile(Contract(record, schema_of(record, kind=TableKind.EVENTS)))


def test_good_records_take_the_fast_path() -> None:
    reader = compiled(Plain)
    assert reader is not None
    good = b'{"item_id": "i1", "price": 3, "at": "1970-01-01T00:00:01+00:00"}'
    assert reader.one(good) == ("i1", 3.0, 1_000_000, None)
    assert reader.lines(good + b"\r\n" + good) == [("i1", 3.0, 1_000_000, None)] * 2


def test_long_bodies_are_read_in_pieces() -> None:
    reader = compiled(Plain)
    assert reader is not None
    lines = [f'{{"item_id": "i{i}", "price": 1, "at": "1970-01-01T00:00:00.{i:06}Z"}}'.encode() for i in range(5_000)]
    rows = [(f"i{i}", 1.0, i, None) for i in range(5_000)]
    assert reader.lines(b"\n".join(lines)) == reader.lines(b"\n".join(lines) + b"\n") == rows
    assert reader.array(b"[" + b",".join(lines) + b"]") == rows
    with pytest.raises(REFUSALS):  # two in a line, far down
        reader.lines(b"\n".join([*lines[:-2], lines[-2] + b" " + lines[-1]]))


def test_a_naive_time_is_utc_and_stays_fast() -> None:
    reader = compiled(Plain)
    assert reader is not None
    assert reader.one(b'{"item_id": "i", "price": 1, "at": "1970-01-01T00:00:01"}')[2] == 1_000_000


class Validated(Plain):
    @pydantic.field_validator("item_id")
    @classmethod
    def lower(cls, value: str) -> str:
        return value.lower()


class Checked(Plain):
    @pydantic.model_validator(mode="after")
    def check(self) -> Checked:
        return self


class Strict(Plain):
    model_config = pydantic.ConfigDict(strict=True)


class Stripped(Plain):
    model_config = pydantic.ConfigDict(str_strip_whitespace=True)


class Initialised(Plain):
    def __init__(self, **values: Any) -> None:
        super().__init__(**{**values, "note": "set"})


class Posted(Plain):
    def model_post_init(self, context: Any, /) -> None:
        self.note = "set"


class Nested(Plain):
    inner: Plain


class Upper(Plain):
    name: pydantic.constr(to_upper=True)  # pyright: ignore[reportInvalidTypeForm]


class Choice(Plain):
    name: str = Field(validation_alias=pydantic.AliasChoices("a", "b"))


class Odd(Plain):
    name: str = Field(pattern=r"^\w+$")


@pytest.mark.parametrize(
    "record", [Validated, Checked, Strict, Stripped, Initialised, Posted, Nested, Upper, Choice, Odd]
)
def test_whatever_only_pydantic_can_judge_has_no_fast_path(record: type[Record]) -> None:
    assert compiled(record) is None


def test_the_exact_reader_names_what_is_wrong() -> None:
    found = ExactReader(Contract(Plain, schema_of(Plain, kind=TableKind.EVENTS))).from_json(b'{"price": -1, "at": 5}')
    assert found == Breach(
        "missing", "item_id", "", "item_id is missing; price: input should be greater than 0; it is -1"
    )
