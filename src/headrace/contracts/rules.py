"""Row rules: what must hold between the columns of one record."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headrace.core.errors import DeclarationError
from headrace.core.options import options
from headrace.core.records import OnViolation

Check = str | Callable[[Any], Any]
"""A SQL expression over the columns, or a function of the validated record."""

WORDS = frozenset(
    [
        "type",
        "missing",
        "gt",
        "ge",
        "lt",
        "le",
        "multiple_of",
        "min_length",
        "max_length",
        "pattern",
        "enum",
        "finite",
        "range",
        "unique",
        "too_late",
        "too_early",
        "json",
        "bad_bytes",
        "unknown_field",
        "key_missing",
        "op",
        "validator",
    ]
)
"""The rules that are built in; a row rule needs a name of its own."""


@dataclass(frozen=True)
class Rule:
    """What must hold for a whole record.

    Parameters
    ----------
    check
        Either a SQL expression over the record's columns, with the meaning that it has in a view: false is a
        violation, true and NULL are not (as in a SQL CHECK). Or a function that takes the record: True or None is
        good, False or a message (str) is a violation, and so is an exception. SQL is the faster one (below a
        microsecond a record; a function makes every record a Pydantic object first).
    name
        How the rule is called in quarantine; the SQL text or the function's name when not given.
    on_violation
        See `OnViolation`. With "null" the `columns` are set to NULL.
    message
        What a person reads when the rule is broken.
    columns
        The columns that the rule is about; the first is shown with the violation.

    Raises
    ------
    DeclarationError
        When the rule cannot work; its SQL is checked when the table is declared.

    Examples
    --------
    >>> Rule("ends_at > starts_at", name="ends_after_start").name
    'ends_after_start'
    """

    check: Check
    name: str = ""
    on_violation: OnViolation = "quarantine"
    message: str = ""
    columns: tuple[str, ...] = ()

    @options
    def __init__(
        self,
        check: Check,
        *,
        name: str | None = None,
        on_violation: OnViolation = "quarantine",
        message: str = "",
        columns: str | tuple[str, ...] | list[str] = (),
    ) -> None:
        label = _default_name(check) if name is None else name.strip()
        _check_rule(check, label)
        check_policy(on_violation, f"the rule {label!r}")
        object.__setattr__(self, "check", check)
        object.__setattr__(self, "name", label)
        object.__setattr__(self, "on_violation", on_violation)
        object.__setattr__(self, "message", message)
        object.__setattr__(self, "columns", (columns,) if isinstance(columns, str) else tuple(columns))

    @property
    def sql(self) -> str | None:
        """The SQL expression, or None when the check is a function."""
        return self.check if isinstance(self.check, str) else None


def check_policy(policy: str, what: str) -> None:
    """Raise a DeclarationError when `policy` is not a word of `OnViolation`."""
    if policy not in ("quarantine", "null", "reject"):
        raise DeclarationError(
            f"{what} has on_violation={policy!r}", hint='use "quarantine" (the default), "null" or "reject"'
        )


def _default_name(check: Check) -> str:
    if isinstance(check, str):
        return " ".join(check.split())
    name = str(getattr(check, "__name__", ""))
    return "" if name == "<lambda>" else name


def _check_rule(check: Check, name: str) -> None:
    if not isinstance(check, str) and not callable(check):
        raise DeclarationError(f"a rule cannot be {check!r}", hint="give SQL text or a function of the record")
    if inspect.iscoroutinefunction(check):
        raise DeclarationError(
            f"the rule {name!r} is an async function", hint="a rule looks at one record and must not wait: use def"
        )
    if not name:
        raise DeclarationError(
            "a rule has no name or is empty", hint='name it: Rule(lambda r: r.a < r.b, name="a_before_b")'
        )
    if name in WORDS:
        raise DeclarationError(f"the name {name!r} belongs to a built-in rule", hint="give the rule another name")
