"""Endpoints of an app that runs in this process: nothing of a server between."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import headrace as hr
from headrace.core.clock import SystemClock
from headrace.core.errors import BadReply, DeadlinePassed, StaleContext, StreamBroken, UnknownName
from headrace.core.events import Answered, Event, ModelCalled
from headrace.http1 import Request, Response, Server
from headrace.testing import Refuses, Says, ScriptedModel, mock_llm


class Item(hr.Record):
    item_id: str
    stock: int


class Ask(BaseModel):
    item_id: str


class Pick(BaseModel):
    item_id: str


def shop(**table: Any) -> hr.App:
    """One table, and a view of it."""
    app = hr.App("shop")
    app.table(Item, key="item_id", **table)
    app.view("stock", "SELECT item_id, stock FROM items WHERE item_id = :item_id")
    return app


@pytest.mark.parametrize(("policy", "error"), [("wait 1m else refuse", StaleContext), ("wait 1m", DeadlinePassed)])
async def test_a_views_own_wait_ends_in_time_to_say_so(tmp_path: Path, policy: str, error: type[Exception]) -> None:
    app = shop(freshness="1ms", policy=policy)
    read = list[str]()

    @app.endpoint("/pick", deadline="300ms")
    async def pick(ask: Ask, ctx: hr.Context) -> Pick:
        found = await ctx.stock(item_id=ask.item_id)
        read.append(found.status)
        await ctx.get("items", ask.item_id)
        await SystemClock().sleep(10)
        return Pick(item_id=ask.item_id)

    async with app.run(data=tmp_path) as live:
        await live.push("items", {"item_id": "a", "stock": 1})
        await SystemClock().sleep(0.05)
        began = SystemClock().monotonic()
        with pytest.raises(error):
            await live.ask("/pick", {"item_id": "a"})
        assert 0.25 < SystemClock().monotonic() - began < 1
    assert read == ([] if error is StaleContext else ["unknown"]), "the read was cut off"


class Heard:
    """A recorder."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


def telling(**how: Any) -> hr.App:
    """A model that is nowhere, and endpoints that ask it."""
    app = shop()
    app.model("llm", hr.models.OpenAI("http://127.0.0.1:9/v1", model="m"), deadline="2s")

    @app.endpoint("/pick", **how)
    async def pick(ask: Ask, ctx: hr.Context) -> Pick:
        await ctx.stock(item_id=ask.item_id)
        return Pick(item_id=(await ctx.llm.chat(ask.item_id)).text)

    @app.endpoint("/tell", **how)
    async def tell(ask: Ask, ctx: hr.Context) -> AsyncIterator[Pick]:
        await ctx.stock(item_id=ask.item_id)
        async for piece in await ctx.llm.chat(ask.item_id, stream=True):
            yield Pick(item_id=piece)

    return app


async def test_a_scripted_model_stands_in_for_a_declared_one(tmp_path: Path) -> None:
    app, llm, heard = telling(fallback={"item_id": "sorry"}), ScriptedModel(["one", Refuses()]), Heard()
    async with app.run(data=tmp_path, models={"llm": llm}, recorder=heard) as live:
        assert (await live.ask("/pick", {"item_id": "a"}, response=Pick)).value == Pick(item_id="one")
        assert llm.requests[0].document["messages"][0]["content"] == "a"
        told = await live.ask("/pick", {"item_id": "a"})
        assert (told.value, told.fallback) == ({"item_id": "sorry"}, "constant")
        assert (await live.ask("/tell", {"item_id": "a"})).value == [{"item_id": "sorry"}]
        with pytest.raises(BadReply, match="does not fit `response`"):
            await live.ask("/pick", {"item_id": "a"}, response=int)
    statuses = [(event.endpoint, event.status, event.fallback) for event in heard.events if isinstance(event, Answered)]
    assert statuses == [
        ("/pick", 200, ""),
        ("/pick", 200, "constant"),
        ("/tell", 200, "constant"),
        ("/pick", 200, "constant"),
    ]


async def test_what_stands_in_for_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="'llmm'") as caught:
        async with telling().run(data=tmp_path, models={"llmm": ScriptedModel(["x"])}):
            pass
    assert "llm" in str(caught.value)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_an_upstream_stands_in_for_those_of_a_model_and_a_recorder_hears_of_calls(
    tmp_path: Path, kind: str
) -> None:
    heard = Heard()
    with mock_llm(first_token="1ms", tokens_per_second=10_000, output_tokens=4) as mock:
        upstream = hr.models.OpenAI(mock.base_url) if kind == "openai" else hr.models.Anthropic(mock.url)
        async with telling().run(data=tmp_path, models={"llm": upstream}, recorder=heard) as live:
            assert (await live.ask("/pick", {"item_id": "a"})).value["item_id"]
            mock.force("truncate", after=2)
            pieces = live.stream("/tell", {"item_id": "a"}, response=Pick)
            assert isinstance(await anext(pieces), Pick)
            with pytest.raises(StreamBroken):
                _ = [piece async for piece in pieces]
            with pytest.raises(hr.HeadraceError, match="at its end"):
                _ = pieces.facts
            mock.relax()
            whole = live.stream("/tell", {"item_id": "a"}, response=Pick)
            assert all(isinstance(piece, Pick) for piece in [piece async for piece in whole])
            assert (whole.facts.stale, [read.name for read in whole.facts.reads]) == ("unchanged", ["stock"])
    outcomes = [event.outcome for event in heard.events if isinstance(event, ModelCalled)]
    assert outcomes == ["done", "broken", "done"]


async def test_a_typed_answer_of_anthropics_is_asked_for_in_words(tmp_path: Path) -> None:
    asked = list[Any]()

    async def messages(request: Request) -> Response:
        asked.append(json.loads(await request.read()))
        text = '```json\n{"item_id": "a"}\n```'
        document = {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": {}}
        return Response(200, [(b"content-type", b"application/json")], json.dumps(document).encode())

    app = shop()
    app.model("llm", hr.models.Anthropic("http://127.0.0.1:9"))

    @app.endpoint("/typed")
    async def answer(ask: Ask, ctx: hr.Context) -> Pick:
        return await ctx.llm.chat("which?", response=Pick)

    server, heard = Server(messages), Heard()
    await server.start()
    upstream = hr.models.Anthropic(f"http://127.0.0.1:{server.port}")
    async with app.run(data=tmp_path, models={"llm": upstream}, recorder=heard) as live:
        assert (await live.ask("/typed", {"item_id": "a"})).value == {"item_id": "a"}
    await server.drain(0.1)
    [document] = asked
    assert '"item_id"' in json.dumps(document["system"]).replace("\\", "")
    [answered] = [event for event in heard.events if isinstance(event, Answered)]
    assert [call.failed for call in answered.models] == [""]


async def test_who_leaves_a_stream_cancels_the_model_and_leaves_its_place(tmp_path: Path) -> None:
    llm, heard = ScriptedModel([Says("one two three", between=5.0)]), Heard()
    async with telling().run(data=tmp_path, models={"llm": llm}, recorder=heard) as live:
        async with live.stream("/tell", {"item_id": "a"}) as pieces:
            assert (await anext(pieces))["item_id"].strip() == "one"
        assert (llm.open, llm.cancelled) == (0, 1)
        assert [event.status for event in heard.events if isinstance(event, Answered)] == [499]
        with pytest.raises(StreamBroken):
            await anext(pieces)


def test_the_synchronous_face_takes_them_too(tmp_path: Path) -> None:
    with telling().run_sync(data=tmp_path, models={"llm": ScriptedModel(["one two"])}) as live:
        pieces = live.stream("/tell", {"item_id": "a"})
        assert [piece["item_id"] for piece in pieces] == ["one ", "two"]
        assert pieces.facts.stale == "unchanged"


async def test_an_answer_from_the_cache_says_how_old_its_context_is_now(tmp_path: Path) -> None:
    app = shop(source=hr.sources.Push(expect="1m"))

    @app.endpoint("/pick", cache=True)
    async def pick(ask: Ask, ctx: hr.Context) -> Pick:
        await ctx.stock(item_id=ask.item_id)
        return Pick(item_id=ask.item_id)

    async with app.run(data=tmp_path) as live:
        await live.push("items", {"item_id": "a", "stock": 1})
        kept = await live.ask("/pick", {"item_id": "a"})
        await SystemClock().sleep(0.2)
        hit = await live.ask("/pick", {"item_id": "a"})
        assert (kept.cache, hit.cache) == ("miss", "hit")
        [before], [now] = kept.reads, hit.reads
        assert before.name == now.name == "stock"
        assert before.age_ms is not None
        assert now.age_ms is not None
        assert now.age_ms >= before.age_ms + 150
