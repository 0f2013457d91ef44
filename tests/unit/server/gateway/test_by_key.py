"""What is seen of each key, and what its requests may say beyond their bodies."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from headrace.models.call import Usage

MESSAGES = {"model": "llm", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}


async def test_answers_and_money_are_counted_by_key(world: Any, kit: Any) -> None:
    world.keys(name='the "shop"', budget={"day": "5", "total": "9.5"}, rpm=2)
    statuses = [(await world.ask(key=kit.SECRET)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    now = world.clock.now() / 1e6
    world.budgets.settle(world.budgets.reserve(now, "k1", Decimal(2)), Decimal("1.25"))
    lines = [line for line in world.gateway.metrics() if line.startswith("headrace_key_")]
    key = 'key="the \\"shop\\""'
    assert lines == [
        f'headrace_key_requests_total{{{key},model="llm",status="200"}} 2',
        f'headrace_key_requests_total{{{key},model="llm",status="429"}} 1',
        *(f'headrace_key_spent{{{key},period="{period}"}} 1.25' for period in ("day", "month", "total")),
        f'headrace_key_budget{{{key},period="day"}} 5',
        f'headrace_key_budget{{{key},period="total"}} 9.5',
    ]
    total = [line for line in world.gateway.metrics() if line.startswith("headrace_model_requests_total")]
    assert [line.rsplit(" ", 1)[1] for line in total] == ["1", "2"], "the same answers by model"


async def test_requests_without_a_key_are_nobodys(world: Any) -> None:
    assert (await world.ask()).status == 200
    assert not [line for line in world.gateway.metrics() if line.startswith("headrace_key_")]


@pytest.mark.parametrize(
    ("path", "body", "header", "beta"),
    [
        ("/v1/messages", MESSAGES, "anthropic_beta", b"a-1,b-2"),
        ("/v1/messages", MESSAGES, "openai_beta", b""),
        ("/v1/chat/completions", None, "openai_beta", b"a-1,b-2"),
        ("/v1/chat/completions", None, "anthropic_beta", b""),
    ],
)
async def test_features_in_beta_are_those_of_the_dialect(
    world: Any, kit: Any, path: str, body: Any, header: str, beta: bytes
) -> None:
    assert (await world.ask(body or kit.CHAT, path, **{header: "a-1,b-2"})).status == 200
    [(request, _)] = world.model.asked
    assert request.beta == beta


async def test_a_picture_counts_as_little_against_the_tokens_of_a_key(world: Any, kit: Any) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    world.keys(tpm=5000)
    answer = await world.ask(
        {"model": "llm", "max_tokens": 10, "messages": [{"role": "user", "content": [picture]}]}, key=kit.SECRET
    )
    assert answer.status == 200, "it is about a thousand tokens, not a hundred thousand"
    text = {"type": "text", "text": "word " * 80_000}
    answer = await world.ask(
        {"model": "llm", "max_tokens": 10, "messages": [{"role": "user", "content": [text]}]}, key=kit.SECRET
    )
    assert answer.status == 429


async def test_pictures_teach_nothing_about_text(world: Any, kit: Any) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    world.keys(tpm=10**9)
    world.model.answer = lambda _request: kit.Answered(b"{}", usage=Usage(1050, 5))
    for _ in range(50):
        asked = {"model": "llm", "messages": [{"role": "user", "content": [picture]}]}
        assert (await world.ask(asked, key=kit.SECRET)).status == 200
    offer = world.gateway._parts.offers["llm"]  # pyright: ignore[reportPrivateUsage]
    assert 900 <= offer.tokens(0.0, 4000, 0) <= 1100


@pytest.mark.parametrize(
    ("member", "place", "words"),
    [
        ({"context": [{"view": 5}]}, "headrace.context[0].view", "Expected `str`, got `int`"),
        ({"context": [{}]}, "headrace.context[0].view", "missing required field `view`"),
        ({"on_stale": "sometimes"}, "headrace.on_stale", "`on_stale` is flag, retry or refuse"),
        ({"contexts": []}, "headrace", "unknown field `contexts`"),
        (5, "headrace", "Expected `object`, got `int`"),
    ],
)
async def test_what_is_wrong_with_the_context_that_is_asked_for_is_told_with_its_place(
    world: Any, kit: Any, member: Any, place: str, words: str
) -> None:
    answer = await world.ask(json.dumps(kit.CHAT | {"headrace": member}).encode())
    error = kit.document(answer)["error"]
    assert (answer.status, error["param"]) == (400, place)
    assert error["message"].startswith(f"{place}: ")
    assert words in error["message"]
    assert "`$" not in error["message"], "that is how the parser writes a place"


async def test_a_model_is_found_by_a_name_that_is_percent_encoded(world: Any, kit: Any) -> None:
    answer = await world.ask(b"", "/v1/models/ll%6D", method="GET")
    assert kit.document(answer)["id"] == "llm"
