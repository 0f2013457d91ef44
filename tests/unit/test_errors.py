"""The public place of the errors."""

from __future__ import annotations

import inspect

import headrace
from headrace import errors
from headrace.core import errors as homes


def test_every_error_is_public() -> None:
    values = [value for value in vars(homes).values() if inspect.isclass(value)]
    there = {value.__name__ for value in values if value.__module__ == homes.__name__}
    assert set(errors.__all__) == there
    assert errors.__all__ == sorted(errors.__all__)
    assert headrace.errors is errors
