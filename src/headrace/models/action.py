"""What the router tells its shell to do: the asyncio gateway does it with sockets, the simulator with a heap of
events.
"""

from __future__ import annotations

import enum
from decimal import Decimal

from msgspec import Struct

from headrace.models.budget import Extra
from headrace.models.call import Call, Usage
from headrace.models.deadline import AttemptClock
from headrace.models.failure import Failure
from headrace.models.pause import Full, Pause


class Reason(enum.StrEnum):
    """Why a call got no answer."""

    DEADLINE = "deadline"
    """Its deadline passed, or did not leave enough."""
    SHED = "shed"
    """It was turned away so that others are served in time."""
    QUEUE_FULL = "queue_full"
    """So many wait already that the door is closed."""
    RATE_LIMITED = "rate_limited"
    """Rate limits close every upstream that could take it, for longer than its deadline leaves."""
    NO_CREDIT = "no_credit"
    """The same where they say that no credit is left."""
    EJECTED = "ejected"
    """The same of ejections alone."""
    OVER_BUDGET = "over_budget"
    """Its key has not enough money left."""
    SET_ASIDE = "set_aside"
    """Its key has enough, but some of it is set aside for calls under way."""
    FAILED = "failed"
    """Its attempts failed (`Refused.failure` is the last one's), and no more is allowed or would help."""
    BROKEN = "broken"
    """Its stream broke after the client had seen a part: never to be passed off as a whole answer."""
    CANCELLED = "cancelled"
    """The client went away."""

    @property
    def of_closed(self) -> bool:
        """Whether all upstreams were closed to the call."""
        return self in _CLOSED

    @property
    def of_load(self) -> bool:
        """Whether it may be that they had enough to do."""
        return self in _LOAD


_CLOSED = frozenset({Reason.RATE_LIMITED, Reason.NO_CREDIT, Reason.EJECTED})
_LOAD = frozenset({Reason.SHED, Reason.QUEUE_FULL, Reason.DEADLINE})


class Attempt(Struct, frozen=True, gc=False):
    """One request to one upstream.

    Attributes
    ----------
    id
        Unique within the router.
    call
        What it is for.
    upstream
        Where it goes.
    extra
        What it is for beyond the first; None: it is the first.
    started
        When (instant, seconds).
    clock
        Until when its stages may take. The router keeps these times; a shell needs no timers of its own.
    """

    id: int
    call: Call
    upstream: str
    extra: Extra | None
    started: float
    clock: AttemptClock


class Start(Struct, frozen=True, gc=False):
    """Send the request."""

    attempt: Attempt


class Stop(Struct, frozen=True, gc=False):
    """Cancel the attempt at its upstream at once; nothing more is to be told of it."""

    attempt: Attempt


class Deliver(Struct, frozen=True, gc=False):
    """This attempt's first byte was the first: the answer is passed on from it."""

    attempt: Attempt


class Done(Struct, frozen=True, gc=False):
    """The answer is complete. `cost` is that of all attempts; None where a price is not known."""

    call: Call
    attempt: Attempt
    usage: Usage | None
    cost: Decimal | None


class Refused(Struct, frozen=True, gc=False):
    """The call ends without a (whole) answer.

    Attributes
    ----------
    reason, failure
        Why; and how the last attempt failed, if one did.
    retry_after
        Seconds after which it may be worth trying again; None where it is not.
    cost
        Of all attempts; None where a price is not known.
    over
        Which time of the last attempt was over, in words; empty: it failed otherwise.
    closed
        Upstreams that are left alone, or have enough to do, where that is why.
    """

    call: Call
    reason: Reason
    failure: Failure | None = None
    retry_after: float | None = None
    cost: Decimal | None = None
    over: str = ""
    closed: tuple[Pause | Full, ...] = ()


Action = Start | Stop | Deliver | Done | Refused
