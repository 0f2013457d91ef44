"""Everything that a piece of the user's code is made of, as text that is the same in every process.

From a function its names are followed: to functions and classes of the app's own files, and so on; to constants, whose
values count; to anything else, of which the statement counts that made it. What is installed counts by its name alone.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import enum
import functools
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, cast
from uuid import UUID

import pydantic

from headrace.core.records import Record
from headrace.pipeline.prompt import Prompt
from headrace.pipeline.syntax import Definition, SourceFile, canonical, imports, paths

_HOUSE = str(Path(__file__).resolve().parent.parent)
_INSTALLED = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_PLAIN = (bool, int, float, complex, str, bytes, Decimal, Fraction, datetime, date, time, timedelta, UUID)
_NOTHING = object()


def is_own(filename: str | None) -> bool:
    """Whether a file is the app's: not of Python, of an installed package or of Headrace (whose demo is an app)."""
    if not filename or filename.startswith("<frozen"):
        return False
    if filename.startswith(_HOUSE + os.sep):
        return filename.startswith(os.path.join(_HOUSE, "demo", ""))  # noqa: PTH118 (the last separator counts)
    parts = Path(filename).parts
    return not (filename.startswith(_INSTALLED) or "site-packages" in parts or "dist-packages" in parts)


class Sight:
    """What was seen so far: one entry for each function, class and statement, in the order in which it was met.

    Entries name each other by number, so that neither addresses nor the names of modules and folders come into it.
    """

    def __init__(self) -> None:
        self.entries: list[str] = []
        self._numbers: dict[object, int] = {}
        self._kept: list[object] = []  # so that no address is used twice while it stands for something
        self._files: dict[str, SourceFile | None] = {}
        self._folders: list[str] = []  # where the app lies: other machines have it elsewhere
        self._opaque = False

    def text(self) -> str:
        """All entries."""
        return "\n".join(f"{number}: {entry}" for number, entry in enumerate(self.entries))

    def see(self, value: Any) -> str:
        """A value as text; what it refers to becomes entries."""
        if isinstance(value, str):
            for folder in self._folders:
                value = value.replace(folder, "<folder>")
        if value is None or value is Ellipsis or type(value) in _PLAIN:
            return f"{type(value).__name__}:{value!r}"
        if isinstance(value, type):
            return self._reference(value, self._class)
        if isinstance(value, FunctionType):
            return self._reference(value, self._function)
        if isinstance(value, MethodType):
            return f"method({self.see(value.__func__)} {self.see(value.__self__)})"
        if isinstance(value, functools.partial):
            return f"partial({self._all(_parts(cast('functools.partial[Any]', value)))})"
        if isinstance(value, BuiltinFunctionType | ModuleType):
            return f"{type(value).__name__} {value.__name__}"
        wrapped = inspect.getattr_static(value, "__wrapped__", None)
        if wrapped is not None:
            return f"wrapper {type(value).__qualname__} of {self.see(wrapped)}"
        return self._object(value)

    def _object(self, value: Any) -> str:
        if isinstance(value, Prompt):
            return f"prompt:{value.text!r}"
        if isinstance(value, enum.Enum):
            return f"{self.see(type(value))}.{value.name}"
        if isinstance(value, re.Pattern):
            return f"pattern({self.see(value.pattern)} {value.flags})"  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._reference(cast("object", value), self._container)
        kind = cast("type[Any]", type(value))
        if _of_headrace(kind):
            return f"declared {kind.__qualname__}"  # tables, views, models: they have parts of their own
        if _is_own_class(kind) or dataclasses.is_dataclass(value) or isinstance(value, pydantic.BaseModel):
            return self._reference(value, self._instance)
        self._opaque = self._opaque or not isinstance(value, range | slice)
        return f"{kind.__module__}.{kind.__qualname__}"

    def _container(self, value: Any) -> str:
        if isinstance(value, Mapping):
            kind = "dict" if isinstance(value, MappingProxyType) else type(cast("object", value)).__qualname__
            pairs = cast("Mapping[Any, Any]", value).items()
            return f"{kind}{{{' '.join(f'{self.see(key)}={self.see(item)}' for key, item in pairs)}}}"
        seen = [self.see(item) for item in value]
        return f"{type(value).__qualname__}[{' '.join(sorted(seen) if isinstance(value, set | frozenset) else seen)}]"

    def _instance(self, value: Any) -> str:
        state: dict[str, Any] = dict(getattr(value, "__dict__", {}))
        if dataclasses.is_dataclass(value):
            state |= {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        self._opaque = self._opaque or not state
        return f"instance {self.see(type(value))} {self._all(sorted(state.items()))}"

    def _all(self, items: Any) -> str:
        return " ".join(f"{name}={self.see(value)}" for name, value in items)

    def _reference(self, value: Any, write: Any) -> str:
        """The number of the entry of `value`, written now if it is met for the first time."""
        if (key := id(value)) not in self._numbers:
            self._kept.append(value)
            self._enter(key, lambda: write(value))
        return f"#{self._numbers[key]}"

    def _enter(self, key: object, write: Any) -> None:
        self._numbers[key] = number = len(self.entries)
        self.entries.append("")  # its place, before what it refers to: it may refer to itself
        self.entries[number] = write()

    # -- code

    def _function(self, function: FunctionType) -> str:
        code, names = function.__code__, function.__globals__
        wrapped = getattr(function, "__wrapped__", None)
        more = "" if wrapped is None else f" wraps {self.see(wrapped)}"
        if not is_own(code.co_filename):
            return f"installed {function.__module__}.{function.__qualname__}{more}"
        file = self._file(code.co_filename, names)
        node = None if file is None else file.function(code.co_firstlineno, code.co_name)
        cells = self._cells(function)
        if node is None:
            scope = {**names, **cells}
            used = [(name, scope[name]) for name in sorted(set(_names_of(code))) if name in scope]
            given = [("defaults", function.__defaults__), ("kwdefaults", function.__kwdefaults__)]
            return f"code {_bytecode(code)} {self._all(given)} {self._all(used)}{more}"
        return self._definition(node, names, cells) + more

    def _class(self, cls: type[Any]) -> str:
        if not _is_own_class(cls):
            return f"installed {cls.__module__}.{cls.__qualname__}"
        module = sys.modules.get(cls.__module__)
        names: dict[str, Any] = vars(module) if module is not None else {}
        file = self._file(str(names.get("__file__", "")), names)
        node = None if file is None else file.klass(cls.__qualname__)
        if node is not None:
            return self._definition(node, names, {})
        if issubclass(cls, pydantic.BaseModel):
            return f"model {cls.model_json_schema()!r}"
        members = [(name, value) for name, value in sorted(vars(cls).items()) if not name.startswith("__")]
        return f"class {cls.__qualname__} {self.see(cls.__bases__)} {self._all(members)}"

    def _definition(self, node: Definition, names: dict[str, Any], cells: dict[str, Any]) -> str:
        scope = {**names, **cells}
        kept = [decorator for decorator in node.decorator_list if not _declares(decorator, scope)]
        bare = copy.copy(node)
        bare.decorator_list = kept
        return self._tree(bare, names, cells)

    def _tree(self, tree: ast.AST, names: dict[str, Any], cells: dict[str, Any]) -> str:
        used = [f"{'.'.join(path)}={seen}" for path in paths(tree) if (seen := self._path(path, names, cells))]
        used += [f"import {name}={seen}" for dots, name in imports(tree) if (seen := self._import(dots, name, names))]
        return f"{canonical(tree)} {' '.join(used)}"

    def _path(self, path: tuple[str, ...], names: dict[str, Any], cells: dict[str, Any]) -> str:
        """What a name stands for; "" for locals, builtins, and for a path of which the beginning says all."""
        name, *rest = path
        if name in cells:
            return "" if rest else self.see(cells[name])
        if name not in names or (name.startswith("__") and name.endswith("__")):
            return ""  # `__name__` and the like depend on how the file was started
        value, home = names[name], names
        while rest and isinstance(value, ModuleType) and is_own(getattr(value, "__file__", None)):
            home, name = vars(value), rest.pop(0)
            value = home.get(name, _NOTHING)
        if rest or value is _NOTHING:
            return ""
        return self._global(name, value, home)

    def _global(self, name: str, value: Any, names: dict[str, Any]) -> str:
        """A name of a module. Of what has no text of its own, the statements count that made it."""
        before, self._opaque = self._opaque, False
        filename = str(names.get("__file__") or "")
        folder = str(Path(filename).parent)
        if len(folder) > 1 and folder not in self._folders:
            self._folders = sorted([*self._folders, folder], key=len, reverse=True)
        seen = self.see(value)
        if (self._opaque or isinstance(value, PurePath)) and is_own(filename):
            file = self._file(filename, names)
            for statement in [] if file is None else file.assignments(name):
                if (key := (filename, statement.lineno, statement.col_offset)) not in self._numbers:
                    self._enter(key, lambda one=statement: self._tree(one, names, {}))
                seen += f" #{self._numbers[key]}"
        self._opaque = before
        return seen

    def _import(self, dots: int, name: str, names: dict[str, Any]) -> str:
        """An import inside of a function: the whole file counts, whether it is loaded already or not."""
        try:
            full = importlib.util.resolve_name("." * dots + name, str(names.get("__package__") or "")) if dots else name
            spec = importlib.util.find_spec(full)
        except (ImportError, ValueError, AttributeError):
            return ""
        if spec is None or not spec.has_location or not is_own(spec.origin):
            return ""
        key = ("file", str(spec.origin))
        if key not in self._numbers:
            file = self._file(str(spec.origin), {})
            self._enter(key, lambda: "" if file is None else canonical(file.tree))
        return f"#{self._numbers[key]}"

    def _file(self, filename: str, names: dict[str, Any]) -> SourceFile | None:
        if filename not in self._files:
            self._files[filename] = SourceFile.read(filename, names) if filename else None
        return self._files[filename]

    def _cells(self, function: FunctionType) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                found[name] = cell.cell_contents
            except ValueError:
                continue  # not yet given a value
        return found


def _parts(partial: functools.partial[Any]) -> list[tuple[str, Any]]:
    return [("func", partial.func), ("args", partial.args), ("keywords", partial.keywords)]


def _is_own_class(cls: type[Any]) -> bool:
    module = sys.modules.get(cls.__module__)
    return cls.__module__ != "builtins" and (module is None or is_own(getattr(module, "__file__", None) or "<none>"))


def _declares(decorator: ast.expr, scope: Mapping[str, Any]) -> bool:
    """Whether it is a declaration (`@app.endpoint(...)`): what it says is in other parts, or changes no answer."""
    part: ast.expr = decorator
    while isinstance(part, ast.Call | ast.Attribute):
        part = part.func if isinstance(part, ast.Call) else part.value
    value = scope.get(part.id) if isinstance(part, ast.Name) else None
    return _of_headrace(cast("type[Any]", type(value))) or (
        isinstance(value, FunctionType) and value.__module__.startswith("headrace.")
    )


def _of_headrace(cls: type[Any]) -> bool:
    """Whether it is one of Headrace's own classes, or made from one; a record is the user's."""
    homes = [base.__module__ for base in cls.__mro__ if base is not Record]
    return any(home.startswith("headrace.") and not home.startswith("headrace.demo") for home in homes)


def _names_of(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_of(constant)


def _bytecode(code: CodeType) -> str:
    """What runs where there is no source: a lambda, or code made by code. The same for one version of Python."""
    constants = [_constant(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames} {code.co_freevars} {code.co_flags}"


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return _bytecode(value)
    if isinstance(value, tuple | frozenset):
        parts = [_constant(part) for part in cast("tuple[Any, ...]", value)]
        return f"{type(value).__name__}{sorted(parts) if isinstance(value, frozenset) else parts}"  # pyright: ignore[reportUnknownArgumentType]
    return f"{type(value).__name__}:{value!r}"
