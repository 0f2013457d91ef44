"""What must hold for any order of events: limits, buckets, budgets, queues."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.models.admission import Admission, AdmissionRules, Turned
from headrace.models.batching import Batcher, Item
from headrace.models.billing import Billing
from headrace.models.bucket import Bucket
from headrace.models.budget import Extra, ResilienceBudget
from headrace.models.call import Call, Priority, Usage
from headrace.models.concurrency import Aimd, Fixed, Gradient
from headrace.models.cost import Price, Prices
from headrace.models.failure import Failure
from headrace.models.headers import NOTHING, Limits, Window
from headrace.models.lane import Lane
from headrace.models.latency import Latencies
from headrace.models.quota import Quota, Reservation
from headrace.models.settings import Policies, UpstreamSpec
from headrace.models.spending import Hold, Spending
from headrace.models.upstream import Lease, Upstream
from headrace.stats.fairness import jain

steps = st.lists(st.tuples(st.sampled_from(["take", "charge", "give"]), st.floats(0, 20), st.floats(0, 3)), max_size=60)


@given(steps)
def test_a_bucket_is_never_negative_nor_over_its_capacity(events: list[tuple[str, float, float]]) -> None:
    bucket, now, taken, given_back = Bucket(10, 1.5), 0.0, 0.0, 0.0
    for kind, amount, passed in events:
        now += passed
        if kind == "take":
            taken += amount * bucket.take(now, amount)
        elif kind == "charge":
            bucket.give(now, -amount)
            taken += amount
        else:
            bucket.give(now, amount)
            given_back += amount
        assert 0 <= bucket.level(now) <= 10
        assert bucket.owed >= 0
        # What is taken was there: the first fill, the refill, what came back, and what is owed.
        assert taken <= 10 + 1.5 * now + given_back + bucket.owed + 1e-6


@given(st.floats(0.5, 10), st.floats(0, 10))
def test_waiting_as_long_as_a_bucket_says_is_enough_and_less_is_not(amount: float, spent: float) -> None:
    bucket = Bucket(10, 2)
    bucket.take(0.0, spent)
    wait = bucket.wait(0.0, amount)
    if wait > 1e-6:
        assert not bucket.take(wait * 0.99, amount)
    assert bucket.take(wait + 1e-6, amount)


def test_what_was_overrun_keeps_nobody_out_once_it_is_paid() -> None:
    bucket = Bucket(10, 2)
    bucket.give(0.0, -14)
    assert bucket.wait(0.0, 6) == 5.0
    assert bucket.take(5.0, 6)


@given(
    st.lists(
        st.tuples(st.sampled_from(["reserve", "settle", "observe", "fail"]), st.integers(1, 800), st.floats(0, 5)),
        max_size=60,
    )
)
def test_a_quota_never_lends_more_than_there_is(events: list[tuple[str, int, float]]) -> None:
    quota, now, lent = Quota(requests_per_minute=30, tokens_per_minute=1000, headroom=0.0), 0.0, 0.0
    held: list[Reservation] = []
    told = 0.0
    for kind, tokens, passed in events:
        now += passed
        if kind == "reserve":
            one = quota.reserve(now, tokens / 2, tokens / 2)
            if one is not None:
                held.append(one)
                lent += tokens
        elif kind == "settle" and held:
            one = held.pop()
            used = min(tokens, int(one.tokens))
            quota.settle(now, one, Usage(used, 0))
            lent -= one.tokens - used
        elif kind == "fail" and held:
            quota.settle(now, held.pop(), None)
        elif kind == "observe":
            quota.observe(now, Limits(tokens=Window(limit=1000, remaining=float(tokens))))
            told += 1000
        assert all(level >= 0 for level in quota.left(now).values())
        assert lent <= 1000 + now * 1000 / 60 + told + 1e-6


@given(st.floats(0, 12), st.floats(0, 3), st.floats(0, 9), st.floats(-5, 20), st.floats(-5, 20), st.floats(0, 3))
def test_a_bucket_believes_who_knows_what_is_in_it(
    taken: float, owed: float, before: float, least: float, more: float, passed: float
) -> None:
    bucket, other = Bucket(10, 1.5), Bucket(10, 1.5)
    for one in (bucket, other):
        one.take(0.0, taken)
        one.give(before, -owed)
    now, most = before + passed, least + abs(more)
    bucket.correct(now, least, most)
    assert bucket.level(now) == min(max(min(max(other.level(now), least), most), 0.0), 10.0)
    assert bucket.owed == 0


def test_two_reservations_cannot_share_the_last_tokens() -> None:
    quota = Quota(tokens_per_minute=100)
    assert quota.reserve(0.0, 60, 0) is not None
    assert quota.reserve(0.0, 60, 0) is None


@given(st.lists(st.sampled_from([*Extra, "success", "start"]), max_size=200))
def test_extra_attempts_never_pass_the_budget(events: list[Extra | str]) -> None:
    budget, successes, starts = ResilienceBudget(), 0, 0
    for event in events:
        if event == "success":
            budget.on_success()
            successes += 1
        elif event == "start":
            budget.on_start()
            starts += 1
        elif isinstance(event, Extra):
            budget.take(event)
        assert budget.level >= 0
    assert sum(budget.spent.values()) <= 10 + 0.1 * successes + 1e-6
    assert budget.spent.get(Extra.HEDGE, 0) <= 2.5 + 0.025 * starts + 1e-6


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.just(0.0) | st.floats(0.01, 5)), max_size=200))
def test_limits_stay_in_their_bounds(events: list[tuple[bool, int, float]]) -> None:
    limits = [Aimd(8, 2, 32), Gradient(8, 2, 32)]
    now = 0.0
    for well, in_flight, seconds in events:
        now += seconds
        for limit in limits:
            if well:
                limit.on_first_token(in_flight, seconds, 1.0)
            else:
                limit.on_too_much(now, now - seconds / 2, in_flight)
                limit.on_taken()
            assert 2 <= limit.current <= 32


def test_first_tokens_that_take_no_time_are_as_fast_as_can_be() -> None:
    limit = Gradient(16, most=64)
    for _ in range(2000):
        limit.on_first_token(limit.current, 0.0, 1.0)
    assert limit.current == 64, "it grows as with any time that stays the same"
    for _ in range(200):
        limit.on_first_token(limit.current, 0.3, 1.0)
    assert limit.current < 16, "calls wait"


@pytest.mark.parametrize("limit", [Aimd(16), Gradient(16)])
def test_a_limit_that_is_not_used_does_not_grow(limit: Aimd | Gradient) -> None:
    for _ in range(1000):
        limit.on_first_token(7, 0.3, 1.0)
    assert limit.current == 16


def test_after_an_outage_a_limit_is_soon_near_where_it_was() -> None:
    limit = Aimd(40)
    for step in range(60):
        limit.on_too_much(float(step), float(step))
    assert limit.current == 1
    answers = 0
    while limit.current < 30:
        limit.on_first_token(limit.current, 1.0, 1.0)
        answers += 1
    assert answers <= 30, "one by one it would take hundreds"


@pytest.mark.parametrize("limit", [Aimd(16), Gradient(16)])
def test_until_there_is_too_much_a_limit_doubles_with_each_round(limit: Aimd | Gradient) -> None:
    for _ in range(16):
        limit.on_first_token(limit.current, 0.3, 1.0)
    assert (limit.current, limit.found) == (32, False)
    limit.on_too_much(1.0, 0.9, 30.0)
    assert (limit.current, limit.found) == (28, True)
    for _ in range(10):
        limit.on_first_token(limit.current, 0.3, 1.0)
    assert limit.current < 32, "what has been found is approached with care"


def test_a_limit_that_was_a_guess_comes_down_to_what_an_upstream_has_taken() -> None:
    limit = Aimd(64)
    for left in range(63, 23, -1):  # of 64 that were sent at once, 40 come back refused, one after the other
        limit.on_too_much(1.0, 0.9, float(left))
    assert limit.current == 24
    limit.on_too_much(1.1, 0.9)
    assert limit.current == 24, "one signal for all that was sent before it was heard"


def test_a_limit_that_may_not_rise_is_no_guess() -> None:
    assert [Aimd(8, most=8).found, Gradient(8, most=8).found, Fixed(8).found] == [True, True, True]


def test_what_an_api_does_not_refuse_it_takes() -> None:
    hosted, own = Aimd(16, most=40), Gradient(16, most=40)
    for limit in (hosted, own):
        limit.on_taken()
        limit.on_taken()
    assert (hosted.current, own.current) == (40, 16), "a server of one's own refuses nothing"


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.booleans()), max_size=60))
def test_no_race_overruns_a_budget_of_money(events: list[tuple[int, int, bool]]) -> None:
    spending = Spending({"k": Decimal(1)})
    holds: list[Hold] = []
    for reserved, used, settle in events:
        if settle and holds:
            hold = holds.pop()
            spending.settle(hold, min(Decimal(used) / 100, hold.amount))
        else:
            hold = spending.reserve(0.0, "k", Decimal(reserved) / 100)
            holds += [] if hold is None else [hold]
        held = sum((one.amount for one in holds), Decimal(0))
        assert spending.spent(0.0, "k") + held <= Decimal(1)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30))
def test_costs_add_up_exactly(usages: list[tuple[int, int]]) -> None:
    price = Price(input=Decimal("2.50"), output=Decimal("10"))
    single = sum((price.of(Usage(*usage)) for usage in usages), Decimal(0))
    total = price.of(Usage(sum(p for p, _ in usages), sum(o for _, o in usages)))
    assert single == total


# Queues --------------------------------------------------------------------------------------------------------------


def drain(queue: Admission, now: float, *, usual: float = 0.0) -> tuple[list[Call], list[tuple[Call, Turned]]]:
    """Everything that leaves the queue now."""
    calls: list[Call] = []
    turned: list[tuple[Call, Turned]] = []
    while True:
        found = queue.take(now, lambda _: usual, lambda _: True)
        turned += found.turned
        if found.call is None:
            return calls, turned
        calls.append(found.call)


@given(st.lists(st.floats(1, 1000), max_size=40))
def test_one_tenants_calls_leave_by_deadline(deadlines: list[float]) -> None:
    queue = Admission(AdmissionRules())
    for number, deadline in enumerate(deadlines):
        queue.offer(0.0, Call(str(number), 10, 10, deadline))
    calls, _ = drain(queue, 0.0)
    assert [call.deadline for call in calls] == sorted(deadlines)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Priority)), st.floats(0, 50)), max_size=60),
    st.data(),
)
def test_every_call_leaves_the_queue_exactly_once(
    offered: list[tuple[str, Priority, float]], data: st.DataObject
) -> None:
    queue = Admission(AdmissionRules(most=40))
    left: list[str] = []
    for number, (tenant, priority, deadline) in enumerate(offered):
        call = Call(str(number), 100, 100, deadline, tenant=tenant, priority=priority)
        turned = [other for other, _ in queue.offer(number / 10, call)]
        left += [other.id for other in turned]
        if call not in turned and data.draw(st.booleans()) and queue.withdraw(call):
            left.append(call.id)
    calls, turned = drain(queue, 10.0)
    left += [call.id for call in calls] + [call.id for call, _ in turned]
    assert sorted(left) == sorted(str(number) for number in range(len(offered)))
    assert len(queue) == 0
    assert [call.priority for call in calls] == sorted(call.priority for call in calls)
    assert all(call.deadline > 10.0 for call in calls)


def test_tenants_share_by_tokens_whatever_they_send() -> None:
    queue = Admission(AdmissionRules(quantum=500))
    random = Random(1)
    for number in range(3000):
        tenant, tokens = random.choice([("many", 100), ("many", 100), ("long", 2000), ("plain", 300)])
        queue.offer(0.0, Call(str(number), tokens, 0, 1000.0, tenant=tenant))
    got = dict.fromkeys(("many", "long", "plain"), 0)
    while sum(got.values()) < 200_000:
        found = queue.take(0.0, lambda _: 0.0, lambda _: True)
        assert found.call is not None
        got[found.call.tenant] += found.call.tokens
        if min(sum(call == tenant for call in got) for tenant in got) == 0:
            break
    assert jain(got.values()) > 0.97, got


class PassByPass(Admission):
    """Makes every pass of the round robin, as it is written."""

    def _pass_over(self, short: list[tuple[Lane, int]]) -> None:
        short.clear()


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5000)), max_size=40),
    st.lists(st.sampled_from(["", "a", "b", "ab"]), max_size=20),
)
def test_passes_that_let_nobody_go_may_be_made_in_one_step(offered: list[tuple[str, int]], closed: list[str]) -> None:
    rules = AdmissionRules(quantum=100)
    one, other = Admission(rules), PassByPass(rules)
    for number, (tenant, tokens) in enumerate(offered):
        call = Call(str(number), tokens, 0, 100.0 + number, tenant=tenant)
        assert one.offer(0.0, call) == other.offer(0.0, call)
    for shut in [*closed, *[""] * len(offered)]:
        fits: Callable[[Call], bool] = partial(lambda shut, call: call.tenant not in shut, shut)
        assert one.take(0.0, lambda _: 0.0, fits) == other.take(0.0, lambda _: 0.0, fits)
    assert len(one) == 0


def test_what_a_client_says_it_takes_does_not_decide_how_long_we_reckon() -> None:
    queue = Admission(AdmissionRules(quantum=1))
    huge = Call("huge", 10, 10**15, 100.0)
    queue.straight(0.0, huge)
    for number in range(3):
        queue.offer(0.0, Call(str(number), 10, 10**15, 100.0, tenant=str(number)))
    calls, _ = drain(queue, 0.0)
    assert len(calls) == 3


def test_a_call_that_cannot_be_done_in_time_is_not_started() -> None:
    queue = Admission(AdmissionRules())
    queue.offer(0.0, Call("late", 10, 10, deadline=3.0))
    queue.offer(0.0, Call("fine", 10, 10, deadline=9.0))
    calls, turned = drain(queue, 0.0, usual=5.0)
    assert [call.id for call in calls] == ["fine"]
    assert [(call.id, why) for call, why in turned] == [("late", Turned.DEADLINE)]


def test_a_call_that_does_not_fit_holds_up_its_own_tenant_only() -> None:
    queue = Admission(AdmissionRules())
    queue.offer(0.0, Call("big", 100_000, 10, 9.0, tenant="a"))
    queue.offer(0.0, Call("small", 10, 10, 9.0, tenant="b"))
    found = queue.take(0.0, lambda _: 0.0, lambda call: call.prompt_tokens < 1000)
    assert found.call is not None
    assert found.call.id == "small"


def test_a_standing_queue_sheds_old_calls_and_spares_critical_ones() -> None:
    queue = Admission(AdmissionRules(target=0.5, interval=2.0))
    for number in range(200):
        priority = Priority.CRITICAL if number % 20 == 0 else Priority.NORMAL
        queue.offer(number / 100, Call(str(number), 10, 10, 100.0, priority=priority))
    shed: list[Call] = []
    started: list[Call] = []
    for step in range(60):
        found = queue.take(2.0 + step / 10, lambda _: 0.0, lambda _: True)
        shed += [call for call, why in found.turned if why is Turned.SHED]
        started += [] if found.call is None else [found.call]
    assert shed
    assert all(call.priority is Priority.NORMAL for call in shed)
    assert sum(call.priority is Priority.CRITICAL for call in started) == 10


def test_a_call_without_a_key_spends_nobodys_money() -> None:
    spending = Spending({"": Decimal("0.5")})
    billing = Billing(Prices({"m": Price(input=Decimal(0), output=Decimal(1_000_000))}), spending)
    hold = billing.reserve(0.0, Call("1", 10, 7, 9.0), "m")
    assert hold is not None
    assert billing.settle(hold, "m", Usage(10, 7)) == 7
    assert spending.left(0.0, "") == Decimal("0.5")


# Upstreams ------------------------------------------------------------------------------------------------------------

TURNS = st.tuples(
    st.sampled_from(["start", "start", "first", "end", "fail", "leave"]), st.integers(0, 999), st.floats(0.001, 3)
)


@given(st.lists(TURNS, max_size=80), st.booleans())
def test_what_is_sure_at_an_upstream_needs_no_wait(turns: list[tuple[str, int, float]], local: bool) -> None:
    spec = UpstreamSpec(name="a", local=local, requests_per_minute=60, tokens_per_minute=6000)
    policies = Policies.model_validate({"concurrency": {"initial": 3, "most": 5}, "breaker": {"consecutive": 2}})
    one, held, now = Upstream(spec, policies, Random(1)), list[Lease](), 0.0
    for kind, drawn, passed in turns:
        now += passed
        limits = NOTHING if drawn % 3 else Limits(tokens=Window(6000, drawn * 6, 30.0), retry_after=2.0)
        call = Call("1", drawn, drawn // 2, now + 30.0)
        if kind == "start" and one.wait(now, call) <= 0:
            held.append(one.start(now, call))
        elif kind == "first" and held and held[drawn % len(held)].first_at is None:
            one.first_token(now, held[drawn % len(held)])
        elif kind == "end" and held:
            one.end(now, held.pop(drawn % len(held)), Usage(drawn, drawn), limits)
        elif kind == "fail" and held:
            one.fail(now, held.pop(drawn % len(held)), list(Failure)[drawn % len(Failure)], limits)
        elif kind == "leave" and held:
            one.give_up(now, held.pop(drawn % len(held)))
        for tokens in (0, 10, 100, 1000, max(int(one.sure) - 1, 0)):
            if tokens < one.sure:
                assert one.wait(now, Call("2", 0, tokens, now)) == one.wait(now + 1.0, Call("2", tokens, 0, now)) == 0


def test_an_upstream_is_full_as_soon_as_its_limit_falls() -> None:
    one = Upstream(UpstreamSpec(name="a", local=True), Policies(), Random(1))
    call, running = Call("1", 10, 10, 99.0), list[Lease]()
    for _ in range(100):
        while one.sure:
            running.append(one.start(0.0, call))
        lease = running.pop(0)
        one.first_token(0.1, lease)
        one.end(0.1, lease, None)
    while one.in_flight < one.limit.current - 2:
        running.append(one.start(0.1, call))
    for count, lease in enumerate(running):
        one.first_token(5.0, lease)
        assert (one.sure > 0) == (one.wait(5.0, call) <= 0), f"after {count + 1} slow first tokens"
    assert one.limit.current < one.in_flight


# Times ---------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 60), st.integers(0, 9000)), max_size=60))
def test_an_answer_that_came_at_once_counts_twice(answers: list[tuple[float, float, int]]) -> None:
    one, other, now = Latencies(least=1), Latencies(least=1), 0.0
    for passed, seconds, tokens in answers:
        now += passed
        call = Call("1", tokens, 10, now + 9, stream=False)
        one.whole(now, call, seconds)
        other.first(now, call, seconds)
        other.total(now, call, seconds)
        assert one.first_quantile(now, call, 0.9) == other.first_quantile(now, call, 0.9)
        assert one.usual(now, call) == other.usual(now, call)


# Batches -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 10), max_size=50), st.integers(1, 8))
def test_batches_hold_each_item_once_and_no_expired_one(deadlines: list[float], most: int) -> None:
    batcher = Batcher(most=most, within=1.0)
    for number, deadline in enumerate(deadlines):
        batcher.offer(Item(number, deadline))
    now, seen = 5.0, list[object]()
    while (batch := batcher.take(now)) is not None:
        assert len(batch.items) <= most
        assert all(item.deadline >= now for item in batch.items)
        seen += [item.name for item in (*batch.items, *batch.expired)]
        now += 0.01
        batcher.on_done(now)
    assert sorted(map(str, seen)) == sorted(str(n) for n in range(len(deadlines)))


def test_the_batch_is_as_large_as_the_time_allows() -> None:
    batcher, now = Batcher(most=1000, within=0.1), 0.0
    for size in (1, 3, 10, 20) * 10:
        for n in range(size):
            batcher.offer(Item(n, 1e9))
        batch = batcher.take(now)
        assert batch is not None
        now += 0.02 + 0.001 * len(batch.items)
        batcher.on_done(now)
        now += 1
    assert 75 <= batcher.cap <= 82
