"""What to do when context is not fresh: decided per table, per view and per call, innermost first.

| text                       | meaning                                                                        |
|----------------------------|--------------------------------------------------------------------------------|
| `serve`                    | answer at once, whatever the age                                               |
| `flag` (default)           | answer at once and say the status; the HTTP answer carries it as a header too   |
| `wait 200ms`               | wait until the context is fresh, at most 200 ms, then do as `flag`              |
| `wait 200ms else refuse`   | the same, then refuse                                                          |
| `refuse`                   | answer only if fresh, else raise `StaleContext` (HTTP 503)                     |
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from headrace.core.durations import format_duration, parse_duration
from headrace.core.errors import DeclarationError
from headrace.core.frontier import Status


class Otherwise(enum.StrEnum):
    """What happens to context that is not fresh (after the wait, if there is one)."""

    SERVE = "serve"
    FLAG = "flag"
    REFUSE = "refuse"


_TEXT = re.compile(
    r"(?:wait\s+(?P<wait>[\d.\w]+?)(?:\s+else\s+(?P<then>serve|flag|refuse))?|(?P<plain>serve|flag|refuse))"
)


@dataclass(frozen=True, slots=True)
class FreshnessPolicy:
    """A parsed policy.

    Attributes
    ----------
    wait
        Longest wait for the frontier, microseconds; 0: none.
    otherwise
        What to do when the context is still not fresh.

    Examples
    --------
    >>> FreshnessPolicy.parse("wait 200ms else refuse")
    FreshnessPolicy(wait=200000, otherwise=<Otherwise.REFUSE: 'refuse'>)
    >>> str(FreshnessPolicy.parse("wait 1s"))
    'wait 1s else flag'
    """

    wait: int = 0
    otherwise: Otherwise = Otherwise.FLAG

    @classmethod
    def parse(cls, text: str) -> FreshnessPolicy:
        """The policy of a text; raises `DeclarationError` when it is not one."""
        match = _TEXT.fullmatch(str(text).strip().lower())
        if match is None:
            raise DeclarationError(
                f"{text!r:.80} is not a freshness policy",
                hint='use "serve", "flag", "refuse", "wait 200ms" or "wait 200ms else refuse"',
            )
        if match["plain"]:
            return cls(otherwise=Otherwise(match["plain"]))
        return cls(wait=parse_duration(match["wait"]), otherwise=Otherwise(match["then"] or "flag"))

    def __str__(self) -> str:
        return f"wait {format_duration(self.wait)} else {self.otherwise}" if self.wait else str(self.otherwise)

    def refuses(self, status: Status) -> bool:
        """Whether an answer of this status must be refused."""
        return self.otherwise is Otherwise.REFUSE and status is not Status.FRESH


FLAG = FreshnessPolicy()
"""The default policy."""
