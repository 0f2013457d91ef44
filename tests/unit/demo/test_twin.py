import random

import pytest

from headrace.demo.app import ORDER_STATUS, RECOMMEND
from headrace.demo.city import City
from headrace.demo.plan import MINUTE, CityPlan
from headrace.demo.twin import Twin


@pytest.fixture
def town() -> City:
    return City(
        CityPlan(restaurants=4, dishes=4, couriers=6, zones=1, orders_per_minute=4, warm_up=30), random.Random(7)
    )


@pytest.fixture
def twin(town: City) -> Twin:
    twin = Twin({"recommend": RECOMMEND, "order_status": ORDER_STATUS}, lambda: town.now)
    twin.reload(town.tables, town.now)
    return twin


async def test_a_reload_is_a_true_copy_of_that_instant(town: City, twin: Twin):
    found = await twin.read("recommend", zone="z0")
    assert len(found.rows) == 8
    for row in found.rows:
        assert town.available(row["item_id"])
        assert row["price"] == pytest.approx(town.price(row["item_id"]))
        assert row["stock"] == town.market.dishes[row["item_id"]].stock


async def test_the_most_sold_come_first_by_a_count_over_fifteen_minutes(town: City, twin: Twin):
    since = town.now - 15 * MINUTE
    sold = [row["item_id"] for row in town.tables["sales"].values() if row["sold_at"] > since]
    orders = [row["orders_15m"] for row in (await twin.read("recommend", zone="z0")).rows]
    assert orders == sorted(orders, key=lambda count: count or 0, reverse=True)
    first = (await twin.read("recommend", zone="z0")).rows[0]
    assert first["orders_15m"] == sold.count(first["item_id"])


async def test_the_copy_stays_as_it_was_and_ages(town: City, twin: Twin):
    before = await twin.read("recommend", zone="z0")
    town.advance(town.now + 5 * MINUTE)
    after = await twin.read("recommend", zone="z0")
    assert after.rows == before.rows
    assert (before.age_ms, after.age_ms) == (0, 300_000)


async def test_an_order_younger_than_the_copy_is_unknown_to_it(town: City, twin: Twin):
    restaurant = town.market.restaurants[0]
    order = town.dispatch.place(restaurant, restaurant.menu[0], 1.0, 2.0)
    assert (await twin.read("order_status", order_id=order.order_id)).rows == []
    twin.reload(town.tables, town.now)
    (row,) = (await twin.read("order_status", order_id=order.order_id)).rows
    assert (row["state"], row["home_x"], row["courier_x"]) == ("placed", 1.0, None)
