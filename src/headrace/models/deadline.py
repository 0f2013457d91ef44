"""One absolute instant until when an answer is of use, and what it leaves to each attempt.

A timeout per attempt alone lets retries and fallbacks add up: three attempts of 20 s take a minute, and the last rung
is reached when nobody waits any more. So every attempt ends with the deadline, and where one shows nothing, the call is
tried elsewhere as well while the deadline leaves enough for that. The first attempt goes on: a model that thinks for
long is not to be told from one that hangs. Whichever answers first wins.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from msgspec import Struct
from pydantic import ConfigDict

from headrace.models.bounds import STRICT, Seconds

_MS = re.compile(r"0*[1-9][0-9]{0,8}")
_GRPC = re.compile(r"0*([1-9][0-9]{0,7})([HMSmun])")
_GRPC_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_SHOWN = 40
_LONGEST = 64
"""Characters of such a header; more than any number that it may hold."""


def remaining_header(milliseconds: str | None, grpc: str | None = None) -> float | None:
    """Seconds that a caller gives, from `x-request-timeout-ms` and `grpc-timeout`: the smaller; None without either.

    >>> remaining_header("1500"), remaining_header(None, "250m"), remaining_header("1500", "1S"), remaining_header(None)
    (1.5, 0.25, 1.0, None)

    Raises
    ------
    ValueError
        One of them is no time above zero; the message says which, with its value and what to write.
    """
    left: float | None = None
    if milliseconds is not None:
        given = milliseconds.strip()
        if len(given) > _LONGEST or not _MS.fullmatch(given):
            wanted = "write whole milliseconds, 1 to 999999999, as in 1500"
            raise ValueError(f"x-request-timeout-ms: {given[:_SHOWN]!r} is no time above zero; {wanted}")
        left = int(given) / 1000
    if grpc is not None:
        given = grpc.strip()
        found = _GRPC.fullmatch(given) if len(given) <= _LONGEST else None
        if found is None:
            wanted = "write a whole number of at most 8 digits, above 0, and one of the units H M S m u n, as in 1500m"
            raise ValueError(f"grpc-timeout: {given[:_SHOWN]!r} is no time above zero; {wanted}")
        seconds = int(found[1]) * _GRPC_UNITS[found[2]]
        left = seconds if left is None else min(left, seconds)
    return left


class AttemptClock(Struct, frozen=True, gc=False):
    """Until when each stage of one attempt may take (instants, seconds).

    Attributes
    ----------
    elsewhere
        Without a first byte by then, the call is tried elsewhere as well.
    first_token
        A stream without a first byte by then is held against its upstream; never for other answers.
    end
        All must have come.
    idle
        Seconds (not an instant) that a stream may be silent between two pieces.
    """

    elsewhere: float
    first_token: float
    end: float
    idle: float


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long attempts may take; all in seconds.

    Parameters
    ----------
    first_token
        How long a stream may be without a first byte until the call is tried elsewhere as well.
    total
        Longest attempt.
    idle
        Longest silence within a stream.

    Examples
    --------
    >>> timeouts = Timeouts(first_token=10, total=60, idle=5)
    >>> timeouts.clock(0.0, 100.0, stream=True, expected=4)
    AttemptClock(elsewhere=10.0, first_token=10.0, end=60.0, idle=5)

    Twelve seconds are left and a call takes about four: after eight there is just enough for another attempt.

    >>> timeouts.clock(0.0, 12.0, stream=True, expected=4)
    AttemptClock(elsewhere=8.0, first_token=10.0, end=12.0, idle=5)

    With six left there is no time for two attempts.

    >>> timeouts.clock(0.0, 6.0, stream=True, expected=4)
    AttemptClock(elsewhere=6.0, first_token=10.0, end=6.0, idle=5)

    Of an answer that is no stream nothing is seen before its end: it has half of the time, or four times the usual.

    >>> timeouts.clock(0.0, 40.0, stream=False, expected=4)
    AttemptClock(elsewhere=20.0, first_token=inf, end=40.0, idle=5)
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    first_token: Seconds = 10.0
    total: Seconds = 120.0
    idle: Seconds = 10.0

    def clock(self, now: float, deadline: float, *, stream: bool, expected: float, last: float = 0.0) -> AttemptClock:
        """The clock of an attempt that begins now.

        Parameters
        ----------
        deadline
            Of the call.
        stream
            Otherwise there is no first byte before the end.
        expected
            Seconds that such a call usually takes, what another attempt would need; 0 while that is not known.
        last
            Until when the rest of a stream may come, where that is later than its beginning may.
        """
        left = deadline - now
        share = left - expected if left >= 2 * expected else left
        patient = 4 * expected if 8 * expected > left else left / 2
        if patient < share:
            share = patient
        first, end = self.first_token if stream else math.inf, now + self.total
        until = last if last > deadline else deadline
        return AttemptClock(
            now + (first if first < share else share), now + first, end if end < until else until, self.idle
        )


def enough(now: float, deadline: float, expected: float) -> bool:
    """Whether a call that usually takes `expected` seconds is worth beginning.

    >>> enough(0.0, 5.0, 4.0), enough(2.0, 5.0, 4.0)
    (True, False)
    """
    return deadline - now >= expected
