"""A context value as an HTTP answer: the body of `ContextValue.to_dict()`, and its age in headers too."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from headrace.context.value import ContextValue
from headrace.server.tokens import encode_readset

RawHeaders = list[tuple[bytes, bytes]]

_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")


def document(value: ContextValue, *, readset: bool = False) -> dict[str, Any]:
    """The answer as JSON-ready data, with its read-set token when asked."""
    answer = value.to_dict()
    if readset:
        answer["readset"] = encode_readset(value.readset)
    return answer


def render(value: ContextValue, *, readset: bool = False) -> tuple[bytes, RawHeaders]:
    """The body of an answer and its headers."""
    body = _encode(document(value, readset=readset))
    return body, [_JSON, (b"content-length", b"%d" % len(body)), _NO_STORE, *age_headers(value)]


def age_headers(value: ContextValue) -> RawHeaders:
    """`Headrace-Status`, and `Headrace-Age-Ms` when the age is known."""
    headers = [(b"headrace-status", value.status.value.encode())]
    if value.age_ms is not None:
        headers.append((b"headrace-age-ms", b"%.3f" % value.age_ms))
    return headers


def to_json(data: Any) -> bytes:
    """JSON bytes of plain data."""
    return _encode(data)


def json_response(data: Any, *, status: int = 200) -> Response:
    """A response of plain data that nobody on the way may keep."""
    return Response(
        _encode(data), status_code=status, media_type="application/json", headers={"cache-control": "no-store"}
    )
