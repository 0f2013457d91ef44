"""What keys and endpoints may spend: per day, month and in all, held together so that no race overruns any of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation

from msgspec import Struct

from headrace.core.clock import SECOND
from headrace.core.errors import DeclarationError
from headrace.models.spending import Account, Hold, Monthly, Spending

DAY = 86_400.0
PERIODS = ("day", "month", "total")


class Holds(Hold, frozen=True, gc=False):
    """Money that is set aside in the accounts of the three periods."""

    accounts: tuple[Account, ...] = ()


class _Purse(Struct, frozen=True):
    """What one key has until a day ends: its accounts, and those of them that have a limit. Found once, not three times
    in every call."""

    until: float
    accounts: tuple[Account, Account, Account]
    limits: tuple[tuple[Account, Decimal, str], ...]


class Spent(Struct, frozen=True):
    """What one key has spent: absolute amounts, with the numbers of the day and the month that they belong to."""

    key: str
    day: int
    in_day: Decimal
    month: int
    in_month: Decimal
    in_total: Decimal

    def at(self, now: int) -> tuple[Decimal, Decimal, Decimal]:
        """What it has spent in the day, in the month and in all, at an instant (microseconds)."""
        seconds = now / SECOND
        day = self.in_day if self.day == int(seconds // DAY) else Decimal(0)
        month = self.in_month if self.month == Monthly({}).which(seconds) else Decimal(0)
        return day, month, self.in_total


def parse_budget(given: str | Iterable[str]) -> dict[str, Decimal]:
    """Limits per period from their texts.

    >>> parse_budget(["5/day", "100/month"]), parse_budget("1000/total")
    ({'day': Decimal('5'), 'month': Decimal('100')}, {'total': Decimal('1000')})

    Raises
    ------
    DeclarationError
        One is no amount of money over a period.
    """
    found: dict[str, Decimal] = {}
    for text in (given,) if isinstance(given, str) else given:
        amount, _, period = text.partition("/")
        try:
            value = Decimal(amount)
        except InvalidOperation:
            value = Decimal(0)
        if not value.is_finite() or value <= 0 or period not in PERIODS:
            raise DeclarationError(f"{text!r} is no budget", hint="write 5/day, 100/month or 1000/total")
        found[period] = value
    return found


def _nothing(_spent: Spent) -> None:
    """Nobody keeps it."""


class Budgets(Spending):
    """Spending per key in three periods at once; a `Spending` for whoever bills attempts.

    `now` is seconds since the epoch: days and months are those of UTC.

    Parameters
    ----------
    changed
        Told what a key has spent, whenever that grows. Must return at once.

    Examples
    --------
    >>> budgets = Budgets()
    >>> budgets.limit("k", {"day": Decimal(1), "total": Decimal("1.5")})
    >>> budgets.settle(budgets.reserve(0.0, "k", Decimal(1)), Decimal(1))
    >>> budgets.reserve(10.0, "k", Decimal("0.1")) is None, budgets.reserve(DAY, "k", Decimal("0.6")) is None
    (True, True)
    >>> budgets.short(DAY, "k", Decimal("0.6"))
    ('total', inf)
    """

    __slots__ = ("_purses", "changed", "lanes")

    def __init__(self, changed: Callable[[Spent], None] = _nothing) -> None:
        super().__init__({}, period=DAY)
        self.changed = changed
        self.lanes: dict[str, Spending] = {
            "day": Spending({}, period=DAY),
            "month": Monthly({}),
            "total": Spending({}, period=math.inf),
        }
        self._purses: dict[str, _Purse] = {}

    def limit(self, key: str, limits: Mapping[str, Decimal]) -> None:
        """Set the limits of a key; a period that is not given has none. What was spent stays."""
        for period, lane in self.lanes.items():
            if period in limits:
                lane.limits[key] = limits[period]
            else:
                lane.limits.pop(key, None)
        purse = self._purses.get(key)
        if purse is not None:
            self._keep(key, *purse.accounts)

    def left(self, now: float, key: str) -> Decimal | None:
        """What the key may still spend now; None: as much as it likes."""
        known = [left for lane in self.lanes.values() if (left := lane.left(now, key)) is not None]
        return min(known, default=None)

    def spent(self, now: float, key: str) -> Decimal:
        """What the key has spent this day."""
        return self.lanes["day"].spent(now, key)

    def short(self, now: float, key: str, most: Decimal) -> tuple[str, float] | None:
        """The period whose limit does not allow `most`, and the seconds until it ends; None when all do."""
        found: tuple[str, float] | None = None
        for account, limit, period in self._purse(now, key).limits:
            left = limit - account.spent - account.reserved
            if most > left or left <= 0:
                found = (period, self.lanes[period].wait(now))
        return found

    def reserve(self, now: float, key: str, most: Decimal) -> Hold | None:
        """Set `most` aside in every period, or in none."""
        if not key:
            return Hold("", most, 0)
        purse = self._purse(now, key)
        for account, limit, _ in purse.limits:
            if most > limit - account.spent - account.reserved and most > 0:
                return None
        for account in purse.accounts:
            account.reserved += most
        return Holds(key, most, purse.accounts[0].period, purse.accounts)

    def settle(self, held: Hold, cost: Decimal) -> None:
        """The attempt ended and cost so much."""
        if not isinstance(held, Holds):
            return
        for account in held.accounts:
            account.reserved -= held.amount
            account.spent += cost
        if cost:
            # Of the present periods: what was held before midnight changes no new day.
            day, month, total = self._purses[held.key].accounts
            self.changed(Spent(held.key, day.period, day.spent, month.period, month.spent, total.spent))

    def recall(self, spent: Spent) -> None:
        """What a key had spent before a restart, as it was `changed` to."""
        self._keep(
            spent.key,
            self.lanes["day"].restore(spent.key, spent.day, spent.in_day),
            self.lanes["month"].restore(spent.key, spent.month, spent.in_month),
            self.lanes["total"].restore(spent.key, 0, spent.in_total),
        )

    def wait(self, now: float) -> float:
        """Seconds until the next day begins: the soonest that any budget can grow."""
        return self.lanes["day"].wait(now)

    def _purse(self, now: float, key: str) -> _Purse:
        purse = self._purses.get(key)
        if purse is None or now >= purse.until:
            day, month, total = (lane.account(now, key) for lane in self.lanes.values())
            return self._keep(key, day, month, total)
        return purse

    def _keep(self, key: str, day: Account, month: Account, total: Account) -> _Purse:
        accounts = (day, month, total)
        lanes = zip(accounts, self.lanes.items(), strict=True)
        limits = ((account, lane.limits[key], period) for account, (period, lane) in lanes if key in lane.limits)
        purse = self._purses[key] = _Purse((day.period + 1) * DAY, accounts, tuple(limits))
        return purse
