"""What each key may take per minute: reserved before a request, settled after it, so that no burst overruns it."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from headrace.models.bucket import Bucket
from headrace.models.call import Usage
from headrace.models.periods import Budgets, Standing
from headrace.server.gateway.complaint import Complaint
from headrace.server.gateway.keys import VirtualKey

_NO_MONEY = Decimal(0)
_WORDS = {"day": "a day", "month": "a month", "total": "in all"}
_MINUTE = 60.0


class _Account:
    """The buckets of one key; None where it has no limit. `before`: an account of the key with the same limits."""

    __slots__ = ("_told", "key", "requests", "tokens")

    def __init__(self, key: VirtualKey, before: _Account | None = None) -> None:
        self.key = key
        if before is None:
            self.requests = None if key.rpm is None else Bucket(key.rpm, key.rpm / _MINUTE)
            self.tokens = None if key.tpm is None else Bucket(key.tpm, key.tpm / _MINUTE)
        else:
            self.requests, self.tokens = before.requests, before.tokens
        buckets = ((b"requests", self.requests), (b"tokens", self.tokens))
        self._told = [(bucket, _form(kind, bucket.capacity)) for kind, bucket in buckets if bucket is not None]

    def take(self, now: float, tokens: int) -> float | None:
        """One request and these tokens, all or nothing: the tokens that are taken, None where nothing is.

        What is larger than a whole minute takes the whole minute; what it really used is charged at its end.
        """
        requests, bucket, wanted = self.requests, self.tokens, 0.0
        if requests is not None and requests.refill(now) < 1.0:
            return None
        if bucket is not None:
            wanted = float(tokens) if tokens < bucket.capacity else bucket.capacity
            if not bucket.take(now, wanted):
                return None
        if requests is not None:
            requests.stored -= 1.0
        return wanted

    def lines(self, now: float) -> bytes:
        """What is left, in the headers that OpenAI's clients know, as lines of a head."""
        lines = b""
        for bucket, form in self._told:
            limit, left = bucket.capacity, bucket.refill(now)
            lines += form % (left if left > 0.0 else 0.0, (limit - left) / limit * 60_000)
        return lines


def _form(kind: bytes, limit: float) -> bytes:
    """The lines of one limit, with places for what is left and for the milliseconds until it is full."""
    lines = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%dms\r\n"
    return lines % (kind, limit, kind, kind)


class Allowances:
    """The limits of all keys of one gateway, which is one process: nobody else counts against them."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._accounts: dict[str, _Account] = {}

    def reserve(self, now: float, wall: float, key: VirtualKey, tokens: int) -> Grant:
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
        account = self._accounts.get(key.id)
        if account is None or account.key is not key:
            account = self._renew(key)
        if key.budget.limits and self._budgets.short(wall, key.id, _NO_MONEY) is not None:
            self._check_spent(wall, key)
        held = account.take(now, tokens)
        if held is None:
            raise _too_fast(now, account, tokens)
        return Grant(account, held)

    def no_money(self, wall: float, key: VirtualKey) -> Complaint:
        """What to say when a call was refused for want of money."""
        # The amount that was asked for is not known here: the tightest of the key's periods is named.
        found = self._budgets.standings(wall, key.id)
        period = min(found, key=lambda one: one.unspent).period if found else "total"
        return no_money(key, period, self._budgets.ends(wall, period))

    def amounts(self, wall: float, key: VirtualKey) -> dict[str, Decimal]:
        """What a key has spent, by period."""
        return self._budgets.amounts(wall, key.id)

    def held_up(self, wall: float, key: VirtualKey, wait: float | None) -> Complaint:
        """What to say when a call was refused because of money that is set aside for others."""
        found = self._budgets.standings(wall, key.id)
        tightest = min(found, key=lambda one: one.unspent - one.set_aside, default=None)
        holds = self._budgets.holds(wall, key.id)
        others = "1 request" if holds == 1 else f"{holds} requests" if holds else "requests"
        said = "the rest of its budget" if tightest is None else _held_up(tightest)
        return Complaint(
            429,
            f"the key {key.name!r} {said} is set aside by {others} under way, so that too little is left for the most "
            "that this request can cost; what they do not use is given back. Try again in a moment.",
            kind="requests",
            code="rate_limit_exceeded",
            retry_after=wait,
        )

    def _check_spent(self, wall: float, key: VirtualKey) -> None:
        """Nothing is left: raise if that is spent. What is only set aside for others may do for this request: whoever
        knows its price decides."""
        spent = [one.period for one in self._budgets.standings(wall, key.id) if one.unspent <= _NO_MONEY]
        if spent:
            raise no_money(key, spent[-1], self._budgets.ends(wall, spent[-1]))

    def _renew(self, key: VirtualKey) -> _Account:
        """The account of a key that is new, or whose words in the file have changed."""
        before = self._accounts.get(key.id)
        # While its limits stay the same, what was taken stays taken.
        same = before is not None and (before.key.rpm, before.key.tpm) == (key.rpm, key.tpm)
        account = self._accounts[key.id] = _Account(key, before if same else None)
        self._budgets.limit(key.id, key.budget.limits)
        return account


class Grant(Struct, eq=False):
    """What one request of a key holds until it is settled. Settled once, whatever happens."""

    _account: _Account
    _held: float
    _settled: bool = False

    def more(self, now: float, tokens: int) -> None:
        """It takes more than was thought: context that was read for it, or another try.

        Raises
        ------
        Complaint
            429: that is not left.
        """
        bucket = self._account.tokens
        if bucket is None:
            return
        # As in `take`: what is larger than a whole minute takes the whole minute.
        wanted = min(float(tokens), bucket.capacity - self._held)
        if not bucket.take(now, wanted):
            raise _too_fast(now, self._account, round(wanted))
        self._held += wanted

    def settle(self, now: float, usage: Usage | None) -> None:
        """It is over; without usage, all tokens that it held count as used. The request itself counts in any case."""
        if self._settled:
            return
        self._settled = True
        bucket = self._account.tokens
        if bucket is not None and usage is not None:
            bucket.give(now, self._held - usage.tokens)

    def lines(self, now: float) -> bytes:
        """What is left, as lines of a head."""
        return self._account.lines(now)


def _too_fast(now: float, account: _Account, tokens: int) -> Complaint:
    key = account.key
    waits = [("requests", key.rpm, 1, account.requests), ("tokens", key.tpm, tokens, account.tokens)]
    found = [(bucket.wait(now, wanted), kind, limit, wanted, bucket) for kind, limit, wanted, bucket in waits if bucket]
    wait, kind, limit, wanted, bucket = max(found, key=lambda one: one[0])
    complaint = Complaint(
        429,
        f"the key {key.name!r} may take {limit} {kind} a minute; {bucket.level(now):.0f} are left and this takes "
        f"{wanted}. Try again in {wait:.1f} s.",
        kind=kind,
        code="rate_limit_exceeded",
        retry_after=wait,
    )
    complaint.lines = account.lines(now)
    return complaint


def _held_up(one: Standing) -> str:
    return f"may spend {_sum(one.limit)} {_WORDS[one.period]}: {_sum(one.spent)} is spent, and {_sum(one.set_aside)}"


def _sum(amount: Decimal) -> str:
    """An amount without the zeros at its end.

    >>> _sum(Decimal("5.000")), _sum(Decimal("1E+2"))
    ('5', '100')
    """
    return f"{amount.normalize():f}"


def no_money(key: VirtualKey, period: str, wait: float) -> Complaint:
    """A key's budget does not allow the call."""
    limit = key.budget.limits.get(period)
    return Complaint(
        429,
        f"the key {key.name!r} may spend {limit} {_WORDS[period]}, and what is left does not pay for the most "
        "that this request can cost; a smaller limit of its answer's tokens lowers that",
        kind="insufficient_quota",
        code="insufficient_quota",
        retry_after=wait,
        retry=False,
    )
