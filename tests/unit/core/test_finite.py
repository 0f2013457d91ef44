"""NaN and infinities are found in what is written of a value, and nowhere else."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, TypeAdapter, computed_field, field_serializer

from headrace.core.finite import misread

NAN = math.nan


class Plain(BaseModel):
    x: float | None = None


class Hidden(Plain):
    inner: float = Field(default=NAN, exclude=True)


class Strings(Plain):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    y: float = NAN


class Constants(Plain):
    model_config = ConfigDict(ser_json_inf_nan="constants")


class Cleared(BaseModel):
    x: float

    @field_serializer("x", when_used="json")
    def clear(self, x: float) -> float | None:
        return x if math.isfinite(x) else None


class Spoilt(BaseModel):
    x: float = 1.0

    @field_serializer("x")
    def spoil(self, x: float) -> Any:
        return NAN


class Computed(Plain):
    @computed_field
    @property
    def ratio(self) -> float:
        return NAN


class Loose(BaseModel):
    x: dict[str, Any]


class Around(BaseModel):
    inner: Any
    plain: Plain = Plain()


class Renamed(BaseModel):
    x: float = Field(alias="theX")
    held: Any = Field(default=None, alias="theHeld")


@dataclass
class Given:
    x: float
    y: None = None


class Grade(Enum):
    NONE = NAN


CLEARED = Annotated[float, PlainSerializer(lambda x: x if math.isfinite(x) else None)]
UNHASHED = Annotated[list[float], ["a note"]]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Plain, Plain()),
        (Hidden, Hidden()),
        (Plain, Hidden()),
        (Any, {"answer": Hidden()}),
        (Strings, Strings(x=math.inf)),
        (Any, [Strings()]),
        (Cleared, Cleared(x=NAN)),
        (Any, {"answer": Cleared(x=NAN)}),
        (list[CLEARED], [NAN]),
        (str, "NaN, null and Infinity"),
        (dict[float, Any], {NAN: None}),
    ],
)
def test_what_is_written_as_it_is_meant_is_no_fault(kind: Any, value: Any) -> None:
    assert misread(value, TypeAdapter(kind).dump_json(value), kind) is None


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        (float, NAN, ""),
        (Plain, Plain(x=NAN), "/x"),
        (list[Plain], [Plain(), Plain(x=-math.inf)], "/1/x"),
        (Constants, Constants(x=NAN), "/x"),
        (Constants, Constants(x=math.inf), "/x"),
        (Spoilt, Spoilt(), "/x"),
        (Computed, Computed(), "/ratio"),
        (Loose, Loose(x={"a": [NAN]}), "/x/a/0"),
        (Around, Around(inner=Loose(x={"a": NAN})), "/inner/x/a"),
        (Any, {"answer": Loose(x={"a": NAN})}, "/answer/x/a"),
        (Any, {"answer": [Plain(x=NAN)]}, "/answer/0/x"),
        (Any, {1: {frozenset([NAN])}}, "/1/0/0"),
        (Any, Given(NAN), "/x"),
        (Any, {"answer": deque([Grade.NONE])}, "/answer/0"),
        (Grade, Grade.NONE, ""),
        (Given, Given(NAN), "/x"),
        (UNHASHED, [1.0, NAN], "/1"),
    ],
)
def test_what_is_lost_is_told_with_its_place(kind: Any, value: Any, where: str) -> None:
    assert misread(value, TypeAdapter(kind).dump_json(value), kind) == where


def test_of_no_type_each_value_is_what_it_is() -> None:
    values: list[Any] = [{1: NAN}, [Plain(x=NAN)], [Hidden(), Strings()]]
    found = [misread(value, TypeAdapter[Any](Any).dump_json(value)) for value in values]
    assert found == ["/1", "/0/x", None]


def test_places_go_by_the_aliases_that_are_written() -> None:
    values = [Renamed(theX=NAN), Renamed(theX=1, theHeld=Loose(x={"a": NAN}))]
    found = [misread(value, TypeAdapter(Renamed).dump_json(value, by_alias=True), Renamed) for value in values]
    assert found == ["/theX", "/theHeld/x/a"]
