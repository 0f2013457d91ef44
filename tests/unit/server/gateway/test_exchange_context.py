"""Context in requests at `/v1`: views that go into the prompt, and whether they still hold at the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.models.call import Usage

MENU = {"view": "menu", "params": {"restaurant_id": "r7"}}
ROW = {"item_id": "i1", "restaurant_id": "r7", "price": 9.5, "stock": 3}


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
    assert (answer.status, kit.document(answer)["error"]["code"]) == (503, "stale_context")
    assert world.model.asked == []


@pytest.mark.parametrize(
    "wanted", [{"view": "menus"}, {"view": "menu"}, {"view": "menu", "params": {"restaurant_id": "r7", "most": "x"}}]
)
async def test_wrong_context_is_the_clients_mistake(world: Any, kit: Any, wanted: Any) -> None:
    answer = await world.ask(kit.CHAT | {"headrace": {"context": [wanted]}})
    assert (answer.status, kit.document(answer)["error"]["param"]) == (400, "headrace.context")


def selling(world: Any, kit: Any, times: int) -> None:
    """The first `times` answers come after a row has changed."""
    world.ports.rows["items"] = {("i1",): ROW}
    left = [times]

    async def answer(_request: Any) -> Any:
        if left[0]:
            left[0] -= 1
            await world.ports.push("items", json.dumps(ROW | {"stock": left[0]}).encode())
        return kit.Answered(b"{}", usage=Usage(10, 1))

    world.model.answer = answer


async def test_changed_context_is_flagged(world: Any, kit: Any) -> None:
    selling(world, kit, 1)
    answer = await world.ask(kit.CHAT | {"headrace": {"context": [MENU]}})
    assert (answer.status, kit.told(answer)["x-headrace-changed"]) == (200, "menu")
    assert "x-headrace-unchanged-as-of" not in kit.told(answer)


async def test_changed_context_is_tried_again(world: Any, kit: Any) -> None:
    selling(world, kit, 1)
    answer = await world.ask(kit.CHAT | {"headrace": {"context": [MENU], "on_stale": "retry"}})
    assert answer.status == 200
    assert "x-headrace-unchanged-as-of" in kit.told(answer)
    first, second = (body["messages"][0]["content"] for body in sent(world))
    assert '"stock":3' in first
    assert '"stock":0' in second
    assert 'headrace_model_context_changed_total{model="llm"} 1' in list(world.gateway.metrics())


@pytest.mark.parametrize(("on_stale", "calls"), [("refuse", 1), ("retry", 3)])
async def test_changed_context_is_refused_in_the_end(world: Any, kit: Any, on_stale: str, calls: int) -> None:
    selling(world, kit, 9)
    answer = await world.ask(kit.CHAT | {"headrace": {"context": [MENU], "on_stale": on_stale}})
    assert (answer.status, kit.document(answer)["error"]["code"]) == (503, "context_changed")
    assert len(world.model.asked) == calls


async def test_streams_say_at_their_end_whether_context_held(world: Any, kit: Any) -> None:
    selling(world, kit, 0)
    world.model.answer = lambda _: kit.Answered(b"data: 1\n\n", headers=kit.SSE)
    chat = kit.CHAT | {"stream": True, "headrace": {"context": [MENU]}}
    answer = await world.ask(chat)
    _ = [piece async for piece in answer.body]
    assert b"x-headrace-unchanged-as-of" in dict(answer.trailers())
    chat["headrace"] = {"context": [MENU], "on_stale": "retry"}
    assert (await world.ask(chat)).status == 400
