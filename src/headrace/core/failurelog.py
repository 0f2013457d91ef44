"""Requests that came to nothing, in the log: a line for each, and few lines where all of them fail."""

from __future__ import annotations

import logging
from dataclasses import dataclass

MOST = 5
"""Lines of one kind of failure, of one thing that was asked, within `WINDOW`."""
WINDOW = 10.0
"""Seconds."""
_LONGEST = 500
"""Characters of what was said of one."""


@dataclass(slots=True)
class _Run:
    """Lines of one kind since an instant, and how many were left out since the last one."""

    since: float
    lines: int = 0
    left_out: int = 0


class FailureLog:
    """Warns of requests that got no answer, or one that broke off.

    A line has the number of the request, what was asked (a model, an endpoint) and why. Of each of them and each kind
    at most `MOST` are written in `WINDOW` seconds; the others are counted, and the first line after them says how many
    there were. What is asked has to be declared, and kinds are words of ours, so neither grows by what clients send.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._runs: dict[tuple[str, str], _Run] = {}

    def tell(self, now: float, request: str, asked: str, kind: str, why: str) -> None:
        """A request failed at the instant `now` (seconds, monotonic)."""
        run = self._runs.get((asked, kind))
        if run is None:
            run = self._runs[asked, kind] = _Run(now)
        if now - run.since >= WINDOW:
            run.since, run.lines = now, 0
        if run.lines >= MOST:
            run.left_out += 1
            return
        more = f"; {run.left_out:,} more failed so since the last line" if run.left_out else ""
        run.lines += 1
        run.left_out = 0
        self._log.warning("request %s to %r: %s (%s%s)", request, asked, _plain(why), kind, more)


def _plain(text: str) -> str:
    """Text of strangers as a part of one line.

    >>> _plain("no\\nroom")
    'no room'
    """
    return "".join(one if one.isprintable() else " " for one in text[:_LONGEST])
