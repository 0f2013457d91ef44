import hashlib
import os
import random
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.clock import SECOND
from headrace.demo.city import City
from headrace.demo.happenings import Happening, Suggest, Whereabouts, Write
from headrace.demo.orders import OrderState
from headrace.demo.plan import HOUR, MINUTE, CityPlan, demand

SMALL = CityPlan(restaurants=6, dishes=6, couriers=12, orders_per_minute=4, counter_sales_per_minute=30, warm_up=20)
SILENT = CityPlan(
    restaurants=1,
    dishes=1,
    couriers=1,
    orders_per_minute=1e-9,
    counter_sales_per_minute=1e-9,
    suggestions_per_minute=1e-9,
    promoted=0,
)


def digest(happened: list[Happening]) -> str:
    return hashlib.sha256(repr(happened).encode()).hexdigest()


def city(seed: int = 7, plan: CityPlan = SMALL) -> City:
    return City(plan, random.Random(seed))


def test_one_seed_makes_one_city_bit_for_bit():
    first, second, other = city(), city(), city(seed=8)
    log = digest(first.advance(first.now + 10 * MINUTE))
    assert log == digest(second.advance(second.now + 10 * MINUTE))
    assert log != digest(other.advance(other.now + 10 * MINUTE))


def test_one_seed_makes_one_city_whatever_the_order_of_sets():
    code = (
        "import random, hashlib\n"
        "from headrace.demo.city import City, CityPlan\n"
        "c = City(CityPlan(restaurants=6, dishes=6, couriers=12), random.Random(7))\n"
        "print(hashlib.sha256(repr(c.advance(c.now + 120_000_000)).encode()).hexdigest())\n"
    )
    logs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(logs) == 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 90 * SECOND), max_size=12))
def test_the_steps_in_which_time_is_walked_make_no_difference(steps: list[int]):
    whole, stepped = city(), city()
    end = whole.now + 5 * MINUTE
    happened: list[Happening] = []
    for step in steps:
        happened += stepped.advance(min(stepped.now + step, end))
    happened += stepped.advance(end)
    assert happened == whole.advance(end)


def test_what_happens_is_in_order_of_time_and_up_to_the_instant_asked_for():
    town = city()
    began = town.now
    instants = [happening.at for happening in town.advance(began + 5 * MINUTE)]
    assert instants == sorted(instants)
    assert began < instants[0]
    assert instants[-1] <= began + 5 * MINUTE == town.now


def test_stock_is_never_negative_and_nothing_is_sold_that_was_not_cooked():
    town = city()
    stocks = [w.row["stock"] for w in town.advance(town.now + 2 * HOUR) if isinstance(w, Write) and w.table == "items"]
    assert min(stocks) == 0
    for dish in town.market.dishes.values():
        assert dish.stock == dish.supplied - dish.sold >= 0


def test_each_order_ends_after_the_city_took_the_last_one():
    town = city()
    states: dict[str, str] = {}
    closed_at = town.now + 30 * MINUTE
    happened = town.advance(closed_at)
    town.close()
    happened += town.advance(closed_at + 3 * HOUR)
    for write in happened:
        if isinstance(write, Write) and write.table == "orders":
            states[write.row["order_id"]] = write.row["state"]
    assert len(states) > 30
    assert set(states.values()) <= {"delivered", "cancelled"}
    assert not any(courier.busy for courier in town.dispatch.couriers.values())


def test_an_order_only_moves_forward():
    town, order_of_states = city(), list(OrderState)
    seen: dict[str, int] = {}
    for write in town.advance(town.now + HOUR):
        if isinstance(write, Write) and write.table == "orders":
            place = order_of_states.index(OrderState(write.row["state"]))
            assert place >= seen.get(write.row["order_id"], 0)
            seen[write.row["order_id"]] = place


def test_customers_ask_only_about_orders_that_are_under_way():
    town = city()
    asked = [h for h in town.advance(town.now + 30 * MINUTE) if isinstance(h, Whereabouts)]
    assert asked
    assert all(question.order_id in town.dispatch.orders for question in asked)


def test_the_books_agree_with_the_truth():
    town = city()
    town.advance(town.now + 30 * MINUTE)
    for item_id, row in town.tables["items"].items():
        assert (row["stock"] > 0) == town.available(item_id)
    for order_id, order in town.dispatch.orders.items():
        assert town.tables["orders"][order_id]["state"] == town.order(order_id).state
        assert order.ended == (order.state in ("delivered", "cancelled"))


def test_books_stay_small():
    town = city()
    town.advance(town.now + 3 * HOUR)
    assert min(row["sold_at"] for row in town.tables["sales"].values()) >= town.now - 17 * MINUTE
    ended = [row for row in town.tables["orders"].values() if row["state"] == "delivered"]
    assert min(row["changed_at"] for row in ended) >= town.now - 32 * MINUTE
    assert set(town.dispatch.orders) == set(town.tables["orders"])


def test_one_order_in_a_city_of_one_restaurant_and_one_courier():
    town = city(plan=SILENT)
    restaurant = town.market.restaurants[0]
    dish = restaurant.menu[0]
    stock = dish.stock
    order = town.dispatch.place(restaurant, dish, 100.0, 200.0)
    assert order.state is OrderState.PLACED
    assert town.order("o1").place is None
    assert dish.stock == stock - 1

    happened = town.advance(town.now + 2 * HOUR)
    states = [w.row["state"] for w in happened if isinstance(w, Write) and w.table == "orders"]
    assert list(dict.fromkeys(states)) == ["placed", "accepted", "cooking", "picked_up", "delivered"]
    assert town.dispatch.couriers["c1"].place(town.now) == (100.0, 200.0)


def test_a_dish_that_sold_out_comes_back_after_the_declared_time():
    town = city(plan=SILENT)
    dish = town.market.restaurants[0].menu[0]
    while dish.available:
        town.market.sell(dish)
    low, high = SILENT.refill_after
    town.advance(town.now + round(low * MINUTE) - 1)
    assert not town.available(dish.item_id)
    town.advance(town.now + round((high - low) * MINUTE) + 1)
    assert town.available(dish.item_id)
    assert dish.stock == dish.batch


def test_a_cancelled_order_gives_its_portion_back():
    town = city()
    happened = town.advance(town.now + 2 * HOUR)
    orders = [w.row for w in happened if isinstance(w, Write) and w.table == "orders"]
    assert any(row["state"] == "cancelled" for row in orders)
    assert all(dish.stock == dish.supplied - dish.sold for dish in town.market.dishes.values())


def test_lunch_is_busier_than_the_afternoon():
    plan = CityPlan(restaurants=6, dishes=6, couriers=12, warm_up=1)
    lunch = city(plan=plan)
    afternoon = City(
        CityPlan(restaurants=6, dishes=6, couriers=12, warm_up=1, start=plan.start + 4 * HOUR), random.Random(7)
    )

    def asked(town: City) -> int:
        return sum(isinstance(h, Suggest) for h in town.advance(town.now + 30 * MINUTE))

    assert asked(lunch) > 3 * asked(afternoon)


def test_demand_is_a_share():
    assert all(0 < demand(minute * MINUTE) <= 1 for minute in range(24 * 60))
