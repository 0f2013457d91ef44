"""Bursts at upstreams of which nothing is known: as much as they take, and nobody is turned away for a guess."""

from __future__ import annotations

import logging
from random import Random

import pytest

from headrace.models.action import Action, Attempt, Reason, Refused, Start
from headrace.models.call import Call, Priority, Usage
from headrace.models.failure import Failure
from headrace.models.headers import Limits
from headrace.models.router import Router
from headrace.models.settings import Policies, UpstreamSpec
from headrace.models.turned import TurnedLog
from headrace.models.unanswered import refusal

LONG = 12.0
"""Seconds that an answer takes."""


def router(*, local: bool = False, **sections: object) -> Router:
    return Router([UpstreamSpec(name="a", local=local)], Policies.model_validate(sections), Random(1))


def burst(one: Router, calls: int, now: float = 0.0, *, stream: bool = False) -> list[Action]:
    """So many calls at once."""
    said: list[Action] = []
    for number in range(calls):
        said += one.submit(now, Call(f"{now}-{number}", 100, 240, deadline=now + 120, stream=stream))
    return said


def started(actions: list[Action]) -> list[Attempt]:
    return [action.attempt for action in actions if isinstance(action, Start)]


def waited(one: Router, now: float, until: float) -> list[tuple[float, Action]]:
    """What the router does by itself, and when."""
    said: list[tuple[float, Action]] = []
    while one.wake is not None and one.wake <= until:
        now = max(one.wake, now)
        said += [(now, action) for action in one.poll(now)]
    return said


def test_a_hosted_api_gets_a_burst_of_long_answers_within_a_second() -> None:
    one = router()
    assert len(started(burst(one, 100))) == 32
    later = waited(one, 0.0, LONG - 1)
    assert [at for at, action in later if isinstance(action, Start)] == [0.5] * 32 + [1.0] * 36
    assert not any(isinstance(action, Refused) for _, action in later), "nobody has said that it is too much"


def test_a_server_of_ones_own_gets_more_with_each_answer_and_nobody_is_shed() -> None:
    one = router(local=True)
    running, now, done = started(burst(one, 100)), 0.0, 0
    while running:
        said = [action for _, action in waited(one, now, now + LONG)]
        now += LONG
        for attempt in running:
            said += one.on_end(now, attempt.id, Usage(100, 240))
            done += 1
        assert not any(isinstance(action, Refused) for action in said)
        running = started(said)
    assert (done, now) == (100, 3 * LONG), "32, 64 and the rest"


def test_a_burst_that_is_too_much_brings_the_limit_to_what_was_taken() -> None:
    one = router()
    running = started(burst(one, 32, stream=True))
    for attempt in running[20:]:
        one.on_failure(0.1, attempt.id, Failure.RATE_LIMITED)
    for attempt in running[:20]:
        one.on_first_token(0.4, attempt.id)
    upstream = one.selection.named("a")
    assert upstream.limit.found
    assert upstream.in_flight == 20
    assert 20 <= upstream.limit.current <= 24, "it feels its way from there, and not from 32"
    assert upstream.paused(0.4) is None, "it answers twenty"


def test_a_queue_before_a_limit_that_is_known_is_shortened() -> None:
    one = router(concurrency={"kind": "fixed", "initial": 4})
    refused = [action for at in range(12) for action in burst(one, 4, now=0.5 * at) if isinstance(action, Refused)]
    assert {one.reason for one in refused} == {Reason.SHED}
    message = refusal("llm", refused[0], 0, None).message
    assert message.endswith("; a has 4 in flight, of at most 4 at once (`concurrency`)")


def test_the_log_says_now_and_then_that_calls_are_turned_away(caplog: pytest.LogCaptureFixture) -> None:
    one = router(concurrency={"kind": "fixed", "initial": 1}, admission={"most": 2})
    refused = [action for action in burst(one, 10) if isinstance(action, Refused)]
    assert [one.reason for one in refused] == [Reason.QUEUE_FULL] * 7
    log = TurnedLog("llm")
    with caplog.at_level(logging.WARNING):
        for at, action in enumerate(refused):
            log.add(20.0 * at, action)
    busy = "a has 1 in flight, of at most 1 at once (`concurrency`)"
    assert [record.getMessage() for record in caplog.records] == [
        f"the model 'llm' turned {calls} away (queue_full): {busy}" for calls in ("a call", "3 calls", "3 calls")
    ]


def test_a_share_that_is_kept_for_critical_calls_does_not_stop_a_limit_from_growing() -> None:
    one = router()
    [first] = started(one.submit(0.0, Call("vip", 10, 10, 30.0, priority=Priority.CRITICAL)))
    one.on_first_token(0.1, first.id)
    one.on_end(0.2, first.id, Usage(10, 10))
    assert len(started(burst(one, 100, now=1.0))) == 25, "a fifth of 32 is kept"
    later = waited(one, 1.0, LONG)
    assert [at for at, action in later if isinstance(action, Start)] == [1.5] * 26 + [2.0] * 49
    assert not any(isinstance(action, Refused) for _, action in later)


@pytest.mark.parametrize("failure", [Failure.RATE_LIMITED, Failure.OVERLOADED])
def test_one_refusal_in_the_quiet_says_nothing_about_a_burst(failure: Failure) -> None:
    one = router(retry={"attempts": 1})
    [first] = started(one.submit(0.0, Call("alone", 10, 10, 30.0)))
    one.on_failure(0.1, first.id, failure)
    upstream = one.selection.named("a")
    assert (upstream.limit.current, upstream.limit.found) == (32, False)
    assert len(started(burst(one, 100, now=10.0))) == 32
    assert not any(isinstance(action, Refused) for _, action in waited(one, 10.0, 10.0 + LONG - 1))


def test_that_an_upstream_says_now_and_then_that_it_is_overloaded_is_not_its_limit() -> None:
    one = router(concurrency={"initial": 8, "most": 8}, retry={"attempts": 1})
    limit = one.selection.named("a").limit
    for at in range(20):
        running = started(burst(one, 8, now=float(at), stream=True))
        one.on_failure(at + 0.05, running[0].id, Failure.OVERLOADED)
        for attempt in running[1:]:
            one.on_first_token(at + 0.3, attempt.id)
            one.on_end(at + 0.5, attempt.id, Usage(10, 10))
        assert limit.current == 8
        # What begins after it was refused is answered.
        [after] = started(burst(one, 1, now=at + 0.6, stream=True))
        one.on_first_token(at + 0.7, after.id)
        one.on_end(at + 0.8, after.id, Usage(10, 10))
    running = started(burst(one, 8, now=30.0, stream=True))
    for attempt in running[6:]:
        one.on_failure(30.05, attempt.id, Failure.OVERLOADED)
    assert limit.current < 8, "two in a row are no accident"


def test_a_limit_that_was_reached_long_ago_does_not_double_at_once() -> None:
    one = router()
    for attempt in started(burst(one, 33)):
        one.on_first_token(0.1, attempt.id)
    waited(one, 0.1, 0.2)
    upstream = one.selection.named("a")
    for attempt in [running.attempt for running in list(one._running.values())]:  # pyright: ignore[reportPrivateUsage]
        one.on_end(0.3, attempt.id, Usage(100, 240))
    before = upstream.limit.current
    burst(one, before + 1, now=1000.0)
    assert upstream.limit.current == before
    waited(one, 1000.0, 1000.6)
    assert upstream.limit.current == 2 * before


def test_what_waits_for_a_paused_upstream_is_told_that_and_not_that_it_was_shed() -> None:
    one = router(retry={"attempts": 1})
    [first] = started(one.submit(0.0, Call("first", 10, 10, 20.0)))
    one.on_failure(0.1, first.id, Failure.RATE_LIMITED, Limits(retry_after=15.0))
    refused: list[Refused] = []
    for number in range(24):
        now = 0.2 + number / 2
        refused += [a for a in one.submit(now, Call(f"c{number}", 10, 10, now + 20)) if isinstance(a, Refused)]
    assert {action.reason for action in refused} <= {Reason.RATE_LIMITED}
    assert all(action.retry_after is not None and action.retry_after <= 15 for action in refused)


def test_a_slow_rate_limit_is_no_queue_that_stands() -> None:
    """Twenty a minute: whoever waits for the next one gets it, also where nobody looks at the queue meanwhile."""
    one = Router([UpstreamSpec(name="a", requests_per_minute=20)], Policies(), Random(1))
    now, answered = 0.0, 0
    for attempt in started(burst(one, 20)):
        one.on_first_token(0.1, attempt.id)
        one.on_end(0.2, attempt.id, Usage(10, 10))
    for number in range(12):
        now = 1.0 + 3.3 * number  # a little less often than the limit allows, two seconds after the last was answered
        said = one.submit(now, Call(f"late-{number}", 10, 10, now + 30))
        said += [action for _, action in waited(one, now, now + 3.3)]
        assert not any(isinstance(action, Refused) for action in said)
        for attempt in started(said):
            answered += 1
            one.on_first_token(now + 3.3, attempt.id)
            one.on_end(now + 3.3, attempt.id, Usage(10, 10))
    assert answered >= 10


def test_of_two_that_wait_for_a_rate_limit_both_are_answered() -> None:
    one = Router([UpstreamSpec(name="a", requests_per_minute=20)], Policies(), Random(1))
    for attempt in started(burst(one, 20)):
        one.on_end(0.2, attempt.id, Usage(10, 10))
    said = one.submit(1.0, Call("a", 10, 10, 31.0))
    said += [action for _, action in waited(one, 1.0, 2.0)]
    said += one.submit(2.0, Call("b", 10, 10, 32.0))
    said += [action for _, action in waited(one, 2.0, 9.0)]
    assert [attempt.call.id for attempt in started(said)] == ["a", "b"]
