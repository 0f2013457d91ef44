"""An error that went over a wire is the error that it was."""

from __future__ import annotations

import pytest

from headrace.core.errors import DeclarationError, SqlError
from headrace.core.problems import from_problem, to_problem


@pytest.mark.parametrize("kind", [DeclarationError, SqlError])
def test_a_declaration_error_keeps_the_line_that_it_names(kind: type[DeclarationError]) -> None:
    sent = kind("there is no column 'pricee'", hint="did you mean 'price'?", where="app.py:23")
    came = from_problem(to_problem(sent))
    assert type(came) is kind
    assert str(came) == str(sent)
