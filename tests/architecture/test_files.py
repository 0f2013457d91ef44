"""What holds for every file of the tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

LONGEST = 500
"""Lines at which a file is split. The list of exceptions is empty and stays so."""

UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|raise NotImplemented" + r"Error(?!\()")
"""Words that hide something unfinished, spelled so that this file does not hold them."""

HOMES = re.compile(r"(?<![\w.])/(?:ho" + r"me|Us" + r"ers|ro" + r"ot)/[\w.]+")
"""Paths that exist on one machine only."""

BROAD = {"Exception", "BaseException"}

CLOCKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def test_no_python_file_is_longer_than_the_limit(tracked: list[Path], root: Path) -> None:
    lengths = {
        str(path.relative_to(root)): len(path.read_text().splitlines()) for path in tracked if path.suffix == ".py"
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_nothing_unfinished_ships(library: list[Path], root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in library
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def test_validation_never_asserts(library: list[Path], root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in library
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert found == [], "`assert` is gone under -O and explains little: raise an error of core/errors.py"


def test_a_broad_except_says_why_it_is_a_boundary(library: list[Path], root: Path) -> None:
    found: list[str] = []
    for path in library:
        lines = path.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _re_raises(node):
                around = lines[max(node.lineno - 4, 0) : node.lineno + 1]
                if not any("#" in line for line in around):
                    found.append(f"{path.relative_to(root)}:{node.lineno}")
    assert found == []


def _is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id in BROAD)


def _re_raises(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_only_the_clock_module_reads_a_clock(library: list[Path], root: Path) -> None:
    clock = root / "src/headrace/core/clock.py"
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in library
        if path != clock
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in CLOCKS.get(node.value.id, ())
    ]
    assert found == [], "take a Clock"


def test_every_module_says_what_it_is(library: list[Path], root: Path) -> None:
    found = [
        str(path.relative_to(root))
        for path in library
        if (text := path.read_text().strip()) and ast.get_docstring(ast.parse(text)) is None
    ]
    assert found == []


def test_no_file_knows_a_machine(tracked: list[Path], root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()[:100]}"
        for path in tracked
        if (text := _text(path)) is not None
        for number, line in enumerate(text.splitlines(), 1)
        if HOMES.search(line) or f"{root}/" in line
    ]
    assert found == []


@pytest.mark.parametrize("name", ["src/headrace/py.typed", "LICENSE", "NOTICE", "README.md", "CHANGELOG.md"])
def test_a_release_has(name: str, root: Path) -> None:
    assert (root / name).is_file()


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return None
