"""Asking an endpoint over HTTP: what a client sends, and what it reads from the answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from headrace.core.carried import is_name, is_value
from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import BadInput, StreamBroken
from headrace.core.events import ReadAge
from headrace.core.finite import misread
from headrace.core.problems import from_problem
from headrace.models.dialects.sse import Splitter, parse
from headrace.pipeline.answer import Asked
from headrace.pipeline.ask import parse_priority
from headrace.pipeline.typed import typed

EVENTS = "text/event-stream"

_ENDLESS = "the stream of the endpoint ended without its last event"

_ANY = TypeAdapter[Any](Any)


def body_of(data: Any) -> bytes:
    """The JSON of an input: plain data, or models, dataclasses and the like, whose fields go by their aliases.

    Raises
    ------
    BadInput
        It holds a number that JSON cannot hold, or something else that cannot be written.
    """
    if isinstance(data, bytes):
        return data
    try:
        body = _ANY.dump_json(data, by_alias=True)
    except PydanticSerializationError as error:
        raise _unsent(f"the input {data!r:.80} cannot be written as JSON: {error}", "") from None
    where = misread(data, body)
    if where is not None:
        raise _unsent(f"the input holds NaN or an infinity at {where or '/'}, which JSON cannot hold", where)
    return body


def _unsent(message: str, where: str) -> BadInput:
    problems = [{"pointer": where, "kind": "number" if where else "syntax", "message": message}]
    return BadInput(message, status=400, problems=problems, hint="send plain data, and None for what is not known")


def headers_of(
    *,
    user: str,
    session: str,
    tenant: str,
    priority: str,
    timeout: Duration | None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers that say who asks, and for how long; and those that are for the handler.

    Raises
    ------
    BadInput
        No header can carry a value.
    """
    who = {name: value for name, value in (("user", user), ("session", session), ("tenant", tenant)) if value}
    for name, value in {**who, **(headers or {})}.items():
        if not is_name(name):
            raise BadInput(
                f"{name!r:.80} is not the name of a header",
                status=400,
                problems=[{"pointer": "", "kind": "header", "message": f"{name!r:.80} is no name of one"}],
                hint='use letters, digits and "-": for example "x-shop"',
            )
        if not is_value(value):
            raise BadInput(
                f"{name}={value!r:.80} cannot be sent, since it goes as a header",
                status=400,
                problems=[{"pointer": "", "kind": "header", "message": f"{name}={value!r:.80} is none"}],
                hint="give ASCII characters in one line without blanks at its ends: an id, or percent-encoded text",
            )
    sent = {f"x-headrace-{name}": value for name, value in who.items()}
    sent["x-headrace-priority"] = parse_priority(priority).name.lower()
    if timeout is not None:
        sent["x-request-timeout-ms"] = str(max(1, parse_duration(timeout) // 1000))
    return sent | dict(headers or {})


def read(headers: Mapping[str, str], body: bytes, response: Any) -> Asked:
    """The answer of a response that was a success.

    Raises
    ------
    StreamBroken
        A stream that did not come to its end; or what its event `error` tells of.
    """
    if not headers.get("content-type", "").startswith(EVENTS):
        return Asked.from_headers(_as(msgspec.json.decode(body), response), headers)
    items: list[Any] = []
    for name, data in Reader().feed(body):
        found = _told(name, data, headers)
        if isinstance(found, Asked):
            return replace(found, value=_as(items, response))
        items.append(found)
    raise StreamBroken(_ENDLESS, received=len(body))


async def pieces(headers: Mapping[str, str], body: AsyncIterator[bytes]) -> AsyncGenerator[Any]:
    """The pieces of an answer as they come, and what is to be said of it.

    Raises
    ------
    StreamBroken
        The stream did not come to its end; or what its event `error` tells of.
    """
    if not headers.get("content-type", "").startswith(EVENTS):
        whole = b"".join([piece async for piece in body])
        yield msgspec.json.decode(whole)
        yield Asked.from_headers(None, headers)
        return
    reader, received = Reader(), 0
    async for piece in body:
        received += len(piece)
        for name, data in reader.feed(piece):
            found = _told(name, data, headers)
            yield found
            if isinstance(found, Asked):
                return
    raise StreamBroken(_ENDLESS, received=received)


class Reader:
    r"""Events as name and data from the pieces of a stream, however it is cut.

    >>> reader = Reader()
    >>> reader.feed(b"data: 1\r"), reader.feed(b"\n\r\nevent: headrace\ndata: {}\n\ndata: 2")
    ([], [('', b'1'), ('headrace', b'{}')])
    """

    def __init__(self) -> None:
        self._splitter = Splitter()

    def feed(self, piece: bytes) -> list[tuple[str, bytes]]:
        """Those that are complete with this piece."""
        return [(name.decode(), data) for name, data in map(parse, self._splitter.feed(piece)) if data]


def _told(name: str, data: bytes, headers: Mapping[str, str]) -> Any:
    """An item; or what is to be said of the answer, which is its end."""
    if name == "error":
        raise from_problem(msgspec.json.decode(data, type=dict[str, Any]))
    if name != "headrace":
        return msgspec.json.decode(data)
    facts = msgspec.json.decode(data, type=dict[str, Any])
    return Asked(
        value=None,
        version=facts["version"],
        request_id=facts["request_id"],
        unchanged_as_of=facts["unchanged_as_of"],
        stale=facts["stale"],
        changed=tuple(facts["changed"]),
        stale_detail=tuple(facts["stale_detail"]),
        retries=facts["retries"],
        fallback=facts["fallback"],
        made_at=facts.get("made_at"),
        cache=headers.get("x-headrace-cache"),
        reads=tuple(ReadAge(one["name"], one["age_ms"], one["status"]) for one in facts["reads"]),
        stages={name: ms / 1000 for name, ms in facts["stages"].items()},
    )


def _as(value: Any, response: Any) -> Any:
    return value if response is None else typed(response).of(value)
