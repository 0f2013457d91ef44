"""Requests with one head share what follows from it: that must never outlive the keys that it was found with."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.models.call import Priority


async def test_a_key_that_changed_counts_at_once_for_a_head_that_is_known(world: Any, kit: Any) -> None:
    facts: dict[Any, Any] = {}
    world.keys(models=["llm"], tenant="before")
    assert [(await world.ask(key=kit.SECRET, facts=facts)).status for _ in range(3)] == [200] * 3
    world.keys(models=["other"])
    answer = await world.ask(key=kit.SECRET, facts=facts)
    assert (answer.status, kit.document(answer)["error"]["code"]) == (403, "model_not_allowed")
    world.keys(tenant="after", priority="sheddable", rpm=1)
    assert [(await world.ask(key=kit.SECRET, facts=facts)).status for _ in range(2)] == [200, 429]
    world.keys(sha256="0" * 64)
    assert (await world.ask(key=kit.SECRET, facts=facts)).status == 401
    said = [(terms.tenant, terms.priority) for _, terms in world.model.asked]
    assert said == [("before", Priority.NORMAL)] * 3 + [("after", Priority.SHEDDABLE)]


async def test_a_key_that_changed_while_a_body_came_counts_as_it_is_then(world: Any, kit: Any) -> None:
    world.keys(rpm=1)
    assert (await world.ask(key=kit.SECRET, before_body=lambda: world.keys(rpm=2))).status == 200
    assert [(await world.ask(key=kit.SECRET)).status for _ in range(2)] == [200, 429]
    assert (await world.ask(key=kit.SECRET, before_body=lambda: world.keys(sha256="0" * 64))).status == 401


async def test_keys_that_come_into_being_are_asked_for_although_the_head_is_known(world: Any, kit: Any) -> None:
    facts: dict[Any, Any] = {}
    assert (await world.ask(facts=facts)).status == 200
    world.keys()
    assert (await world.ask(facts=facts)).status == 401


@pytest.mark.parametrize("how", ["expires", "revoked"])
async def test_a_key_ends_in_time_although_the_head_is_known(world: Any, kit: Any, how: str) -> None:
    facts: dict[Any, Any] = {}
    world.keys(**{how: "2026-01-01T00:01:00Z"})
    assert (await world.ask(key=kit.SECRET, facts=facts)).status == 200
    world.clock.advance(60)
    assert (await world.ask(key=kit.SECRET, facts=facts)).status == 401


async def test_bodies_of_one_head_are_each_read(world: Any, kit: Any) -> None:
    facts: dict[Any, Any] = {}
    world.keys(budget={"day": "1"}, tpm=1000)
    bodies = [
        ({"max_tokens": 600, "user": "u"}, 200, ""),
        ({"model": "gpt-9"}, 404, "model_not_found"),
        ({"max_tokens": 600, "user": "v", "stream": False}, 200, ""),
        ({"max_tokens": 0}, 400, "invalid_value"),
        ({"max_tokens": 1000}, 429, "rate_limit_exceeded"),
    ]
    for members, status, code in bodies:
        answer = await world.ask(kit.CHAT | members, key=kit.SECRET, facts=facts)
        assert (answer.status, kit.document(answer).get("error", {}).get("code", "")) == (status, code)
    assert [terms.session for _, terms in world.model.asked] == ["u", "v"]


async def test_a_wrong_header_is_told_with_every_request_of_a_head(world: Any, kit: Any) -> None:
    facts: dict[Any, Any] = {}
    for _ in range(2):
        answer = await world.ask(facts=facts, x_headrace_priority="urgent")
        assert (answer.status, kit.document(answer)["error"]["code"]) == (400, "invalid_header")
        lines = list(world.gateway.metrics())
    assert 'headrace_model_requests_total{model="llm",upstream="none",status="400"} 2' in lines


@pytest.mark.parametrize("name", ["x_headrace_on_stale", "x_headrace_context_as"])
async def test_a_word_on_context_that_is_none_is_told_also_where_no_context_is_named(
    world: Any, kit: Any, name: str
) -> None:
    facts: dict[Any, Any] = {}
    for _ in range(2):
        answer = await world.ask(facts=facts, **{name: "rety"})
        error = kit.document(answer)["error"]
        assert (answer.status, error["code"], "'rety' is none of" in error["message"]) == (400, "invalid_header", True)
    assert (await world.ask(**{name: {"x_headrace_on_stale": "retry"}.get(name, "user")})).status == 200
