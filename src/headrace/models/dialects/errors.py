"""Errors as the dialects write them: in the body of a refusal, in an answer that says 200, or within a stream.

OpenAI      {"error": {"message": "...", "type": "...", "param": null, "code": "..."}}
Anthropic   {"type": "error", "error": {"type": "...", "message": "..."}}
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from headrace.models.failure import Failure, classify
from headrace.models.request import Dialect

_STATUS = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limited": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
    "billing_error": 402,
    "overloaded_error": 529,
    "overloaded": 529,
    "server_overloaded": 503,
    "service_unavailable": 503,
    "timeout_error": 504,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def read_error(error: object, status: int = 0) -> tuple[Failure, str]:
    """What an `error` object says about the upstream, and its message.

    Parameters
    ----------
    error
        The object, or whatever stands there.
    status
        The HTTP status of a refusal; 0 when the error came with a success.

    Examples
    --------
    >>> read_error({"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"})
    (<Failure.RATE_LIMITED: 'rate_limited'>, 'slow down')
    >>> read_error({"type": "overloaded_error", "message": "Overloaded"})[0]
    <Failure.OVERLOADED: 'overloaded'>
    >>> read_error({"message": "x", "code": "insufficient_quota"}, 429)[0], read_error("?")[0]
    (<Failure.QUOTA: 'quota'>, <Failure.SERVER_ERROR: 'server_error'>)
    """
    found: dict[str, Any] = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
    code, kind = found.get("code"), found.get("type")
    words = [word for word in (code, kind) if isinstance(word, str)]
    if not status:
        status = code if isinstance(code, int) and 400 <= code <= 599 else 0
        status = status or next((_STATUS[word] for word in words if word in _STATUS), 500)
    failures = [classify(status, word) for word in words] or [classify(status)]
    failure = Failure.QUOTA if Failure.QUOTA in failures else failures[0]
    if isinstance(error, str):
        return failure or Failure.SERVER_ERROR, error
    message = found.get("message")
    return failure or Failure.SERVER_ERROR, message if isinstance(message, str) else ""


def error_of(body: bytes) -> Any:
    """The error that the body of a refusal tells; None when it is no such document."""
    found = document_of(body)
    if found is None:
        return None
    # FastAPI's servers say `detail`, vLLM's older ones put the fields at the top.
    return found.get("error") or found.get("detail") or (found if "message" in found else None)


def document_of(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body is; None where it is something else: a page of a proxy, say."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def type_of(status: int) -> str:
    """What Anthropic calls an error with such a status.

    >>> type_of(529), type_of(502), type_of(405)
    ('overloaded_error', 'api_error', 'invalid_request_error')
    """
    return _TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


def write_error(dialect: Dialect, status: int, message: str, *, code: str | None = None) -> bytes:
    """The body of a refusal, as a client of the dialect expects it.

    >>> write_error(Dialect.MESSAGES, 529, "full")
    b'{"type":"error","error":{"type":"overloaded_error","message":"full"}}'
    >>> write_error(Dialect.CHAT, 404, "no such model", code="model_not_found")
    b'{"error":{"message":"no such model","type":"not_found_error","param":null,"code":"model_not_found"}}'
    """
    kind = type_of(status)
    if dialect is Dialect.MESSAGES:
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
