import random

from headrace.core.clock import SECOND, SimulatedClock
from headrace.demo.app import ORDER_STATUS, RECOMMEND
from headrace.demo.city import City
from headrace.demo.happenings import Write
from headrace.demo.plan import MINUTE, CityPlan
from headrace.demo.twin import Twin
from headrace.demo.world import World

PLAN = CityPlan(restaurants=4, dishes=4, couriers=6, warm_up=10)


def start() -> tuple[World, Twin, SimulatedClock]:
    city = City(PLAN, random.Random(7))
    clock = SimulatedClock(start=city.now)
    twin = Twin({"recommend": RECOMMEND, "order_status": ORDER_STATUS}, clock.now)
    return World(city, twin, clock, window=5 * MINUTE), twin, clock


def test_the_first_outboxes_hold_the_books():
    world, _, _ = start()
    assert {table: len(rows) for table, rows in world.outboxes.items()} == {
        table: len(rows) for table, rows in world.city.tables.items()
    }


def test_the_twin_is_reloaded_at_its_exact_instants_however_late_the_clock_is_looked_at():
    world, twin, clock = start()
    began = world.city.now
    world.catch_up()
    assert twin.loaded_at == began
    clock.advance(299)
    world.catch_up()
    assert twin.loaded_at == began
    clock.advance(900)
    world.catch_up()
    assert twin.loaded_at == began + 15 * MINUTE
    assert world.city.now == clock.now() == began + 1199 * SECOND


def test_nothing_is_lost_or_reordered_on_the_way_to_the_outboxes():
    world, _, clock = start()
    for table in world.outboxes:
        world.take(table)
    clock.advance(180)
    world.catch_up()
    other = City(PLAN, random.Random(7))
    happened = other.advance(other.now + 180 * SECOND)
    for table in world.outboxes:
        assert world.take(table) == [w.row for w in happened if isinstance(w, Write) and w.table == table]
    assert list(world.questions) == [h for h in happened if not isinstance(h, Write)]
