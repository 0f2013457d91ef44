"""The edge of an endpoint: from the bytes of a body to a value of its type, or what is wrong, where, and what to do.

What is refused as no JSON that anybody can rely on (400): an empty body, bytes that are no UTF-8, a field that is there
twice, `NaN` and infinities, numbers and nesting without end. What is JSON and does not fit the type is 422, with a JSON
pointer for each place.
"""

from __future__ import annotations

import json
import logging
import math
import re
from typing import Any, NoReturn, cast

from pydantic import ValidationError

from headrace.core.errors import BadInput, UserCodeError
from headrace.pipeline.bounds import Bounds
from headrace.pipeline.pointer import find
from headrace.pipeline.shape import Shape

log = logging.getLogger("headrace.pipeline")

_MOST_PROBLEMS = 20
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_PAIRS = re.compile(rb"(?:\[\]|\{\})+")
_BOM = b"\xef\xbb\xbf"


class Reader:
    """Reads the bodies of one endpoint.

    Examples
    --------
    >>> async def double(ask: int, ctx: object) -> int: return 2 * ask
    >>> from headrace.pipeline.shape import shape_of
    >>> Reader(shape_of(double, object), Bounds()).read(b"21")
    21
    """

    def __init__(self, shape: Shape, bounds: Bounds) -> None:
        self._shape = shape
        self._bounds = bounds
        # A type that says itself what becomes of unknown fields is not overruled.
        self._extra = "forbid" if shape.closed and not bounds.ignore_unknown else None

    def read(self, body: bytes) -> Any:
        """The input of a body.

        Raises
        ------
        BadInput
            With its status, and a problem for each place.
        """
        if len(body) > self._bounds.max_body:
            raise too_long(self._bounds.max_body)
        if not body.strip():
            raise _refused("the body is empty", "empty", hint="send JSON; /openapi.json says which")
        self._scan(body)
        try:
            return self._shape.takes.validate_json(body, extra=cast("Any", self._extra))
        except ValidationError as error:
            raise _unfit(error, body) from None

    def check(self, value: Any) -> Any:
        """The input of a Python value: of its type, or plain data."""
        try:
            if isinstance(value, bytes):
                return self.read(value)
            return self._shape.takes.validate_python(value, extra=cast("Any", self._extra))
        except ValidationError as error:
            raise _unfit(error, value) from None

    def _scan(self, body: bytes) -> None:
        """What Pydantic's parser lets through, or tells without saying where."""
        if body.startswith(_BOM):
            raise _refused("the body begins with a byte order mark", "encoding", hint="send UTF-8 without it")
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise _refused(
                f"the body is not UTF-8: byte {body[error.start]:#04x} at offset {error.start}",
                "encoding",
                hint="send UTF-8, whatever the charset of the content type says",
            ) from None
        try:
            json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
        except json.JSONDecodeError as error:
            raise _refused(
                f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
                "syntax",
                hint="send one JSON value",
            ) from None
        except RecursionError:
            raise self._too_deep() from None
        except ValueError:
            raise _refused("the body holds a number of thousands of digits", "number", hint="send it as text") from None
        if body.count(b"[") + body.count(b"{") > self._bounds.max_depth:
            self._check_depth(body)

    def _check_depth(self, body: bytes) -> None:
        """Take the innermost pairs away, so many times as there may be levels: nothing must be left."""
        left = _STRING.sub(b"", body).translate(None, _OTHERS)
        for _ in range(self._bounds.max_depth):
            if not left:
                return
            left = _PAIRS.sub(b"", left)
        if left:
            raise self._too_deep()

    def _too_deep(self) -> BadInput:
        most = self._bounds.max_depth
        return _refused(f"the body is nested deeper than {most} levels", "depth", hint=f"send at most {most} levels")


def too_long(most: int) -> BadInput:
    """The body is longer than `most` bytes."""
    problems = [{"pointer": "", "kind": "length", "message": f"at most {most} bytes"}]
    return BadInput(f"the body is over {most:,} bytes", status=413, problems=problems, hint="send less")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _refused(f"the field {twice!r:.100} is there twice in one object", "duplicate", hint="send it once")
    return found


def _constant(word: str) -> NoReturn:
    raise _refused(f"{word} is not JSON", "number", hint="send null, or a number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _refused(f"{text:.80} is larger than a number can be", "number", hint="send it as text")
    return number


def broken(error: Exception, endpoint: str, request: str) -> UserCodeError:
    """The fault of a validator of the input's type, which is code of the app: logged, and where it was."""
    place = f"a validator of the input of {endpoint} raised {type(error).__name__}"
    log.error("request %s: %s", request, place, exc_info=error)
    blamed = UserCodeError(
        place,
        endpoint=endpoint,
        stage="preprocess",
        request=request,
        hint=f"look for request {request} in the server's log",
    )
    blamed.logged = True
    return blamed


def _refused(message: str, kind: str, *, hint: str) -> BadInput:
    return BadInput(message, status=400, problems=[{"pointer": "", "kind": kind, "message": message}], hint=hint)


def _unfit(error: ValidationError, given: Any) -> BadInput:
    found = error.errors(include_url=False, include_context=False, include_input=True)
    if found[0]["type"] == "json_invalid":
        return _refused(f"the body is not JSON: {found[0]['msg']}", "syntax", hint="send one JSON value")
    parsed = isinstance(given, bytes)
    document = json.loads(given) if parsed else given
    problems = [_problem(document, one, parsed=parsed) for one in found[:_MOST_PROBLEMS]]
    first = problems[0]
    where = f" at {first['pointer']}" if first["pointer"] else ""
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    unknown = first["kind"] == "extra_forbidden"
    return BadInput(
        f"the body does not fit{where}: {first['message']}{more}",
        status=422,
        problems=problems,
        hint="leave the field out, or correct its name" if unknown else "see /openapi.json for what it takes",
    )


def _problem(document: Any, one: Any, *, parsed: bool) -> dict[str, str]:
    spot = find(document, one["loc"], one["input"], parsed=parsed, missing=one["type"] == "missing")
    read_as = f" (read as {', '.join(spot.read_as):.100})" if spot.read_as else ""
    return {"pointer": spot.pointer, "kind": one["type"], "message": f"{_say(one)}{read_as}"}


def _say(one: Any) -> str:
    if one["type"] == "extra_forbidden":
        return "there is no such field"
    if one["type"] == "missing":
        return "the field is missing"
    given = one["input"]
    shown = f", not {given!r:.60}" if given is None or isinstance(given, str | int | float | bool) else ""
    return f"{one['msg']}{shown}"
