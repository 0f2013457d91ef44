from headrace.core.clock import SECOND
from headrace.demo.couriers import Courier


def test_a_courier_rides_straight_at_its_pace():
    courier = Courier("c1", pace=5.0, x=0, y=0, to_x=0, to_y=0)
    assert courier.go(10 * SECOND, 300, 400) == 110 * SECOND
    assert courier.place(60 * SECOND) == (150, 200)
    assert courier.place(500 * SECOND) == (300, 400)


def test_a_courier_who_turns_on_the_way_starts_from_where_it_is():
    courier = Courier("c1", pace=5.0, x=0, y=0, to_x=0, to_y=0)
    courier.go(0, 300, 400)
    assert courier.go(50 * SECOND, 150, 200 + 50) == 60 * SECOND
    assert courier.row(50 * SECOND) == {"courier_id": "c1", "x": 150, "y": 200, "seen_at": 50 * SECOND}
