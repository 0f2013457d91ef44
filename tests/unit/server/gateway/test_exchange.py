"""One request at `/v1`, against a model that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from headrace.core.clock import SystemClock
from headrace.core.errors import ModelRefused, StreamBroken
from headrace.models.call import Priority, Usage
from headrace.server.gateway.offer import Offer

MENU = {"view": "menu", "params": {"restaurant_id": "r7"}}
RETRIED = {"headrace": {"context": [MENU], "on_stale": "retry"}}
ROW = {"item_id": "i1", "restaurant_id": "r7", "price": 9.5, "stock": 3}


async def test_answer_is_passed_on_with_what_is_known_of_it(world: Any, kit: Any) -> None:
    body = b'{"id": "x",  "choices": []}'
    world.model.answer = lambda _: kit.Answered(body, usage=Usage(10, 5), cost=Decimal("0.00012"))
    answer = await world.ask()
    assert (answer.status, answer.body) == (200, body)
    told = kit.told(answer)
    assert told["x-headrace-model"] == "gpt-x"
    assert told["x-headrace-upstream"] == "one"
    assert told["x-headrace-attempts"] == "1"
    assert told["x-headrace-cost"] == "0.00012"
    assert told["x-headrace-queued-ms"] == "1.00"
    assert told["x-headrace-request-id"].startswith("req_")
    request, terms = world.model.asked[0]
    assert (request.stream, request.repeatable, terms.deadline) == (False, True, world.clock.monotonic() + 30)


async def test_body_is_passed_on_byte_for_byte(world: Any) -> None:
    body = b'{ "messages":[{"role":"user","content":"\\u00e9"}], "model":"llm", "seed":1.0e2 }'
    await world.ask(body)
    request, _ = world.model.asked[0]
    assert request.body == body
    assert request.document["seed"] == 100.0


async def test_terms_come_from_headers_and_body(world: Any, kit: Any) -> None:
    await world.ask(kit.CHAT | {"user": "u"}, x_request_timeout_ms="1500", x_headrace_priority="critical")
    await world.ask(kit.CHAT | {"user": "u"}, x_headrace_session="s", x_request_timeout_ms="99999999")
    terms = [terms for _, terms in world.model.asked]
    now = world.clock.monotonic()
    assert (terms[0].session, terms[0].deadline, terms[0].priority) == ("u", now + 1.5, Priority.CRITICAL)
    assert (terms[1].session, terms[1].deadline) == ("s", now + 30)
    assert terms[0].id != terms[1].id


@pytest.mark.parametrize(
    ("path", "body", "document"),
    [
        (
            "/v1/chat/completions",
            {"model": "llm"},
            {
                "error": {
                    "message": "messages: Object missing required field `messages`",
                    "type": "invalid_request_error",
                    "param": "messages",
                    "code": "missing_field",
                }
            },
        ),
        (
            "/v1/messages",
            {"model": "llm", "messages": []},
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "max_tokens: Object missing required field `max_tokens`",
                },
            },
        ),
    ],
)
async def test_mistakes_are_told_in_the_dialect(world: Any, kit: Any, path: str, body: Any, document: Any) -> None:
    answer = await world.ask(body, path)
    assert (answer.status, kit.document(answer)) == (400, document)
    assert world.model.asked == []


async def test_unknown_model_says_what_there_is(world: Any, kit: Any) -> None:
    answer = await world.ask(kit.CHAT | {"model": "gpt-9"})
    error = kit.document(answer)["error"]
    assert (answer.status, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "there are: llm" in error["message"]


REFUSALS = [
    (ModelRefused("late", reason="deadline"), 504, "timeout", 504),
    (ModelRefused("shed", reason="shed", retry_after=2.5), 503, "overloaded", 529),
    (ModelRefused("full", reason="queue_full"), 503, "overloaded", 529),
    (ModelRefused("shut", reason="rate_limited", retry_after=2.5), 429, "rate_limit_exceeded", 429),
    (ModelRefused("shut", reason="rate_limited", failure="overloaded"), 429, "rate_limit_exceeded", 429),
    (ModelRefused("ill", reason="ejected", retry_after=2.5), 503, "overloaded", 529),
    (ModelRefused("slow", reason="failed", failure="timeout"), 504, "timeout", 504),
    (ModelRefused("busy", reason="failed", failure="overloaded", status=503), 503, "overloaded", 529),
    (ModelRefused("key", reason="failed", failure="credentials", status=401, body=b"{}"), 502, "upstream_failed", 502),
    (ModelRefused("gone", reason="failed", failure="connection"), 502, "upstream_failed", 502),
    (ModelRefused("odd", reason="failed", failure="malformed"), 502, "upstream_failed", 502),
    (ModelRefused("poor", reason="failed", failure="quota"), 429, "insufficient_quota", 402),
    (ModelRefused("fast", reason="failed", failure="rate_limited"), 429, "rate_limit_exceeded", 429),
    (ModelRefused("lost", reason="failed", failure="missing"), 404, "model_not_found", 404),
]


@pytest.mark.parametrize(("refusal", "status", "code", "anthropic"), REFUSALS)
async def test_refusals(world: Any, kit: Any, refusal: Any, status: int, code: str, anthropic: int) -> None:
    world.model.answer = lambda _: refusal
    answer = await world.ask()
    assert (answer.status, kit.document(answer)["error"]["code"]) == (status, code)
    if refusal.retry_after:
        assert kit.told(answer)["retry-after"] == "3"
        assert kit.told(answer)["retry-after-ms"] == "2500"
    answer = await world.ask(kit.CHAT | {"max_tokens": 5}, "/v1/messages")
    assert (answer.status, kit.document(answer)["type"]) == (anthropic, "error")


async def test_what_an_upstream_says_of_the_request_is_passed_on(world: Any, kit: Any) -> None:
    body = b'{"error": {"message": "too long", "code": "context_length_exceeded"}}'
    world.model.answer = lambda _: ModelRefused(
        "no", reason="failed", failure="bad_request", status=400, body=body, upstream="one", attempts=1
    )
    answer = await world.ask()
    told = kit.told(answer)
    assert (answer.status, answer.body, told["x-should-retry"]) == (400, body, "false")
    assert (told["x-headrace-upstream"], told["x-headrace-attempts"]) == ("one", "1")
    lines = list(world.gateway.metrics())
    assert 'headrace_model_requests_total{model="llm",upstream="one",status="400"} 1' in lines


@pytest.mark.parametrize(("failure", "again"), [("malformed", "false"), ("connection", None)])
async def test_what_would_be_malformed_again_is_not_to_be_asked_again(
    world: Any, kit: Any, failure: str, again: str | None
) -> None:
    world.model.answer = lambda _: ModelRefused("odd", reason="failed", failure=failure)
    assert kit.told(await world.ask()).get("x-should-retry") == again


async def test_what_no_upstream_takes_is_told_with_what_to_do(world: Any, kit: Any) -> None:
    world.model.answer = lambda _: ModelRefused("none speaks it", reason="failed", failure="bad_request", hint="ask so")
    answer = await world.ask()
    error = kit.document(answer)["error"]
    assert (answer.status, error["code"], error["message"]) == (400, "invalid_request", "none speaks it; ask so")


async def test_what_nobody_foresaw_is_a_number(world: Any, kit: Any, caplog: Any) -> None:
    world.model.answer = lambda _: ZeroDivisionError("secret")
    answer = await world.ask()
    message = kit.document(answer)["error"]["message"]
    assert answer.status == 500
    assert "secret" not in message
    assert kit.told(answer)["x-headrace-request-id"] in message
    assert "ZeroDivisionError: secret" in caplog.text


def warned(caplog: Any) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(("refusal", "status", "code", "anthropic"), REFUSALS)
async def test_what_got_no_answer_leaves_a_line_with_its_number(
    world: Any, kit: Any, caplog: Any, refusal: Any, status: int, code: str, anthropic: int
) -> None:
    world.model.answer = lambda _: refusal
    number = kit.told(await world.ask())["x-headrace-request-id"]
    kind = refusal.failure or refusal.reason
    assert warned(caplog) == [f"request {number} to 'llm': {refusal.message} ({kind})"]


async def test_an_answer_that_breaks_off_leaves_a_line_with_its_number(world: Any, kit: Any, caplog: Any) -> None:
    errors = [StreamBroken("reset", failure="connection"), StreamBroken("reset", failure="connection")]
    world.model.answer = lambda _: kit.Answered(b"data: 1\n\n", errors[0], headers=kit.SSE)
    whole = await world.ask()
    world.model.answer = lambda _: kit.Answered(b"data: 1\n\n", errors[1], headers=kit.SSE)
    stream = await world.ask(kit.CHAT | {"stream": True})
    with pytest.raises(StreamBroken):
        await collect(stream, [])
    numbers = [kit.told(one)["x-headrace-request-id"] for one in (whole, stream)]
    assert warned(caplog) == [f"request {number} to 'llm': reset (connection)" for number in numbers]
    assert all(error.logged for error in errors)


async def test_a_clients_own_mistakes_and_good_answers_leave_no_line(world: Any, kit: Any, caplog: Any) -> None:
    await world.ask()
    await world.ask(b"{")
    await world.ask(kit.CHAT | {"model": "gpt-9"})
    world.model.answer = lambda _: ModelRefused("no", reason="failed", failure="bad_request", status=400, body=b"{}")
    await world.ask()
    assert warned(caplog) == []


async def collect(answer: Any, into: list[bytes]) -> None:
    async for piece in answer.body:
        into.append(piece)


async def turn() -> None:
    """Let everything that is ready run."""
    await SystemClock().sleep(0)


async def test_stream_is_passed_on_with_trailers(world: Any, kit: Any) -> None:
    pieces = [b"data: 1\n\n", b"data: [DONE]\n\n"]
    world.model.answer = lambda _: kit.Answered(*pieces, headers=kit.SSE, usage=Usage(1, 1), cost=Decimal("0.5"))
    answer = await world.ask(kit.CHAT | {"stream": True})
    assert [piece async for piece in answer.body] == pieces
    assert dict(answer.trailers()) == {b"x-headrace-cost": b"0.5", b"x-headrace-attempts": b"1"}
    lines = list(world.gateway.metrics())
    assert 'headrace_model_requests_total{model="llm",upstream="one",status="200"} 1' in lines


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("/v1/chat/completions", b'event: error\ndata: {"error":{"message":"the stream broke off'),
        ("/v1/responses", b'event: error\ndata: {"type":"error","code":"stream_broken","message":"the stream broke'),
        ("/v1/messages", b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"the stream'),
    ],
)
async def test_broken_stream_ends_with_an_error(world: Any, kit: Any, path: str, start: bytes) -> None:
    world.model.answer = lambda _: kit.Answered(b"data: 1\n\n", StreamBroken("reset"), headers=kit.SSE)
    answer = await world.ask(kit.CHAT | {"stream": True, "max_tokens": 5}, path)
    pieces: list[bytes] = []
    with pytest.raises(StreamBroken):
        await collect(answer, pieces)
    assert pieces[0] == b"data: 1\n\n"
    assert pieces[1].startswith(start)
    assert pieces[1].endswith(b"\n\n")
    assert len(pieces) == 2


async def test_broken_whole_answer_is_502(world: Any, kit: Any) -> None:
    world.model.answer = lambda _: kit.Answered(b'{"id":', StreamBroken("reset"))
    answer = await world.ask()
    assert (answer.status, kit.document(answer)["error"]["code"]) == (502, "stream_broken")


async def test_client_that_leaves_cancels_the_call(world: Any, kit: Any) -> None:
    reply = kit.Answered(b"data: 1\n\n", "hang", headers=kit.SSE)
    world.model.answer = lambda _: reply
    answer = await world.ask(kit.CHAT | {"stream": True})
    assert await anext(aiter(answer.body)) == b"data: 1\n\n"
    await answer.body.aclose()
    assert reply.closed


# Keys


async def test_keys_are_asked_for_once_there_are_any(world: Any, kit: Any) -> None:
    assert (await world.ask()).status == 200
    world.keys()
    for given in (None, "hr-wrong"):
        answer = await world.ask(key=given)
        assert (answer.status, kit.document(answer)["error"]["code"]) == (401, "invalid_api_key")
    assert (await world.ask(key=kit.SECRET)).status == 200
    assert (await world.ask(x_api_key=kit.SECRET)).status == 200
    _, terms = world.model.asked[-1]
    assert (terms.key, terms.tenant) == ("k1", "shop")


async def test_keys_of_the_server_open_everything(world: Any, kit: Any) -> None:
    world.api_keys = ("operator-key",)
    assert (await world.ask()).status == 401
    assert (await world.ask(key="operator-key")).status == 200
    world.keys(models=["other"])
    assert (await world.ask(key="operator-key")).status == 200
    assert (await world.ask(key=kit.SECRET)).status == 403


@pytest.mark.parametrize("how", ["expires", "revoked"])
async def test_keys_that_have_ended(world: Any, kit: Any, how: str) -> None:
    world.keys(**{how: "2026-01-01T00:01:00Z"})
    assert (await world.ask(key=kit.SECRET)).status == 200
    world.clock.advance(60)
    answer = await world.ask(key=kit.SECRET)
    assert answer.status == 401
    assert {"expires": "expired"}.get(how, how) in kit.document(answer)["error"]["message"]


async def test_key_caps_priority(world: Any, kit: Any) -> None:
    world.keys(priority="normal", tenant="t")
    for wanted in ("critical", "sheddable"):
        await world.ask(key=kit.SECRET, x_headrace_priority=wanted)
    assert [terms.priority for _, terms in world.model.asked] == [Priority.NORMAL, Priority.SHEDDABLE]
    assert (await world.ask(key=kit.SECRET, x_headrace_priority="urgent")).status == 400


# Limits


async def test_requests_at_once_do_not_overrun_the_limit(world: Any, kit: Any) -> None:
    world.keys(rpm=3)
    go = asyncio.Event()

    async def answer(_request: Any) -> Any:
        await go.wait()
        return kit.Answered(b"{}")

    world.model.answer = answer
    asked = [asyncio.ensure_future(world.ask(key=kit.SECRET)) for _ in range(10)]
    await turn()
    go.set()
    statuses = [answer.status for answer in await asyncio.gather(*asked)]
    assert sorted(statuses) == [200] * 3 + [429] * 7
    refused = next(one.result() for one in asked if one.result().status == 429)
    told = kit.told(refused)
    assert kit.document(refused)["error"]["type"] == "requests"
    assert (told["retry-after"], told["retry-after-ms"]) == ("20", "20000")
    world.clock.advance(20.01)
    answer = await world.ask(key=kit.SECRET)
    assert answer.status == 200
    assert kit.told(answer)["x-ratelimit-limit-requests"] == "3"
    assert kit.told(answer)["x-ratelimit-remaining-requests"] == "0"


async def test_tokens_are_reserved_and_settled(world: Any, kit: Any) -> None:
    world.keys(tpm=1000)
    chat = kit.CHAT | {"max_tokens": 600}
    world.model.answer = lambda _: kit.Answered(b"{}", usage=Usage(20, 30))
    answer = await world.ask(chat, key=kit.SECRET)
    assert kit.told(answer)["x-ratelimit-remaining-tokens"] == "950"
    answer = await world.ask(chat, key=kit.SECRET)
    assert answer.status == 200
    world.model.answer = lambda _: kit.Answered("hang")
    running = asyncio.ensure_future(world.ask(chat, key=kit.SECRET))
    await turn()
    answer = await world.ask(chat, key=kit.SECRET)
    assert (answer.status, kit.document(answer)["error"]["type"]) == (429, "tokens")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_refused_requests_give_their_tokens_back(world: Any, kit: Any) -> None:
    world.keys(tpm=1000)
    world.model.answer = lambda _: ModelRefused("full", reason="queue_full")
    for _ in range(5):
        assert (await world.ask(kit.CHAT | {"max_tokens": 900}, key=kit.SECRET)).status == 503


# Context


def sent(world: Any) -> Any:
    return [dict(request.document) for request, _ in world.model.asked]


async def test_context_goes_into_the_prompt_and_headers_say_so(world: Any, kit: Any) -> None:
    world.ports.rows["items"] = {("i1",): ROW}
    answer = await world.ask(kit.CHAT | {"headrace": {"context": [MENU]}})
    (body,) = sent(world)
    assert "headrace" not in body
    assert [one["role"] for one in body["messages"]] == ["system", "user"]
    assert '"item_id":"i1"' in body["messages"][0]["content"]
    told = kit.told(answer)
    assert told["x-headrace-context"].startswith("menu; as_of=")
    assert told["x-headrace-context"].endswith("rows=1")
    assert "x-headrace-unchanged-as-of" in told
    await world.ask(x_headrace_context="menu?restaurant_id=r7", x_headrace_context_as="user")
    assert [one["role"] for one in sent(world)[1]["messages"]] == ["user", "user"]


async def test_member_is_taken_out_even_if_it_wants_nothing(world: Any, kit: Any) -> None:
    await world.ask(kit.CHAT | {"headrace": {}})
    assert sent(world) == [kit.CHAT]


async def test_stale_context_can_be_refused(world: Any, kit: Any) -> None:
    world.ports.frontier = 1_000_000
    answer = await world.ask(kit.CHAT | {"headrace": {"context": [MENU | {"policy": "refuse"}]}})
    error = kit.document(answer)["error"]
    assert (answer.status, error["code"]) == (503, "stale_context")
    assert error["message"].endswith("; ask with another policy")
    assert world.model.asked == []


@pytest.mark.parametrize(
    "wanted", [{"view": "menus"}, {"view": "menu"}, {"view": "menu", "params": {"restaurant_id": "r7", "most": "x"}}]
)
async def test_wrong_context_is_the_clients_mistake(world: Any, kit: Any, wanted: Any) -> None:
    answer = await world.ask(kit.CHAT | {"headrace": {"context": [wanted]}})
    assert (answer.status, kit.document(answer)["error"]["param"]) == (400, "headrace.context")


def selling(world: Any, kit: Any, times: int, *costs: Decimal | None) -> None:
    """The first `times` answers come after a row has changed."""
    world.ports.rows["items"] = {("i1",): ROW}
    left, prices = [times], iter(costs)

    async def answer(_request: Any) -> Any:
        if left[0]:
            left[0] -= 1
            await world.ports.push("items", json.dumps(ROW | {"stock": left[0]}).encode())
        return kit.Answered(b"{}", usage=Usage(10, 1), cost=next(prices, None))

    world.model.answer = answer


async def test_changed_context_is_flagged(world: Any, kit: Any) -> None:
    selling(world, kit, 1)
    answer = await world.ask(kit.CHAT | {"headrace": {"context": [MENU]}})
    assert (answer.status, kit.told(answer)["x-headrace-changed"]) == (200, "menu")
    assert "x-headrace-unchanged-as-of" not in kit.told(answer)


async def test_changed_context_is_tried_again(world: Any, kit: Any) -> None:
    selling(world, kit, 1)
    answer = await world.ask(RETRIED | kit.CHAT)
    assert (answer.status, kit.told(answer)["x-headrace-retries"]) == (200, "1")
    assert "x-headrace-unchanged-as-of" in kit.told(answer)
    first, second = (body["messages"][0]["content"] for body in sent(world))
    assert '"stock":3' in first
    assert '"stock":0' in second
    assert 'headrace_model_context_changed_total{model="llm"} 1' in list(world.gateway.metrics())


async def test_the_time_of_an_answer_that_was_thrown_away_is_not_the_gateways(world: Any, kit: Any) -> None:
    selling(world, kit, 1)
    slow = world.model.answer

    async def answer(request: Any) -> Any:
        world.clock.advance(2.0)
        return await slow(request)

    world.model.answer = answer
    told = kit.told(await world.ask(RETRIED | kit.CHAT))
    assert (told["x-headrace-retries"], float(told["x-headrace-gateway-ms"])) == ("1", 0.0)


@pytest.mark.parametrize(("on_stale", "calls"), [("refuse", 1), ("retry", 3)])
async def test_changed_context_is_refused_in_the_end(world: Any, kit: Any, on_stale: str, calls: int) -> None:
    selling(world, kit, 9)
    answer = await world.ask(kit.CHAT | {"headrace": {"context": [MENU], "on_stale": on_stale}})
    assert (answer.status, kit.document(answer)["error"]["code"]) == (503, "context_changed")
    assert len(world.model.asked) == calls


@pytest.mark.parametrize(("usage", "left"), [(Usage(20_000, 10_000), 7), (None, 3)])
async def test_thrown_away_tokens_count_if_the_next_fails(world: Any, kit: Any, usage: Usage | None, left: int) -> None:
    world.keys(tpm=100_000, views=["menu"])
    selling(world, kit, 1)
    first = world.model.answer

    async def answer(request: Any) -> Any:
        reply, too_fast = await first(request), ModelRefused("", reason="failed", failure="rate_limited", status=429)
        reply.usage = usage
        return reply if len(world.model.asked) == 1 else too_fast

    world.model.answer = answer
    answered = await world.ask(RETRIED | kit.CHAT | {"max_tokens": 30_000}, key=kit.SECRET)
    assert (answered.status, int(kit.told(answered)["x-ratelimit-remaining-tokens"]) // 10_000) == (429, left)


@pytest.mark.parametrize(("first", "cost"), [(Decimal("0.25"), "0.75"), (None, None)])
async def test_a_second_try_costs_both_and_teaches_alone(
    world: Any, kit: Any, monkeypatch: pytest.MonkeyPatch, first: Decimal | None, cost: str | None
) -> None:
    seen: list[Usage] = []
    monkeypatch.setattr(Offer, "observe", lambda _self, _now, _size, usage: seen.append(usage))
    world.keys(tpm=100_000, views=["menu"])
    selling(world, kit, 1, first, Decimal("0.5"))
    told = kit.told(await world.ask(RETRIED | kit.CHAT, key=kit.SECRET))
    assert (told.get("x-headrace-cost"), seen) == (cost, [Usage(10, 1)])


async def test_streams_say_at_their_end_whether_context_held(world: Any, kit: Any) -> None:
    selling(world, kit, 0)
    world.model.answer = lambda _: kit.Answered(b"data: 1\n\n", headers=kit.SSE)
    chat = kit.CHAT | {"stream": True, "headrace": {"context": [MENU]}}
    answer = await world.ask(chat)
    await collect(answer, [])
    assert b"x-headrace-unchanged-as-of" in dict(answer.trailers())
    answer = await world.ask(chat | RETRIED)
    assert (answer.status, kit.document(answer)["error"]["code"]) == (400, "invalid_value")
