"""Every error that Headrace raises, as one tree.

    HeadraceError
    |-- DeclarationError      the app file says something that cannot be true
    |   |-- SqlError          the SQL of a view, rule or poll is outside the subset or names what is not there
    |-- ContractError         a contract file cannot be read or does not hold
    |-- SourceError           a source cannot be read
    |-- StoreError            the live store cannot be opened, written or trusted
    |   |-- StoreLocked       another process writes to this store
    |   |-- StoreFull         the disk is full; nothing was lost, nothing was acknowledged
    |   |-- MigrationRefused  the declaration changed in a way that stored rows cannot follow
    |-- Backpressure          the queue is full; try again after `retry_after` seconds
    |-- Unavailable           the process that would do it is not there now; try again after `retry_after` seconds
    |-- ReadError             a read cannot be answered
    |   |-- UnknownName       no such table, view or parameter
    |   |-- BadParameter      a parameter's value does not fit its type
    |   |-- StaleContext      the policy was to refuse, and the context is stale or unknown
    |-- PushError             a pushed body cannot be taken at all (one bad record is quarantined instead)
    |   |-- TooLarge          the body is over the size limit
    |   |-- Rejected          a rule with `on_violation="reject"` was violated; nothing of the request was applied
    |   |-- IdempotencyConflict  the key was used before with another body
    |-- HttpError             an HTTP exchange could not be done as HTTP says
    |   |-- Misuse            a handler or caller asked for something that HTTP/1.1 cannot carry
    |   |-- BodyRefused       the body of a request that is served is no HTTP, too large, too slow, or ended early
    |   |-- ExchangeError     a request to another server did not come to its end
    |   |   |-- Unreachable   no connection could be made; nothing was sent
    |   |   |-- PoolFull      no connection came free in time; nothing was sent
    |   |   |-- Interrupted   the connection ended before the head of the answer was there
    |   |   |-- Truncated     the connection ended inside the body of the answer
    |   |   |-- BadAnswer     the answer is no HTTP, or over a limit
    |   |   |-- TimedOut      a clock ran out; `clock` says which
    |-- ModelError            a model gave no (whole) answer
    |   |-- ModelRefused      no answer at all: `reason` and `failure` say why
    |   |-- StreamBroken      an answer that had begun broke off: what came is not all of it
    |   |-- BadReply          the answer came whole and is not what was asked for
    |-- EndpointError         a request to an endpoint was not answered as its handler would
    |   |-- BadInput          the request is not what the endpoint takes: what, where, and what to do
    |   |-- DeadlinePassed    its deadline passed before there was an answer
    |   |-- Overloaded        more is asked than the endpoint can do; try again after `retry_after` seconds
    |   |-- AnswerStale       what the answer was built on changed, and `on_stale` says to refuse
    |   |-- UserCodeError     code of the app raised: which endpoint, stage, version and request
    |-- MissingExtra          an optional part is not installed

Each carries a `hint`: what to do next, as one sentence.
"""

from __future__ import annotations

from typing import Any


class HeadraceError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message
        What happened, with the value.
    hint
        What to do next; shown after the message.

    Attributes
    ----------
    logged
        Whether the log has a line about it already, so that whoever ends its connection writes no second one.
    """

    logged = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class DeclarationError(HeadraceError):
    """The app file declares something that cannot be true.

    `where` is `file:line` of the user's declaration.
    """

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(message, hint=hint)
        self.where = where

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.where}: {text}" if self.where else text


class SqlError(DeclarationError):
    """SQL that is outside the documented subset, or that names a column or table that is not there."""


class ContractError(HeadraceError):
    """A contract file that cannot be read or written, or that does not follow the standard."""


class SourceError(HeadraceError):
    """A source cannot be read. `source` is its name; `permanent` says that trying again cannot help."""

    def __init__(self, message: str, *, hint: str = "", source: str = "", permanent: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.permanent = permanent


class StoreError(HeadraceError):
    """The live store cannot be opened, written or trusted."""


class StoreLocked(StoreError):
    """Another process already writes to this store."""


class StoreFull(StoreError):
    """The disk is full: nothing was lost and nothing was acknowledged."""


class MigrationRefused(StoreError):
    """The declaration changed in a way that the stored rows cannot follow."""


class Backpressure(HeadraceError):
    """The queue before the store is full. Try again after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Unavailable(HeadraceError):
    """The engine process cannot be reached now (starting, restarting, gone). Try again after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ReadError(HeadraceError):
    """A read cannot be answered."""


class UnknownName(ReadError):
    """No table, view, row or parameter of that name."""


class BadParameter(ReadError):
    """A parameter is missing, unknown, or its value does not fit the type."""


class StaleContext(ReadError):
    """The policy says refuse, and the context is stale or unknown.

    `answer` holds what would have been served (a `ContextValue`).
    """

    def __init__(self, message: str, *, answer: Any = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.answer = answer


class PushError(HeadraceError):
    """A pushed body cannot be taken at all. (A single bad record does not raise: it is quarantined.)"""


class TooLarge(PushError):
    """The body is over the size limit."""


class Rejected(PushError):
    """A rule with `on_violation="reject"` was violated: nothing of the request was applied."""

    def __init__(self, message: str, *, violations: list[dict[str, Any]], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.violations = violations


class IdempotencyConflict(PushError):
    """The idempotency key was used before with another body."""


class HttpError(HeadraceError):
    """An HTTP exchange could not be done as HTTP says."""


class Misuse(HttpError):
    """A handler or a caller asked for something that HTTP/1.1 cannot carry: a bug on this side of the connection."""


class BodyRefused(HttpError):
    """The body of a request that is served cannot be read to its end. `status` is what the client is told."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class ExchangeError(HttpError):
    """A request to another server did not come to its end.

    `sent` says whether any byte of the request may have reached it, `received` how many bytes of the answer came back,
    and `reused` whether the connection had carried a request before: together they say what may be tried again.
    """

    def __init__(
        self, message: str, *, hint: str = "", sent: bool = True, received: int = 0, reused: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.sent = sent
        self.received = received
        self.reused = reused


class Unreachable(ExchangeError):
    """No connection could be made. Nothing was sent."""


class PoolFull(ExchangeError):
    """All connections to this origin are busy, and none came free in time. Nothing was sent."""


class Interrupted(ExchangeError):
    """The connection ended before the head of the answer was there. The other side may or may not have acted."""


class Truncated(ExchangeError):
    """The connection ended inside the body of the answer: what came is not all of it."""


class BadAnswer(ExchangeError):
    """The answer is not valid HTTP, or is over a limit."""


class TimedOut(ExchangeError):
    """A clock ran out. `clock` is "connect", "first byte", "idle" or "deadline"."""

    def __init__(
        self, message: str, *, clock: str, hint: str = "", sent: bool = True, received: int = 0, reused: bool = False
    ) -> None:
        super().__init__(message, hint=hint, sent=sent, received=received, reused=reused)
        self.clock = clock


class ModelError(HeadraceError):
    """A model gave no answer, or none that is whole and of use."""


class ModelRefused(ModelError):
    """A call to a model ended without an answer.

    Attributes
    ----------
    reason
        A word: `deadline`, `shed`, `queue_full`, `rate_limited`, `no_credit`, `ejected`, `over_budget`, `set_aside`,
        `failed`, `cancelled` (see `models.action.Reason`).
    failure
        How the last attempt failed (see `models.failure.Failure`); empty when none was made.
    retry_after
        Seconds after which it may be worth trying again; None where it is not.
    status, body, upstream
        What the last one that answered said: its HTTP status (0: none did), the bytes of its body, and its name.
    attempts
        How many were made; None where that is not known.
    public
        The message as clients are told it: without addresses, and without what an upstream said to whoever runs this.
    unfit
        What a local model said of an input that it does not take, for whoever asked; empty: it is not that. Left alone,
        it is a `BadInput` of the request to the endpoint.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        failure: str = "",
        retry_after: float | None = None,
        status: int = 0,
        body: bytes = b"",
        upstream: str = "",
        attempts: int | None = None,
        public: str = "",
        unfit: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.public = public or message
        self.unfit = unfit
        self.reason = reason
        self.failure = failure
        self.retry_after = retry_after
        self.status = status
        self.body = body
        self.upstream = upstream
        self.attempts = attempts


class StreamBroken(ModelError):
    """An answer that had begun broke off: the upstream reset, stalled, said an error, or ended without its end mark.

    `failure` is the kind (see `models.failure.Failure`), `received` the bytes that had come, `attempts` how many were
    made until it began (None: not known); `public` is the message as clients are told it, as in `ModelRefused`.
    """

    def __init__(self, message: str, *, failure: str = "", received: int = 0, public: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.public = public or message
        self.failure = failure
        self.received = received
        self.attempts: int | None = None


class BadReply(ModelError):
    """The answer of a model came whole, and is not what was asked for: no JSON, or not of the type. `text` is it."""

    def __init__(self, message: str, *, text: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.text = text


class EndpointError(HeadraceError):
    """A request to an endpoint was not answered as its handler would have answered it."""


class BadInput(EndpointError):
    """The request is not what the endpoint takes.

    Attributes
    ----------
    status
        400 (no JSON at all, or not within its bounds), 408, 413, 415 or 422 (JSON that does not fit the type).
    problems
        One mapping a problem: `pointer` (a JSON pointer into the body), `message`, and `kind`, a stable word.

    Raises
    ------
    ValueError
        The status is another.
    """

    STATUSES = (400, 408, 413, 415, 422)

    def __init__(
        self, message: str, *, status: int = 422, problems: list[dict[str, str]] | None = None, hint: str = ""
    ) -> None:
        if status not in self.STATUSES:
            known = ", ".join(map(str, self.STATUSES))
            raise ValueError(f"status={status!r:.80} is none of a BadInput: give one of {known}")
        super().__init__(message, hint=hint)
        self.status = status
        self.problems = problems or []


class DeadlinePassed(EndpointError):
    """The deadline of the request passed before there was an answer. `stage` is where it was then."""

    def __init__(self, message: str, *, stage: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stage = stage


class Overloaded(EndpointError):
    """The endpoint has more to do than it can. `status` is 429 (this caller's share) or 503 (everybody's)."""

    def __init__(self, message: str, *, retry_after: float = 1.0, status: int = 503, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.status = status


class AnswerStale(EndpointError):
    """What the answer was built on changed before it was returned. `changed` says what, a sentence each."""

    def __init__(self, message: str, *, changed: list[str] | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.changed = changed or []


class UserCodeError(EndpointError):
    """Code of the app raised; its own exception, with its traceback, is the `__cause__`.

    Attributes
    ----------
    endpoint, stage, version, request
        Where: the path, the stage, the version of the handler, and the id of the request.
    """

    def __init__(
        self, message: str, *, endpoint: str = "", stage: str = "", version: str = "", request: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.endpoint = endpoint
        self.stage = stage
        self.version = version
        self.request = request


class MissingExtra(HeadraceError):
    """An optional part of Headrace is not installed. The hint holds the exact command."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}", hint=f'pip install "headrace[{extra}]"')
        self.extra = extra
