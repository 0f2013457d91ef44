"""An error that went over a wire is the error that it was."""

from __future__ import annotations

import pytest

from headrace.core.errors import BadInput, DeclarationError, SqlError
from headrace.core.problems import from_problem, to_problem


@pytest.mark.parametrize("kind", [DeclarationError, SqlError])
def test_a_declaration_error_keeps_the_line_that_it_names(kind: type[DeclarationError]) -> None:
    sent = kind("there is no column 'pricee'", hint="did you mean 'price'?", where="app.py:23")
    came = from_problem(to_problem(sent))
    assert type(came) is kind
    assert str(came) == str(sent)


@pytest.mark.parametrize(("status", "came"), [(413, 413), (200, 422), (None, 422), ("413", 422)])
def test_a_bad_input_of_another_status_is_one_all_the_same(status: int | str | None, came: int) -> None:
    error = from_problem({"type": "urn:headrace:problem:bad-input", "detail": "x", "status": status})
    assert isinstance(error, BadInput)
    assert error.status == came
