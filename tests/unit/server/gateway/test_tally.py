"""What is counted of models, whoever called them."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from headrace.core.events import Committed, ModelCalled
from headrace.server.gateway.tally import Tally

CALLED = ModelCalled(
    request="r1",
    model="llm",
    upstream="one",
    status=200,
    queued=0.001,
    first_byte=0.2,
    seconds=1.5,
    prompt_tokens=100,
    output_tokens=20,
    cached_tokens=40,
    cost=Decimal("0.25"),
    attempts=1,
    hedged=False,
    outcome="done",
)


def counted(*events: ModelCalled) -> list[str]:
    tally = Tally(["llm"])
    for event in events:
        tally.record(event)
    return list(tally.lines())


def test_a_call_is_counted_with_what_it_took() -> None:
    lines = counted(CALLED, CALLED)
    assert 'headrace_model_calls_total{model="llm",upstream="one",outcome="done"} 2' in lines
    assert 'headrace_model_tokens_total{model="llm",kind="prompt"} 200' in lines
    assert 'headrace_model_tokens_total{model="llm",kind="cached"} 80' in lines
    assert 'headrace_model_tokens_total{model="llm",kind="output"} 40' in lines
    assert 'headrace_model_cost_total{model="llm"} 0.50' in lines
    assert 'headrace_model_answer_seconds_sum{model="llm"} 3.0' in lines
    assert 'headrace_model_extra_attempts_total{model="llm"} 0' in lines
    assert not [line for line in lines if line.startswith("headrace_model_requests_total")]


def test_attempts_and_hedges_are_counted() -> None:
    lines = counted(replace(CALLED, attempts=3, hedged=True), CALLED)
    assert 'headrace_model_extra_attempts_total{model="llm"} 2' in lines
    assert 'headrace_model_hedged_calls_total{model="llm"} 1' in lines


def test_a_call_without_an_answer_has_a_cost_and_no_times() -> None:
    failed = replace(
        CALLED, upstream="", first_byte=None, prompt_tokens=None, output_tokens=None, cached_tokens=None,
        cost=Decimal("0.1"), attempts=2, outcome="failed",
    )  # fmt: skip
    lines = counted(failed)
    assert 'headrace_model_calls_total{model="llm",upstream="none",outcome="failed"} 1' in lines
    assert 'headrace_model_cost_total{model="llm"} 0.1' in lines
    assert 'headrace_model_answer_seconds_count{model="llm"} 0' in lines
    assert 'headrace_model_streams_broken_total{model="llm"} 0' in lines


def test_a_stream_that_breaks_is_not_one_whose_client_left() -> None:
    lines = counted(replace(CALLED, outcome="broken"), replace(CALLED, outcome="cancelled"))
    assert 'headrace_model_streams_broken_total{model="llm"} 1' in lines
    assert 'headrace_model_answer_seconds_count{model="llm"} 1' in lines
    assert 'headrace_model_cost_total{model="llm"} 0.50' in lines


def test_other_events_and_other_models_are_not_counted() -> None:
    tally = Tally(["llm"])
    tally.record(Committed(1, ("items",), 1, 0, 0.1))
    tally.record(replace(CALLED, model="other"))
    assert not [line for line in tally.lines() if line.startswith("headrace_model_calls_total{")]
