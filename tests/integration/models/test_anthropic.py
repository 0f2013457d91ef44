"""Anthropic upstreams, and translation both ways, over real connections."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from model_servers import JSON, answers, asking, chunk, data, running, streams
from msgspec.structs import replace

from headrace.core.errors import ModelRefused, StreamBroken
from headrace.models import Anthropic, OpenAI
from headrace.models.call import Usage
from headrace.models.cost import Prices
from headrace.models.dialects.render import render_stream, render_whole
from headrace.models.providers.body import DROPPED
from headrace.models.request import Dialect

USAGE = Usage(10, 2, 4)
WHOLE = render_whole(Dialect.MESSAGES, "Hello", model="c", usage=USAGE)
STREAM = render_stream(Dialect.MESSAGES, ["Hel", "lo"], model="c", usage=USAGE)


async def test_messages_are_passed_on_byte_for_byte(start: Any) -> None:
    upstream = await start(answers(body=WHOLE))
    provider = Anthropic(upstream.url, key="KEY", model="c")
    async with running(provider, environment={"KEY": "sk-1"}) as run:
        reply = await run.llm.send(asking(dialect=Dialect.MESSAGES, max_tokens=5), run.terms())
        assert (await reply.read(), reply.usage) == (WHOLE, USAGE)
    sent = dict(upstream.headers[0])
    assert (sent[b"x-api-key"], sent[b"anthropic-version"]) == (b"sk-1", b"2023-06-01")
    assert (upstream.targets, upstream.asked[0]["model"]) == ([b"/v1/messages"], "c")


async def test_a_stream_of_messages_is_passed_on_byte_for_byte(start: Any) -> None:
    upstream = await start(streams(b"event: ping\ndata: {}\n\n", *STREAM))
    async with running(Anthropic(upstream.url)) as run:
        reply = await run.llm.send(asking(dialect=Dialect.MESSAGES, stream=True), run.terms())
        assert await reply.read() == b"event: ping\ndata: {}\n\n" + b"".join(STREAM)
        assert reply.usage == USAGE


@pytest.mark.parametrize(
    "end", [b"", b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"full"}}\n\n']
)
async def test_a_stream_of_messages_without_its_end_is_broken(start: Any, end: bytes) -> None:
    upstream = await start(streams(*STREAM[:-1], end))
    async with running(Anthropic(upstream.url)) as run:
        reply = await run.llm.send(asking(dialect=Dialect.MESSAGES, stream=True), run.terms())
        with pytest.raises(StreamBroken) as caught:
            await reply.read()
        assert caught.value.failure == ("overloaded" if end else "connection")


async def test_a_client_of_chat_at_anthropic(start: Any) -> None:
    upstream = await start(answers(body=WHOLE))
    async with running(Anthropic(upstream.url, model="c")) as run:
        reply = await run.ask(max_tokens=7)
        answer = json.loads(await reply.read())
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
        assert (answer["usage"]["prompt_tokens"], reply.usage) == (10, USAGE)
    text = [{"type": "text", "text": "Hi"}]
    assert upstream.asked == [{"model": "c", "max_tokens": 7, "messages": [{"role": "user", "content": text}]}]


async def test_a_client_of_chat_streams_from_anthropic(start: Any) -> None:
    upstream = await start(streams(*STREAM))
    async with running(Anthropic(upstream.url, model="c")) as run:
        body = (await (await run.ask(stream=True)).read()).decode()
    said = [json.loads(line[6:]) for line in body.split("\n\n") if line.startswith("data: {")]
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in said) == "Hello"
    assert (body.endswith("data: [DONE]\n\n"), upstream.asked[0]["stream"]) == (True, True)


async def test_a_client_of_messages_at_openai(start: Any) -> None:
    whole = await start(answers(body=render_whole(Dialect.CHAT, "Hello", usage=USAGE)))
    async with running(OpenAI(whole.url, model="g")) as run:
        reply = await run.llm.send(asking(dialect=Dialect.MESSAGES, max_tokens=5, system="S"), run.terms())
        answer = json.loads(await reply.read())
        assert (answer["content"], answer["stop_reason"]) == ([{"type": "text", "text": "Hello"}], "end_turn")
        assert (answer["usage"]["input_tokens"], answer["usage"]["cache_read_input_tokens"]) == (6, 4)
    assert whole.targets == [b"/v1/chat/completions"]
    assert (whole.asked[0]["max_tokens"], whole.asked[0]["messages"][0]["role"]) == (5, "system")


async def test_a_broken_stream_is_broken_in_translation_too(start: Any) -> None:
    upstream = await start(streams(chunk("Hel"), data({"error": {"message": "x"}})))
    async with running(OpenAI(upstream.url)) as run:
        reply = await run.llm.send(asking(dialect=Dialect.MESSAGES, stream=True), run.terms())
        first = await anext(reply)
        assert b"text_delta" in first
        with pytest.raises(StreamBroken):
            await reply.read()


async def test_a_refusal_is_said_in_the_clients_dialect(start: Any) -> None:
    body = '{"type":"error","error":{"type":"invalid_request_error","message":"too long"}}'
    upstream = await start(answers(400, body, JSON))
    async with running(Anthropic(upstream.url)) as run:
        with pytest.raises(ModelRefused) as caught:
            await run.ask()
    assert json.loads(caught.value.body) == {
        "error": {"message": "too long", "type": "invalid_request_error", "param": None, "code": None}
    }


async def test_what_cannot_be_translated_goes_to_an_upstream_that_needs_no_translation(start: Any) -> None:
    other, good = await start(answers(body=WHOLE)), await start(answers())
    async with running(Anthropic(other.url, name="a"), OpenAI(good.url, name="b", tier=1)) as run:
        assert (await run.ask(n=2)).upstream == "b"
    async with running(Anthropic(other.url, name="a")) as run:
        with pytest.raises(ModelRefused, match=r"several answers \(n\), which Anthropic's messages do not have"):
            await run.ask(n=2)
    assert other.asked == []


NAMELESS = {"tool_calls": [{"id": "t", "type": "function"}]}
MALFORMED = [
    (OpenAI, Dialect.MESSAGES, False, answers(body=json.dumps({"choices": [{"message": NAMELESS}]}))),
    (OpenAI, Dialect.MESSAGES, True, streams(data({"choices": [{"index": 0, "delta": NAMELESS}]}))),
    (Anthropic, Dialect.CHAT, False, answers(body='{"content": [{"type": "text"}]}')),
    (Anthropic, Dialect.CHAT, True, streams(data({"type": "content_block_delta", "delta": {"type": "text_delta"}}))),
]


@pytest.mark.parametrize(("kind", "dialect", "stream", "behave"), MALFORMED)
async def test_a_malformed_answer_is_one_failure_of_its_upstream(
    start: Any, caplog: Any, kind: Any, dialect: Dialect, stream: bool, behave: Any
) -> None:
    upstream = await start(behave)
    async with running(kind(upstream.url, name="odd")) as run:
        with pytest.raises(ModelRefused, match=r"odd: .*(names no function|not as its dialect says)") as caught:
            await run.llm.send(asking(dialect=dialect, stream=stream), run.terms())
    refused = caught.value
    assert (refused.failure, refused.attempts, len(upstream.asked)) == ("malformed", 1, 1)
    assert refused.public.endswith("odd: its answer is malformed")
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_malformed_answer_is_tried_elsewhere(start: Any) -> None:
    odd, good = await start(MALFORMED[0][3]), await start(answers())
    async with running(OpenAI(odd.url, name="odd"), OpenAI(good.url, name="good", tier=1)) as run:
        reply = await run.llm.send(asking(dialect=Dialect.MESSAGES), run.terms())
        assert (reply.upstream, reply.attempts, len(odd.asked)) == ("good", 2, 1)


async def test_features_in_beta_come_to_those_declared(start: Any) -> None:
    upstream = await start(answers(body=WHOLE))
    asked = replace(asking(dialect=Dialect.MESSAGES, max_tokens=5), beta=b"b-2, c-3,d-4")
    async with running(Anthropic(upstream.url, headers={"anthropic-beta": "a-1,b-2"})) as run:
        for _ in range(2):  # on a connection that is new, and on one that is idle
            reply = await run.llm.send(asked, run.terms())
            assert (await reply.read(), DROPPED in dict(reply.headers)) == (WHOLE, False)
        await (await run.llm.send(asking(dialect=Dialect.MESSAGES, max_tokens=5), run.terms())).read()
    said = [[value for name, value in headers if name == b"anthropic-beta"] for headers in upstream.headers]
    assert said == [[b"a-1,b-2,c-3,d-4"], [b"a-1,b-2,c-3,d-4"], [b"a-1,b-2"]]


@pytest.mark.parametrize("stream", [False, True])
async def test_features_in_beta_of_another_dialect_are_named_as_left_out(start: Any, stream: bool) -> None:
    upstream = await start(
        streams(*render_stream(Dialect.CHAT, ["Hello"]))
        if stream
        else answers(body=render_whole(Dialect.CHAT, "Hello"))
    )
    asked = replace(asking(dialect=Dialect.MESSAGES, max_tokens=5, top_k=3, stream=stream), beta=b"b-2")
    async with running(OpenAI(upstream.url, model="g")) as run:
        reply = await run.llm.send(asked, run.terms())
        await reply.read()
        assert dict(reply.headers)[DROPPED] == b"top_k, anthropic-beta"
    assert not [name for name, _ in upstream.headers[0] if name.endswith(b"-beta")]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_cache_was_written_with_has_its_price(start: Any, stream: bool) -> None:
    usage = {
        "input_tokens": 1000,
        "cache_creation_input_tokens": 3000,
        "cache_read_input_tokens": 500,
        "output_tokens": 100,
    }
    usage |= {"cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000}}
    begin, *rest = STREAM
    begun = json.loads(begin.split(b"data: ")[1].split(b"\n")[0])
    begun["message"]["usage"] = usage | {"output_tokens": 1}
    middle = b"".join(rest).replace(b'"output_tokens":2', b'"output_tokens":100')
    event = b"event: message_start\ndata: %b\n\n" % json.dumps(begun).encode()
    opened = begin[begin.index(b"event: content_block_start") :]
    whole = answers(body=json.dumps(json.loads(WHOLE) | {"usage": usage}))
    upstream = await start(streams(event, opened, middle) if stream else whole)
    prices = Prices.parse(
        'models: {c: {input: "1", cached_input: "0.1", cache_write: "1.25", cache_write_1h: "2", output: "5"}}'
    )
    async with running(Anthropic(upstream.url, model="c"), prices=prices) as run:
        reply = await run.llm.send(asking(dialect=Dialect.MESSAGES, max_tokens=5, stream=stream), run.terms())
        await reply.read()
        assert reply.usage == Usage(4500, 100, 500, 3000, 2000)
        assert reply.cost == Decimal("0.0068"), "1000 + 50 + 1250 + 4000 + 500 millionths"
