"""Single policies: what they decide, case by case."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.core.clock import SECOND
from headrace.core.errors import DeclarationError
from headrace.models.affinity import preferred
from headrace.models.balancer import Balancer, Load
from headrace.models.breaker import Breaker, BreakerRules, State
from headrace.models.call import Call, Usage
from headrace.models.codel import Codel
from headrace.models.cost import Price, Prices
from headrace.models.deadline import Timeouts
from headrace.models.estimate import prompt_bytes
from headrace.models.failure import Failure, Where, classify
from headrace.models.headers import Limits, Window, read_limits
from headrace.models.lane import Lane
from headrace.models.latency import Latencies
from headrace.models.quota import Quota
from headrace.models.retry import RetryRules
from headrace.models.settings import Policies

NOON = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


# Headers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, Limits(retry_after=7.0)),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, Limits(retry_after=30.0)),
        ({"retry-after": "9", "retry-after-ms": "250"}, Limits(retry_after=0.25)),
        ({"retry-after": "soon"}, Limits()),
        ({"retry-after": "86400"}, Limits(retry_after=86_400.0)),
        ({"retry-after": "86401"}, Limits()),
        ({"retry-after": "Thu, 26 Nov 2026 00:00:00 GMT"}, Limits()),
        ({"x-ratelimit-reset-requests": "32d"}, Limits(requests=Window())),
        ({"retry-after": "-3"}, Limits()),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, Limits(tokens=Window(reset=3723.5))),
        ({"x-ratelimit-reset-tokens": "12ms"}, Limits(tokens=Window(reset=0.012))),
        ({"x-ratelimit-remaining-requests": "none"}, Limits(requests=Window())),
        (
            {
                "anthropic-ratelimit-input-tokens-limit": "50000",
                "anthropic-ratelimit-input-tokens-remaining": "49000",
                "anthropic-ratelimit-input-tokens-reset": "2026-01-01T00:01:00Z",
            },
            Limits(input_tokens=Window(50_000.0, 49_000.0, 60.0)),
        ),
        ({"anthropic-ratelimit-tokens-reset": "2025-01-01T00:00:00Z"}, Limits(tokens=Window(reset=0.0))),
        ({"content-type": "application/json"}, Limits()),
    ],
)
def test_headers_are_read_as_providers_write_them(headers: dict[str, str], expected: Limits) -> None:
    assert read_limits(headers, NOON) == expected


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"]), st.text()))
def test_no_header_can_raise(headers: dict[str, str]) -> None:
    read_limits(headers, NOON)


def test_a_quota_learns_limit_and_refill_from_answers() -> None:
    quota = Quota(headroom=0.0)
    held = quota.reserve(0.0, 100, 100)
    assert held is not None
    quota.settle(0.0, held, None)
    quota.observe(0.0, Limits(tokens=Window(limit=1000, remaining=400, reset=30)))
    assert quota.wait(0.0, 300, 100) == 0
    assert quota.wait(0.0, 300, 300) == pytest.approx(200 / (600 / 30))


def test_what_was_never_taken_is_not_given_back() -> None:
    quota = Quota(tokens_per_minute=1000)
    for _ in range(10):
        held = quota.reserve(0.0, 100, 5000)  # more than the limit as a whole: it takes all there is
        if held is not None:
            quota.settle(0.0, held, Usage(100, 500))
    assert quota.left(0.0)["tokens"] == 400.0


@pytest.mark.parametrize("failure", [Failure.RATE_LIMITED, Failure.QUOTA])
def test_a_long_pause_is_tried_after_an_hour(failure: Failure) -> None:
    quota = Quota()
    quota.on_refusal(0.0, failure, 60_000.0)  # milliseconds, taken for seconds
    assert quota.wait(0.0, 1, 1) == 3600.0


def test_the_longer_pause_stays() -> None:
    quota = Quota()
    quota.on_refusal(0.0, Failure.RATE_LIMITED, 10.0)
    quota.on_refusal(1.0, Failure.RATE_LIMITED, 2.0)
    assert quota.wait(1.0, 1, 1) == 9.0


def test_refusals_without_a_word_pause_longer_each_time_and_a_success_ends_that() -> None:
    quota = Quota()
    waits: list[float] = []
    for _ in range(4):
        quota.on_refusal(0.0, Failure.RATE_LIMITED, None)
        waits.append(quota.wait(0.0, 1, 1))
    assert waits == [0.0, 0.25, 0.5, 1.0]
    quota.on_success()
    quota.on_refusal(5.0, Failure.RATE_LIMITED, None)
    assert quota.wait(5.0, 1, 1) == 0.0


def test_refusals_of_what_was_sent_at_once_are_one() -> None:
    quota = Quota()
    for now in (1.0, 1.01, 1.02):
        quota.on_refusal(now, Failure.RATE_LIMITED, None, started=0.9)
    assert quota.wait(1.1, 1, 1) == 0.0, "a burst that was too much is no rate limit"
    quota.on_refusal(1.2, Failure.RATE_LIMITED, None, started=1.1)
    assert quota.wait(1.2, 1, 1) == 0.25


def test_no_credit_is_not_the_same_as_too_fast() -> None:
    assert classify(429, "insufficient_quota") is Failure.QUOTA
    assert Failure.QUOTA.retry is Where.ELSEWHERE
    quota = Quota()
    quota.on_refusal(0.0, Failure.QUOTA, None)
    assert quota.wait(0.0, 1, 1) == 300.0


# Balancer ------------------------------------------------------------------------------------------------------------


def loads(**scores: float) -> list[Load]:
    made: list[Load] = []
    for name, score in scores.items():
        made.append(Load(name))
        made[-1].score.observe(0.0, score)
    return made


def test_few_are_compared_and_many_are_drawn_in_pairs() -> None:
    many = loads(**{f"u{number}": 1.0 + number for number in range(50)})
    balancer, random = Balancer(explore=0.0), Random(1)
    picked = {balancer.pick(0.0, many, random).name for _ in range(300)}
    assert len(picked) > 20, "not all to the same best one"
    assert "u49" not in picked, "the worst loses every pair"
    assert {balancer.pick(0.0, many[:10], random).name for _ in range(50)} == {"u0"}


def test_the_others_are_explored_now_and_then() -> None:
    two, random = loads(good=0.1, bad=9.0), Random(1)
    picks = [Balancer().pick(0.0, two, random).name for _ in range(4000)]
    assert 0.004 < picks.count("bad") / len(picks) < 0.012  # half of 1.5 %


def test_a_long_prompt_weighs_more_than_many_short_ones() -> None:
    one, other = loads(one=0.3, other=0.3)
    one.work = Call("1", 50_000, 100, 9.0).first_work
    other.work = 5 * Call("1", 100, 100, 9.0).first_work
    assert Balancer(explore=0.0).pick(0.0, [one, other], Random(1)) is other


def test_failures_count_as_time_however_fast_they_were() -> None:
    hole, plain = loads(hole=0.005, plain=0.4)
    for _ in range(5):
        hole.trouble.count(0.0, bad=True)
    assert Balancer(explore=0.0).pick(0.0, [hole, plain], Random(1)) is plain


@given(st.lists(st.tuples(st.floats(0, 600), st.booleans()), max_size=30), st.floats(0, 2000))
def test_trouble_is_forgotten_only_once_it_counts_for_nothing(events: list[tuple[float, bool]], later: float) -> None:
    load, weights, now = Load("a"), list[tuple[float, bool]](), 0.0
    for wait, bad in events:
        now += wait
        load.trouble.count(now, bad=bad)
        weights.append((now, bad))
        load.trouble.share(now)
    now += later
    faded = [(math.exp((at - now) / 60.0), bad) for at, bad in weights]
    share = sum(weight for weight, bad in faded if bad) / (sum(weight for weight, _ in faded) + 10.0)
    assert load.trouble.share(now) * load.penalty == pytest.approx(share * load.penalty, rel=1e-6, abs=4e-6)
    assert load.trouble.any == (load.trouble.share(now) > 0)
    if later > 1100:
        assert not load.trouble.any, "choices are as cheap as before"


def test_what_was_never_measured_is_tried_once() -> None:
    fresh = [Load("a"), Load("b")]
    first = Balancer(explore=0.0).pick(0.0, fresh, Random(1))
    first.work = 1.0
    assert Balancer(explore=0.0).pick(0.0, fresh, Random(1)) is not first


def test_one_that_has_not_answered_yet_is_left_alone() -> None:
    fresh, slow = Load("fresh"), *loads(slow=9.0)
    slow.work = 100.0
    fresh.work = 1.0
    assert Balancer(explore=0.0).pick(0.0, [fresh, slow], Random(1)) is slow
    fresh.work = 0.0
    assert Balancer(explore=0.0).pick(0.0, [fresh, slow], Random(1)) is fresh


ONES = st.tuples(st.floats(0, 3), st.sampled_from([0.0, 0.5, 1.0, 7.25]), st.booleans(), st.floats(0, 20))


@given(st.lists(ONES, min_size=2, max_size=8), st.integers(0, 9))
def test_the_choice_is_the_least_of_all_costs(ones: list[tuple[float, float, bool, float]], seed: int) -> None:
    made, now = list[Load](), 20.0
    for number, (seconds, work, bad, at) in enumerate(ones):
        load = Load(f"u{number}")
        load.score.observe(at, seconds)
        load.trouble.count(now, bad=bad)
        load.work = work
        made.append(load)
    chosen = Balancer(explore=0.0).pick(now, made, Random(seed))
    floor, draw = min(load.score.last for load in made), Random(seed).random
    costs = [(load.expected(now, floor) * (1 + load.work), draw()) for load in made]
    assert chosen is made[costs.index(min(costs))]


def test_affinity_does_not_leave_for_milliseconds() -> None:
    two = [Load("a"), Load("b")]
    home = preferred(0.0, "s1", two, work=1.0)
    assert home is not None
    for load in two:
        load.score.observe(0.0, 0.004 if load is home else 0.001)
    assert preferred(0.0, "s1", two, work=1.0) is home
    assert preferred(0.0, "s1", two, work=1.0, floor=0.002) is not home
    home.score.observe(0.0, 0.06)
    assert preferred(0.0, "s1", two, work=1.0) is not home
    assert preferred(0.0, "s1", two, work=1.0, patience=100.0) is home


@given(st.lists(st.sampled_from([f"s{number}" for number in range(8)]), max_size=200))
def test_affinity_never_loads_one_beyond_its_bound(sessions: list[str]) -> None:
    three = [Load(name) for name in "abc"]
    for session in sessions:
        found = preferred(0.0, session, three, work=1.0)
        if found is None:
            continue
        found.work += 1.0
        assert found.work <= max(1.25 * sum(load.work for load in three) / 3, 1.0) + 1e-9


def test_an_upstream_that_goes_moves_only_its_own_sessions() -> None:
    four = [Load(name) for name in "abcd"]
    sessions = [f"s{number}" for number in range(400)]
    before = {session: preferred(0.0, session, four, work=1.0) for session in sessions}
    after = {session: preferred(0.0, session, four[:3], work=1.0) for session in sessions}
    assert all(after[session] is before[session] for session in sessions if before[session] is not four[3])


# Breaker -------------------------------------------------------------------------------------------------------------


def test_a_high_share_of_failures_ejects_once_it_is_sure() -> None:
    breaker, number = Breaker(BreakerRules(), Random(1)), 0
    while breaker.state(0.0) is State.CLOSED:
        number += 1
        breaker.on_failure(0.0, Failure.SERVER_ERROR)
        breaker.on_failure(0.0, Failure.SERVER_ERROR)
        breaker.on_failure(0.0, Failure.SERVER_ERROR)
        breaker.on_success(0.0, started=-1.0)
    assert number > 2, "three of four in the first dozen is not yet sure"


def test_a_third_of_failures_ejects_nobody() -> None:
    breaker = Breaker(BreakerRules(), Random(1))
    for step in range(3000):
        if step % 3:
            breaker.on_success(step / 10, started=step / 10)
        else:
            breaker.on_failure(step / 10, Failure.SERVER_ERROR)
    assert breaker.state(300.0) is State.CLOSED


def test_ejections_grow_with_jitter_up_to_the_longest() -> None:
    breaker, now = Breaker(BreakerRules(), Random(1)), 0.0
    lengths: list[float] = []
    for _ in range(5):
        breaker.on_failure(now, Failure.TIMEOUT)
    for _ in range(6):
        lengths.append(breaker.until - now)
        now = breaker.until
        assert breaker.begin(now)
        breaker.on_failure(now, Failure.TIMEOUT, probe=True)
    for length, base in zip(lengths, (5, 10, 20, 40, 60, 60), strict=True):
        assert 0.8 * base <= length <= 1.2 * base


def test_only_one_probe_at_a_time_and_old_answers_prove_nothing() -> None:
    breaker = Breaker(BreakerRules(jitter=0), Random(1))
    for _ in range(5):
        breaker.on_failure(10.0, Failure.TIMEOUT)
    breaker.on_success(12.0, started=9.0)
    assert breaker.state(12.0) is State.OPEN
    assert breaker.begin(15.0)
    assert not breaker.allows(15.0)
    breaker.on_given_up(probe=True)
    assert breaker.allows(15.0)


@pytest.mark.parametrize("failure", [one for one in Failure if not one.blames_upstream])
def test_what_is_not_the_upstreams_fault_never_ejects(failure: Failure) -> None:
    breaker = Breaker(BreakerRules(), Random(1))
    for _ in range(100):
        breaker.on_failure(1.0, failure)
    assert breaker.state(1.0) is State.CLOSED


# Time ----------------------------------------------------------------------------------------------------------------


@given(st.floats(0.1, 200), st.floats(0, 60), st.booleans())
def test_an_attempt_never_outlives_its_deadline_and_leaves_room_for_another(
    left: float, expected: float, stream: bool
) -> None:
    clock = Timeouts().clock(100.0, 100.0 + left, stream=stream, expected=expected)
    assert 100 < clock.elsewhere <= 100 + left + 1e-9
    assert clock.elsewhere <= clock.first_token
    assert clock.end <= 100 + left + 1e-9
    if left >= 2 * expected + 1e-9:  # `left` is rounded when it is added to an instant
        assert 100 + left - clock.elsewhere >= expected - 1e-9


def test_what_was_given_up_counts_in_the_times_of_an_upstream() -> None:
    known, call = Latencies(), Call("1", 100, 100, 9.0)
    for number in range(100):
        known.first(0.0, call, 5.0 if number % 5 == 0 else 0.3)
    assert known.first_quantile(0.0, call, 0.95) == pytest.approx(5.0, rel=0.02)
    assert known.first_quantile(0.0, Call("2", 60_000, 100, 9.0), 0.95) is None
    assert known.first_quantile(300.0, call, 0.95) is None


@pytest.mark.parametrize("failure", list(Failure))
def test_where_a_failure_may_be_tried_again(failure: Failure) -> None:
    rules, call = RetryRules(), Call("1", 100, 100, deadline=100.0)

    def decide(*, others: bool, seen: bool = False) -> object:
        return rules.decide(0.0, call, failure, failures=1, others=others, random=Random(1), seen=seen)

    assert (decide(others=True) is not None) == (failure.retry is not Where.NOWHERE)
    assert (decide(others=False) is not None) == (failure.retry is Where.ANYWHERE)
    assert decide(others=True, seen=True) is None
    assert rules.decide(0.0, call, failure, failures=3, others=True, random=Random(1)) is None


def test_a_call_with_effects_is_only_sent_again_when_it_was_refused() -> None:
    rules, call = RetryRules(), Call("1", 100, 100, deadline=100.0, repeatable=False)
    again = [one for one in Failure if rules.decide(9.0, call, one, failures=1, others=True, random=Random(1))]
    refused = {Failure.RATE_LIMITED, Failure.QUOTA, Failure.OVERLOADED, Failure.CREDENTIALS, Failure.MISSING}
    assert set(again) == refused | {Failure.UNREACHABLE}, "nothing was done, or nothing was sent"


# What users write ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"hedge": {"quantile": 1.5}},
        {"hedge": {"qantile": 0.9}},
        {"breaker": {"first": "soon"}},
        {"retry": {"attempts": 0}},
        {"balancer": {"weigh": "feelings"}},
        {"hedges": {}},
    ],
)
def test_settings_that_do_not_exist_or_hold_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Policies.model_validate(wrong)


def test_the_longest_name_with_a_star_is_the_price() -> None:
    prices = Prices.parse('models: {"gpt-*": {input: "1", output: "1"}, "gpt-large*": {input: "9", output: "9"}}')
    found = prices.find("gpt-large-2")
    assert found is not None
    assert found.input == 9
    assert prices.find("other") is None


@pytest.mark.parametrize(
    "text", ["models: {m: {input: -1, output: 1}}", "models: [", "model: {}", 'models: {m: {input: "nan", output: 1}}']
)
def test_a_broken_table_of_prices_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match="no prices"):
        Prices.parse(text)


def test_a_table_of_prices_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"prices\.yaml"):
        Prices.load(tmp_path / "prices.yaml")


def test_as_many_answers_as_are_asked_for_may_each_be_the_longest() -> None:
    price = Price(input=Decimal(1), output=Decimal(10), most_output=1000)
    assert price.most(Call("1", 10, 10, 0.0, answers=8)) == price.of(Usage(10, 8000))
    assert price.most(Call("1", 10, 10, 0.0, answers=8, most_output=300)) == price.of(Usage(10, 300)), "of all together"


LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("content", "little"),
    [
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64," + LONG}}], True),
        ([{"type": "image", "source": {"type": "base64", "data": LONG}}], True),
        ([{"type": "input_image", "image_url": "data:image/png;base64," + LONG}], True),
        (LONG, False),
        ([{"type": "text", "text": LONG}], False),
        (",".join(map(str, range(20_000))), False),
        ([{"type": "image", "source": {"type": "text", "data": "1,2;" * 25_000}}], False),
        ([{"type": "document", "source": {"type": "text", "data": LONG}}], False),
        ([{"type": "tool_use", "id": "1", "name": "save", "input": {"file": {"data": LONG}}}], False),
        ([{"type": "tool_result", "content": [{"type": "image", "source": {"type": "base64", "data": LONG}}]}], True),
    ],
)
def test_only_what_is_no_text_is_counted_as_little(content: Any, little: bool) -> None:
    document = {"messages": [{"role": "user", "content": content}]}
    body = json.dumps(document).encode()
    assert (prompt_bytes(body, document) < 10_000) is little


def test_a_lane_forgets_calls_that_are_gone_while_its_head_cannot_start() -> None:
    lane = Lane("t", Codel())
    lane.push(0.0, Call("head", 1, 1, 5.0))
    for number in range(10_000):
        lane.remove(lane.push(0.0, Call(str(number), 1, 1, 60.0)))
    head = lane.head()
    assert head is not None
    assert (head.id, len(lane), lane.kept < 100) == ("head", 1, True)
