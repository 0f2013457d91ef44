"""Options of declarations that are misspelt, missing or too many are told with what there is."""

from __future__ import annotations

from typing import Any

import pytest

import headrace as hr
from headrace.core.errors import DeclarationError

APP = hr.App("shop")


def _rollup() -> Any:
    return APP.rollup("popular", None, by="item")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("declare", "message", "hint"),
    [
        (lambda: APP.endpoint("/x", dedline="4s"), "endpoint has no option 'dedline'", "did you mean 'deadline'?"),
        (lambda: APP.model("llm", dedline="4s"), "model has no option 'dedline'", "did you mean 'deadline'?"),
        (lambda: APP.view("v", "SELECT 1", polcy="serve"), "view has no option 'polcy'", "did you mean 'policy'?"),
        (lambda: APP.view("v"), "view needs sql", "there are: name, sql"),
        (_rollup, "rollup needs windows", "there are: name, events, by, windows, tile"),
        (lambda: hr.App("shop", quarantine=1), "App has no option 'quarantine'", "'quarantine_limit'"),
        (lambda: hr.sources.Push(expct="2s"), "Push has no option 'expct'", "did you mean 'expect'?"),
        (lambda: hr.models.OpenAI("http://x/v1", modle="m"), "OpenAI has no option 'modle'", "did you mean 'model'?"),
        (lambda: hr.models.OpenAI("http://x/v1", "m"), "OpenAI takes url without a name", "there are: url, model"),
        (lambda: hr.models.OpenAI("http://x/v1", url="y"), "OpenAI is given 'url' twice", "there are: url"),
        (lambda: hr.tolerance(price=3), "tolerance needs source", "there are: source, ordered"),
        (lambda: hr.Rule(chek=1), "Rule has no option 'chek'", "did you mean 'check'?"),
    ],
)
def test_what_does_not_fit_is_told(declare: Any, message: str, hint: str) -> None:
    with pytest.raises(DeclarationError, match=message) as raised:
        declare()
    assert hint in (raised.value.hint or "")


def test_the_line_of_the_declaration_is_named() -> None:
    with pytest.raises(DeclarationError) as raised:
        APP.endpoint("/x", dedline="4s")  # type: ignore[call-arg]
    assert raised.value.where.startswith(__file__)


def test_an_error_of_types_inside_stays_what_it_is() -> None:
    class Mine(hr.sources.Push):
        def __init__(self, number: int) -> None:
            super().__init__()
            len(number)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="has no len"):
        Mine(3)
