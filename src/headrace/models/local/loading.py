"""Where a model is loaded, found again in another process without pickling: a module or file, and a function in it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.core.errors import DeclarationError

_PACKAGE = str(Path(__file__).resolve().parents[2])
_workers: set[int] = set()
"""The id of this process, if it is a worker: one that it forks is another."""


@dataclass(frozen=True, slots=True)
class Loader:
    """A function at the top level of a module.

    Attributes
    ----------
    module
        Its name.
    file
        Where it was read from; empty when that is not known here.
    function
        The function's name.
    """

    module: str
    file: str
    function: str

    @classmethod
    def of(cls, load: Callable[[], Any] | str) -> Loader:
        """Of a function, or of `"package.module:function"`.

        Raises
        ------
        DeclarationError
            It could not be found by its name in another process.

        Examples
        --------
        >>> Loader.of("fraud.model:load")
        Loader(module='fraud.model', file='', function='load')
        """
        return _of_text(load) if isinstance(load, str) else _of_function(load)

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"

    def find(self) -> Callable[[], Any]:
        """The function, in this process. Whatever the user's module raises comes out."""
        module = self._imported()
        function = getattr(module, self.function, None)
        if not callable(function):
            raise DeclarationError(
                f"{self.file or self.module} has no function {self.function!r}",
                hint="the worker reads the file again: `load` must be defined in it when it is imported",
            )
        return function

    def _imported(self) -> ModuleType:
        """By name where that leads to the same file, so that relative imports work; else from the file."""
        if not self.file or _origin(self.module) == self.file:
            return importlib.import_module(self.module)
        name = Path(self.file).stem if self.module == "__main__" else self.module
        spec = importlib.util.spec_from_file_location(name, self.file)
        if spec is None or spec.loader is None:
            raise DeclarationError(f"{self.file!r} is not a Python file", hint="give a file that ends in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module


def mark_worker() -> None:
    """Say that this process is a worker."""
    _workers.add(os.getpid())


def refuse_in_worker() -> None:
    """Refuse to start an app or a model inside a worker, which would start a worker, which would start one, and so on.

    Raises
    ------
    DeclarationError
        This process is a worker.
    """
    if os.getpid() in _workers:
        raise DeclarationError(
            "an app or a model was started inside a worker process, which imports the file of `load`",
            hint='put what runs the app under `if __name__ == "__main__":`, so that importing the file does not run it',
        )


def user_line(error: BaseException) -> str:
    """`file:line` of the last frame of an error outside Python and its installed packages; "" where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    installed = (_PACKAGE, *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}, "<")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(installed)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _of_text(text: str) -> Loader:
    module, colon, function = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), function)):
        raise DeclarationError(f"{text!r} does not say where a model is loaded", hint='write "package.module:function"')
    return Loader(module, "", function)


def _of_function(load: Callable[[], Any]) -> Loader:
    name, module = getattr(load, "__qualname__", ""), sys.modules.get(getattr(load, "__module__", "") or "")
    if not name.isidentifier() or module is None:
        raise DeclarationError(
            f"{name or load!r:.80} cannot be found by its name in a worker process",
            hint="`load` must be a function defined with `def` at the top level of a file (no lambda, no method, no "
            'function inside another, no partial), or text: "package.module:function"',
        )
    if inspect.iscoroutinefunction(load):
        raise DeclarationError(
            f"{name} is async", hint="`load` runs in a process of its own: write it with plain `def`"
        )
    file = getattr(module, "__file__", None)
    return Loader(module.__name__, str(Path(file).resolve()) if file else "", name)


def _origin(module: str) -> str:
    """The file that importing a name would read; "" when there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a parent that is missing; `__main__`, which has no spec
        return ""
    return str(Path(spec.origin).resolve()) if spec is not None and spec.origin else ""
