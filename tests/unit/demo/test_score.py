import random
from typing import Any

import pytest

from headrace.demo.asking import Report, Suggestion
from headrace.demo.city import City, OrderTruth
from headrace.demo.customers import appeals, choose
from headrace.demo.orders import OrderState
from headrace.demo.plan import CityPlan
from headrace.demo.score import FAR, Side, fault

COOKING = OrderTruth(OrderState.COOKING, None)
RIDING = OrderTruth(OrderState.PICKED_UP, (1000.0, 1000.0))


def report(state: str | None, place: tuple[float, float] | None = None) -> Report:
    return Report(state, place, None, 2_000.0)


@pytest.mark.parametrize(
    ("truth", "said", "expected"),
    [
        (COOKING, report("cooking"), None),
        (COOKING, report("accepted"), "wrong_state"),
        (COOKING, report(None), "unknown_order"),
        (RIDING, report("picked_up", (1000.0, 1000.0 + FAR)), None),
        (RIDING, report("picked_up", (1000.0, 1001.0 + FAR)), "far_off"),
        (RIDING, report("picked_up"), "no_place"),
        (RIDING, report("cooking", (1000.0, 1000.0)), "wrong_state"),
    ],
)
def test_an_answer_is_wrong_for_a_stated_reason(truth: OrderTruth, said: Report, expected: str | None):
    assert fault(truth, said) == expected


def test_reports_are_counted_with_their_errors_and_ages():
    side = Side()
    side.judge_report(RIDING, report("picked_up", (1030.0, 1040.0)))
    side.judge_report(RIDING, report("picked_up", (1000.0, 1500.0)))
    side.judge_report(COOKING, report("placed"))
    figures = side.to_dict()
    assert (side.wrong.count, side.wrong.of) == (2, 3)
    assert figures["wrong_answers"]["reasons"] == {"far_off": 1, "wrong_state": 1}
    assert figures["courier_position_error_m"] == {"p50": 50.0, "p95": 500.0, "count": 2}
    assert figures["age_city_seconds"] == {"p50": 2.0, "p99": 2.0, "count": 3, "unknown": 0}


def dish(town: City, number: int, price: float | None = None) -> dict[str, Any]:
    found = town.market.restaurants[0].menu[number]
    return {"item_id": found.item_id, "price": found.charged if price is None else price}


@pytest.fixture
def town() -> City:
    return City(CityPlan(restaurants=1, dishes=4, couriers=1, promoted=0, warm_up=0.001), random.Random(7))


def test_a_suggestion_is_scored_dish_by_dish_and_by_what_the_customer_orders(town: City):
    gone = town.market.restaurants[0].menu[0]
    while gone.available:
        town.market.sell(gone)
    dishes = [dish(town, 0), dish(town, 1), dish(town, 2, price=1.0)]
    hungry = next(number for number in range(100) if appeals(number, gone.item_id))
    content = next(n for n in range(100) if not appeals(n, gone.item_id) and appeals(n, dishes[1]["item_id"]))

    side = Side()
    for number in (hungry, content):
        side.judge_suggestion(town, number, Suggestion(dishes, None))
    assert (side.sold_out.count, side.sold_out.of) == (2, 6)
    assert (side.wrong_prices.count, side.wrong_prices.of) == (2, 6)
    assert (side.failed.count, side.failed.of) == (1, 2)
    assert side.unknown_age == 2


def test_a_customer_orders_nothing_when_nothing_appeals():
    dishes = [{"item_id": "a"}, {"item_id": "b"}]
    picky = next(n for n in range(1000) if not appeals(n, "a") and not appeals(n, "b"))
    assert choose(picky, dishes) is None


def test_taste_belongs_to_the_customer_and_the_dish_not_to_the_rank():
    number = next(n for n in range(100) if appeals(n, "a") and not appeals(n, "b"))
    assert choose(number, [{"item_id": "a"}, {"item_id": "b"}]) == choose(number, [{"item_id": "b"}, {"item_id": "a"}])


def test_about_a_third_of_dishes_appeal():
    assert sum(appeals(number, f"r1-{number % 7}") for number in range(10_000)) == pytest.approx(3_500, rel=0.05)
