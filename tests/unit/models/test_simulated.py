"""Declared models and traces as something to simulate; the straight way of calls, and money in whole numbers."""

from __future__ import annotations

import math
from decimal import ROUND_UP, Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.models.admission import Admission, AdmissionRules
from headrace.models.call import Call, Priority, Usage
from headrace.models.cost import Price, Prices
from headrace.models.declared import DeclaredModel
from headrace.models.local.provider import Local
from headrace.models.providers.anthropic import Anthropic
from headrace.models.providers.http import Http
from headrace.models.providers.openai import OpenAI
from headrace.models.settings import Policies
from headrace.models.simulation.declared import of_model
from headrace.models.simulation.fitting import Record
from headrace.models.simulation.settings import Load
from headrace.models.simulation.traced import middle, traced

PRICES = Prices.parse('models: {large: {input: "2", output: "8"}}')


def test_a_declared_model_is_simulated_as_it_is_declared() -> None:
    own = OpenAI("http://127.0.0.1:8000/v1", model="small", name="own", local=True)
    small = DeclaredModel("small", (own,), prices=Prices.parse('models: {small: {input: "1", output: "1"}}'))
    east = OpenAI("https://a.example.com/v1", model="large", name="east", key="K", requests_per_minute=60)
    claude = Anthropic(model="large", name="own", key="K", tier=1)
    policies = Policies.model_validate({"hedge": {"floor": "500ms"}})
    model = DeclaredModel("llm", (east, claude), 30.0, policies, PRICES, small)
    simulation = of_model(model)
    assert [(one.name, one.model, one.tier, one.local) for one in simulation.upstreams] == [
        ("east", "large", 0, False),
        ("own", "large", 1, False),
        ("small/own", "small", 2, True),
    ]
    assert [one.server.overflow for one in simulation.upstreams] == ["refuse", "refuse", "queue"]
    assert [one.server.headers for one in simulation.upstreams] == ["openai", "anthropic", "openai"]
    assert simulation.upstreams[0].server.requests_per_minute == simulation.upstreams[0].requests_per_minute == 60
    assert simulation.policies.hedge.floor == 0.5
    assert simulation.load == Load(deadline=30.0)
    assert set(simulation.prices) == {"large", "small"}


def test_a_model_whose_upstreams_do_not_stream_is_simulated_without_streams() -> None:
    http = Http("http://127.0.0.1:9000/predict", name="http")
    whole = DeclaredModel("churn", (http, Local("churn:load", name="local")))
    mixed = DeclaredModel("both", (http, OpenAI("http://127.0.0.1:8000/v1", model="m", name="openai")))
    assert (of_model(whole).load.streams, of_model(mixed).load.streams) == (0.0, 1.0)


def test_a_model_without_prices_has_unknown_costs_not_those_of_the_example() -> None:
    model = DeclaredModel("llm", (OpenAI("http://127.0.0.1:8000/v1", model="example", name="a"),))
    assert of_model(model).prices == {}


def test_a_trace_gives_back_what_it_was_drawn_from() -> None:
    random = Random(7)
    records: list[Record] = []
    for _ in range(2000):
        prompt = max(int(500 * math.exp(random.gauss(0, 0.6))), 1)
        output = max(int(120 * math.exp(random.gauss(0, 0.4))), 1)
        first = 0.3 * math.exp(random.gauss(0, 0.2)) + prompt / 5000
        records.append(Record(prompt, output, first, first + (output - 1) / 80))
    found = traced(records, Random(1))
    assert found.server["first_token"] == pytest.approx(0.3, rel=0.1)
    assert found.server["spread"] == pytest.approx(0.2, rel=0.2)
    assert found.server["prefill"] == pytest.approx(5000, rel=0.15)
    assert found.server["speed"] == pytest.approx(80, rel=0.01)
    assert found.load["prompt"] == pytest.approx(500, rel=0.05)
    assert found.load["prompt_spread"] == pytest.approx(0.6, rel=0.1)
    assert found.load["output"] == pytest.approx(120, rel=0.05)
    assert found.load["output_spread"] == pytest.approx(0.4, rel=0.1)


def test_a_trace_of_one_call_is_enough_to_simulate() -> None:
    found = traced([Record(10, 1, 0.0, 0.0)], Random(1))
    assert found.server["first_token"] > 0
    assert "speed" not in found.server, "one token has no speed"
    assert middle([3.0]) == (3.0, 0.0)


# The straight way ----------------------------------------------------------------------------------------------------

CALLS = st.tuples(st.sampled_from(list(Priority)), st.sampled_from("abc"), st.integers(1, 9000), st.floats(0, 3))


@given(st.lists(CALLS, max_size=40), st.lists(CALLS, max_size=20))
def test_going_straight_leaves_the_queue_as_waiting_for_no_time_does(
    straight: list[tuple[Priority, str, int, float]], queued: list[tuple[Priority, str, int, float]]
) -> None:
    """Two queues: one takes calls straight, the other offers and takes them. From then on they must decide alike."""
    one, other, now = Admission(AdmissionRules()), Admission(AdmissionRules()), 0.0
    for number, (priority, tenant, tokens, passed) in enumerate(straight):
        now += passed
        call = Call(f"s{number}", tokens, 0, now + 100.0, tenant=tenant, priority=priority)
        one.straight(now, call)
        other.offer(now, call)
        assert other.take(now, lambda _: 1.0, lambda _: True).call is call
        assert len(one) == len(other) == 0
        assert one.reserved(now) == other.reserved(now)
    for number, (priority, tenant, tokens, passed) in enumerate(queued):
        call = Call(f"q{number}", tokens, 0, now + 4.0 + passed, tenant=tenant, priority=priority)
        assert one.offer(now, call) == other.offer(now, call)
        now += passed / 4
    while True:
        mine, theirs = (queue.take(now, lambda _: 1.0, lambda _: True) for queue in (one, other))
        assert mine == theirs
        if mine.call is None:
            return


# Money ---------------------------------------------------------------------------------------------------------------

MONEY = st.decimals(0, 1000, places=7)


@given(
    st.lists(MONEY, min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(st.integers(0, 10**6), min_size=5, max_size=5),
)
def test_whole_numbers_give_the_same_cost_as_decimals(
    money: list[Decimal], given: list[bool], tokens: list[int]
) -> None:
    fresh, output, *cache = money
    read, write, hour = (one if there else None for one, there in zip(cache, given, strict=True))
    price = Price(input=fresh, output=output, cached_input=read, cache_write=write, cache_write_1h=hour)
    rest, answer, cached, short, kept = tokens
    usage = Usage(rest + cached + short + kept, answer, cached, short + kept, kept)
    of_read = fresh if read is None else read
    of_short = fresh if write is None else write
    of_hour = of_short if hour is None else hour
    exact = fresh * rest + of_read * cached + of_short * short + of_hour * kept + output * answer
    assert price.of(usage) == (exact / 1_000_000).quantize(Decimal("1e-10"), rounding=ROUND_UP)
    call = Call("1", usage.prompt_tokens, answer, 0.0)
    most = max(fresh, of_read, of_short, of_hour) * usage.prompt_tokens + output * answer
    assert price.most(call) == (most / 1_000_000).quantize(Decimal("1e-10"), rounding=ROUND_UP)
    assert price.most(call) >= price.of(usage)
