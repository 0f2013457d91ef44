"""The router against any order of events: one end per call, nothing left behind, limits and ejections kept."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import DeclarationError
from headrace.models.action import Action, Attempt, Deliver, Done, Reason, Refused, Start, Stop
from headrace.models.billing import Billing
from headrace.models.budget import Extra
from headrace.models.call import Call, Priority, Usage
from headrace.models.cost import Prices
from headrace.models.failure import Failure
from headrace.models.headers import Limits
from headrace.models.router import Router
from headrace.models.settings import Policies, UpstreamSpec
from headrace.models.spending import Spending

NAMES = ("a", "b", "c")


def router(*names: str, seed: int = 1, billing: Billing | None = None, **sections: object) -> Router:
    policies = Policies.model_validate(sections)
    return Router([UpstreamSpec(name=name, model="m") for name in names], policies, Random(seed), billing=billing)


def call(name: str = "1", *, deadline: float = 30.0, **more: object) -> Call:
    return Call(name, 100, 50, deadline, **more)  # pyright: ignore[reportArgumentType]


def started(actions: list[Action]) -> list[Attempt]:
    return [action.attempt for action in actions if isinstance(action, Start)]


def sole(actions: list[Action]) -> Attempt:
    [attempt] = started(actions)
    return attempt


def warm(one: Router, *, first: float = 0.4, total: float = 1.4) -> float:
    """Enough answers that the router knows what is usual; the instant after them."""
    now = 0.0
    for number in range(150):
        attempt = sole(one.submit(now, call(f"warm{number}", deadline=now + 30)))
        one.on_first_token(now + first, attempt.id)
        one.on_end(now + total, attempt.id, Usage(100, 40))
        now += 2.0
    return now


class Shell:
    """Follows what a router says, and complains when it contradicts itself."""

    def __init__(self, one: Router) -> None:
        self.router = one
        self.running: dict[int, Attempt] = {}
        self.delivered: dict[str, int] = {}
        self.open: set[str] = set()
        self.ended: dict[str, int] = {}

    def follow(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(attempt):
                    upstream = self.router.selection.named(attempt.upstream)
                    assert upstream.in_flight <= max(upstream.limit.current, 1)
                    assert attempt.call.id in self.open
                    assert attempt.id not in self.running
                    self.running[attempt.id] = attempt
                case Stop(attempt):
                    del self.running[attempt.id]
                case Deliver(attempt):
                    assert attempt.id in self.running
                    assert attempt.call.id in self.open
                    # Once its first byte is out, a stream comes from one attempt and no other.
                    if attempt.call.stream:
                        assert attempt.call.id not in self.delivered
                    self.delivered[attempt.call.id] = attempt.id
                case Done(one, attempt, _, _):
                    assert self.delivered[one.id] == attempt.id
                    self.running.pop(attempt.id)
                    self._end(one)
                case Refused(one):
                    self._end(one)

    def _end(self, one: Call) -> None:
        self.open.remove(one.id)
        self.ended[one.id] = self.ended.get(one.id, 0) + 1
        assert all(attempt.call.id != one.id for attempt in self.running.values()), "an attempt outlives its call"


events = st.lists(
    st.tuples(
        st.sampled_from(["submit", "submit", "first", "end", "fail", "cancel", "wait"]),
        st.integers(0, 10**6),
        st.floats(0.001, 4.0),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(events, st.booleans())
def test_each_call_ends_once_and_nothing_is_left_behind(script: list[tuple[str, int, float]], stream: bool) -> None:
    shell = Shell(router(*NAMES, concurrency={"initial": 3, "most": 6}))
    now, number = 0.0, 0
    for kind, drawn, passed in script:
        now += passed
        running = list(shell.running.values())
        chosen = running[drawn % len(running)] if running else None
        if kind == "submit":
            number += 1
            priority = Priority(drawn % 3)
            one = call(f"c{number}", deadline=now + 5 + drawn % 20, priority=priority, stream=stream)
            shell.open.add(one.id)
            shell.follow(shell.router.submit(now, one))
        elif kind == "first" and chosen is not None:
            shell.follow(shell.router.on_first_token(now, chosen.id))
        elif kind == "end" and chosen is not None:
            shell.follow(shell.router.on_end(now, chosen.id, Usage(100, 10)))
        elif kind == "fail" and chosen is not None:
            failure = list(Failure)[drawn % len(Failure)]
            shell.running.pop(chosen.id)
            shell.follow(shell.router.on_failure(now, chosen.id, failure))
        elif kind == "cancel" and shell.open:
            shell.follow(shell.router.cancel(now, sorted(shell.open)[drawn % len(shell.open)]))
        shell.follow(shell.router.poll(now))
    for _ in range(1000):
        wake = shell.router.wake
        if wake is None:
            break
        now = max(wake, now + 0.001)
        shell.follow(shell.router.poll(now))
    assert shell.open == set(), "time alone must end every call"
    assert shell.running == {}
    assert all(times == 1 for times in shell.ended.values())
    assert len(shell.ended) == number
    assert shell.router.in_flight == 0
    for upstream in shell.router.selection.upstreams:
        assert upstream.in_flight == 0
        assert upstream.work == 0


def test_an_ejected_upstream_gets_nothing_but_one_probe() -> None:
    one = router("a", "b", balancer={"explore": 1.0}, breaker={"jitter": 0})
    now = warm(one)
    a = one.selection.named("a")
    for _ in range(5):
        a.fail(now, a.start(now, call()), Failure.SERVER_ERROR)
    for number in range(10):
        attempt = sole(one.submit(now + 1, call(f"n{number}", deadline=now + 60)))
        assert attempt.upstream == "b"
    where = [sole(one.submit(now + 6, call(f"p{number}", deadline=now + 60))).upstream for number in range(5)]
    assert where == ["a", "b", "b", "b", "b"]


def test_when_all_are_ejected_they_are_used_all_the_same_and_a_success_ends_it() -> None:
    one = router("a", "b")
    now = warm(one)
    for upstream in one.selection.upstreams:
        for _ in range(5):
            upstream.fail(now, upstream.start(now, call()), Failure.CONNECTION)
    assert one.selection.panics(now)
    attempt = sole(one.submit(now + 0.1, call(deadline=now + 60)))
    one.on_end(now + 1.0, attempt.id, Usage(1, 1))
    assert not one.selection.panics(now + 1.0)


def test_bad_requests_and_wrong_keys_eject_nobody() -> None:
    one = router("a")
    for number in range(50):
        attempt = sole(one.submit(float(number), call(str(number), deadline=number + 30.0)))
        failure = Failure.BAD_REQUEST if number % 2 else Failure.CREDENTIALS
        [refused] = one.on_failure(number + 0.1, attempt.id, failure)
        assert isinstance(refused, Refused)
        assert refused.failure is failure
    assert one.selection.named("a").breaker.allows(100.0)


def test_a_late_first_byte_is_hedged_and_the_first_token_wins() -> None:
    one = router("a", "b")
    now = warm(one)
    slow = sole(one.submit(now, call(deadline=now + 30)))
    assert one.wake is not None
    fast = sole(one.poll(one.wake))
    assert (fast.extra, fast.upstream == slow.upstream) == (Extra.HEDGE, False)
    actions = one.on_first_token(now + 1.5, fast.id)
    assert actions == [Stop(slow), Deliver(fast)]
    assert one.on_first_token(now + 1.6, slow.id) == []
    [done] = one.on_end(now + 2, fast.id, Usage(100, 40))
    assert isinstance(done, Done)


@pytest.mark.parametrize("kind", ["not_repeatable", "busy", "no_budget", "too_late"])
def test_no_hedge_when_it_would_harm(kind: str) -> None:
    one = router("a", "b", concurrency={"kind": "fixed", "initial": 10})
    now = warm(one, total=8.0)
    if kind == "busy":
        for number in range(18):
            one.submit(now, call(f"busy{number}", deadline=now + 100))
    if kind == "no_budget":
        while one.budget.take(Extra.HEDGE):
            pass
    late = call(repeatable=kind != "not_repeatable", deadline=now + (8.2 if kind == "too_late" else 100))
    one.submit(now, late)
    assert [attempt for attempt in started(one.poll(now + 3.0)) if attempt.call is late] == []


def test_a_hedge_that_the_key_cannot_pay_takes_no_extra_attempt_from_others() -> None:
    prices = Prices.parse('models: {m: {input: "0", output: "1000000"}}')
    one = router("a", "b", billing=Billing(prices, Spending({"k": Decimal(80)})))
    now = warm(one)
    before = one.budget.level
    one.submit(now, call(key="k", deadline=now + 60))  # sets 50 aside, and a second one would take as much
    assert [started(one.poll(now + later)) for later in (2.0, 4.0, 6.0)] == [[], [], []]
    assert (one.budget.level, one.budget.spent) == (before, {})


def test_an_answer_without_usage_is_paid_by_an_estimate_and_its_cost_is_not_known() -> None:
    prices = Prices.parse('models: {m: {input: "1", output: "10"}}')
    one = router("a", billing=Billing(prices, Spending({"k": Decimal("0.01")})))
    attempt = sole(one.submit(0.0, call(key="k")))
    one.on_first_token(0.1, attempt.id)
    one.on_progress(0.2, attempt.id, 40)
    [done] = one.on_end(0.3, attempt.id, None)
    assert isinstance(done, Done)
    assert (done.usage, done.cost) == (None, None)
    assert one.billing.spending.spent(1.0, "k") == Decimal("0.0005")  # 100 tokens of its prompt, 40 that came


def test_a_failed_call_goes_elsewhere_at_once() -> None:
    one = router("a", "b")
    now = warm(one)
    first = sole(one.submit(now, call(deadline=now + 30)))
    second = sole(one.on_failure(now + 0.1, first.id, Failure.SERVER_ERROR))
    assert second.upstream != first.upstream
    assert second.extra is Extra.RETRY


def test_a_lone_upstream_is_asked_again_after_what_it_said() -> None:
    one = router("a")
    now = warm(one)
    first = sole(one.submit(now, call(deadline=now + 30)))
    assert one.on_failure(now + 0.1, first.id, Failure.RATE_LIMITED, Limits(retry_after=3.0)) == []
    assert started(one.poll(now + 3.0)) == []
    assert one.wake is not None
    assert now + 3.1 <= one.wake <= now + 3.6
    assert sole(one.poll(one.wake)).upstream == "a"


def test_a_retry_that_cannot_be_in_time_is_not_made() -> None:
    one = router("a")
    now = warm(one)
    first = sole(one.submit(now, call(deadline=now + 3)))
    [refused] = one.on_failure(now + 0.1, first.id, Failure.RATE_LIMITED, Limits(retry_after=5.0))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after) == (Reason.FAILED, 5.0)


def test_a_call_that_comes_while_rate_limits_close_all_for_too_long_is_told_at_once() -> None:
    one = router("a", "b", retry={"attempts": 1})
    now = warm(one)
    for number, seconds in enumerate((60.0, 40.0)):
        attempt = sole(one.submit(now, call(f"last{number}", deadline=now + 20)))
        one.on_failure(now, attempt.id, Failure.RATE_LIMITED, Limits(retry_after=seconds))
    [refused] = one.submit(now + 10, call("late", deadline=now + 39))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after) == (Reason.RATE_LIMITED, pytest.approx(30.0))
    # Its deadline leaves enough after the first opens, so this one waits for it.
    assert one.submit(now + 10, call("early", deadline=now + 60)) == []
    assert one.wake is not None
    assert one.wake == pytest.approx(now + 40)
    assert sole(one.poll(one.wake)).call.id == "early"


def test_a_call_that_waits_when_the_limit_comes_is_told_then() -> None:
    one = router("a", concurrency={"kind": "fixed", "initial": 1}, retry={"attempts": 1})
    now = warm(one)
    first = sole(one.submit(now, call("first", deadline=now + 30)))
    assert one.submit(now, call("soon", deadline=now + 20)) == []
    assert one.submit(now, call("soon as well", tenant="other", deadline=now + 20)) == []
    assert one.submit(now, call("late", deadline=now + 90)) == []
    ended = one.on_failure(now + 0.1, first.id, Failure.RATE_LIMITED, Limits(retry_after=60.0))
    told = {end.call.id: (end.reason, end.retry_after) for end in ended if isinstance(end, Refused)}
    limited = (Reason.RATE_LIMITED, pytest.approx(60.0))
    assert told == {"first": (Reason.FAILED, 60.0), "soon": limited, "soon as well": limited}


def test_a_call_waits_while_an_attempt_that_ends_may_make_room() -> None:
    one = router("a", "b", concurrency={"kind": "fixed", "initial": 1}, retry={"attempts": 1})
    now = warm(one)
    first, second = (sole(one.submit(now, call(name, deadline=now + 30))) for name in ("first", "second"))
    one.on_failure(now, first.id, Failure.RATE_LIMITED, Limits(retry_after=60.0))
    assert one.submit(now, call("third", deadline=now + 20)) == []
    one.on_first_token(now + 1, second.id)
    assert sole(one.on_end(now + 2, second.id, Usage(100, 40))).call.id == "third"


@pytest.mark.parametrize("used", [20, 150])
def test_tokens_that_an_attempt_may_give_back_close_nothing(used: int) -> None:
    one = Router([UpstreamSpec(name="a", tokens_per_minute=200)], Policies(), Random(1))
    first = sole(one.submit(0.0, call("first")))
    assert one.submit(0.0, call("second", deadline=10.0)) == []
    ended = one.on_end(1.0, first.id, Usage(used, 0))
    if used == 20:
        assert sole(ended).call.id == "second"
    else:
        assert [end.reason for end in ended if isinstance(end, Refused)] == [Reason.RATE_LIMITED]


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_call_that_only_an_ejected_upstream_could_take_is_told_when_its_probe_is_far(repeatable: bool) -> None:
    one = router("a", "b", breaker={"consecutive": 1, "first": 20, "jitter": 0}, retry={"attempts": 1})
    only_b: dict[str, Any] = {"without": frozenset({"a"}), "repeatable": repeatable}
    first = sole(one.submit(0.0, call("first", **only_b)))
    one.on_failure(0.0, first.id, Failure.SERVER_ERROR)
    [refused] = one.submit(5.0, call("second", deadline=15.0, **only_b))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after) == (Reason.EJECTED, pytest.approx(15.0))
    assert one.submit(5.0, call("third", deadline=30.0, **only_b)) == []
    assert sole(one.poll(20.0)).call.id == "third"


def test_a_stream_that_breaks_is_told_as_broken_and_never_tried_again() -> None:
    one = router("a", "b")
    now = warm(one)
    first = sole(one.submit(now, call(deadline=now + 30)))
    one.on_first_token(now + 0.4, first.id)
    [refused] = one.on_failure(now + 0.8, first.id, Failure.CONNECTION)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.BROKEN


def test_a_stream_that_goes_silent_is_stopped() -> None:
    one = router("a", timeouts={"idle": 5})
    first = sole(one.submit(0.0, call(deadline=100.0)))
    one.on_first_token(1.0, first.id)
    one.on_progress(4.0, first.id)
    assert one.poll(6.5) == []
    assert [type(action) for action in one.poll(9.0)] == [Stop, Refused]


def test_fallbacks_are_used_when_the_first_tier_cannot() -> None:
    specs = [UpstreamSpec(name="main"), UpstreamSpec(name="spare", tier=1)]
    one = Router(specs, Policies(), Random(1))
    now = warm(one)
    first = sole(one.submit(now, call(deadline=now + 30)))
    second = sole(one.on_failure(now + 0.1, first.id, Failure.QUOTA))
    assert (first.upstream, second.upstream, second.extra) == ("main", "spare", Extra.FALLBACK)
    # Without credit the first one is closed: the next call goes straight to the other, which is no extra attempt.
    third = sole(one.submit(now + 1, call("3", deadline=now + 30)))
    assert (third.upstream, third.extra) == ("spare", None)


def test_sessions_stay_where_they_are_while_it_is_well() -> None:
    one = router(*NAMES, balancer={"explore": 0.0})
    now = warm(one)
    homes: dict[str, str] = {}
    for number in range(60):
        session = f"s{number % 6}"
        attempt = sole(one.submit(now, call(f"x{number}", deadline=now + 30, session=session)))
        assert homes.setdefault(session, attempt.upstream) == attempt.upstream
        one.on_first_token(now + 0.4, attempt.id)
        one.on_end(now + 1.4, attempt.id, Usage(100, 40))
        now += 2.0
    assert len(set(homes.values())) > 1


@pytest.mark.parametrize(("floor", "homes"), [("50ms", 1), (0, 2)])
def test_a_session_does_not_move_for_milliseconds(floor: object, homes: int) -> None:
    one = router("a", "b", balancer={"explore": 0.0}, affinity={"floor": floor})
    first = sole(one.submit(0.0, call("first", session="s1")))
    one.on_end(0.02, first.id, Usage(100, 40))
    home = first.upstream
    seen = {home}
    for number in range(40):
        now = 1.0 + number
        attempt = sole(one.submit(now, call(f"s{number}", deadline=now + 30, session="s1")))
        one.on_end(now + 0.02, attempt.id, Usage(100, 40))
        seen.add(attempt.upstream)
        other = sole(one.submit(now + 0.5, call(f"o{number}", deadline=now + 30, without=frozenset({home}))))
        one.on_end(now + 0.502, other.id, Usage(100, 40))
    assert len(seen) == homes


def test_affinity_takes_no_negative_floor() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        router("a", affinity={"floor": -0.1})


def test_critical_calls_find_room_while_others_wait() -> None:
    one = router("a", concurrency={"kind": "fixed", "initial": 10})
    one.submit(0.0, call("first", priority=Priority.CRITICAL, deadline=100))
    normal = [started(one.submit(0.1, call(f"n{number}", deadline=100.0))) for number in range(20)]
    assert sum(map(bool, normal)) == 7  # 80 % of ten, less the critical one that runs
    assert started(one.submit(0.2, call("second", priority=Priority.CRITICAL, deadline=100)))


def test_a_key_without_money_starts_nothing() -> None:
    prices = Prices.parse('models: {m: {input: "1", output: "1"}}')
    one = router("a", billing=Billing(prices, Spending({"k": Decimal("0.0002")})))
    first = one.submit(0.0, call("1", key="k"))
    second = one.submit(0.0, call("2", key="k"))
    assert len(started(first)) == 1
    [refused] = second
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after) == (Reason.SET_ASIDE, 1.0), "the first gives back what it does not use"
    [done] = [x for x in one.on_end(1.0, started(first)[0].id, Usage(10, 10)) if isinstance(x, Done)]
    assert done.cost == Decimal("0.00002")
    third = started(one.submit(2.0, call("3", key="k")))
    assert len(third) == 1
    one.on_end(3.0, third[0].id, Usage(100, 50))
    [refused] = one.submit(4.0, call("4", key="k"))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after) == (Reason.OVER_BUDGET, 86_396.0)


def test_names_of_upstreams_and_ids_of_calls_are_unique() -> None:
    with pytest.raises(DeclarationError, match="a, a"):
        router("a", "a")
    one = router("a")
    one.submit(0.0, call())
    with pytest.raises(DeclarationError, match="in progress"):
        one.submit(0.0, call())
