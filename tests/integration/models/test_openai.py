"""OpenAI-compatible upstreams over real connections: bytes, fields, usage, money."""

from __future__ import annotations

import json
import socket
from decimal import Decimal
from typing import Any

import pytest
from model_servers import DONE, JSON, USAGE_CHUNK, WHOLE, answers, asking, chunk, running, streams

from headrace.core.errors import DeclarationError, ModelRefused
from headrace.http1 import Response
from headrace.models import OpenAI, Prices
from headrace.models.call import Usage
from headrace.models.request import Dialect, ModelRequest

PRICES = Prices.parse('models: {m: {input: "1", cached_input: "0.5", output: "2"}}')


async def test_an_answer_is_passed_on_byte_for_byte(start: Any) -> None:
    body = b'{"choices": [ {"message":{"content":"h\\u00e9"}} ],\n "usage":{"prompt_tokens":1e0}, "x": 1.0}'
    upstream = await start(answers(body=body))
    async with running(OpenAI(upstream.url)) as run:
        reply = await run.ask()
        assert (reply.status, await reply.read()) == (200, body)
        assert reply.headers == [(b"content-type", b"application/json")]


async def test_only_the_model_is_set_and_all_else_keeps_its_bytes(start: Any) -> None:
    upstream = await start(answers())
    body = b'{"temperature":1.0,"model":"llm","messages":[{"role":"user","content":"\\u00e9 \\/"}],"seed":1e2}'
    request = ModelRequest(Dialect.CHAT, body, json.loads(body), False, 10)
    async with running(OpenAI(upstream.url, model="m")) as run:
        await (await run.llm.send(request, run.terms())).read()
    assert upstream.bodies == [body.replace(b'"llm"', b'"m"')]
    assert upstream.targets == [b"/v1/chat/completions"]


@pytest.mark.parametrize("model", [None, "llm"])
async def test_a_field_that_is_there_twice_is_sent_once(start: Any, model: str | None) -> None:
    """Which of the two counts is not the same everywhere: a client must not ask for one model and get another."""
    upstream = await start(answers())
    body = b'{"model":"dear","max_tokens":9,"messages":[], "mod\\u0065l":"llm","max_tokens":1}'
    request = ModelRequest(Dialect.CHAT, body, json.loads(body), False, 10)
    async with running(OpenAI(upstream.url, model=model)) as run:
        await (await run.llm.send(request, run.terms())).read()
    assert upstream.bodies == [b'{"model":"llm","max_tokens":1,"messages":[]}']


@pytest.mark.parametrize("twin", ["Model", "MAX_TOKENS", "max_to\u212aens", "\u017ftream"])
async def test_a_field_that_some_servers_take_for_another_is_refused(start: Any, twin: str) -> None:
    """Servers in Go match names without their case: `Model` would choose another model than the one that is paid."""
    upstream = await start(answers())
    body = json.dumps({"model": "llm", "messages": [], twin: "dear"}).encode()
    request = ModelRequest(Dialect.CHAT, body, json.loads(body), False, 10)
    async with running(OpenAI(upstream.url)) as run:
        with pytest.raises(ModelRefused, match=r"was not asked: the field .* is not known here: write") as caught:
            await run.llm.send(request, run.terms())
    assert (caught.value.failure, caught.value.attempts, upstream.asked) == ("bad_request", 0, [])


async def test_a_reply_says_what_it_took_and_what_it_cost(start: Any) -> None:
    upstream = await start(answers())
    async with running(OpenAI(upstream.url, model="m", name="a"), prices=PRICES) as run:
        reply = await run.ask()
        assert reply.usage == Usage(12, 3, 4)
        assert reply.cost == Decimal("0.0000160000")
        assert (reply.upstream, reply.model, reply.attempts) == ("a", "m", 1)
        assert 0 <= reply.queued <= reply.first_byte < 5
        [call] = run.notes.calls
        assert (call.outcome, call.status, call.prompt_tokens, call.output_tokens) == ("done", 200, 12, 3)
        assert (call.cost, call.upstream, call.model, call.hedged) == (reply.cost, "a", "llm", False)


async def test_who_cannot_be_reached_is_not_paid() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
    async with running(OpenAI(url, model="m"), prices=PRICES) as run:
        with pytest.raises(ModelRefused) as caught:
            await run.ask()
        assert (caught.value.reason, caught.value.failure) == ("failed", "unreachable")
        assert [call.cost for call in run.notes.calls] == [0]


async def test_a_stream_is_passed_on_byte_for_byte(start: Any) -> None:
    steps = [b": hello\n\n", chunk(role=True), chunk("Hel"), chunk("lo"), chunk(finish="stop"), DONE]
    upstream = await start(streams(*steps))
    async with running(OpenAI(upstream.url, stream_usage=False)) as run:
        reply = await run.ask(stream=True)
        assert await reply.read() == b"".join(steps)
        assert reply.headers == [(b"content-type", b"text/event-stream")]
        assert [piece async for piece in reply] == []
    assert upstream.asked[0].get("stream_options") is None


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (b"Text/Event-Stream; charset=UTF-8", ""),
        (b"text/html", "a stream was asked for, and 'text/html' came"),
        (b"", "a stream was asked for, and an answer without a type came"),
    ],
)
async def test_a_stream_is_known_by_its_type_in_any_case(start: Any, kind: bytes, says: str) -> None:
    steps = [chunk("Hi"), chunk(finish="stop"), DONE]

    async def behave(*_: Any) -> Response:
        return Response(200, [(b"content-type", kind)] if kind else [], b"".join(steps))

    upstream = await start(behave)
    async with running(OpenAI(upstream.url, stream_usage=False)) as run:
        if not says:
            assert await (await run.ask(stream=True)).read() == b"".join(steps)
            return
        with pytest.raises(ModelRefused) as caught:
            await run.ask(stream=True)
        assert says in caught.value.message
        assert "b'" not in caught.value.message
        assert not caught.value.message.rstrip().endswith(":")


async def test_usage_is_asked_for_and_kept_from_a_client_that_did_not_ask(start: Any) -> None:
    steps = [chunk(role=True), chunk("Hi"), chunk(finish="stop"), USAGE_CHUNK, DONE]
    upstream = await start(streams(*steps))
    async with running(OpenAI(upstream.url, model="m"), prices=PRICES) as run:
        reply = await run.ask(stream=True)
        assert await reply.read() == b"".join(step for step in steps if step != USAGE_CHUNK)
        assert (reply.usage, reply.cost) == (Usage(12, 3, 4), Decimal("0.0000160000"))
    assert upstream.asked[0]["stream_options"] == {"include_usage": True}


async def test_usage_that_the_client_asked_for_is_passed_on(start: Any) -> None:
    steps = [chunk(role=True), chunk("Hi"), chunk(finish="stop"), USAGE_CHUNK, DONE]
    upstream = await start(streams(*steps))
    async with running(OpenAI(upstream.url)) as run:
        options = {"include_usage": True, "other": 1}
        reply = await run.ask(stream=True, stream_options=options)
        assert await reply.read() == b"".join(steps)
        reply = await run.ask(stream=True, stream_options={"include_usage": False, "other": 1})
        assert await reply.read() == b"".join(step for step in steps if step != USAGE_CHUNK)
    assert [asked["stream_options"] for asked in upstream.asked] == [options, options]


@pytest.mark.parametrize(
    ("dialect", "target", "body"),
    [
        (Dialect.EMBEDDINGS, b"/v1/embeddings", '{"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 5}}'),
        (
            Dialect.RESPONSES,
            b"/v1/responses",
            '{"status": "completed", "output": [], "error": null, "usage": {"input_tokens": 5, "output_tokens": 0}}',
        ),
    ],
)
async def test_other_dialects_pass_through(start: Any, dialect: Dialect, target: bytes, body: str) -> None:
    upstream = await start(answers(body=body))
    async with running(OpenAI(upstream.url)) as run:
        reply = await run.llm.send(asking(dialect=dialect), run.terms())
        assert (await reply.read()).decode() == body
        assert reply.usage == Usage(5, 0)
    assert upstream.targets == [target]


async def test_a_dialect_that_no_upstream_speaks_is_refused_before_anything_is_sent(start: Any) -> None:
    upstream = await start(answers())
    async with running(OpenAI(upstream.url, name="a")) as run:
        with pytest.raises(ModelRefused, match="a does not speak json") as caught:
            await run.llm.send(asking(dialect=Dialect.JSON), run.terms())
    assert (caught.value.reason, caught.value.failure, upstream.asked) == ("failed", "bad_request", [])


async def test_the_key_and_headers_are_sent_and_shown_nowhere(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    upstream = await start(answers(401, '{"error": {"message": "wrong key"}}'))
    provider = OpenAI(upstream.url, key="SOME_KEY", headers={"X-Team": "t-secret"})
    async with running(provider, environment={"SOME_KEY": "sk-secret"}) as run:
        with pytest.raises(ModelRefused) as caught:
            await run.ask()
    sent = dict(upstream.headers[0])
    assert (sent[b"authorization"], sent[b"x-team"]) == (b"Bearer sk-secret", b"t-secret")
    told = f"{provider!r} {caught.value} {caplog.text} {run.notes.calls}"
    assert "secret" not in told
    assert (caught.value.failure, caught.value.status) == ("credentials", 401)


@pytest.mark.parametrize("status", [400, 401, 500, 200])
async def test_a_key_that_an_upstream_repeats_is_told_to_nobody(start: Any, status: int) -> None:
    said = '{"error": {"message": "the key sk-very-secret and the team t-very-secret are wrong", "type": "x"}}'
    upstream = await start(answers(status, said))
    provider = OpenAI(upstream.url, key="SOME_KEY", headers={"X-Team": "t-very-secret"})
    async with running(provider, environment={"SOME_KEY": "sk-very-secret"}) as run:
        with pytest.raises(ModelRefused) as caught:
            await run.ask()
    assert "very-secret" not in f"{caught.value} {caught.value.body!r}"
    assert "the key *** and the team ***" in str(caught.value)


async def test_a_missing_key_is_named_when_the_app_runs() -> None:
    with pytest.raises(DeclarationError, match="SOME_KEY"):
        async with running(OpenAI("http://127.0.0.1:1", key="SOME_KEY")):
            pass


async def test_rate_limits_are_learnt_and_not_passed_on(start: Any) -> None:
    limits = [
        (b"x-ratelimit-limit-requests", b"10"),
        (b"x-ratelimit-remaining-requests", b"0"),
        (b"x-ratelimit-reset-requests", b"30s"),
        (b"x-request-id", b"req_1"),
        (b"set-cookie", b"a=b"),
    ]
    upstream = await start(answers(headers=[*JSON, *limits]))
    async with running(OpenAI(upstream.url)) as run:
        reply = await run.ask()
        assert reply.headers == [(b"content-type", b"application/json"), (b"x-request-id", b"req_1")]
        with pytest.raises(ModelRefused) as caught:
            await run.ask(within=0.2)
    assert (caught.value.reason, len(upstream.asked)) == ("rate_limited", 1)
    assert 1 < (caught.value.retry_after or 0) < 5  # a tenth of what comes back in half a minute


async def test_the_estimate_of_tokens_follows_what_upstreams_count(start: Any) -> None:
    upstream = await start(answers(body=WHOLE))
    async with running(OpenAI(upstream.url)) as run:
        before = run.llm.tokens.size(1000)
        for _ in range(30):
            await (await run.ask()).read()
        assert before == 250
        assert run.llm.tokens.size(1000) == pytest.approx(1000 / (len(upstream.bodies[0]) / 12), rel=0.1)
