from __future__ import annotations

import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from headrace.models.periods import DAY, PERIODS, Budgets, Spent
from headrace.models.spending import Monthly, Spending

amounts = st.decimals(min_value=0, max_value=3, places=2)
steps = st.lists(st.tuples(st.sampled_from(["reserve", "settle"]), amounts, st.floats(0, 3 * DAY)), max_size=40)


@given(steps, amounts, amounts)
def test_no_order_of_calls_overruns_any_period(steps: list, day: Decimal, total: Decimal) -> None:
    budgets = Budgets()
    budgets.limit("k", {"day": day, "total": total})
    held: list = []
    now = 0.0
    for what, amount, pause in steps:
        if what == "reserve":
            now += pause
            hold = budgets.reserve(now, "k", amount)
            if hold is not None:
                held.append((hold, amount))
        elif held:
            hold, most = held.pop(0)
            budgets.settle(hold, min(most, amount))
        assert budgets.lanes["day"].spent(now, "k") <= day
        assert budgets.lanes["total"].spent(now, "k") <= total
    for hold, most in held:
        budgets.settle(hold, most)
    assert budgets.lanes["total"].spent(now, "k") <= total


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "settle", "short", "limit"]),
            amounts,
            st.floats(0, 20 * DAY),
            st.dictionaries(st.sampled_from(PERIODS), amounts),
        ),
        max_size=40,
    ),
    amounts,
)
def test_budgets_decide_as_a_spending_for_each_period(steps: list, before: Decimal) -> None:
    told: list[Spent] = []
    budgets = Budgets(told.append)
    apart = {"day": Spending({}, period=DAY), "month": Monthly({}), "total": Spending({}, period=math.inf)}
    budgets.recall(Spent("k", 0, before, apart["month"].which(0.0), before, before))
    for one in apart.values():
        one.restore("k", one.which(0.0), before)
    held: list = []
    now = 0.0
    for what, amount, pause, limits in steps:
        if what == "limit":
            budgets.limit("k", limits)
            for period, one in apart.items():
                one.limits = {"k": limits[period]} if period in limits else {}
        elif what == "short":
            now += pause
            left = {period: one.left(now, "k") for period, one in apart.items()}
            tight = [period for period, some in left.items() if some is not None and (amount > some or some <= 0)]
            found = budgets.short(now, "k", amount)
            assert (found and found[0]) == (tight[-1] if tight else None)
        elif what == "reserve":
            now += pause
            parts = {period: one.reserve(now, "k", amount) for period, one in apart.items()}
            hold = budgets.reserve(now, "k", amount)
            assert (hold is None) == (None in parts.values())
            if hold is not None:
                held.append((hold, parts, amount))
            else:
                for period, part in parts.items():
                    if part is not None:
                        apart[period].settle(part, Decimal(0))
        elif held:
            hold, parts, most = held.pop(0)
            cost = min(most, amount)
            budgets.settle(hold, cost)
            for period, part in parts.items():
                apart[period].settle(part, cost)
            if cost:
                assert told[-1].in_day == apart["day"].spent(now, "k")
                assert told[-1].in_month == apart["month"].spent(now, "k")
                assert told[-1].in_total == apart["total"].spent(now, "k")
    for period, one in apart.items():
        assert budgets.lanes[period].left(now, "k") == one.left(now, "k")


def test_refused_in_one_period_takes_from_none() -> None:
    budgets = Budgets()
    budgets.limit("k", {"day": Decimal(5), "total": Decimal(1)})
    assert budgets.reserve(0.0, "k", Decimal(2)) is None
    assert budgets.lanes["day"].left(0.0, "k") == 5
    assert budgets.left(0.0, "k") == 1


def test_spending_is_told_and_recalled() -> None:
    told: list[Spent] = []
    budgets = Budgets(told.append)
    hold = budgets.reserve(0.0, "k", Decimal(1))
    assert hold is not None
    budgets.settle(hold, Decimal("0.25"))
    assert told[-1].at(0) == (Decimal("0.25"),) * 3
    assert told[-1].at(int(DAY * 1e6)) == (0, Decimal("0.25"), Decimal("0.25"))
    again = Budgets()
    again.limit("k", {"day": Decimal("0.3")})
    again.recall(told[-1])
    assert again.left(0.0, "k") == Decimal("0.05")
    assert again.left(DAY, "k") == Decimal("0.3")


def test_what_nobody_pays_has_no_limit() -> None:
    budgets = Budgets()
    hold = budgets.reserve(0.0, "", Decimal(1))
    assert hold is not None
    budgets.settle(hold, Decimal(1))
    assert budgets.left(0.0, "") is None
