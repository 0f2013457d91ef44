"""What nobody foresaw: logged in full under a number, told to the client as that number and no more."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from typing import Any

from headrace.core.clock import Clock
from headrace.server.problem import Problem

log = logging.getLogger("headrace.server")


class Failures:
    """Numbers and logs unexpected errors of one worker."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = itertools.count(1)

    def report(self, error: Exception, scope: Mapping[str, Any]) -> Problem:
        """Log `error` of a request, of which `scope` has "method" and "path", with its traceback; the answer."""
        number = f"{self._clock.now():x}-{next(self._count)}"
        log.error("request %s: %s %s failed", number, scope["method"], scope["path"], exc_info=error)
        return Problem(
            500,
            "unexpected",
            "Something went wrong in the server",
            "the request failed for a reason that nobody foresaw",
            hint=f"look for request {number} in the server's log",
            members={"request": number},
        )
