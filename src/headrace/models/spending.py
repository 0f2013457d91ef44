"""Budgets of money per key that no race can overrun: reserved before a call, settled after it.

Checking what was spent and adding up afterwards lets a hundred calls at once pass the same check. Here the most that a
call can cost is taken from the budget before it starts, in one step; when it ends, the difference to its real cost is
given back. What is spent and what is reserved are together never more than the limit, as long as no call costs more
than was reserved for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from msgspec import Struct

_ZERO = Decimal(0)
_DAY = 86_400.0


class Account(Struct):
    """What one key has spent and set aside in one period."""

    period: int
    spent: Decimal = _ZERO
    reserved: Decimal = _ZERO


class Hold(Struct, frozen=True, gc=False):
    """Money that is set aside for one attempt, in the period with this number."""

    key: str
    amount: Decimal
    period: int = 0


@dataclass(slots=True)
class Spending:
    """Limits per key and period.

    Parameters
    ----------
    limits
        Most that a key may spend in a period; a key that is not here has no limit.
    period
        Seconds. Periods follow each other from 0 of the clock whose `now` is given: give the wall clock (seconds since
        the epoch) for days that begin at midnight UTC.

    Examples
    --------
    >>> spending = Spending({"k": Decimal(1)}, period=86_400)
    >>> held = spending.reserve(0.0, "k", Decimal("0.7"))
    >>> spending.reserve(0.0, "k", Decimal("0.7")) is None
    True
    >>> spending.settle(held, Decimal("0.2"))
    >>> spending.left(0.0, "k")
    Decimal('0.8')
    """

    limits: dict[str, Decimal]
    period: float = 86_400.0
    _accounts: dict[str, Account] = field(default_factory=dict[str, Account], init=False)

    def left(self, now: float, key: str) -> Decimal | None:
        """What the key may still spend in this period; None: as much as it likes."""
        if key not in self.limits:
            return None
        account = self.account(now, key)
        return max(self.limits[key] - account.spent - account.reserved, _ZERO)

    def spent(self, now: float, key: str) -> Decimal:
        """What the key has spent in this period."""
        return self.account(now, key).spent

    def reserve(self, now: float, key: str, most: Decimal) -> Hold | None:
        """Set `most` aside; None when that is more than is left."""
        account = self.account(now, key)
        limit = self.limits.get(key)
        if limit is not None and most > max(limit - account.spent - account.reserved, _ZERO):
            return None
        account.reserved += most
        return Hold(key, most, account.period)

    def held_up(self, now: float, key: str, most: Decimal) -> bool:
        """Whether `most`, which is not left, would be if nothing were set aside: it may be soon, then."""
        return most <= self.limits[key] - self.spent(now, key)

    def settle(self, held: Hold, cost: Decimal) -> None:
        """The attempt ended and cost so much (0 when it cost nothing).

        It is charged to the period in which it began; when that one is over, it changes nothing any more.
        """
        account = self._accounts.get(held.key)
        if account is None or account.period != held.period:
            return
        account.reserved -= held.amount
        account.spent += cost

    def wait(self, now: float) -> float:
        """Seconds until the next period begins."""
        return self.period - now % self.period

    def which(self, now: float) -> int:
        """The number of the period that an instant lies in."""
        return int(now // self.period)

    def restore(self, key: str, period: int, spent: Decimal) -> Account:
        """What a key had spent in a period, as somebody wrote it down before a restart; the account that counts now."""
        account = self._accounts.get(key)
        if account is None or account.period < period:
            account = self._accounts[key] = Account(period, spent)
        return account

    def account(self, now: float, key: str) -> Account:
        """What a key has in the period that an instant lies in. The one of before is not looked at any more."""
        period = self.which(now)
        account = self._accounts.get(key)
        if account is None or account.period < period:
            account = self._accounts[key] = Account(period)
        return account


@dataclass(slots=True)
class Monthly(Spending):
    """Limits per calendar month (UTC); `now` is seconds since the epoch.

    Examples
    --------
    >>> monthly = Monthly({"k": Decimal(1)})
    >>> monthly.which(0.0), monthly.which(31 * 86_400.0), monthly.wait(86_400.0) / 86_400
    (23640, 23641, 30.0)
    """

    _day: float = field(default=-1.0, init=False)
    _month: int = field(default=0, init=False)

    def which(self, now: float) -> int:
        """Months since the year 0."""
        # The calendar is asked once a day, not several times for each call.
        day = now // _DAY
        if day != self._day:
            at = datetime.fromtimestamp(now, UTC)
            self._day, self._month = day, at.year * 12 + at.month - 1
        return self._month

    def wait(self, now: float) -> float:
        """Seconds until the first of the next month."""
        year, month = divmod(self.which(now) + 1, 12)
        return datetime(year, month + 1, 1, tzinfo=UTC).timestamp() - now
