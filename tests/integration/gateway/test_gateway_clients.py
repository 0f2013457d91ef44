"""The official Python clients, unmodified, against the gateway."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from headrace.core.clock import SystemClock
from headrace.server.gateway.keys import digest_of
from headrace.server.gateway.ledger import append, read

CLOCK = SystemClock()
HI: Any = [{"role": "user", "content": "Say something."}]
SECRET = "hr-secret"


def client(serving: Any, key: str = "any", **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=serving.base_url, api_key=key, **options)


def claude(serving: Any, key: str = "any", **options: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=serving.url, api_key=key, **options)


def with_key(serving: Any, **members: Any) -> None:
    """One key, `SECRET`, with these limits."""
    key = {"id": "k1", "name": "shop", "sha256": digest_of(SECRET.encode())} | members
    serving.accounts.keyring.path.write_text(json.dumps({"keys": [key]}))
    serving.accounts.keyring.look()


async def test_openai_chat_responses_embeddings_models(serve: Any) -> None:
    serving = await serve()
    async with client(serving) as llm:
        raw = await llm.chat.completions.with_raw_response.create(model="llm", messages=HI)
        chat = raw.parse()
        assert chat.choices[0].message.content
        assert raw.headers["x-headrace-upstream"] == "one"
        assert raw.headers["x-headrace-model"] == "mock-model"
        assert float(raw.headers["x-headrace-cost"]) > 0
        response = await llm.responses.create(model="llm", input="Say something.")
        assert response.output_text
        embedding = await llm.embeddings.create(model="llm", input=["a", "b"])
        assert len(embedding.data) == 2
        assert [model.id async for model in llm.models.list()] == ["claude", "llm"]
        assert (await llm.models.retrieve("llm")).id == "llm"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-request-timeout-ms", "abc"),
        ("x-request-timeout-ms", "-5"),
        ("x-request-timeout-ms", "0"),
        ("x-request-timeout-ms", "1.5"),
        ("x-request-timeout-ms", "9" * 3000),
        ("x-request-timeout-ms", ""),
        ("grpc-timeout", "5x"),
        ("grpc-timeout", "0m"),
    ],
)
async def test_a_time_that_is_none_is_refused_by_name(serve: Any, mock: Any, name: str, value: str) -> None:
    serving = await serve()
    async with client(serving, max_retries=0) as llm:
        with pytest.raises(openai.BadRequestError, match=f"{name}: '{value[:40]}' .* write .*, as in 1500") as wrong:
            await llm.chat.completions.create(model="llm", messages=HI, extra_headers={name: value})
        assert (wrong.value.code, len(wrong.value.message) < 300) == ("invalid_header", True)
    async with claude(serving, max_retries=0) as llm:
        with pytest.raises(anthropic.BadRequestError, match=name):
            await llm.messages.create(model="claude", max_tokens=5, messages=HI, extra_headers={name: value})
    assert not mock.requests()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x-headrace-priority", "critical, normal, sheddable"),
        ("x-headrace-on-stale", "flag, retry, refuse"),
        ("x-headrace-context-as", "system, user"),
    ],
)
async def test_a_word_that_is_none_is_refused_by_name(serve: Any, name: str, words: str) -> None:
    serving = await serve()
    async with client(serving, max_retries=0) as llm:
        headers = {"x-headrace-context": "menu?restaurant_id=r7", name: "odd"}
        with pytest.raises(openai.BadRequestError, match=f"{name}: 'odd' is none of {words}") as wrong:
            await llm.chat.completions.create(model="llm", messages=HI, extra_headers=headers)
        assert wrong.value.code == "invalid_header"


async def test_a_time_longer_than_the_deadline_changes_nothing(serve: Any) -> None:
    serving = await serve()
    async with client(serving, max_retries=0) as llm:
        longer = {"x-request-timeout-ms": "999999999", "grpc-timeout": "99999999H"}
        assert (await llm.chat.completions.create(model="llm", messages=HI, extra_headers=longer)).choices


async def test_openai_streams(serve: Any) -> None:
    serving = await serve()
    async with client(serving) as llm:
        whole = await llm.chat.completions.create(model="llm", messages=HI)
        stream = await llm.chat.completions.create(model="llm", messages=HI, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert len(pieces) > 5
        assert "".join(pieces) == whole.choices[0].message.content
        events = [event.type async for event in await llm.responses.create(model="llm", input="Hi", stream=True)]
        assert events[-1] == "response.completed"


async def test_anthropic_messages_streams_models(serve: Any) -> None:
    serving = await serve()
    async with claude(serving) as llm:
        message = await llm.messages.create(model="claude", max_tokens=64, messages=HI)
        block = message.content[0]
        assert block.type == "text"
        async with llm.messages.stream(model="claude", max_tokens=64, messages=HI) as stream:
            text = "".join([piece async for piece in stream.text_stream])
        assert text == block.text
        assert [model.id async for model in llm.models.list()] == ["claude", "llm"]


@pytest.mark.parametrize("fail", ["reset-mid-stream", "cut", "truncate", "error-event"])
async def test_openai_raises_where_a_stream_breaks(serve: Any, mock: Any, fail: str) -> None:
    serving = await serve()
    mock.force(fail, after=3, times=1)
    async with client(serving, max_retries=0) as llm:
        stream = await llm.chat.completions.create(model="llm", messages=HI, stream=True)
        got: list[str] = []
        with pytest.raises(openai.APIError) as caught:
            await drain(stream, got)
        assert got
        assert "broke off" in str(caught.value)
        mock.force(fail, after=3, times=1)
        stream = await llm.responses.create(model="llm", input="Say something.", stream=True)
        with pytest.raises(openai.APIError):
            await drain(stream, [])


@pytest.mark.parametrize("fail", ["reset-mid-stream", "cut", "truncate", "error-event"])
async def test_anthropic_raises_where_a_stream_breaks(serve: Any, mock: Any, fail: str) -> None:
    serving = await serve()
    mock.force(fail, after=3, times=1)
    async with claude(serving, max_retries=0) as llm:
        stream = await llm.messages.create(model="claude", max_tokens=64, messages=HI, stream=True)
        got: list[Any] = []
        with pytest.raises(anthropic.APIError):
            await drain(stream, got)
        assert got


async def drain(stream: Any, into: list[Any]) -> None:
    async for chunk in stream:
        into.append(chunk)


async def test_mistakes_are_the_exceptions_that_users_expect(serve: Any, mock: Any) -> None:
    serving = await serve()
    async with client(serving, max_retries=0) as llm:
        with pytest.raises(openai.NotFoundError, match="there are: claude, llm") as missing:
            await llm.chat.completions.create(model="gpt-9", messages=HI)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as wrong:
            await llm.chat.completions.create(model="llm", messages="Hi")  # type: ignore[arg-type]
        assert wrong.value.param == "messages"
        mock.force("hang", times=1)
        with pytest.raises(openai.APIStatusError) as late:
            await llm.chat.completions.create(model="llm", messages=HI, extra_headers={"x-request-timeout-ms": "50"})
        assert late.value.status_code == 504
    with_key(serving, models=["claude"])
    async with client(serving, key="wrong") as llm:
        with pytest.raises(openai.AuthenticationError):
            await llm.chat.completions.create(model="llm", messages=HI)
    async with client(serving, key=SECRET) as llm:
        with pytest.raises(openai.PermissionDeniedError):
            await llm.chat.completions.create(model="llm", messages=HI)
    async with claude(serving, key="wrong") as llm:
        with pytest.raises(anthropic.AuthenticationError):
            await llm.messages.create(model="claude", max_tokens=5, messages=HI)
    async with claude(serving, key=SECRET) as llm:
        await llm.messages.create(model="claude", max_tokens=5, messages=HI)


async def test_a_key_is_told_of_no_model_that_it_may_not_call(serve: Any) -> None:
    serving = await serve()
    with_key(serving, models=["claude"])
    async with client(serving, key=SECRET, max_retries=0) as llm:
        with pytest.raises(openai.NotFoundError) as asked:
            await llm.chat.completions.create(model="gpt-9", messages=HI)
        with pytest.raises(openai.NotFoundError) as retrieved:
            await llm.models.retrieve("gpt-9")
    for one in (asked, retrieved):
        assert one.value.body["message"] == "there is no model 'gpt-9' here; there are: claude"  # type: ignore[index]


async def test_libraries_show_the_number_of_a_request(serve: Any, mock: Any) -> None:
    serving = await serve()
    async with client(serving, max_retries=0) as llm:
        answer = await llm.chat.completions.with_raw_response.create(model="llm", messages=HI)
        # The provider's own, where it gives one: its support asks for it. Ours stands beside it.
        assert answer.parse()._request_id == answer.headers["x-request-id"] != answer.headers["x-headrace-request-id"]
        answer = await llm.chat.completions.with_raw_response.create(model="claude", messages=HI)
        assert answer.parse()._request_id == answer.headers["x-headrace-request-id"]
        with pytest.raises(openai.NotFoundError) as missing:
            await llm.chat.completions.create(model="gpt-9", messages=HI)
        assert missing.value.request_id == missing.value.response.headers["x-headrace-request-id"]
    async with claude(serving, max_retries=0) as llm:
        message = await llm.messages.create(model="llm", max_tokens=5, messages=HI)
        assert message._request_id
        with pytest.raises(anthropic.NotFoundError) as gone:
            await llm.messages.create(model="gpt-9", max_tokens=5, messages=HI)
        assert gone.value.request_id == gone.value.response.headers["x-headrace-request-id"]


async def test_limits_are_kept_and_clients_wait(serve: Any) -> None:
    serving = await serve()
    with_key(serving, rpm=120)
    async with client(serving, key=SECRET, max_retries=0) as llm:
        for _ in range(120):
            serving.gateway._parts.allowances.reserve(
                CLOCK.monotonic(), 0.0, serving.accounts.keyring.snapshot.keys[0], 0
            )
        with pytest.raises(openai.RateLimitError) as caught:
            await llm.chat.completions.create(model="llm", messages=HI)
        assert caught.value.response.headers["x-ratelimit-limit-requests"] == "120"
        wait = int(caught.value.response.headers["retry-after-ms"])
        assert 0 < wait <= 500
    async with client(serving, key=SECRET, max_retries=2) as llm:  # obeys retry-after-ms
        await llm.chat.completions.create(model="llm", messages=HI)


async def test_budget_holds_under_requests_at_once_and_over_a_restart(serve: Any, mock: Any) -> None:
    serving = await serve()
    # A prompt of about 20 tokens and 50 tokens of answer cost at most 0.07; four of them may begin.
    with_key(serving, budget={"day": "0.30"})

    async def one(llm: openai.AsyncOpenAI) -> str:
        try:
            await llm.chat.completions.create(model="llm", messages=HI, max_tokens=50)
        except openai.RateLimitError as error:
            return f"{error.code}, again: {error.response.headers.get('x-should-retry', 'true')}"
        return "answered"

    async with client(serving, key=SECRET) as llm:
        found = await asyncio.gather(*(one(llm) for _ in range(40)))
        while (answer := await one(llm)) == "answered":
            pass
    spent, set_aside = "insufficient_quota, again: false", "rate_limit_exceeded, again: true"
    assert "answered" in found
    assert set(found) <= {"answered", spent, set_aside}
    assert answer == spent
    now = CLOCK.now() / 1e6
    spent = serving.accounts.budgets.lanes["day"].spent(now, "k1")
    assert 0 < spent <= serving.accounts.budgets.lanes["day"].limits["k1"]
    assert serving.accounts.ledger.close()
    again = await serve()
    assert again.accounts.budgets.lanes["day"].spent(now, "k1") == spent


async def test_money_of_a_request_under_way_is_told_as_set_aside(serve: Any, mock: Any) -> None:
    serving = await serve()
    with_key(serving, budget={"day": "0.30"})
    mock.force("hang", times=1)
    async with client(serving, key=SECRET) as llm:
        first = asyncio.create_task(llm.chat.completions.create(model="llm", messages=HI, max_tokens=50))
        while not mock.requests():
            await CLOCK.sleep(0.01)
        with pytest.raises(
            openai.RateLimitError, match=r"may spend 0.3 a day: 0 is spent, .* by 1 request under"
        ) as told:
            await llm.chat.completions.create(model="llm", messages=HI, max_tokens=90)
        headers = told.value.response.headers
        assert (headers["retry-after"], headers.get("x-should-retry")) == ("1", None)
        first.cancel()
        await asyncio.wait([first])
        while mock.stats()["in_flight"]:
            await CLOCK.sleep(0.01)
        await llm.chat.completions.create(model="llm", messages=HI, max_tokens=90)


async def test_context_through_extra_body_and_headers(serve: Any, mock: Any) -> None:
    serving = await serve()
    serving.ports.rows["items"] = {
        ("i1",): {"item_id": "i1", "restaurant_id": "r7", "price": 9.5, "stock": 3},
    }
    wanted = {"context": [{"view": "menu", "params": {"restaurant_id": "r7"}}], "on_stale": "retry"}
    async with client(serving) as llm:
        raw = await llm.chat.completions.with_raw_response.create(
            model="llm", messages=HI, extra_body={"headrace": wanted}
        )
        assert raw.headers["x-headrace-context"].startswith("menu; as_of=")
        assert "x-headrace-unchanged-as-of" in raw.headers
        raw = await llm.responses.with_raw_response.create(
            model="llm", input="Hi", extra_headers={"x-headrace-context": "menu?restaurant_id=r7"}
        )
        assert "rows=1" in raw.headers["x-headrace-context"]
    async with claude(serving) as llm:
        raw = await llm.messages.with_raw_response.create(
            model="claude", max_tokens=64, messages=HI, extra_body={"headrace": wanted | {"as": "user"}}
        )
        assert "rows=1" in raw.headers["x-headrace-context"]


async def test_a_client_that_leaves_is_noticed_upstream(serve: Any, mock: Any) -> None:
    serving = await serve()
    mock.force("stall", after=3, times=1)
    async with client(serving) as llm:
        stream = await llm.chat.completions.create(model="llm", messages=HI, stream=True)
        await anext(aiter(stream))
        assert mock.stats()["in_flight"] == 1
        await stream.close()
        left = CLOCK.monotonic()
        while mock.stats()["cancelled"] == 0:
            assert CLOCK.monotonic() - left < 0.5  # the look itself takes some time; the truth suite measures 100 ms
            await CLOCK.sleep(0.005)


async def test_a_client_that_leaves_before_its_answer_is_noticed_upstream(serve: Any, mock: Any) -> None:
    serving = await serve()
    async with client(serving, max_retries=0) as llm:
        for _ in range(4):  # from the second on there is an idle connection, and the head is known from the third
            await llm.chat.completions.create(model="llm", messages=HI)
        mock.force("hang", times=1)
        asked = asyncio.ensure_future(llm.chat.completions.create(model="llm", messages=HI))
        while mock.stats()["in_flight"] == 0:
            await CLOCK.sleep(0.005)
        asked.cancel()
        left = CLOCK.monotonic()
        while mock.stats()["cancelled"] == 0:
            assert CLOCK.monotonic() - left < 0.5  # as above
            await CLOCK.sleep(0.005)
        assert (await llm.chat.completions.create(model="llm", messages=HI)).choices[0].message.content


async def test_a_key_that_is_changed_counts_at_once_although_its_requests_are_known(serve: Any) -> None:
    serving = await serve()
    with_key(serving)
    async with client(serving, SECRET, max_retries=0) as llm:
        for _ in range(5):
            await llm.chat.completions.create(model="llm", messages=HI)
        with_key(serving, models=["claude"])
        with pytest.raises(openai.PermissionDeniedError, match="may not call"):
            await llm.chat.completions.create(model="llm", messages=HI)
        with_key(serving, revoked="2026-01-01T00:00:00Z")
        with pytest.raises(openai.AuthenticationError, match="revoked"):
            await llm.chat.completions.create(model="llm", messages=HI)
        with_key(serving, sha256=digest_of(b"another"))
        with pytest.raises(openai.AuthenticationError, match="not known"):
            await llm.chat.completions.create(model="llm", messages=HI)
        with_key(serving)
        await llm.chat.completions.create(model="llm", messages=HI)


async def test_a_stalled_disk_stalls_no_request(serve: Any) -> None:
    serving = await serve()
    with_key(serving, budget={"day": "1000"})
    stalled, go = threading.Event(), threading.Event()

    def write(path: Path, data: bytes) -> None:
        stalled.set()
        go.wait(30)
        append(path, data)

    serving.accounts.ledger._write = write
    try:
        async with client(serving, key=SECRET, timeout=5.0) as llm:
            await llm.chat.completions.create(model="llm", messages=HI)
            assert await asyncio.to_thread(stalled.wait, 10)
            for _ in range(20):
                await llm.chat.completions.create(model="llm", messages=HI)
    finally:
        go.set()
    assert serving.accounts.ledger.close()
    (spent,) = read(serving.accounts.ledger.path)
    assert spent.in_total == serving.accounts.budgets.lanes["total"].spent(0.0, "k1")
