"""Requests that ask for more than they may: what cannot be read, views of others, context without end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

MENU = {"view": "menu", "params": {"restaurant_id": "r7"}}
ROW = {"item_id": "i1", "restaurant_id": "r7", "price": 9.5, "stock": 3}


async def test_a_body_that_cannot_be_read_is_refused_before_a_stream_is_asked_for(world: Any) -> None:
    body = b'{"model":"llm","messages":[],"stream":true,"seed":%b}' % (b"9" * 5000)
    answer = await world.ask(body)
    assert (answer.status, world.model.asked) == (400, [])


async def test_a_member_of_null_wants_nothing(world: Any, kit: Any) -> None:
    answer = await world.ask(kit.CHAT | {"headrace": None})
    assert answer.status == 200
    assert b"headrace" not in world.model.asked[0][0].body


async def test_a_complaint_does_not_repeat_megabytes(world: Any, kit: Any) -> None:
    answer = await world.ask(kit.CHAT | {"model": "x" * 10**6, "n": 10**9})
    many = kit.CHAT | {"headrace": {"context": [{"view": "menu", "params": {"restaurant_id": ["x" * 10**6]}}]}}
    assert len(answer.body) < 3000
    assert len((await world.ask(many)).body) < 3000


@pytest.mark.parametrize(
    ("views", "status"), [([], 403), (["other"], 403), (["menu"], 200), (["*"], 200), (["other", "menu"], 200)]
)
@pytest.mark.parametrize("how", ["body", "header"])
async def test_a_key_reads_the_views_that_it_names_and_no_others(
    world: Any, kit: Any, views: list[str], status: int, how: str
) -> None:
    world.keys(views=views)
    if how == "body":
        answer = await world.ask(kit.CHAT | {"headrace": {"context": [MENU]}}, key=kit.SECRET)
    else:
        answer = await world.ask(key=kit.SECRET, x_headrace_context="menu?restaurant_id=r7")
    assert answer.status == status
    assert len(world.model.asked) == (status == 200)
    if status == 403:
        assert kit.document(answer)["error"]["code"] == "view_not_allowed"


async def test_context_is_waited_for_no_longer_than_the_request_has(world: Any, kit: Any) -> None:
    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    world.ports.read_many = hang
    asked = asyncio.ensure_future(world.ask(kit.CHAT | {"headrace": {"context": [MENU]}}, x_request_timeout_ms="1500"))
    for _ in range(40):
        world.clock.advance(0.05)
        for _ in range(5):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(turn.set_result, None)
            await turn
    assert asked.done()
    assert (asked.result().status, world.model.asked) == (504, [])


async def test_context_counts_before_the_model_is_called(world: Any, kit: Any) -> None:
    """A body of some bytes can name a view of many rows, hundreds of times at once."""
    world.keys(tpm=3000, views=["menu"])
    world.ports.rows["items"] = {(number,): ROW | {"item_id": f"{number:0400}"} for number in range(10)}
    body = kit.CHAT | {"max_tokens": 10, "headrace": {"context": [MENU]}}
    world.model.answer = lambda _: kit.Answered("hang")
    tasks = [asyncio.ensure_future(world.ask(body, key=kit.SECRET)) for _ in range(10)]
    await asyncio.wait(tasks, timeout=0.5)
    statuses = [task.result().status for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    assert len(statuses) >= 8
    assert set(statuses) == {429}
