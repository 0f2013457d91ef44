"""What answers when the path of the model fails: something good before, a rule, another model, an apology.

Used when a model gives no answer, when the deadline passes, and when the endpoint has too much to do; never for a
request that is wrong itself. An answer that came so is marked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from headrace.core.errors import DeclarationError
from headrace.core.names import nearest, suggest
from headrace.pipeline.fitting import check_fit
from headrace.pipeline.pointer import pointer
from headrace.pipeline.shape import Shape

CACHED = "cached"
_NAME = re.compile(r"[\w.:/-]+")
_RULE_SHARE, _RULE_MOST = 0.05, 0.25
_MODEL_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class Cached:
    """The last good answer of the same version to the same question, where it holds."""

    name: str = CACHED

    def reserve(self, deadline: float) -> float:
        """Seconds of the deadline that are kept for it."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same: an apology."""

    value: Any
    name: str = "constant"

    def reserve(self, deadline: float) -> float:
        """Seconds of the deadline that are kept for it."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """A function of the input, or of the input and the context."""

    function: Callable[..., Any]
    with_context: bool
    name: str

    def reserve(self, deadline: float) -> float:
        """Seconds of the deadline that are kept for it."""
        return min(deadline * _RULE_SHARE, _RULE_MOST)


@dataclass(frozen=True, slots=True)
class OtherModel:
    """The handler once more, with all its calls going to another model."""

    name: str

    def reserve(self, deadline: float) -> float:
        """Seconds of the deadline that are kept for it."""
        return deadline * _MODEL_SHARE


Fallback = Cached | Constant | Rule | OtherModel


def settle(given: Sequence[Fallback], models: Collection[str]) -> tuple[Fallback, ...]:
    """The same when all models are declared: a text is the name of one of them, or else an answer.

    Raises
    ------
    DeclarationError
        A name of nothing, or an answer that is nearly a name.
    """
    return tuple(_settled(one, models) for one in given)


def _settled(one: Fallback, models: Collection[str]) -> Fallback:
    if isinstance(one, Constant) and isinstance(one.value, str) and one.value in models:
        return OtherModel(one.value)
    if isinstance(one, Constant) and isinstance(one.value, str):
        _check_meant(one.value, models)
    if isinstance(one, OtherModel) and one.name not in models:
        raise DeclarationError(
            f"fallback={one.name!r:.80} is neither a declared model nor an answer of this endpoint",
            hint=f'{suggest(one.name, models)}; or give "cached", a function, or an answer of its type',
        )
    return one


def _check_meant(answer: str, models: Collection[str]) -> None:
    """Refuse an answer that looks like a misspelt name: users would be sent it."""
    near = nearest(answer, [*models, CACHED]) if _NAME.fullmatch(answer) else None
    if near is not None:
        raise DeclarationError(
            f"fallback={answer!r:.80} is no declared model, and would be sent as the answer",
            hint=f"did you mean {near!r}? if it is the answer, give a function: fallback=lambda ask: {answer!r:.80}",
        )


def parse(given: Any, shape: Shape, models: Collection[str]) -> tuple[Fallback, ...]:
    """The fallbacks of a declaration, in the order in which they are tried.

    Parameters
    ----------
    given
        None, one, or a list of: "cached", the name of a declared model (or the model), a function, an answer. A text
        that is no answer is the name of a model that is declared later: `settle` sees to it.

    Raises
    ------
    DeclarationError
        What can never answer: a function of other parameters or types, an answer that does not fit the endpoint's or
        cannot be written, "cached" of a stream.
    """
    if given is None:
        return ()
    many = cast("Sequence[Any]", given) if isinstance(given, list | tuple) else (given,)
    return tuple(_one(one, shape, models) for one in many)


def _one(given: Any, shape: Shape, models: Collection[str]) -> Fallback:
    if isinstance(given, str) and given == CACHED:
        if shape.streams:
            raise DeclarationError(
                'fallback="cached" never answers for an endpoint that streams: streams are not kept',
                hint="give a function, an answer, or a declared model",
            )
        return Cached()
    name = given if isinstance(given, str) else getattr(given, "name", None)
    if isinstance(name, str) and name in models:
        return OtherModel(name)
    if callable(given) and not isinstance(given, type):
        return _rule(given, shape)
    if isinstance(given, str) and not _fits(given, shape):
        return OtherModel(given)
    try:
        answer = shape.gives.validate_python(given, extra="forbid" if shape.exact else None)
        shape.gives.dump_json(answer)
    except PydanticSerializationError as error:
        raise DeclarationError(
            f"fallback={given!r:.80} cannot be written as JSON", hint="give an answer of plain data, or of a model"
        ) from error
    except ValidationError as error:
        known, first = ", ".join(sorted(models)) or "none", error.errors(include_url=False)[0]
        raise DeclarationError(
            f"fallback={given!r:.80} is neither a function nor an answer of this endpoint: "
            f"{first['msg']}{f' at {place}' if (place := pointer(first['loc'])) else ''}",
            hint=f'give "cached", a function, an answer of its type, or a declared model (there are: {known})',
        ) from error
    return Constant(answer)


def _fits(given: str, shape: Shape) -> bool:
    try:
        shape.gives.validate_python(given)
    except ValidationError:
        return False
    return True


def _rule(function: Callable[..., Any], shape: Shape) -> Rule:
    name = getattr(function, "__name__", "rule").strip("<>")
    count = len(inspect.signature(function).parameters)
    if count not in (1, 2):
        raise DeclarationError(
            f"the fallback {name!r} has {count} parameters", hint="write: def fallback(ask), or fallback(ask, ctx)"
        )
    check_fit(f"the fallback {name!r}", function, [shape.input_type], shape.answer_type)
    return Rule(function, count == 2, name)
