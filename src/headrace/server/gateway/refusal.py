"""What a model's refusal means to a client: which status, in which words, and whether another try can help."""

from __future__ import annotations

from dataclasses import replace

from headrace.core.errors import BodyRefused, ModelRefused, StreamBroken
from headrace.http1.headers import Field
from headrace.http1.request import Request
from headrace.http1.response import Response
from headrace.models.action import Reason
from headrace.models.dialects.errors import document_of
from headrace.models.failure import Failure
from headrace.models.request import Dialect
from headrace.server.gateway.complaint import JSON, Complaint
from headrace.server.problem import MEDIA_TYPE, Problem

_OWN = frozenset({Failure.BAD_REQUEST, Failure.MISSING, Failure.RATE_LIMITED, Failure.QUOTA})
"""What an upstream says of the request itself, in words that its client is to read: its status and body are passed on,
where that is JSON: a page of HTML is of no use to a client, and may say how things are called inside.

Not so 401 and 403: they are about the key of this server, and a client would take them for its own."""

_CODES = {401: "invalid_api_key", 408: "timeout", 413: "request_too_large", 503: "overloaded"}
_HINTS = {413: "send less in one request: fewer messages, or shorter ones"}
"""What to do about it, where another advice than elsewhere holds for a prompt: it has no parts."""
_PASSING = frozenset({408, 429, 500, 503})
"""What another try may help against."""


def passed_on(error: ModelRefused) -> bool:
    """Whether a client is told what an upstream said, in its words."""
    return (
        error.reason == Reason.FAILED
        and error.failure in _OWN
        and 400 <= error.status < 500
        and (document_of(error.body) is not None)
    )


def answer(error: ModelRefused, dialect: Dialect, headers: list[Field]) -> Response:
    """The answer to a request that got none from its model."""
    if passed_on(error):
        fields = [JSON, *headers]
        if error.retry_after is not None:
            fields.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
        if error.failure != Failure.RATE_LIMITED:
            fields.append((b"x-should-retry", b"false"))
        return Response(error.status, fields, error.body)
    return complaint(error).response(dialect, headers)


def complaint(error: ModelRefused) -> Complaint:
    """A refusal in our own words.

    >>> complaint(ModelRefused("too late", reason="deadline")).status
    504
    """
    if error.reason == Reason.DEADLINE or (error.reason == Reason.FAILED and error.failure == Failure.TIMEOUT):
        return Complaint(504, error.public, kind="server_error", code="timeout", retry_after=error.retry_after)
    if error.reason in (Reason.RATE_LIMITED, Reason.SET_ASIDE):
        return _limited(error)
    if error.reason in (Reason.OVER_BUDGET, Reason.NO_CREDIT):
        return _poor(error)
    if error.reason in (Reason.SHED, Reason.QUEUE_FULL, Reason.EJECTED) or error.failure == Failure.OVERLOADED:
        wait = 1.0 if error.retry_after is None else error.retry_after
        return Complaint(503, error.public, kind="server_error", code="overloaded", retry_after=wait)
    if error.failure == Failure.RATE_LIMITED:
        return _limited(error)
    if error.failure == Failure.QUOTA:
        return _poor(error)
    if error.failure == Failure.BAD_REQUEST:
        hint = error.hint or ("the log of this server has what it said" if error.status else "")
        hint = f"; {hint}" if hint else ""
        return Complaint(400, f"{error.public}{hint}", code="invalid_request", retry=False)
    if error.failure == Failure.MISSING and not error.status:
        return Complaint(404, error.public, code="model_not_found", retry=False)
    if error.failure == Failure.CREDENTIALS:
        # What the upstream says is about the key of this server, and often holds a part of it.
        said = "no upstream took the key that this server has for it; whoever runs it must see to that"
        return Complaint(502, said, kind="server_error", code="upstream_failed", retry=False)
    if error.failure == Failure.MISSING:
        # It is the address that is wrong: who lacks the model says so in JSON.
        said = f"{error.public}; whoever runs this server must see to that"
        return Complaint(502, said, kind="server_error", code="upstream_failed", retry=False)
    again = error.failure != Failure.MALFORMED  # it would be malformed again
    return Complaint(502, error.public, kind="server_error", code="upstream_failed", retry=again)


def body(error: BodyRefused) -> Complaint:
    """The connection will not read the body on."""
    code = _CODES.get(error.status)
    if error.status == 503:
        return Complaint(503, error.message, kind="server_error", code=code, retry_after=1.0)
    return Complaint(error.status, error.message, code=code, retry=False)


def outside(problem: Problem) -> Complaint:
    """What is refused before the gateway sees it: by the gate, or by the connection.

    >>> outside(Problem(503, "busy", "Too many requests at once", "it has 5", hint="try again")).message
    'Too many requests at once: it has 5; try again'
    """
    status = problem.status
    hint = _HINTS.get(status, problem.hint)
    hint = f"; {hint}" if hint else ""
    complaint = Complaint(
        status,
        f"{problem.title}: {problem.detail}{hint}",
        kind="server_error" if status >= 500 else "invalid_request_error",
        code=_CODES.get(status, problem.name.replace("-", "_")),
        retry=status in _PASSING,
    )
    for name, value in problem.headers:
        if name == b"retry-after":
            complaint.retry_after = float(value)
        elif name != b"www-authenticate":  # every 401 has it
            complaint.headers.append((name, value))
    return complaint


def unread(problem: Problem) -> Response:
    """What is refused before anything was read, so that nobody knows whose client it is: a problem as everywhere else.

    With the member that clients of models show: OpenAI's library is silent about a body without it.
    """
    told = replace(problem, members=problem.members | outside(problem).document(Dialect.CHAT))
    return Response(told.status, [(b"content-type", MEDIA_TYPE.encode()), *told.headers], told.body)


def spoken(request: Request) -> Dialect:
    """Whose client it is, where the path does not say: Anthropic's names a version with every request."""
    anthropic = request.path.startswith(b"/v1/messages") or request.header(b"anthropic-version") is not None
    return Dialect.MESSAGES if anthropic else Dialect.CHAT


def _limited(error: ModelRefused) -> Complaint:
    return Complaint(429, error.public, kind="requests", code="rate_limit_exceeded", retry_after=error.retry_after)


def _poor(error: ModelRefused) -> Complaint:
    quota = "insufficient_quota"
    return Complaint(429, error.public, kind=quota, code=quota, retry_after=error.retry_after, retry=False)


def broken(error: StreamBroken) -> Complaint:
    """A stream that broke off, for its last event."""
    message = f"the stream broke off and is not complete: {error.public}"
    return Complaint(502, message, kind="server_error", code="stream_broken")
