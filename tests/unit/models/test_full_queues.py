"""Who is turned away when a queue is full."""

from __future__ import annotations

from headrace.models.admission import Admission, AdmissionRules, Turned
from headrace.models.call import Call, Priority


def test_the_door_closes_when_the_queue_is_full_but_not_for_retries() -> None:
    queue = Admission(AdmissionRules(most=1))
    second = Call("2", 1, 1, 9.0)
    assert not queue.offer(0.0, Call("1", 1, 1, 9.0))
    assert queue.offer(0.0, second) == [(second, Turned.FULL)]
    assert not queue.offer(0.0, Call("3", 1, 1, 9.0), again=True)


def test_a_full_queue_makes_room_for_what_matters_more() -> None:
    queue = Admission(AdmissionRules(most=4))
    waiting = [Call(f"s{number}", 1, 1, 9.0, priority=Priority.SHEDDABLE) for number in range(4)]
    for one in waiting:
        assert not queue.offer(0.0, one)
    urgent = [Call(f"c{number}", 1, 1, 9.0, priority=Priority.CRITICAL) for number in range(5)]
    turned = [queue.offer(0.1, one) for one in urgent]
    last = [*reversed(waiting), urgent[4]]
    assert turned == [[(one, Turned.FULL)] for one in last], "the newest first, and never one of its own kind"
    normal = Call("n", 1, 1, 9.0)
    assert queue.offer(0.2, normal) == [(normal, Turned.FULL)]
    assert [queue.take(0.3, lambda _: 0.0, lambda _: True).call for _ in range(4)] == urgent[:4]


def test_a_tenant_cannot_keep_others_out_of_a_full_queue() -> None:
    queue = Admission(AdmissionRules(most=4))
    loud = [Call(f"l{number}", 1, 1, 9.0, tenant="loud") for number in range(4)]
    for one in loud:
        queue.offer(0.0, one)
    quiet = [Call(f"q{number}", 1, 1, 9.0, tenant="quiet") for number in range(3)]
    turned = [other.id for one in quiet for other, _ in queue.offer(0.1, one)]
    assert turned == ["l3", "l2", "q2"], "half each, and then whoever comes"
    more = Call("l4", 1, 1, 9.0, tenant="loud")
    assert queue.offer(0.2, more) == [(more, Turned.FULL)]


def test_tenants_that_are_turned_away_leave_nothing_behind() -> None:
    queue = Admission(AdmissionRules(most=1))
    queue.offer(0.0, Call("1", 1, 1, 9.0, tenant="first"))
    for number in range(100):
        queue.offer(0.0, Call(f"t{number}", 1, 1, 9.0, tenant=f"t{number}"))
    assert sum(map(len, queue._lanes)) == 1  # pyright: ignore[reportPrivateUsage]


def test_a_retry_keeps_its_place_in_a_full_queue() -> None:
    queue = Admission(AdmissionRules(most=3))
    for number in range(3):
        queue.offer(0.0, Call(f"a{number}", 1, 1, 9.0, tenant="a"))
    queue.offer(0.1, Call("again", 1, 1, 9.0, tenant="a"), again=True)
    assert [other.id for other, _ in queue.offer(0.2, Call("b", 1, 1, 9.0, tenant="b"))] == ["a2"]
