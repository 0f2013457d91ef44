"""Options of declarations: one that is misspelt or missing is told with what there is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from headrace.core.errors import DeclarationError
from headrace.core.names import suggest

P = ParamSpec("P")
T = TypeVar("T")

_NAMELESS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def options(declare: Callable[P, T]) -> Callable[P, T]:
    """Make a declaring function, or the `__init__` of what is declared, tell of options as a `DeclarationError`.

    >>> @options
    ... def model(name: str, *, deadline: str = "60s") -> None: ...
    >>> model("llm", dedline="4s")
    Traceback (most recent call last):
    headrace.core.errors.DeclarationError: model has no option 'dedline'
      hint: did you mean 'deadline'? there are: name, deadline
    """

    @functools.wraps(declare)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return declare(*args, **kwargs)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:  # it was called, and raised it
                raise
            raise _misfit(declare, args, kwargs) or error from None

    return wrapper


def own_options(cls: type) -> None:
    """The same for the `__init__` of a class, where it has one of its own: for `__init_subclass__`."""
    init: Any = vars(cls).get("__init__")
    if inspect.isfunction(init):
        cls.__init__ = options(init)  # pyright: ignore[reportAttributeAccessIssue]


def _misfit(declare: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> DeclarationError | None:
    """What is wrong with how it was called."""
    method = declare.__qualname__.rpartition(".")[0] not in ("", "<locals>") and bool(args)
    what = type(args[0]).__name__ if declare.__name__ == "__init__" else declare.__name__
    parameters = list(inspect.signature(declare).parameters.values())[1 if method else 0 :]
    given = len(args) - method
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    names = [one.name for one in named]
    nameless = [one.name for one in named if one.kind in _NAMELESS]
    there = f"there are: {', '.join(names) or 'none'}"
    wrong = next((name for name in kwargs if name not in names), None)
    if wrong is not None and len(named) == len(parameters):
        return DeclarationError(f"{what} has no option {wrong!r:.80}", hint=suggest(wrong, names))
    twice = next((name for name in nameless[:given] if name in kwargs), None)
    if twice is not None:
        return DeclarationError(f"{what} is given {twice!r} twice, once without its name", hint=there)
    if given > len(nameless):
        many = ", ".join(nameless) or "nothing"
        return DeclarationError(f"{what} takes {many} without a name, and {given} values were given", hint=there)
    set_already = {*nameless[:given], *kwargs}
    missing = [one.name for one in named if one.default is one.empty and one.name not in set_already]
    return DeclarationError(f"{what} needs {', '.join(missing)}", hint=there) if missing else None
