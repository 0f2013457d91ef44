"""Request bodies: read in pieces, bounded in size and time, and only of a kind that is JSON."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
from starlette.requests import ClientDisconnect, Request

from headrace.core.errors import BadParameter, TooLarge
from headrace.server.problem import Problem

JSON_TYPES = frozenset({"application/json"})
PUSH_TYPES = JSON_TYPES | {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}


class Refused(Exception):
    """The request cannot be read; carries the problem to answer with."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


async def read_body(request: Request, *, limit: int, timeout: float, types: frozenset[str]) -> bytes:
    """The whole body, never holding more than `limit` bytes of it.

    Raises
    ------
    TooLarge
        The body is, or says that it is, larger than `limit` bytes.
    Refused
        415 for another content type, 408 when it did not arrive within `timeout` seconds.
    """
    _check_type(request, types)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(timeout):
            return await _collect(request, limit)
    except TimeoutError:
        raise Refused(_SLOW) from None
    except ClientDisconnect:
        raise Refused(_GONE) from None


async def _collect(request: Request, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


def _check_type(request: Request, types: frozenset[str]) -> None:
    """A form or plain text is refused: a foreign web page can send those to this machine without asking first."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given in types or (given.startswith("application/") and given.endswith("+json")):
        return
    raise Refused(
        Problem(
            415,
            "unsupported-media-type",
            "The body is not sent as JSON",
            f"the Content-Type is {given!r}" if given else "there is no Content-Type",
            hint="send Content-Type: application/json (curl: --json)",
        )
    )


async def read_object(request: Request, *, limit: int, timeout: float) -> dict[str, Any]:
    """The JSON object of a request. Raises what `read_body` raises, and `BadParameter`."""
    return _decode_object(await read_body(request, limit=limit, timeout=timeout, types=JSON_TYPES))


def _decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises `BadParameter`."""
    try:
        data: Any = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise BadParameter(f"the body is not JSON: {error}", hint="send one JSON object") from error
    except RecursionError:
        raise BadParameter("the body is nested too deeply", hint="send one JSON object") from None
    if not isinstance(data, dict):
        raise BadParameter("the body is not a JSON object", hint="send one JSON object")
    return cast("dict[str, Any]", data)


def take(data: dict[str, Any], name: str, kind: type | tuple[type, ...], what: str) -> Any:
    """The member `name` of a body, or None; raises `BadParameter` when it is not `what`."""
    value = data.get(name)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise BadParameter(f"{name!r} is not {what}", hint=f"send {what}")


def only(data: dict[str, Any], names: frozenset[str]) -> None:
    """Raise `BadParameter` when a body has members that nobody reads: they are mostly misspelt."""
    unknown = sorted(data.keys() - names)
    if unknown:
        raise BadParameter(
            f"the body has unknown members: {', '.join(unknown)[:200]}", hint=f"there are: {', '.join(sorted(names))}"
        )


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is over {limit:,} bytes", hint="send it in smaller parts")


_SLOW = Problem(408, "body-timeout", "The body did not arrive in time", "the client sends too slowly")
_GONE = Problem(400, "disconnected", "The client went away", "the connection ended before the body did")
