"""What to do with an answer when what it was built on changed before it was returned.

| text             | meaning                                                                                     |
|------------------|---------------------------------------------------------------------------------------------|
| `ignore`         | the read set is not looked at                                                               |
| `flag` (default) | answer, and say what changed                                                                |
| `retry`          | run the handler again, at most twice and within the deadline; then do as `flag`             |
| `retry 3`        | the same, at most three times                                                               |
| `retry else refuse` | the same, then refuse                                                                    |
| `hr.repair(fn)`  | give the answer and what changed to `fn`, which returns a better one; at most twice, then `flag` |
| `refuse`         | 409: nobody gets an answer that is built on what is no longer so                            |
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from headrace.core.errors import DeclarationError
from headrace.core.options import options

_TEXT = re.compile(r"retry(?:\s+(?P<most>\d{1,2}))?(?:\s+else\s+(?P<then>flag|refuse))?|(?P<plain>ignore|flag|refuse)")
_MOST = 2
"""Runs of the handler beyond the first: a row that changes with every read must not hold a request for ever."""

Fix = Callable[..., Awaitable[Any]]
"""`async def fix(answer, changed, ctx)`: `changed` is a list of `Changed` (see `context.readset`)."""


class Then(enum.StrEnum):
    """What happens to an answer that is built on what changed, when nothing (more) is tried."""

    FLAG = "flag"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class OnStale:
    """A parsed choice.

    Attributes
    ----------
    check
        Whether the read set is looked at at all.
    tries
        How often the handler may run again, or the answer may be repaired.
    fix
        Repairs an answer; None: the handler runs again.
    then
        What happens when it is still built on what changed.

    Examples
    --------
    >>> OnStale.parse("retry 3 else refuse")
    OnStale(check=True, tries=3, fix=None, then=<Then.REFUSE: 'refuse'>)
    """

    check: bool = True
    tries: int = 0
    fix: Fix | None = None
    then: Then = Then.FLAG

    @property
    def flags(self) -> bool:
        """Whether an answer that is built on what changed may go out as it is, without anything being tried before."""
        return not self.check or (self.tries == 0 and self.then is Then.FLAG)

    @classmethod
    def parse(cls, given: str | OnStale) -> OnStale:
        """The choice of a text, or of `repair(fn)`.

        Raises
        ------
        DeclarationError
            It is none.
        """
        if isinstance(given, OnStale):
            return given
        match = _TEXT.fullmatch(given.strip().lower()) if isinstance(given, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if match is None:
            raise DeclarationError(
                f"on_stale={given!r:.80} is not known",
                hint='use "ignore", "flag", "retry", "retry 3 else refuse", "refuse" or hr.repair(fn)',
            )
        if match["plain"]:
            return cls(check=match["plain"] != "ignore", then=Then.REFUSE if match["plain"] == "refuse" else Then.FLAG)
        return cls(tries=int(match["most"] or _MOST), then=Then(match["then"] or "flag"))


@options
def repair(fix: Fix, *, most: int = _MOST) -> OnStale:
    """For `on_stale=`: give the answer and what changed to `fix`, which returns the answer that is right now.

    Parameters
    ----------
    fix
        `async def fix(answer, changed, ctx)`; what it reads through `ctx` is checked as well.
    most
        How often, when things go on to change.

    Raises
    ------
    DeclarationError
        It is no async function of three parameters.
    """
    if not inspect.iscoroutinefunction(fix) or len(inspect.signature(fix).parameters) != 3:
        raise DeclarationError(
            f"hr.repair({getattr(fix, '__name__', fix)!r:.80}) is no async function of three parameters",
            hint="write: async def fix(answer, changed, ctx) -> the type of the answer",
        )
    return OnStale(tries=most, fix=fix)
