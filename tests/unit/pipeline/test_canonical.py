"""The canonical form: whatever code can tell apart has another one, and what it cannot tell apart has the same."""

from __future__ import annotations

import enum
import json
import re
import threading
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, PrivateAttr, RootModel, SecretStr, TypeAdapter
from pydantic import field_serializer as serializes

from headrace.pipeline.canonical import canonical


class Wish(BaseModel):
    text: str
    limit: int = 5


class Hidden(BaseModel):
    user: str = Field(exclude=True)


class Rounded(BaseModel):
    price: float

    @serializes("price")
    def whole(self, price: float) -> int:
        return int(price)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Inner(BaseModel):
    pin: SecretStr


class Outer(BaseModel):
    inner: list[Inner]


class Private(BaseModel):
    _mark: int = PrivateAttr(0)

    @classmethod
    def of(cls, mark: int) -> Private:
        made = cls()
        made._mark = mark
        return made


class Terse(Wish):
    """A subclass of the declared type, which an app may be given in its own process."""


class Kind(enum.StrEnum):
    A = "a"


@dataclass
class Point:
    x: int
    hidden: InitVar[int] = 0
    y: int = field(default=0, init=False)

    def __post_init__(self, hidden: int) -> None:
        self.y = hidden


@dataclass(slots=True)
class Slotted:
    x: Any


_TEN, _TWO = datetime(2026, 1, 1, 10, tzinfo=UTC), timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Outer.model_validate({"inner": [{"pin": "1111"}]}), Outer.model_validate({"inner": [{"pin": "2222"}]})),
        (Hidden(user="ann"), Hidden(user="ben")),
        (Rounded(price=1.2), Rounded(price=1.4)),
        (Open.model_validate({"a": 1}), Open.model_validate({"a": 2})),
        (Private.of(1), Private.of(2)),
        (Wish(text="x"), Wish(text="x", limit=5)),
        (Wish(text="x"), Terse(text="x")),
        (Wish(text="x"), {"text": "x", "limit": 5}),
        (RootModel[int](1), RootModel[int](2)),
        (Point(1, 2), Point(1, 3)),
        (Slotted(1), Slotted(2)),
        (Kind.A, "a"),
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ({1: "a"}, {"1": "a"}),
        (["dict"], {}),
        ((1,), [1]),
        ({1}, [1]),
        ({1}, frozenset({1})),
        (b"a", bytearray(b"a")),
        (b"a", "a"),
        (Decimal("1.0"), Decimal("1.00")),
        (_TEN, _TEN.astimezone(_TWO)),
        (_TEN, _TEN.replace(tzinfo=None)),
        (datetime(2026, 10, 25, 2), datetime(2026, 10, 25, 2, fold=1)),  # noqa: DTZ001
        (UUID(int=1), UUID(int=2)),
        (Path("a"), Path("b")),
        (HttpUrl("http://a/"), HttpUrl("http://b/")),
        (re.compile("a"), re.compile("a", re.IGNORECASE)),
        (len, max),
        (Wish, Terse),
    ],
)
def test_what_can_be_told_apart_has_another_form(one: Any, other: Any) -> None:
    assert json.dumps(canonical(one)) != json.dumps(canonical(other))


def test_what_cannot_be_told_apart_has_the_same() -> None:
    secret = TypeAdapter(Outer).validate_json('{"inner": [{"pin": "1111"}]}')
    assert canonical(secret) == canonical(Outer(inner=[Inner(pin=SecretStr("1111"))]))
    assert canonical(Wish(text="x", limit=1)) == canonical(Wish(limit=1, text="x"))
    assert canonical({3, "a", None}) == canonical({None, "a", 3})
    assert canonical({1: "a", "b": 2}) == canonical({"b": 2, 1: "a"})
    assert canonical(Point(1, 2)) == canonical(Point(1, 2))
    assert canonical(_TEN) == canonical(datetime(2026, 1, 1, 10, tzinfo=UTC))


_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_JSON, _JSON)
def test_plain_data_is_the_same_exactly_where_its_json_is(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (json.dumps(canonical(one), sort_keys=True) == json.dumps(canonical(other), sort_keys=True)) is same


class Lazy(BaseModel):
    numbers: Iterable[int]


@pytest.mark.parametrize(
    "value", [Lazy.model_validate({"numbers": [1]}), Slotted(threading.Lock()), Slotted(lambda: 1), (n for n in "a")]
)
def test_what_is_only_itself_has_none(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical(value)
