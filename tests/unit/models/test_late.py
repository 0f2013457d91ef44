"""Attempts that show nothing: what is done for their call, and what is thought of their upstream."""

from __future__ import annotations

from itertools import count
from random import Random

import pytest

from headrace.models.action import Action, Attempt, Done, Reason, Refused, Start, Stop
from headrace.models.breaker import State
from headrace.models.budget import Extra
from headrace.models.call import Call, Usage
from headrace.models.failure import Failure
from headrace.models.router import Router
from headrace.models.settings import Policies, UpstreamSpec

FIRST = 10.0
"""`timeouts.first_token` as it is by default."""


def router(*tiers: int, **sections: object) -> Router:
    """Upstreams a, b, ... of these tiers."""
    specs = [UpstreamSpec(name=name, tier=tier) for name, tier in zip("abc", tiers, strict=False)]
    return Router(specs, Policies.model_validate(sections), Random(1))


_IDS = count()


def call(now: float, *, stream: bool = True, deadline: float = 60.0, repeatable: bool = True) -> Call:
    return Call(f"c{next(_IDS)}", 100, 50, now + deadline, stream=stream, repeatable=repeatable)


def sole(actions: list[Action]) -> Attempt:
    [attempt] = [one.attempt for one in actions if isinstance(one, Start)]
    return attempt


def stopped(actions: list[Action]) -> list[str]:
    return [one.attempt.upstream for one in actions if isinstance(one, Stop)]


def polled(one: Router, until: float) -> list[tuple[float, Action]]:
    """All that the router does by itself up to an instant."""
    told: list[tuple[float, Action]] = []
    while one.wake is not None and one.wake <= until:
        at = one.wake
        told += [(at, action) for action in one.poll(at)]
    return told


def answer(one: Router, now: float, *, first: float, stream: bool = True) -> float:
    """A call is answered, its first byte after so many seconds; the instant after it."""
    attempt = sole(one.submit(now, call(now, stream=stream)))
    polled(one, now + first)
    if stream:
        one.on_first_token(now + first, attempt.id)
    one.on_end(now + first + 1, attempt.id, Usage(100, 40))
    return now + first + 2


def leave(one: Router, now: float, *, after: float, stream: bool = True) -> float:
    """A client leaves without a first byte after so many seconds."""
    made = call(now, stream=stream)
    one.submit(now, made)
    polled(one, now + after)
    one.cancel(now + after, made.id)
    return now + after


def state(one: Router, name: str, now: float) -> State:
    return one.selection.named(name).breaker.state(now)


# What is done for the call -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "deadline", "at"), [(True, 60.0, FIRST), (True, 8.0, 4.0), (False, 60.0, 30.0), (False, 4.0, 2.0)]
)
def test_what_shows_nothing_is_tried_elsewhere_as_well_and_goes_on(stream: bool, deadline: float, at: float) -> None:
    one = router(0, 1)
    first = sole(one.submit(0.0, call(0.0, stream=stream, deadline=deadline)))
    [(when, action)] = polled(one, at)
    assert isinstance(action, Start)
    assert (when, action.attempt.upstream, action.attempt.extra) == (at, "b", Extra.FALLBACK)
    told = one.on_end(at + 1, first.id, Usage(100, 40))  # the first answers after all
    assert stopped(told) == ["b"]
    assert isinstance(told[-1], Done)


def test_a_call_that_has_taken_four_times_the_usual_is_tried_elsewhere() -> None:
    one = router(0, 1, concurrency={"kind": "fixed", "initial": 64})
    for attempt in [sole(one.submit(0.0, call(0.0, stream=False))) for _ in range(40)]:
        one.on_end(10.0, attempt.id, Usage(100, 40))
    sole(one.submit(11.0, call(11.0, stream=False)))
    [(at, action)] = polled(one, 70.0)
    assert isinstance(action, Start)
    assert at - 11.0 == pytest.approx(4 * 10.0, rel=0.03), "half of the deadline is no sign where ten seconds are usual"


def test_a_stream_that_has_begun_goes_on_to_its_last_instant() -> None:
    one, made = router(0), call(0.0, deadline=3.0)
    made.last = 5.0
    attempt = sole(one.submit(0.0, made))
    assert attempt.clock.end == 5.0
    one.on_first_token(2.5, attempt.id)
    assert polled(one, 4.9) == []
    assert [(at, action.reason) for at, action in polled(one, 6.0) if isinstance(action, Refused)] == [
        (5.0, Reason.DEADLINE)
    ]


def test_one_that_has_not_begun_fails_at_its_deadline() -> None:
    one, made = router(0), call(0.0, deadline=3.0)
    made.last = 5.0
    sole(one.submit(0.0, made))
    told = [(at, action) for at, action in polled(one, 6.0) if isinstance(action, Refused)]
    assert [(at, action.reason, action.failure) for at, action in told] == [(3.0, Reason.DEADLINE, Failure.TIMEOUT)]


def test_alone_it_is_waited_for_to_the_deadline() -> None:
    one = router(0)
    attempt = sole(one.submit(0.0, call(0.0)))
    assert polled(one, 50.0) == []
    one.on_first_token(55.0, attempt.id)
    assert isinstance(one.on_end(56.0, attempt.id, Usage(100, 40))[-1], Done)


def test_that_it_has_refused_says_nothing_of_how_long_it_takes() -> None:
    one = router(0)
    refused = sole(one.submit(0.0, call(0.0)))
    one.on_failure(0.1, refused.id, Failure.BAD_REQUEST)
    attempt = sole(one.submit(1.0, call(1.0)))
    assert polled(one, 50.0) == []
    assert isinstance(one.on_end(55.0, attempt.id, Usage(100, 40))[-1], Done)


def test_alone_it_is_asked_again_where_it_is_known_to_take_less() -> None:
    one, now = router(0), 0.0
    now = answer(one, now, first=0.5)
    first = sole(one.submit(now, call(now)))
    [(_, action)] = polled(one, now + FIRST)
    assert isinstance(action, Start)
    assert (action.attempt.upstream, action.attempt.extra) == ("a", Extra.RETRY)
    assert stopped(one.on_first_token(now + 11, action.attempt.id)) == ["a"]
    assert first.id not in one._running  # pyright: ignore[reportPrivateUsage]


def test_what_must_not_run_twice_is_waited_for() -> None:
    one = router(0, 1)
    one.submit(0.0, call(0.0, repeatable=False))
    [(_, stop), (at, refused)] = polled(one, 60.0)
    assert (type(stop), type(refused), at) == (Stop, Refused, 60.0)


def test_there_are_no_more_attempts_than_may_be_and_none_without_budget() -> None:
    for sections, most in (({}, 3), ({"retry": {"attempts": 2}}, 2), ({"budget": {"cap": 1.0, "deposit": 0.0}}, 1)):
        one = router(0, 1, 2, **sections)
        attempt = sole(one.submit(0.0, call(0.0)))
        made = [attempt] + [action.attempt for _, action in polled(one, 20.0) if isinstance(action, Start)]
        if len(made) > 1:
            one.on_failure(20.0, made[1].id, Failure.SERVER_ERROR)
            made += [action.attempt for _, action in polled(one, 30.0) if isinstance(action, Start)]
        assert len(made) == most


@pytest.mark.parametrize(
    ("sections", "silent", "said"),
    [
        (
            {"timeouts": {"total": 5.0}, "retry": {"attempts": 1}},
            True,
            "the answer took longer than 5 s (timeouts.total)",
        ),
        ({"timeouts": {"idle": 3.0}}, False, "nothing came for 3 s (timeouts.idle)"),
    ],
)
def test_the_end_names_the_time_that_was_over(sections: dict[str, object], silent: bool, said: str) -> None:
    one = router(0, **sections)
    attempt = sole(one.submit(0.0, call(0.0)))
    if not silent:
        one.on_first_token(1.0, attempt.id)
    [refused] = [action for _, action in polled(one, 20.0) if isinstance(action, Refused)]
    assert refused.over == said


# What is thought of the upstream -------------------------------------------------------------------------------------


def test_five_late_streams_eject_and_the_next_call_goes_elsewhere() -> None:
    one = router(0, 1)
    for _ in range(5):
        one.submit(0.0, call(0.0))
    polled(one, FIRST)
    assert (state(one, "a", FIRST), state(one, "b", FIRST)) == (State.OPEN, State.CLOSED)
    assert sole(one.submit(FIRST, call(FIRST))).upstream == "b"


def test_what_always_takes_so_long_is_not_blamed() -> None:
    one, now = router(0), 0.0
    for _ in range(20):
        now = answer(one, now, first=25.0)
    upstream = one.selection.named("a")
    assert upstream.limit.current == 32, "being slow says nothing about too many at once"
    for _ in range(6):
        one.submit(now, call(now))
    polled(one, now + 2 * FIRST)
    assert (state(one, "a", now), upstream.limit.current) == (State.CLOSED, 32)


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_leave_without_a_first_byte_show_that_it_hangs(stream: bool) -> None:
    one, now = router(0, 1), 0.0
    now = answer(one, now, first=0.5, stream=stream)
    for _ in range(5):
        assert state(one, "a", now) is State.CLOSED
        now = leave(one, now, after=5.0, stream=stream)
    assert state(one, "a", now) is State.OPEN
    assert sole(one.submit(now, call(now, stream=stream))).upstream == "b"
    assert one.selection.named("a").seen(now).failure_share > 0.5


def test_a_probe_whose_client_leaves_does_not_show_that_it_is_well() -> None:
    one, now = router(0, 1), 0.0
    for _ in range(5):
        now = leave(one, now, after=5.0)
    now = one.selection.named("a").breaker.until
    now = leave(one, now, after=5.0)
    assert state(one, "a", now) is State.OPEN


def test_one_answer_in_between_shows_that_it_lives() -> None:
    one, now = router(0, 1), 0.0
    for number in range(40):
        now = answer(one, now, first=0.5) if number % 5 == 4 else leave(one, now, after=5.0)
    assert state(one, "a", now) is State.CLOSED


def test_an_attempt_that_began_later_and_lost_shows_nothing() -> None:
    one, now = router(0, 0, budget={"unlimited": True}), 0.0
    for _ in range(5):
        first = sole(one.submit(now, call(now)))
        [(_, action)] = polled(one, now + FIRST)
        assert isinstance(action, Start)
        assert stopped(one.on_first_token(now + FIRST + 5, first.id)) == [action.attempt.upstream]
        one.on_end(now + FIRST + 6, first.id, Usage(100, 40))
        assert [state(one, name, now) for name in "ab"] == [State.CLOSED, State.CLOSED]
        assert one.selection.named(action.attempt.upstream).seen(now + 20).failure_share <= 0.5
        now += 60.0


@pytest.mark.parametrize(("after", "usual"), [(0.3, 0.1), (1.9, 0.5), (5.0, 40.0)])
def test_clients_that_leave_soon_show_nothing(after: float, usual: float) -> None:
    """A box that asks with every key that is hit cancels most of its calls; so do users of a model that thinks."""
    one = router(0, 1)
    now = answer(one, 0.0, first=usual)
    for _ in range(5):
        now = leave(one, now, after=after)
    assert state(one, "a", now) is State.CLOSED
