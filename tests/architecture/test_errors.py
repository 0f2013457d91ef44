"""The error tree that the docstring of core/errors.py draws is the error tree."""

from __future__ import annotations

import inspect
import re

import pytest

from headrace.core import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__
]


def drawn() -> dict[str, str]:
    """Each error's parent, as the docstring draws it."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ((?:\|   )*)(\|-- )?([A-Z]\w+)(\s{2,}|$)", line)
        if match is None:
            continue
        depth = len(match[1]) // 4 + bool(match[2])
        path[depth:] = [match[3]]
        parents[match[3]] = path[depth - 1] if depth else "Exception"
    return parents


def test_the_docstring_draws_every_error_under_its_parent() -> None:
    assert drawn() == {cls.__name__: cls.__base__.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_says_what_it_means(cls: type[Exception]) -> None:
    assert cls.__doc__
    assert cls.__doc__ != cls.__base__.__doc__
