"""What is refused of functions beside a handler is what can never work: all else may be right."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypedDict

import pytest
from pydantic import BaseModel, ConfigDict, RootModel, model_validator

from headrace.core.errors import DeclarationError
from headrace.pipeline.fitting import check_fit


class Ask(BaseModel):
    text: str


class Wish(Ask):
    budget: float = 1.0


class Page(BaseModel):
    number: int


class Seen(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    number: int


class Texts(BaseModel):
    texts: list[str]

    @model_validator(mode="before")
    @classmethod
    def split(cls, given: Any) -> Any:
        return {"texts": given.split()} if isinstance(given, str) else given


class Number(RootModel[int]):
    pass


class Plain(TypedDict):
    text: str


class Textual(Protocol):
    text: str


@dataclasses.dataclass
class Point:
    x: int


def function(takes: Any, gives: Any) -> Callable[..., Any]:
    def beside(ask: Any) -> Any: ...

    beside.__annotations__ = {"ask": takes, "return": gives}
    return beside


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Any, Ask), (object, Ask), (Ask, Ask), (Wish, Ask), (Ask, Wish), (dict, Ask), (Mapping, Ask), (Textual, Ask),
        (Plain, Ask), (Ask, Plain), (Ask | None, Ask), (Ask, Ask | Page), (float, int), (int, bool), (str, Number),
        (list, list[int]), ("Nowhere", Ask), (Ask, Any), (list[Ask], list[Page]),
    ],
)  # fmt: skip
def test_a_parameter_that_may_be_right_is_taken(said: Any, kind: Any) -> None:
    check_fit("it", function(said, Any), [kind], str)


@pytest.mark.parametrize(
    ("said", "kind"), [(Page, Ask), (str, Ask), (Point, Ask), (Ask, str), (str, int), (Ask, Point)]
)
def test_one_that_cannot_be_is_refused(said: Any, kind: Any) -> None:
    with pytest.raises(DeclarationError, match="the parameter 'ask' of it is"):
        check_fit("it", function(said, Any), [kind], str)


@pytest.mark.parametrize(
    ("said", "gives"),
    [
        (Any, Ask), (Wish, Ask), (dict, Ask), (Plain, Ask), (Ask, Plain), (Ask | None, Ask), (str, Texts), (Page, Seen),
        (str, int), (int, float), (bytes, str), (int, Number), (Iterator[int], list[int]), (Page, Any), (str, object),
    ],
)  # fmt: skip
def test_an_answer_that_may_be_read_is_taken(said: Any, gives: Any) -> None:
    check_fit("it", function(Any, said), [Ask], gives)


@pytest.mark.parametrize(("said", "gives"), [(Page, Ask), (str, Ask), (None, Ask), (None, str), (int, str), (Ask, str)])
def test_one_that_never_fits_is_refused(said: Any, gives: Any) -> None:
    with pytest.raises(DeclarationError, match="it answers"):
        check_fit("it", function(Any, said), [Ask], gives)


@pytest.mark.parametrize("one", [lambda ask: 1, print, dict.get])
def test_what_says_nothing_is_taken(one: Callable[..., Any]) -> None:
    check_fit("it", one, [Page], Page)


def test_a_function_that_yields_gives_no_answer() -> None:
    def one_by_one(ask: Ask) -> Any:
        yield ask.text

    for gives in (str, Page):
        with pytest.raises(DeclarationError, match="it yields"):
            check_fit("it", one_by_one, [Ask], gives)
    check_fit("it", one_by_one, [Ask], list[str])
