"""Asking an endpoint over HTTP: what a client sends, and what it reads from the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import TypeAdapter

from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import StreamBroken
from headrace.core.problems import from_problem
from headrace.pipeline.answer import Asked
from headrace.pipeline.ask import parse_priority
from headrace.pipeline.typed import typed

EVENTS = "text/event-stream"

_ANY = TypeAdapter[Any](Any)


def body_of(data: Any) -> bytes:
    """The JSON of an input: plain data, or models, dataclasses and the like."""
    return data if isinstance(data, bytes) else _ANY.dump_json(data)


def headers_of(*, user: str, session: str, tenant: str, priority: str, timeout: Duration | None) -> dict[str, str]:
    """The headers that say who asks, and for how long."""
    given = {"x-headrace-user": user, "x-headrace-session": session, "x-headrace-tenant": tenant}
    headers = {name: value for name, value in given.items() if value}
    headers["x-headrace-priority"] = parse_priority(priority).name.lower()
    if timeout is not None:
        headers["x-request-timeout-ms"] = str(max(1, parse_duration(timeout) // 1000))
    return headers


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
    for name, data in _events(body):
        if name == "error":
            raise from_problem(msgspec.json.decode(data, type=dict[str, Any]))
        if name == "headrace":
            return _told(_as(items, response), headers, msgspec.json.decode(data, type=dict[str, Any]))
        items.append(msgspec.json.decode(data))
    raise StreamBroken("the stream of the endpoint ended without its last event", received=len(body))


def _events(body: bytes) -> list[tuple[str, bytes]]:
    """Events as name and data; the last one only if it is complete."""
    found: list[tuple[str, bytes]] = []
    *whole, _ = body.replace(b"\r\n", b"\n").split(b"\n\n")
    for block in whole:
        fields = [line.partition(b": ") for line in block.split(b"\n")]
        name = next((value.decode() for field, _, value in fields if field == b"event"), "")
        found.append((name, b"\n".join(value for field, _, value in fields if field == b"data")))
    return found


def _told(value: Any, headers: Mapping[str, str], facts: dict[str, Any]) -> Asked:
    return Asked(
        value=value,
        version=facts["version"],
        request_id=facts["request_id"],
        unchanged_as_of=facts["unchanged_as_of"],
        stale=facts["stale"],
        changed=tuple(facts["changed"]),
        retries=facts["retries"],
        fallback=facts["fallback"],
        cache=headers.get("x-headrace-cache"),
    )


def _as(value: Any, response: Any) -> Any:
    return value if response is None else typed(response).adapter.validate_python(value)
