"""The reference says what the code says, and the public names have their place in it."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import headrace


@pytest.fixture(scope="module")
def reference(root: Path) -> ModuleType:
    """The script that writes it."""
    spec = importlib.util.spec_from_file_location("reference", root / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current(reference: ModuleType) -> None:
    assert reference.stale() == [], "run: make reference"


@pytest.mark.parametrize("name", headrace.__all__)
def test_a_public_name_explains_itself(name: str, root: Path) -> None:
    value = getattr(headrace, name)
    if callable(value) or inspect.ismodule(value):
        assert inspect.getdoc(value), f"headrace.{name} has no docstring"
    assert f"`headrace.{name}`" in (root / "docs/reference/python.md").read_text()


def test_all_names_are_there_and_sorted_for_people() -> None:
    assert len(set(headrace.__all__)) == len(headrace.__all__)
    assert [name for name in headrace.__all__ if not hasattr(headrace, name)] == []
