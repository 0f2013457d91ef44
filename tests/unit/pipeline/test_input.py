"""What is refused at the edge of an endpoint, with which status, where, and what to do."""

from __future__ import annotations

import json
from collections import deque
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Json, Tag

from headrace.core.errors import BadInput
from headrace.core.records import Record
from headrace.pipeline.bounds import Bounds
from headrace.pipeline.context import Context
from headrace.pipeline.input import Reader
from headrace.pipeline.shape import Shape, shape_of


class Line(BaseModel):
    item: str
    price: float = 1.0


class Basket(BaseModel):
    lines: list[Line] = []
    note: str | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="ignore")
    a: int = 0


class Row(Record):
    a: int = 0


class OpenRow(Record):
    model_config = ConfigDict(extra="ignore")
    a: int = 0


class Cat(BaseModel):
    kind: Literal["cat"]
    friends: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []


class Dog(BaseModel):
    kind: Literal["dog"]
    tags: dict[int, str] = {}
    of: Json[Row] | None = None


class Owner(BaseModel):
    pet: Cat | Dog


PET = Annotated[Cat | Dog, Field(discriminator="kind")]
NAMED = Annotated[
    Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("tags")], Discriminator(lambda v: "tags" if "tags" in v else "cat")
]


async def buy(ask: Basket, ctx: Context) -> str:
    return ""


async def opened(ask: Open, ctx: Context) -> str:
    return ""


async def anything(ask: Any, ctx: Context) -> str:
    return ""


def shape(kind: Any) -> Shape:
    async def take(ask: Any, ctx: Any) -> Any:
        return ""

    take.__annotations__ = {"ask": kind, "ctx": Context, "return": str}
    return shape_of(take, Context)


SHAPE = shape_of(buy, Context)
BOUNDS = Bounds(max_body=2000, max_depth=8)

REFUSED = [
    (b"", 400, "empty", ""),
    (b" \n ", 400, "empty", ""),
    (b"{", 400, "syntax", ""),
    (b"{'a': 1}", 400, "syntax", ""),
    (b'{"note": "x"} {}', 400, "syntax", ""),
    (b'{"note": "\xff"}', 400, "encoding", ""),
    (b'\xef\xbb\xbf{"note": "x"}', 400, "encoding", ""),
    ('{"note": "x"}'.encode("utf-16"), 400, "encoding", ""),
    (b'{"note": "a", "note": "b"}', 400, "duplicate", ""),
    (b'{"lines": [{"item": "i", "price": NaN}]}', 400, "number", ""),
    (b'{"lines": [{"item": "i", "price": -1e400}]}', 400, "number", ""),
    (b'{"lines": [{"item": "i", "price": -Infinity}]}', 400, "number", ""),
    (b'{"lines": [{"item": "i", "price": ' + b"9" * 5000 + b"}]}", 413, "length", ""),
    (b"[" * 9 + b"]" * 9, 400, "depth", ""),
    (b'{"note": "' + b"x" * 2000 + b'"}', 413, "length", ""),
    (b'{"note": "\\ud800"}', 400, "syntax", ""),
    (b'{"note": 1}', 422, "string_type", "/note"),
    (b"[]", 422, "model_type", ""),
    (b"null", 422, "model_type", ""),
    (b'{"lines": [{"item": "i"}, {"price": 1}]}', 422, "missing", "/lines/1/item"),
    (b'{"lines": [{"item": "i", "colour": 1}]}', 422, "extra_forbidden", "/lines/0/colour"),
    (b'{"nota": "x"}', 422, "extra_forbidden", "/nota"),
]


@pytest.mark.parametrize(("body", "status", "kind", "pointer"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_is_wrong_where_and_what_to_do(body: bytes, status: int, kind: str, pointer: str) -> None:
    with pytest.raises(BadInput) as caught:
        Reader(SHAPE, BOUNDS).read(body)
    error = caught.value
    assert (error.status, error.problems[0]["kind"], error.problems[0]["pointer"]) == (status, kind, pointer)
    assert error.hint
    assert error.problems[0]["message"]


def test_a_number_of_thousands_of_digits_is_told_as_that() -> None:
    with pytest.raises(BadInput) as caught:
        Reader(SHAPE, Bounds()).read(b'{"note": ' + b"9" * 5000 + b"}")
    assert caught.value.problems[0]["kind"] == "number"


def test_nesting_far_beyond_the_interpreters_own_bound_is_refused_quietly() -> None:
    with pytest.raises(BadInput) as caught:
        Reader(SHAPE, Bounds(max_depth=10_000_000)).read(b"[" * 300_000)
    assert caught.value.status == 400


def test_brackets_in_strings_are_no_nesting() -> None:
    assert Reader(SHAPE, BOUNDS).read(b'{"note": "[[[[[[[[[[[[{{{{{{ \\" [[["}').note.count("[") == 15


@pytest.mark.parametrize("body", [b'{"x": 1}', b'{"lines": [{"item": "i", "x": 1}]}'])
def test_unknown_fields_are_let_through_where_that_is_said(body: bytes) -> None:
    assert isinstance(Reader(SHAPE, Bounds(ignore_unknown=True)).read(body), Basket)


def test_a_type_that_says_it_itself_is_not_overruled() -> None:
    assert Reader(shape_of(opened, Context), Bounds()).read(b'{"a": 1, "b": 2}') == Open(a=1)


@pytest.mark.parametrize("kind", [Row, list[Row], dict[str, Row]])
def test_unknown_fields_of_a_record_are_refused_as_those_of_other_models(kind: Any) -> None:
    body = {Row: b'{"a": 1, "q": 2}', list[Row]: b'[{"q": 2}]', dict[str, Row]: b'{"x": {"q": 2}}'}[kind]
    with pytest.raises(BadInput, match="there is no such field"):
        Reader(shape(kind), Bounds()).read(body)
    assert Reader(shape(OpenRow), Bounds()).read(b'{"a": 1, "q": 2}') == OpenRow(a=1)


UNIONS: list[Any] = [
    (PET, {"kind": "cat", "zz": 1}, {("/zz", "cat")}),
    (PET, {"kind": "cat", "friends": [{"kind": "dog"}, {"kind": "cat", "cat": 1}]}, {("/friends/1/cat", "cat, cat")}),
    (PET, {"kind": "cow"}, {("", "")}),
    (Cat | Dog, {"kind": "cat", "zz": 1}, {("/zz", "Cat"), ("/kind", "Dog"), ("/zz", "Dog")}),
    (Owner, {"pet": {}}, {("/pet/kind", "Cat"), ("/pet/kind", "Dog")}),
    (list[int | str], [1, "a", None], {("/2", "int"), ("/2", "str")}),
    (PET, {"kind": "dog", "tags": {"x": "y"}}, {("/tags/x", "dog, [key]")}),
    (PET, {"kind": "dog", "tags": {"1": 5}}, {("/tags/1", "dog")}),
    (PET, {"kind": "dog", "of": '{"a": "x"}'}, {("/of", "dog, a")}),
    (
        NAMED,
        {"kind": "dog", "tags": {"zz": 3}, "zz": 1},
        {("/tags/zz", "tags, [key]"), ("/tags/zz", "tags"), ("/zz", "tags")},
    ),
]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("kind", "body", "places"), UNIONS)
def test_a_pointer_within_a_union_leads_into_the_body(kind: Any, body: Any, places: Any, plain: bool) -> None:
    reader = Reader(shape(kind), Bounds())
    with pytest.raises(BadInput) as refused:
        reader.check(body if plain else json.dumps(body).encode())
    found = [(one["pointer"], *one["message"].partition(" (read as ")[2:]) for one in refused.value.problems]
    assert {(where, read_as.removesuffix(")")) for where, read_as in found} == places


def test_the_place_of_an_error_is_found_soon_however_a_body_is_named() -> None:
    body: Any = {"kind": "cat", "zz": 1}
    for _ in range(25):
        body = {"kind": "cat", "friends": [body], "cat": [[body]]}
    with pytest.raises(BadInput, match="there is no such field"):
        Reader(shape(PET), Bounds()).check(body)


class Odd:
    """As an array or a table of data: whether it equals another is no yes or no."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = object.__hash__


class Rows:
    lines: Any = (1, "x")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"lines": [Odd()]}, "/lines/0"),
        ({"lines": Odd()}, "/lines"),
        ({"lines": deque([1, "x"])}, "/lines/1"),
        (Rows(), "/lines/1"),
    ],
)
def test_the_place_of_an_error_in_python_values_is_found_whatever_they_are(given: Any, place: str) -> None:
    class Numbers(BaseModel):
        model_config = ConfigDict(from_attributes=True)
        lines: list[int]

    with pytest.raises(BadInput) as refused:
        Reader(shape(Numbers), Bounds()).check(given)
    assert [one["pointer"] for one in refused.value.problems] == [place]


def test_python_values_are_checked_as_well() -> None:
    reader = Reader(SHAPE, BOUNDS)
    assert reader.check(Basket(note="x")) == reader.check({"note": "x"}) == reader.check(b'{"note": "x"}')
    with pytest.raises(BadInput):
        reader.check({"nota": "x"})


PLAIN = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers()
LINES = st.lists(st.dictionaries(st.sampled_from(["item", "price", "x"]), PLAIN, max_size=3), max_size=3)
JSON = PLAIN | LINES | st.dictionaries(st.sampled_from(["lines", "note", "x"]), PLAIN | LINES, max_size=3)


@given(JSON | st.binary(max_size=50))
def test_any_body_is_read_or_refused_with_a_word(data: Any) -> None:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    refusal = None
    try:
        assert isinstance(Reader(SHAPE, BOUNDS).read(body), Basket)
    except BadInput as error:
        refusal = error
    assert refusal is None or (refusal.status in (400, 413, 422) and refusal.problems)


@pytest.mark.parametrize(
    ("body", "deep"),
    [
        ("[[[]],[],{}]", 3),
        ('{"a":[{"b":{}},{}]}', 4),
        ('["]]]]"]', 1),
        ('["\\\\",[["\\"[["]]]', 3),
        ("[" + "[]," * 500 + "[]]", 2),
    ],
)
def test_depth_is_counted_as_it_is_written(body: str, deep: int) -> None:
    json.loads(body)
    for most, refused in ((deep, False), (deep - 1, True)):
        reader = Reader(shape_of(anything, Context), Bounds(max_depth=most))
        if refused:
            with pytest.raises(BadInput, match="deeper"):
                reader.read(body.encode())
        else:
            assert reader.read(body.encode()) == json.loads(body)
