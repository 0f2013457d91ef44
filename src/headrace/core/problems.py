"""Errors on a wire: the problem document of an error (RFC 9457), and the error of a problem document.

HTTP answers, the bridge between processes and the remote client speak the same documents, so that an error raised in
the engine arrives in a client as the same class with the same hint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from headrace.core import errors
from headrace.core.errors import HeadraceError

PREFIX = "urn:headrace:problem:"
"""What every problem type begins with."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one class of errors is named and numbered."""

    error: type[HeadraceError]
    name: str
    title: str
    status: int


KINDS: tuple[Kind, ...] = (
    Kind(errors.UnknownName, "unknown-name", "No such name", 404),
    Kind(errors.BadParameter, "bad-parameter", "A parameter does not fit", 400),
    Kind(errors.StaleContext, "stale-context", "The context is not fresh", 503),
    Kind(errors.ReadError, "read-error", "The read cannot be answered", 400),
    Kind(errors.TooLarge, "too-large", "The body is too large", 413),
    Kind(errors.Rejected, "rejected", "The contract rejects the body", 422),
    Kind(errors.IdempotencyConflict, "idempotency-conflict", "The idempotency key was used with another body", 409),
    Kind(errors.PushError, "push-error", "The body cannot be taken", 400),
    Kind(errors.Backpressure, "backpressure", "Too much at once", 429),
    Kind(errors.Unavailable, "unavailable", "The engine cannot be reached", 503),
    Kind(errors.StoreFull, "store-full", "The disk is full", 507),
    Kind(errors.StoreLocked, "store-locked", "Another process writes to this store", 503),
    Kind(errors.MigrationRefused, "migration-refused", "The stored rows cannot follow the declaration", 500),
    Kind(errors.StoreError, "store-error", "The store cannot be used", 503),
    Kind(errors.SqlError, "sql-error", "The SQL is outside the subset", 400),
    Kind(errors.DeclarationError, "declaration-error", "The declaration cannot be true", 400),
    Kind(errors.ContractError, "contract-error", "The contract does not hold", 400),
    Kind(errors.SourceError, "source-error", "The source cannot be read", 502),
    Kind(errors.BadInput, "bad-input", "The request does not fit", 422),
    Kind(errors.DeadlinePassed, "deadline-passed", "There was no answer in time", 504),
    Kind(errors.Overloaded, "overloaded", "Too much at once", 503),
    Kind(errors.AnswerStale, "answer-stale", "What the answer was built on changed", 409),
    Kind(errors.UserCodeError, "user-code", "The app's own code failed", 500),
    Kind(errors.StreamBroken, "stream-broken", "The model's answer broke off", 502),
    Kind(errors.BadReply, "bad-reply", "The model's answer is not what was asked for", 502),
    Kind(errors.ModelError, "model-failed", "The model gave no answer", 502),
    Kind(errors.MissingExtra, "missing-extra", "An optional part is not installed", 501),
    Kind(HeadraceError, "error", "Something went wrong", 500),
)
"""Most specific first: the first kind whose class fits names the error."""

_BY_NAME = {kind.name: kind for kind in KINDS}


def to_problem(error: HeadraceError, *, request: str = "") -> dict[str, Any]:
    """The problem document of `error`: type, title, status, detail, hint and what the class carries.

    Parameters
    ----------
    request
        The id under which the server's log tells of it, if it does.

    >>> to_problem(errors.UnknownName("no view 'menus'", hint="did you mean 'menu'?"))["status"]
    404
    """
    kind = next(kind for kind in KINDS if isinstance(error, kind.error))
    document: dict[str, Any] = {
        "type": PREFIX + kind.name,
        "title": kind.title,
        "status": kind.status,
        "detail": error.public if isinstance(error, errors.ModelRefused | errors.StreamBroken) else error.message,
    }
    if error.hint:
        document["hint"] = error.hint
    if isinstance(error, errors.DeclarationError) and error.where:
        document["where"] = error.where
    if isinstance(error, errors.Rejected):
        document["violations"] = error.violations
    if isinstance(error, errors.Backpressure | errors.Unavailable):
        document["retry_after"] = error.retry_after
    if isinstance(error, errors.StaleContext) and error.answer is not None:
        document["answer"] = _ages(error.answer)
    if isinstance(error, errors.EndpointError | errors.ModelRefused):
        _endpoint(error, document)
    if request:
        document["request"] = request
        if document["status"] >= 500:
            document.setdefault("hint", f"look for request {request} in the server's log")
    return document


def _endpoint(error: errors.EndpointError | errors.ModelRefused, document: dict[str, Any]) -> None:
    """What the errors of endpoints carry. What the app's own code said stays in the log."""
    match error:
        case errors.BadInput():
            document["status"] = error.status
            if error.problems:
                document["problems"] = error.problems
        case errors.Overloaded():
            document["status"] = error.status
            document["retry_after"] = error.retry_after
        case errors.AnswerStale():
            document["changed"] = error.changed
        case errors.UserCodeError():
            document["detail"] = "the code of the endpoint failed"
            document["request"] = error.request
        case errors.ModelRefused():
            document["reason"] = error.reason
            document["status"] = _REASONS.get(error.reason, 502)
            if error.retry_after is not None:
                document["retry_after"] = error.retry_after
        case _:
            pass


_REASONS = {
    "deadline": 504,
    "shed": 503,
    "queue_full": 503,
    "no_credit": 503,
    "ejected": 503,
    "rate_limited": 429,
    "over_budget": 429,
    "set_aside": 429,
}
"""What a refusal by a model's policies is, as a status of HTTP."""


def from_problem(document: Mapping[str, Any]) -> HeadraceError:
    """The error that a problem document tells of; an unknown type becomes a plain `HeadraceError`.

    So does an error in the words of OpenAI, which is how the API of models below `/v1` tells of one.

    >>> from_problem({"type": "urn:headrace:problem:too-large", "detail": "5 MB"})
    TooLarge('5 MB')
    """
    kind = _BY_NAME.get(str(document.get("type", "")).removeprefix(PREFIX))
    detail = str(document.get("detail") or document.get("title") or _message(document))
    build = _BUILDERS.get(kind.name) if kind else None
    if build is not None:
        return build(detail, document)
    return (kind.error if kind else HeadraceError)(detail, hint=str(document.get("hint", "")))


def _message(document: Mapping[str, Any]) -> str:
    said = document.get("error")
    message = cast("Mapping[str, Any]", said).get("message") if isinstance(said, Mapping) else said
    return str(message or "the server answered with an error")


def misled(url: str) -> str:
    """What to do about an address of a server that is the one of its API of models; "" where it is not.

    >>> misled("http://127.0.0.1:8787/v1/"), misled("http://127.0.0.1:8787")
    ('give the root of the server: http://127.0.0.1:8787, without /v1', '')
    """
    root, _, last = url.rstrip("/").rpartition("/")
    return f"give the root of the server: {root}, without /v1" if last == "v1" else ""


def _ages(answer: Any) -> dict[str, Any]:
    """How old the refused answer would have been, without its rows: nobody should use them by accident."""
    if isinstance(answer, Mapping):
        given: dict[str, Any] = dict(answer)  # pyright: ignore[reportUnknownArgumentType]
    else:
        given = answer.to_dict()
    return {name: given[name] for name in ("as_of", "age_ms", "status", "inputs") if name in given}


_Builder = Callable[[str, Mapping[str, Any]], HeadraceError]

_BUILDERS: dict[str, _Builder] = {
    "rejected": lambda detail, doc: errors.Rejected(
        detail, violations=list(doc.get("violations", ())), hint=doc.get("hint", "")
    ),
    "backpressure": lambda detail, doc: errors.Backpressure(
        detail, retry_after=float(doc.get("retry_after", 1.0)), hint=doc.get("hint", "")
    ),
    "unavailable": lambda detail, doc: errors.Unavailable(
        detail, retry_after=float(doc.get("retry_after", 1.0)), hint=doc.get("hint", "")
    ),
    "stale-context": lambda detail, doc: errors.StaleContext(
        detail, answer=doc.get("answer"), hint=doc.get("hint", "")
    ),
    "declaration-error": lambda detail, doc: errors.DeclarationError(
        detail, hint=doc.get("hint", ""), where=doc.get("where", "")
    ),
    "sql-error": lambda detail, doc: errors.SqlError(detail, hint=doc.get("hint", ""), where=doc.get("where", "")),
    "bad-input": lambda detail, doc: errors.BadInput(
        detail,
        status=status if (status := doc.get("status")) in errors.BadInput.STATUSES else 422,
        problems=list(doc.get("problems", ())),
        hint=doc.get("hint", ""),
    ),
    "overloaded": lambda detail, doc: errors.Overloaded(
        detail,
        status=int(doc.get("status", 503)),
        retry_after=float(doc.get("retry_after", 1.0)),
        hint=doc.get("hint", ""),
    ),
    "answer-stale": lambda detail, doc: errors.AnswerStale(
        detail, changed=list(doc.get("changed", ())), hint=doc.get("hint", "")
    ),
    "user-code": lambda detail, doc: errors.UserCodeError(
        detail, request=str(doc.get("request", "")), hint=doc.get("hint", "")
    ),
    "model-failed": lambda detail, doc: (
        errors.ModelRefused(
            detail, reason=str(doc["reason"]), retry_after=doc.get("retry_after"), hint=doc.get("hint", "")
        )
        if "reason" in doc
        else errors.ModelError(detail, hint=doc.get("hint", ""))
    ),
    "missing-extra": lambda detail, doc: HeadraceError(detail, hint=doc.get("hint", "")),
}
