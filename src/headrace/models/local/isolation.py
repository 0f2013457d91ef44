"""One bad input must not take its batch with it: a batch that fails is halved until what fails stands alone.

k bad inputs among n cost about 2 k log2(n) calls more. Whose fault a failure is, is judged by what the others did:

- others of the same batch were answered: the input is to blame;
- it was alone, or all failed: the input is to blame for a `ValueError`, `TypeError` or `LookupError`, by which Python
  code says that it cannot do with what it got; else the model is.
"""

from __future__ import annotations

import enum
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.models.local.values import NotJson, items_of, to_json

_OF_INPUT = (ValueError, TypeError, LookupError)


class Fate(enum.IntEnum):
    """What became of one input; the numbers cross the wire."""

    ANSWERED = 0
    BAD_INPUT = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one input: its output as JSON, or the message of what went wrong, with the user's traceback."""

    fate: Fate
    data: bytes
    trace: str = ""


@dataclass(frozen=True, slots=True)
class _Broken:
    """A call that gave no outputs; `of_model`: whatever the inputs were."""

    error: Exception
    of_model: bool = False


def answer_json(
    call: Callable[[list[Any]], Any], inputs: Sequence[bytes], may_go_on: Callable[[], bool] = lambda: True
) -> list[Outcome]:
    """The outcome of each input, which is JSON text, in order.

    >>> [outcome.fate.name for outcome in answer_json(lambda batch: batch, [b"1", b"{", b"[]"])]
    ['ANSWERED', 'BAD_INPUT', 'ANSWERED']
    """
    outcomes: list[Outcome | None] = []
    values: list[Any] = []
    for data in inputs:
        try:
            values.append(msgspec.json.decode(data))
            outcomes.append(None)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            outcomes.append(Outcome(Fate.BAD_INPUT, f"the input is no JSON: {error}".encode()))
    of_model = iter(answer(call, values, may_go_on) if values else ())
    return [outcome if outcome is not None else next(of_model) for outcome in outcomes]


def answer(
    call: Callable[[list[Any]], Any], inputs: Sequence[Any], may_go_on: Callable[[], bool] = lambda: True
) -> list[Outcome]:
    """The outcome of each input, in order.

    Parameters
    ----------
    call
        The model: a list of inputs to as many outputs.
    may_go_on
        Whether there is time to halve a batch that failed; without, all that is left of it fails.

    Examples
    --------
    >>> for outcome in answer(lambda batch: [1 / x for x in batch], [1, 0, 4]):
    ...     print(outcome.fate.name, outcome.data)
    ANSWERED b'1.0'
    BAD_INPUT b'ZeroDivisionError: division by zero'
    ANSWERED b'0.25'
    """
    results = _run(call, list(inputs), may_go_on)
    answered = any(not isinstance(result, _Broken) for result in results)
    return [_outcome(result, others_answered=answered) for result in results]


def one_by_one(model: Callable[[Any], Any]) -> Callable[[list[Any]], Any]:
    """A model that takes one input, as one that takes a list."""
    return lambda inputs: [model(value) for value in inputs]


def _run(call: Callable[[list[Any]], Any], inputs: list[Any], may_go_on: Callable[[], bool]) -> list[Any]:
    """An output or `_Broken` for each input."""
    outputs = _attempt(call, inputs)
    if not isinstance(outputs, _Broken):
        return list(outputs)
    if len(inputs) == 1 or outputs.of_model:
        return [outputs] * len(inputs)
    if not may_go_on():
        return [_Broken(outputs.error, of_model=True)] * len(inputs)
    half = len(inputs) // 2
    return _run(call, inputs[:half], may_go_on) + _run(call, inputs[half:], may_go_on)


def _attempt(call: Callable[[list[Any]], Any], inputs: list[Any]) -> Sequence[Any] | _Broken:
    try:
        outputs = call(list(inputs))  # a copy: the model may take its list apart
    # The boundary to the model: it can raise anything.
    except Exception as error:
        return _Broken(error)
    try:
        outputs = items_of(outputs)
    # Still the boundary: arrays are turned into lists by code of theirs.
    except Exception as error:
        return _Broken(error, of_model=True)
    if len(outputs) != len(inputs):
        wrong = f"the model returned {len(outputs)} outputs for {len(inputs)} inputs"
        return _Broken(RuntimeError(wrong), of_model=True)
    return outputs


def _outcome(result: Any, *, others_answered: bool) -> Outcome:
    if isinstance(result, _Broken):
        of_input = not result.of_model and (others_answered or isinstance(result.error, _OF_INPUT))
        return Outcome(Fate.BAD_INPUT if of_input else Fate.FAILED, described(result.error), _trace(result.error))
    try:
        return Outcome(Fate.ANSWERED, to_json(result))
    except NotJson as error:
        return Outcome(Fate.FAILED, f"the model's output has {error}".encode(errors="replace"))
    # The boundary to the classes of what the model returned.
    except Exception as error:
        return Outcome(Fate.FAILED, b"the model's output is not JSON: " + described(error), _trace(error))


def described(error: BaseException) -> bytes:
    """The class of an error and what it says, in UTF-8."""
    return f"{type(error).__name__}: {error}".removesuffix(": ").encode(errors="replace")


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
