"""What each key may take per minute: reserved before a request, settled after it, so that no burst overruns it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from headrace.http1.headers import Field
from headrace.models.call import Usage
from headrace.models.quota import Quota, Reservation
from headrace.server.gateway.budgets import Budgets
from headrace.server.gateway.complaint import Complaint
from headrace.server.gateway.keys import VirtualKey

_NOTHING = Usage(0, 0)
_WORDS = {"day": "of this day", "month": "of this month", "total": "in all"}


@dataclass(slots=True)
class _Account:
    key: VirtualKey
    quota: Quota


class Allowances:
    """The limits of all keys of one gateway, which is one process: nobody else counts against them."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._accounts: dict[str, _Account] = {}

    def reserve(self, now: float, wall: float, key: VirtualKey, prompt: int, output: int) -> Grant:
        """Take one request and these tokens from what a key may have.

        Parameters
        ----------
        now, wall
            The monotonic clock, and seconds since the epoch.

        Raises
        ------
        Complaint
            429: it is over one of its limits, or has no money left.
        """
        account = self._account(key)
        short = self._budgets.short(wall, key.id, Decimal(0)) if key.budget.limits else None
        if short is not None:
            raise no_money(key, *short)
        quota = account.quota
        held = quota.reserve(now, prompt, output)
        if held is None:
            raise _too_fast(now, key, quota, prompt, output)
        return Grant(key, quota, held)

    def no_money(self, wall: float, key: VirtualKey) -> Complaint:
        """What to say when a call was refused for want of money."""
        # The amount that was asked for is not known here: the tightest of the key's periods is named.
        spending = self._budgets.lanes
        limits = key.budget.limits
        tightest = min(limits, key=lambda period: spending[period].left(wall, key.id) or Decimal(0), default="total")
        return no_money(key, tightest, spending[tightest].wait(wall))

    def _account(self, key: VirtualKey) -> _Account:
        account = self._accounts.get(key.id)
        if account is None or account.key is not key:
            account = self._accounts[key.id] = self._renewed(account, key)
            self._budgets.limit(key.id, key.budget.limits)
        return account

    def _renewed(self, before: _Account | None, key: VirtualKey) -> _Account:
        """An account under the file's present words; while they stay the same, what was taken stays taken."""
        if before is not None and (before.key.rpm, before.key.tpm) == (key.rpm, key.tpm):
            return _Account(key, before.quota)
        return _Account(key, Quota(requests_per_minute=key.rpm, tokens_per_minute=key.tpm, headroom=0.0))


class Grant:
    """What one request of a key holds until it is settled. Settled once, whatever happens."""

    __slots__ = ("_held", "_quota", "_settled", "key")

    def __init__(self, key: VirtualKey, quota: Quota, held: Reservation) -> None:
        self.key = key
        self._quota = quota
        self._held = held
        self._settled = False

    def settle(self, now: float, usage: Usage | None) -> None:
        """It is answered; without usage, all that it held counts as used."""
        if not self._settled:
            self._settled = True
            self._quota.settle(now, self._held, usage)

    def release(self, now: float) -> None:
        """No upstream was called: the tokens are given back. The request itself counts."""
        self.settle(now, _NOTHING)

    def headers(self, now: float) -> list[Field]:
        """What is left, in the headers that OpenAI's clients know."""
        return _limits(now, self.key, self._quota)


def _limits(now: float, key: VirtualKey, quota: Quota) -> list[Field]:
    fields: list[Field] = []
    left = quota.left(now)
    for kind, limit in (("requests", key.rpm), ("tokens", key.tpm)):
        if limit is not None:
            name, level = kind.encode(), left[kind]
            fields += (
                (b"x-ratelimit-limit-" + name, b"%d" % limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % level),
                (b"x-ratelimit-reset-" + name, b"%dms" % ((limit - level) / limit * 60_000)),
            )
    return fields


def _too_fast(now: float, key: VirtualKey, quota: Quota, prompt: int, output: int) -> Complaint:
    wait = quota.wait(now, prompt, output)
    left = quota.left(now)
    kind = "requests" if key.rpm is not None and left["requests"] < 1 else "tokens"
    limit = key.rpm if kind == "requests" else key.tpm
    wanted = 1 if kind == "requests" else prompt + output
    complaint = Complaint(
        429,
        f"the key {key.name!r} may take {limit} {kind} a minute; {left[kind]:.0f} are left and this takes {wanted}. "
        f"Try again in {wait:.1f} s.",
        kind=kind,
        code="rate_limit_exceeded",
        retry_after=wait,
    )
    complaint.headers = _limits(now, key, quota)
    return complaint


def no_money(key: VirtualKey, period: str, wait: float) -> Complaint:
    """A key's budget does not allow the call."""
    limit = key.budget.limits.get(period)
    return Complaint(
        429,
        f"the key {key.name!r} may spend {limit} {_WORDS[period]}, and what is left does not pay for this request",
        kind="insufficient_quota",
        code="insufficient_quota",
        retry_after=wait,
        retry=False,
    )
