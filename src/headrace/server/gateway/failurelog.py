"""Requests that came to nothing, in the log: a line for each, and few lines where all of them fail."""

from __future__ import annotations

import logging
from dataclasses import dataclass

_LOG = logging.getLogger("headrace.gateway")
MOST = 5
"""Lines of one model and one kind of failure within `WINDOW`."""
WINDOW = 10.0
"""Seconds."""
_LONGEST = 500
"""Characters of what an upstream said."""


@dataclass(slots=True)
class _Run:
    """Lines of one kind since an instant, and how many were left out since the last one."""

    since: float
    lines: int = 0
    left_out: int = 0


class FailureLog:
    """Warns of requests that got no answer, or one that broke off.

    A line has the number of the request, its model and why. Of each model and kind at most `MOST` are written in
    `WINDOW` seconds; the others are counted, and the first line after them says how many there were. Models are
    declared and kinds are words of this package, so neither grows by what clients send.
    """

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], _Run] = {}

    def tell(self, now: float, request: str, model: str, kind: str, why: str) -> None:
        """A request failed at the instant `now` (seconds, monotonic)."""
        run = self._runs.get((model, kind))
        if run is None:
            run = self._runs[model, kind] = _Run(now)
        if now - run.since >= WINDOW:
            run.since, run.lines = now, 0
        if run.lines >= MOST:
            run.left_out += 1
            return
        more = f"; {run.left_out:,} more failed so since the last line" if run.left_out else ""
        run.lines += 1
        run.left_out = 0
        _LOG.warning("request %s to %r: %s (%s%s)", request, model, _plain(why), kind, more)


def _plain(text: str) -> str:
    """Text of strangers as a part of one line.

    >>> _plain("no\\nroom")
    'no room'
    """
    return "".join(one if one.isprintable() else " " for one in text[:_LONGEST])
