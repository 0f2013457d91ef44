"""What a handler takes and gives, read off its signature on the line that declares it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError

from headrace.core.errors import DeclarationError

_STREAMS = (AsyncGenerator, AsyncIterator, AsyncIterable)
_FORM = "async def recommend(ask: Ask, ctx: hr.Context) -> Recommendation"


@dataclass(frozen=True, slots=True)
class Shape:
    """The types of a handler.

    Attributes
    ----------
    takes, gives
        The type of the input and of the answer; of a stream, of each of its items.
    streams
        Whether it gives a stream.
    generator
        Whether it is an async generator, rather than a coroutine.
    """

    takes: TypeAdapter[Any]
    gives: TypeAdapter[Any]
    input_type: Any
    answer_type: Any
    streams: bool
    generator: bool

    @property
    def words(self) -> str:
        """What it takes and gives, as people write it."""
        stream = "a stream of " if self.streams else ""
        return f"takes {named(self.input_type)} and answers {stream}{named(self.answer_type)}"

    @property
    def closed(self) -> bool:
        """Whether the input's own type does not say what becomes of unknown fields."""
        return _silent(self.input_type)

    @property
    def exact(self) -> bool:
        """The same of the answer's."""
        return _silent(self.answer_type)


def _silent(kind: Any) -> bool:
    return not (isinstance(kind, type) and issubclass(kind, BaseModel) and "extra" in kind.model_config)


def named(kind: Any) -> str:
    """A type as it is written.

    >>> named(Shape), named(list[int])
    ('Shape', 'list[int]')
    """
    plain = isinstance(kind, type) and get_origin(kind) is None
    return kind.__name__ if plain else str(kind).replace("typing.", "")


def shape_of(function: Callable[..., Any], context: type) -> Shape:
    """The shape of a handler.

    Parameters
    ----------
    context
        The class of a request's context.

    Raises
    ------
    DeclarationError
        It is not async, has not two parameters, or a type is missing or is none that Pydantic knows.
    """
    name = getattr(function, "__name__", repr(function))
    generator = inspect.isasyncgenfunction(function)
    if not generator and not inspect.iscoroutinefunction(function):
        raise DeclarationError(
            f"the handler {name!r} is not async: it would hold up all other requests", hint=f"write: {_FORM}"
        )
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) != 2 or any(parameter.kind not in positional for parameter in parameters):
        raise DeclarationError(
            f"the handler {name!r} has the parameters ({', '.join(map(str, parameters))}), and it takes two",
            hint=f"write: {_FORM}",
        )
    hints = _hints(function, name)
    ask, ctx = parameters
    if hints.get(ctx.name, context) not in (context, Any):
        raise DeclarationError(
            f"the second parameter of {name!r} is {named(hints[ctx.name])}, not hr.Context", hint=f"write: {_FORM}"
        )
    if ask.name not in hints:
        raise DeclarationError(f"the parameter {ask.name!r} of {name!r} has no type", hint=f"write: {_FORM}")
    if hints.get("return") is None:
        raise DeclarationError(f"the handler {name!r} does not say what it answers", hint=f"write: {_FORM}")
    answer = hints["return"]
    streams = get_origin(answer) in _STREAMS or answer in _STREAMS
    if streams:
        answer = (get_args(answer) or (Any,))[0]
    elif generator:
        raise DeclarationError(
            f"the handler {name!r} yields, and says that it answers {named(answer)}",
            hint="write: -> AsyncIterator[str] (or the type of what it yields)",
        )
    return Shape(
        takes=_adapter(hints[ask.name], name),
        gives=_adapter(answer, name),
        input_type=hints[ask.name],
        answer_type=answer,
        streams=streams,
        generator=generator,
    )


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    # Types that are local to the function in which the app is declared are no globals of the handler.
    frame, local = inspect.currentframe(), cast("dict[str, Any]", {})
    while frame is not None and frame.f_code.co_filename != function.__code__.co_filename:
        frame = frame.f_back
    if frame is not None:
        local = dict(frame.f_locals)
    try:
        return get_type_hints(function, localns=local, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:
        raise DeclarationError(
            f"a type of the handler {name!r} cannot be found: {error}",
            hint="define it above the handler, in the same file or imported, and not only for type checkers",
        ) from error


def _adapter(kind: Any, name: str) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(kind)
    except PydanticSchemaGenerationError as error:
        raise DeclarationError(
            f"{named(kind):.100}, a type of the handler {name!r}, cannot be read from or written as JSON",
            hint="use a Pydantic model, a dataclass, a TypedDict, or built-in types",
        ) from error
    except PydanticUserError as error:
        raise DeclarationError(
            f"{named(kind):.100}, a type of the handler {name!r}, is none for Pydantic ({error.code})",
            hint=f"it says: {' '.join(error.message.split())}",
        ) from error
