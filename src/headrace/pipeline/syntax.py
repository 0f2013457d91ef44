"""Python source as text in which only what runs counts: no comments, no formatting, no line numbers.

The text is written here and not by `ast.dump`, whose form changes between versions of Python.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def canonical(node: ast.AST) -> str:
    """The text of a syntax tree.

    >>> canonical(ast.parse("x = ( 1 )  # one")) == canonical(ast.parse("x=1"))
    True
    """
    parts = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        if name not in _SKIPPED and value is not None and value != []:
            parts.append(f"{name}={_text(value)}")
    return f"({' '.join(parts)})"


def _text(value: Any) -> str:
    if isinstance(value, ast.AST):
        return canonical(value)
    if isinstance(value, list):
        return f"[{' '.join(map(_text, value))}]"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return f"{type(value).__name__}:{value!r}"


def paths(tree: ast.AST) -> list[tuple[str, ...]]:
    """The names that a tree reads, with their attributes: `a.b.c` is ("a", "b", "c"); sorted, each once."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add((node.id,))
        elif isinstance(node, ast.Attribute) and (path := _dotted(node)):
            found.add(path)
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            found.update(_quoted(node.annotation))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            found.update(_quoted(node.returns))
    return sorted(found)


def _dotted(node: ast.Attribute) -> tuple[str, ...]:
    parts: list[str] = []
    part: ast.expr = node
    while isinstance(part, ast.Attribute):
        parts.append(part.attr)
        part = part.value
    return (part.id, *reversed(parts)) if isinstance(part, ast.Name) else ()


def _quoted(annotation: ast.expr) -> Iterator[tuple[str, ...]]:
    """The names inside an annotation that is written as a string."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                yield from paths(ast.parse(node.value, mode="eval"))
            except SyntaxError:
                continue  # a word of a Literal, for example


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    """The modules that a tree imports itself: how many dots, and the name."""
    found: set[tuple[int, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.level, node.module or ""))
            found.update((node.level, f"{node.module}.{alias.name}".lstrip(".")) for alias in node.names if node.level)
    return sorted(found)


@dataclass(slots=True)
class SourceFile:
    """One Python file: its tree, and where in it something is defined."""

    tree: ast.Module
    _functions: dict[tuple[int, str], ast.FunctionDef | ast.AsyncFunctionDef] = field(init=False)
    _classes: dict[str, ast.ClassDef] = field(init=False)

    def __post_init__(self) -> None:
        self._functions, self._classes = {}, {}
        self._index(self.tree, ())

    @classmethod
    def read(cls, filename: str, names: dict[str, Any]) -> SourceFile | None:
        """The file of a module whose names are `names`; None when there is none, or it is not Python."""
        lines = linecache.getlines(filename, names)
        try:
            return cls(ast.parse("".join(lines))) if lines else None
        except (SyntaxError, ValueError):
            return None

    def function(self, line: int, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The function of this name whose text, decorators included, begins at `line`."""
        return self._functions.get((line, name))

    def klass(self, qualname: str) -> ast.ClassDef | None:
        """The class of this qualified name; the last one when there are several."""
        return self._classes.get(qualname)

    def assignments(self, name: str) -> list[ast.stmt]:
        """The statements of the module, outside of functions and classes, that give `name` a value."""
        found: list[ast.stmt] = []
        waiting: list[ast.stmt] = list(self.tree.body)
        while waiting:
            statement = waiting.pop(0)
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                stored = (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
                if name in stored:
                    found.append(statement)
            waiting.extend(node for node in ast.walk(statement) if node is not statement and isinstance(node, ast.stmt))
        return found

    def _index(self, node: ast.AST, path: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                self._classes[".".join((*path, child.name))] = child
                self._index(child, (*path, child.name))
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                self._functions[first, child.name] = child
                self._index(child, (*path, child.name, "<locals>"))
            else:
                self._index(child, path)
