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
    """

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


class MissingExtra(HeadraceError):
    """An optional part of Headrace is not installed. The hint holds the exact command."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}", hint=f'pip install "headrace[{extra}]"')
        self.extra = extra
