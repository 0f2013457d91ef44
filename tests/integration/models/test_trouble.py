"""Upstreams that break in every way: what is tried again, what the client is told, and what is never passed off."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from model_servers import (
    DONE,
    JSON,
    SSE,
    USAGE_CHUNK,
    WHOLE,
    Upstream,
    answers,
    asking,
    chunk,
    data,
    raw,
    read_request,
    reset,
    running,
    streams,
)

from headrace.app import App
from headrace.core.clock import SystemClock
from headrace.core.errors import ModelRefused, StreamBroken
from headrace.http1.client import Client
from headrace.http1.request import Request
from headrace.http1.response import Response
from headrace.models import Http, OpenAI
from headrace.models.failure import Failure
from headrace.models.provider import Failed
from headrace.models.request import Dialect, Terms
from headrace.models.running import Models

FRESH = (chunk(role=True), chunk("Hel"))
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def framed(*pieces: bytes, end: bool = False) -> bytes:
    """Chunks of HTTP."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if end else b"")


async def broken(reply: Any) -> StreamBroken:
    """Read to the end, which must be a break after the first content."""
    pieces: list[bytes] = []

    async def read() -> None:
        while True:
            pieces.append(await anext(reply))

    with pytest.raises(StreamBroken) as caught:
        await read()
    assert caught.value.received == len(b"".join(pieces))
    assert b"Hel" in b"".join(pieces)
    assert b"[DONE]" not in b"".join(pieces)
    with pytest.raises(StreamBroken):
        await anext(reply)
    return caught.value


# Streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "failure"),
    [
        (CHUNKED + framed(*FRESH, end=True), "connection"),
        (CHUNKED + framed(*FRESH), "connection"),
        (CHUNKED + framed(*FRESH) + b"20\r\ndata: {", "connection"),
        (HEAD + b"content-length: 9999\r\n\r\n" + b"".join(FRESH), "connection"),
        (HEAD + b"connection: close\r\n\r\n" + b"".join(FRESH), "connection"),
        (HEAD + b"connection: close\r\n\r\n" + b"".join((*FRESH, chunk(finish="stop"))), "connection"),
        (CHUNKED + framed(*FRESH, data({"error": {"message": "no", "type": "overloaded_error"}}), DONE), "overloaded"),
        (CHUNKED + framed(*FRESH, b"event: error\ndata: {}\n\n", end=True), "server_error"),
        (CHUNKED + framed(*FRESH, b"data: {garb\n\n", DONE, end=True), "server_error"),
        (CHUNKED + framed(*FRESH) + b"zz\r\n", "server_error"),
    ],
)
async def test_a_stream_that_does_not_come_to_its_end_is_never_a_clean_end(wire: bytes, failure: str) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(wire)
        await writer.drain()

    async with raw(behave) as url, running(OpenAI(url)) as run:
        reply = await run.ask(stream=True)
        error = await broken(reply)
        assert error.failure == failure
        [call] = run.notes.calls
        assert (call.outcome, call.failure, reply.usage) == ("broken", failure, None)


async def test_a_reset_within_a_stream_breaks_it() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED + framed(*FRESH))
        await writer.drain()
        await asyncio.sleep(0.05)
        reset(writer)

    async with raw(behave) as url, running(OpenAI(url)) as run:
        assert (await broken(await run.ask(stream=True))).failure == "connection"


@pytest.mark.parametrize(
    "steps",
    [
        (*FRESH, chunk(finish="stop")),
        (*FRESH, chunk(finish="stop"), b"data: [DONE]"),
        (*FRESH, chunk(finish="stop"), b"data: [DONE]\r\n\r\n"),
        (*FRESH, b"data:{}\n\n", b": a comment\n\n", USAGE_CHUNK, DONE),
    ],
)
async def test_a_stream_with_its_end_mark_is_whole_in_all_its_forms(start: Any, steps: tuple[bytes, ...]) -> None:
    upstream = await start(streams(*steps))
    async with running(OpenAI(upstream.url)) as run:
        body = await (await run.ask(stream=True)).read()
        assert body.startswith(b"".join(FRESH))
        assert [call.outcome for call in run.notes.calls] == ["done"]


async def test_what_comes_after_the_end_mark_holds_nobody_up(start: Any) -> None:
    upstream = await start(streams(*FRESH, DONE, 5.0))
    async with running(OpenAI(upstream.url)) as run:
        async with asyncio.timeout(1):
            assert (await (await run.ask(stream=True)).read()).endswith(DONE)
        assert [call.outcome for call in run.notes.calls] == ["done"]
        async with asyncio.timeout(3):
            await upstream.cancelled.wait()


async def test_a_stream_that_stalls_is_broken_off_after_its_idle_time(start: Any) -> None:
    upstream = await start(streams(*FRESH, 30.0))
    async with running(OpenAI(upstream.url), policies={"timeouts": {"idle": 0.2}}) as run:
        error = await broken(await run.ask(stream=True))
        assert (error.failure, run.notes.calls[0].outcome) == ("timeout", "broken")
        await asyncio.wait_for(upstream.cancelled.wait(), 1)


async def test_a_stream_that_outlives_its_deadline_is_broken_off(start: Any) -> None:
    upstream = await start(streams(*FRESH, *([0.05, chunk("x")] * 100)))
    async with running(OpenAI(upstream.url)) as run:
        error = await broken(await run.ask(stream=True, within=0.3))
        assert (error.failure, run.notes.calls[0].outcome) == ("timeout", "deadline")
        await asyncio.wait_for(upstream.cancelled.wait(), 1)


# Before the first content: tried again elsewhere -------------------------------------------------------------------


@pytest.mark.parametrize(
    "behave",
    [
        answers(500, "{}"),
        answers(503, "busy", [(b"content-type", b"text/plain")]),
        answers(429, '{"error": {"code": "rate_limit_exceeded"}}', [*JSON, (b"retry-after", b"20")]),
        answers(429, '{"error": {"code": "insufficient_quota"}}'),
        answers(401, "{}"),
        answers(404, '{"error": {"code": "model_not_found"}}'),
        answers(302, "", [(b"location", b"/login")]),
        answers(200, "<html>", [(b"content-type", b"text/html")]),
        answers(200, '{"error": {"message": "overloaded", "type": "overloaded_error"}}'),
        answers(200, WHOLE[:-10]),
        answers(200, ""),
        streams(data({"error": {"message": "no"}})),
        streams(chunk(role=True), RuntimeError("crashed")),
        streams(chunk(role=True)),
        streams(DONE),
        streams(b"\xff\xfe\n\n", b"data: garbage\n\n"),
        streams(b'data: {"choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n'),
        answers(500, b'{"error": {"message": "\xff"}}'),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_content_is_tried_elsewhere(start: Any, behave: Any, stream: bool) -> None:
    bad = await start(behave)
    good = await start(streams(*FRESH, DONE) if stream else answers())
    async with running(OpenAI(bad.url, name="a"), OpenAI(good.url, name="b", tier=1)) as run:
        reply = await run.ask(stream=stream)
        body = await reply.read()
        assert body == (b"".join(FRESH) + DONE if stream else WHOLE.encode())
        assert (reply.upstream, reply.attempts, len(bad.asked)) == ("b", 2, 1)


async def test_an_upstream_that_is_not_there_is_passed_over(start: Any) -> None:
    good = await start(answers())
    async with running(OpenAI("http://127.0.0.1:1", name="a"), OpenAI(good.url, name="b", tier=1)) as run:
        assert (await run.ask()).upstream == "b"


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{", b"SSH-2.0\r\n\r\n"])
async def test_a_cut_or_senseless_answer_is_tried_elsewhere(start: Any, wire: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(wire)

    good = await start(answers())
    async with raw(behave) as url, running(OpenAI(url, name="a"), OpenAI(good.url, name="b", tier=1)) as run:
        assert (await run.ask()).upstream == "b"


async def test_no_first_byte_in_time_is_tried_elsewhere(start: Any) -> None:
    slow, good = await start(answers(after=20.0)), await start(streams(*FRESH, DONE))
    async with running(
        OpenAI(slow.url, name="a"),
        OpenAI(good.url, name="b", tier=1),
        policies={"timeouts": {"first_token": 0.2}},
    ) as run:
        reply = await run.ask(stream=True)
        assert reply.upstream == "b"
        await asyncio.wait_for(slow.cancelled.wait(), 0.1)
        await reply.read()


async def test_a_first_token_is_not_the_role_nor_a_comment(start: Any) -> None:
    slow = await start(streams(chunk(role=True), *[step for _ in range(40) for step in (0.05, b": wait\n\n")]))
    good = await start(streams(*FRESH, DONE))
    async with running(
        OpenAI(slow.url, name="a"),
        OpenAI(good.url, name="b", tier=1),
        policies={"timeouts": {"first_token": 0.2}},
    ) as run:
        assert (await run.ask(stream=True)).upstream == "b"


# What the client is told ---------------------------------------------------------------------------------------------


async def test_a_wrong_request_is_told_at_once_with_the_upstreams_own_words(start: Any) -> None:
    body = '{"error": {"message": "no such role", "type": "invalid_request_error"}}'
    upstream = await start(answers(400, body))
    async with running(OpenAI(upstream.url), OpenAI(upstream.url, name="b")) as run:
        with pytest.raises(ModelRefused, match="no such role") as caught:
            await run.ask()
    refused = caught.value
    assert (refused.reason, refused.failure, refused.status) == ("failed", "bad_request", 400)
    assert (refused.body.decode(), len(upstream.asked)) == (body, 1)


async def test_a_refusal_says_when_to_come_again(start: Any) -> None:
    upstream = await start(answers(429, "{}", [*JSON, (b"retry-after-ms", b"7500")]))
    async with running(OpenAI(upstream.url), policies={"retry": {"attempts": 1}}) as run:
        with pytest.raises(ModelRefused) as caught:
            await run.ask()
    assert (caught.value.failure, caught.value.retry_after, caught.value.status) == ("rate_limited", 7.5, 429)


async def test_a_call_that_may_not_run_twice_is_not_sent_twice(start: Any) -> None:
    upstream = await start(answers(500, "{}"))
    async with running(OpenAI(upstream.url), OpenAI(upstream.url, name="b")) as run:
        with pytest.raises(ModelRefused):
            await run.llm.send(asking(repeatable=False), run.terms())
    assert len(upstream.asked) == 1


async def test_the_deadline_ends_a_call_and_its_attempt(start: Any) -> None:
    upstream = await start(answers(after=20.0))
    async with running(OpenAI(upstream.url), deadline="300ms") as run:
        began = run.clock.monotonic()
        with pytest.raises(ModelRefused) as caught:
            await run.ask()
        assert 0.25 < run.clock.monotonic() - began < 1
        assert caught.value.reason == "deadline"
        await asyncio.wait_for(upstream.cancelled.wait(), 0.1)


async def test_a_carrier_ends_an_attempt_whose_end_nobody_keeps(start: Any) -> None:
    upstream = await start(answers(after=20.0))
    async with running(OpenAI(upstream.url)) as run:
        [carrier] = run.models.carriers.values()
        with pytest.raises(Failed, match="deadline") as caught:
            await carrier.begin(asking(), run.clock.monotonic() + 0.1)
        assert caught.value.failure is Failure.TIMEOUT
        await asyncio.wait_for(upstream.cancelled.wait(), 1)


async def test_only_upstreams_that_speak_the_dialect_are_asked(start: Any) -> None:
    other, good = await start(answers(body='{"score": 1}')), await start(answers())
    async with running(Http(other.url, name="a"), OpenAI(good.url, name="b", tier=1)) as run:
        assert (await run.ask()).upstream == "b"
        reply = await run.llm.send(asking(dialect=Dialect.JSON), run.terms())
        assert (reply.upstream, await reply.read()) == ("a", b'{"score": 1}')
    async with running(Http(other.url, name="a")) as run:
        with pytest.raises(ModelRefused, match="does not speak chat"):
            await run.ask()


# Cancelling --------------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_is_cancelled_at_its_upstream_at_once(start: Any) -> None:
    upstream = await start(answers(after=20.0))
    async with running(OpenAI(upstream.url)) as run:
        call = asyncio.ensure_future(run.ask())
        await asyncio.sleep(0.2)
        assert len(upstream.asked) == 1
        call.cancel()
        await asyncio.wait_for(upstream.cancelled.wait(), 0.1)
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (run.llm.open, run.llm.router.in_flight) == (0, 0)
        assert run.notes.calls[0].outcome == "cancelled"


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_a_stream_that_is_let_go_is_cancelled_at_its_upstream_at_once(start: Any, how: str) -> None:
    upstream = await start(streams(*FRESH, 20.0))
    async with running(OpenAI(upstream.url)) as run:
        reply = await run.ask(stream=True)
        if how == "close":
            await reply.aclose()
        else:
            reading = asyncio.ensure_future(reply.read())
            await asyncio.sleep(0.05)
            reading.cancel()
        await asyncio.wait_for(upstream.cancelled.wait(), 0.1)
        with pytest.raises((StreamBroken, asyncio.CancelledError)):
            await (reading if how == "cancel" else anext(reply))
        await reply.aclose()
        assert (run.llm.open, [call.outcome for call in run.notes.calls]) == (0, ["cancelled"])


async def test_a_stream_that_nobody_reads_is_held_back_and_not_taken_for_stalled(start: Any) -> None:
    piece = chunk("x" * 10_000)
    upstream = await start(streams(*FRESH, *([piece] * 2000), DONE))
    async with running(OpenAI(upstream.url), policies={"timeouts": {"idle": 0.2}}) as run:
        reply = await run.ask(stream=True)
        await asyncio.sleep(0.7)
        incoming: Any = reply.incoming
        assert incoming._answer.buffered < 2 * 1024 * 1024
        body = await reply.read()
        assert (body.count(piece), body.endswith(DONE)) == (2000, True)


# Hedges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_token_wins_and_the_loser_is_cancelled(start: Any, stream: bool) -> None:
    hanging: list[bool] = []

    async def behave(upstream: Upstream, request: Request, asked: Any) -> Response:
        if hanging and not stream:
            await upstream.clock.sleep(5.0)
        pause = [5.0] if hanging else []
        if not stream:
            return Response(200, JSON, WHOLE.encode())
        return Response(200, SSE, upstream.stream(chunk(role=True), *pause, *FRESH, DONE))

    slow, fast = await start(behave), await start(streams(*FRESH, DONE) if stream else answers())
    policies = {"hedge": {"floor": 0.05}, "budget": {"hedges": 1.0}}
    async with running(OpenAI(slow.url, name="a"), OpenAI(fast.url, name="b"), policies=policies) as run:
        while len(slow.asked) < 50:  # a hedge needs to know what is late
            await asyncio.gather(*[_read(run.ask(stream=stream)) for _ in range(8)])
        await asyncio.sleep(0.3)  # what is late is reckoned anew every 0.25 s
        hanging.append(True)
        slow.cancelled.clear()
        asked = len(slow.asked)
        while len(slow.asked) == asked:
            reply = await run.ask(stream=stream)
            assert (reply.upstream, await reply.read() != b"") == ("b", True)
        await asyncio.wait_for(slow.cancelled.wait(), 0.1)
        assert (reply.attempts, run.notes.calls[-1].hedged) == (2, True)
        assert reply.first_byte < 2.0


async def _read(asked: Any) -> bytes:
    return await (await asked).read()


async def test_a_fallback_model_is_used_when_its_own_upstreams_fail(start: Any) -> None:
    bad, good = await start(answers(503, "{}")), await start(answers())
    app = App("t")
    app.model("small", OpenAI(good.url, name="x", model="s"))
    app.model("llm", [OpenAI(bad.url, name="x", model="l")], fallback="small")
    clock = SystemClock()
    async with (
        Client() as client,
        Models(app.models, client=client, clock=clock, random=Random(1), environment={}) as models,
    ):
        reply = await models["llm"].send(asking(), Terms("1", clock.monotonic() + 5))
        assert (reply.upstream, reply.model, good.asked[0]["model"]) == ("small/x", "s", "s")


async def test_an_attempt_stopped_in_the_turn_in_which_its_answer_begins_ends_at_its_upstream(start: Any) -> None:
    async def behave(upstream: Upstream, request: Request, asked: Any) -> Response:
        if asked.get("stream"):
            return Response(200, SSE, upstream.stream(chunk(role=True), 30.0))
        return Response(200, JSON, WHOLE.encode())

    upstream = await start(behave)
    async with running(OpenAI(upstream.url, model="m")) as run:
        await (await run.ask()).read()  # now a connection is idle, on which a stream is sent without a task
        [carrier] = run.models.carriers.values()
        outcomes: list[Any] = []
        stop: Any = carrier.start(asking(stream=True), run.clock.monotonic() + 20, outcomes.append)  # type: ignore[attr-defined]
        # The head of the answer makes a task, which has not run yet when this sees it.
        while stop.__self__.task is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        stop()
        await asyncio.wait_for(upstream.cancelled.wait(), 5)
        assert outcomes == []


async def test_nothing_of_an_attempt_is_left_when_the_models_are_closed(start: Any) -> None:
    upstream = await start(answers(after=30.0))
    before = asyncio.all_tasks()
    async with running(OpenAI(upstream.url, model="m")) as run:
        run.llm.ask(asking(), run.terms(), lambda _: None)
        while not upstream.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await run.models.__aexit__(None, None, None)
        left = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}
        assert not {name for name in left if name.startswith("_Sent")}
