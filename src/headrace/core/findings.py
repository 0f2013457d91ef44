"""What an examination finds: one fact about the world around an app, what it means, and what mends it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Grade(enum.StrEnum):
    """What a fact means for the app."""

    OK = "ok"
    WARNING = "warning"
    """It works, and something can go wrong later, or costs more than it need."""
    PROBLEM = "problem"
    """It does not work like this."""
    UNKNOWN = "unknown"
    """It could not be told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    subject
        Whose it is: "data folder", "table items", "postgres db:5432/shop".
    what
        What was looked at, in the outside world's own word: "wal_level", "replica identity".
    value
        What was found there.
    message
        What it means and what to do, as sentences; empty where the value says it all.
    mend
        The exact statements or commands that mend it, in order.
    safe
        Whether `mend` is a list of statements that `headrace doctor --fix` may run: they delete nothing, restart
        nothing and cannot make anybody's writes fail.
    """

    subject: str
    what: str
    grade: Grade
    value: str = ""
    message: str = ""
    mend: tuple[str, ...] = ()
    safe: bool = False


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether there is no problem among them; warnings and what could not be told are none.

    >>> healthy([Finding("table items", "rights", Grade.OK), Finding("clock", "offset", Grade.WARNING)])
    True
    """
    return all(finding.grade is not Grade.PROBLEM for finding in findings)
