"""What keys and endpoints may spend: per day, month and in all, held together so that no race overruns any of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation

from msgspec import Struct

from headrace.core.clock import SECOND
from headrace.core.errors import DeclarationError
from headrace.models.cost import MOST, PLACES
from headrace.models.spending import Account, Hold, Monthly, Spending

DAY = 86_400.0
PERIODS = ("day", "month", "total")
_NOTHING = Decimal(0)
_BOUNDLESS = Decimal("Infinity")


class _Purse(Struct):
    """What one key has until a day ends.

    What a day brings is the same in each period: it is added up here, and `post` carries it over to the accounts.
    """

    until: float
    accounts: tuple[Account, Account, Account]
    limits: tuple[tuple[Account, Decimal, str], ...]
    """The accounts that have a limit, these, and their periods."""
    room: Decimal = _BOUNDLESS
    """What the tightest limit leaves beside what is in the accounts."""
    taken: Decimal = _NOTHING
    """What was set aside or spent."""
    spent: Decimal = _NOTHING
    holds: int = 0
    """Attempts that have money set aside, those that began in an earlier purse included."""

    def post(self) -> None:
        """Bring the accounts up to date."""
        for account in self.accounts:
            account.spent += self.spent
            account.reserved += self.taken - self.spent
        self.taken = self.spent = _NOTHING
        self.room = min(
            (limit - account.spent - account.reserved for account, limit, _ in self.limits), default=_BOUNDLESS
        )


class Holds(Hold, frozen=True, gc=False, kw_only=True):
    """Money that is set aside in all periods of a purse."""

    purse: _Purse


class Standing(Struct, frozen=True):
    """How much of one limit of a key is spent, and how much is set aside for attempts under way."""

    period: str
    limit: Decimal
    spent: Decimal
    set_aside: Decimal

    @property
    def unspent(self) -> Decimal:
        """What is left once nothing is set aside any more; less than 0 where too much was spent."""
        return self.limit - self.spent


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
    many = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else given  # pyright: ignore[reportUnnecessaryIsInstance]
    for text in many:
        amount, _, period = str(text).partition("/")
        try:
            value = Decimal(amount)
        except InvalidOperation:
            value = Decimal(0)
        if not value.is_finite() or not Decimal(1).scaleb(-PLACES) <= value <= MOST or period not in PERIODS:
            raise DeclarationError(f"{text!r:.80} is no budget", hint="write 5/day, 100/month or 1000/total")
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

    __slots__ = ("_lanes", "_purses", "changed")

    def __init__(self, changed: Callable[[Spent], None] = _nothing) -> None:
        super().__init__({}, period=DAY)
        self.changed = changed
        self._lanes: dict[str, Spending] = {
            "day": Spending({}, period=DAY),
            "month": Monthly({}),
            "total": Spending({}, period=math.inf),
        }
        self._purses: dict[str, _Purse] = {}

    @property
    def lanes(self) -> Mapping[str, Spending]:
        """What all keys have spent and set aside, by period."""
        for purse in self._purses.values():
            purse.post()
        return self._lanes

    def limit(self, key: str, limits: Mapping[str, Decimal]) -> None:
        """Set the limits of a key; a period that is not given has none. What was spent stays."""
        for period, lane in self._lanes.items():
            if period in limits:
                lane.limits[key] = limits[period]
            else:
                lane.limits.pop(key, None)
        purse = self._purses.get(key)
        if purse is not None:
            self._keep(key, *purse.accounts)

    def left(self, now: float, key: str) -> Decimal | None:
        """What the key may still spend now; None: as much as it likes."""
        purse = self._purse(now, key)
        return max(purse.room - purse.taken, _NOTHING) if purse.limits else None

    def spent(self, now: float, key: str) -> Decimal:
        """What the key has spent this day."""
        purse = self._purse(now, key)
        return purse.accounts[0].spent + purse.spent

    def amounts(self, now: float, key: str) -> dict[str, Decimal]:
        """What the key has spent, by period."""
        purse = self._purse(now, key)
        purse.post()
        return {period: one.spent for period, one in zip(PERIODS, purse.accounts, strict=True)}

    def short(self, now: float, key: str, most: Decimal) -> tuple[str, float] | None:
        """The period whose limit does not allow `most`, and the seconds until it ends; None when all do."""
        purse = self._purse(now, key)
        left = purse.room - purse.taken
        if most <= left and left > _NOTHING:
            return None
        period = [period for period, left in self.lefts(now, key).items() if most > left or left <= 0][-1]
        return period, self.ends(now, period)

    def lefts(self, now: float, key: str) -> dict[str, Decimal]:
        """What the key may still spend, by period; less than 0 where it has spent too much."""
        return {one.period: one.unspent - one.set_aside for one in self.standings(now, key)}

    def standings(self, now: float, key: str) -> list[Standing]:
        """How it stands with each limit of a key."""
        purse = self._purse(now, key)
        purse.post()
        return [Standing(period, limit, one.spent, one.reserved) for one, limit, period in purse.limits]

    def holds(self, now: float, key: str) -> int:
        """How many attempts have money of a key set aside."""
        return self._purse(now, key).holds

    def held_up(self, now: float, key: str, most: Decimal) -> bool:
        """Whether `most`, which is not left, would be if nothing were set aside: it may be soon, then."""
        return all(most <= one.unspent for one in self.standings(now, key))

    def ends(self, now: float, period: str) -> float:
        """Seconds until a period ends."""
        return self._lanes[period].wait(now)

    def reserve(self, now: float, key: str, most: Decimal) -> Hold | None:
        """Set `most` aside in every period, or in none."""
        if not key:
            return Hold("", most)
        purse = self._purse(now, key)
        if most > purse.room - purse.taken and most > _NOTHING:
            return None
        purse.taken += most
        purse.holds += 1
        return Holds(key, most, purse=purse)

    def settle(self, held: Hold, cost: Decimal) -> None:
        """The attempt ended and cost so much."""
        if not isinstance(held, Holds):
            return
        purse = held.purse
        purse.taken += cost - held.amount
        purse.spent += cost
        present = self._purses[held.key]
        present.holds -= 1
        if purse is not present:
            # It is of a day that has ended: it changes nothing any more, but the month and the total do.
            purse.post()
            present.post()
        if cost:
            (day, month, total), spent = present.accounts, present.spent
            self.changed(
                Spent(held.key, day.period, day.spent + spent, month.period, month.spent + spent, total.spent + spent)
            )

    def recall(self, spent: Spent) -> None:
        """What a key had spent before a restart, as it was `changed` to."""
        self._keep(
            spent.key,
            self._lanes["day"].restore(spent.key, spent.day, spent.in_day),
            self._lanes["month"].restore(spent.key, spent.month, spent.in_month),
            self._lanes["total"].restore(spent.key, 0, spent.in_total),
        )

    def wait(self, now: float) -> float:
        """Seconds until the next day begins: the soonest that any budget can grow."""
        return self._lanes["day"].wait(now)

    def _purse(self, now: float, key: str) -> _Purse:
        """The purse of the day that an instant lies in."""
        purse = self._purses.get(key)
        if purse is None or now >= purse.until:
            day, month, total = (lane.account(now, key) for lane in self._lanes.values())
            return self._keep(key, day, month, total)
        return purse

    def _keep(self, key: str, day: Account, month: Account, total: Account) -> _Purse:
        """Begin a purse; what the one of before has is in the accounts then."""
        before = self._purses.get(key)
        if before is not None:
            before.post()
        accounts = (day, month, total)
        lanes = zip(accounts, self._lanes.items(), strict=True)
        limits = ((account, lane.limits[key], period) for account, (period, lane) in lanes if key in lane.limits)
        purse = self._purses[key] = _Purse((day.period + 1) * DAY, accounts, tuple(limits))
        purse.holds = 0 if before is None else before.holds
        purse.post()
        return purse
