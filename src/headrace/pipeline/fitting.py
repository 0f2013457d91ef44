"""Whether a function beside a handler (a fallback, a repair) fits it, as far as its own annotations say.

It is called when something is wrong already: a mistake in it would be seen when it is needed most. Only what can never
work is refused: most types, and all functions without annotations, may be right.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from typing import Any, get_origin

from pydantic import BaseModel, RootModel

from headrace.core.errors import DeclarationError
from headrace.pipeline.shape import named

_STREAMS = (AsyncGenerator, AsyncIterator, AsyncIterable)
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})


def check_fit(what: str, function: Callable[..., Any], takes: Sequence[Any], gives: Any) -> None:
    """Whether it takes and gives these types.

    Parameters
    ----------
    what
        What it is, for people: "the fallback 'rule'".
    takes
        The types of its first arguments.

    Raises
    ------
    DeclarationError
        It cannot be.
    """
    if inspect.isasyncgenfunction(function) or (inspect.isgeneratorfunction(function) and _known(gives)):
        raise DeclarationError(f"{what} yields, and is to give one answer", hint="write: return, in place of yield")
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError, ValueError, SyntaxError):  # names that only type checkers know, say
        return
    for parameter, kind in zip(signature.parameters.values(), takes, strict=False):
        said = parameter.annotation
        if _strange(said, kind):
            raise DeclarationError(
                f"the parameter {parameter.name!r} of {what} is {named(said)}, and it is given {named(kind)}",
                hint=f"write: {parameter.name}: {named(kind)}",
            )
    said = signature.return_annotation
    said = type(None) if said is None else said
    if said in _STREAMS or get_origin(said) in _STREAMS or _useless(said, gives):
        raise DeclarationError(
            f"{what} answers {named(said)}, and is to answer {named(gives)}", hint=f"write: -> {named(gives)}"
        )


def _strange(said: Any, kind: Any) -> bool:
    """Whether no value of the one type is of the other."""
    if not _known(said) or not _known(kind) or {said, kind} <= {int, float, bool}:
        return False
    return not issubclass(said, kind) and not issubclass(kind, said)


def _useless(said: Any, gives: Any) -> bool:
    """Whether no value of the type `said` can be read as a `gives`."""
    if not _strange(said, gives):
        return False
    if _record(gives):
        return not _lenient(gives)
    return _record(said) or said is type(None) or (gives is str and said is not bytes)


def _known(kind: Any) -> bool:
    return isinstance(kind, type) and (kind in _PLAIN or _record(kind))


def _record(kind: type[Any]) -> bool:
    """Whether its values have fields. (A `TypedDict` is none: any mapping may be one.)"""
    return not issubclass(kind, RootModel) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind))


def _lenient(record: type[Any]) -> bool:
    """Whether it may make itself of anything: it looks at attributes, or code of its own comes first."""
    decorators: Any = getattr(record, "__pydantic_decorators__", None)
    config: Any = getattr(record, "model_config", None) or {}
    first = any("__get_pydantic_core_schema__" in vars(one) for one in record.__mro__ if one is not BaseModel)
    validators = decorators.model_validators.values() if decorators is not None else ()
    return first or bool(config.get("from_attributes")) or any(one.info.mode != "after" for one in validators)
