"""The gateway and an endpoint of one app over the mock: who leaves while the model runs again, and a closed quota."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

import headrace as hr
from headrace.composition import composition
from headrace.core.clock import SystemClock
from headrace.server.http import create_app
from headrace.server.listening import address, bind, serve
from headrace.server.settings import Settings
from headrace.testing import Mock, mock_llm

PATHS = ["/pick", "/v1/chat/completions"]
BODIES: dict[str, Any] = {
    "/pick": {"shelf": "a"},
    "/v1/chat/completions": {
        "model": "llm",
        "messages": [{"role": "user", "content": "Which?"}],
        "headrace": {"context": [{"view": "on_shelf", "params": {"shelf": "a"}}], "on_stale": "retry"},
    },
}


class Item(hr.Record):
    item_id: str
    shelf: str
    stock: int


class Ask(BaseModel):
    shelf: str


class Pick(BaseModel):
    item_id: str


def declare(url: str) -> hr.App:
    app = hr.App("shop")
    app.table(Item, key="item_id", index=["shelf"])
    app.view("on_shelf", "SELECT item_id, stock FROM items WHERE shelf = :shelf ORDER BY item_id")
    app.model("llm", hr.models.OpenAI(url, model="mock-model"), deadline="30s")

    @app.endpoint("/pick", deadline="30s", on_stale="retry", fallback={"item_id": "sorry"})
    async def pick(ask: Ask, ctx: hr.Context) -> Pick:
        await ctx.on_shelf(shelf=ask.shelf)
        return Pick(item_id=(await ctx.llm.chat(ask.shelf)).text)

    return app


@asynccontextmanager
async def serving(folder: Path, mock: Mock) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the served app, in whose table one item is."""
    app, settings, stop, data = declare(mock.base_url), Settings(port=0), asyncio.Event(), str(folder / "data")
    listening = bind(settings)
    async with composition.engine(app, data) as engine, composition.reader(app, data, settings) as reader:
        front = create_app(reader.reads, engine.writes, reader.catalog, settings, handlers=reader.handlers)
        ready = asyncio.Event()
        task = asyncio.create_task(serve(front, settings, listening, stop, direct=front.direct, ready=ready.set))
        await ready.wait()
        try:
            async with httpx.AsyncClient(base_url=address(listening), trust_env=False, timeout=40) as http:
                await stock(http, 3)
                yield http
        finally:
            stop.set()
            await task


async def stock(http: httpx.AsyncClient, count: int) -> None:
    row = {"item_id": "i1", "shelf": "a", "stock": count}
    (await http.post("/push/items", json=row)).raise_for_status()


async def until(mock: Mock, **counts: int) -> None:
    """Until the mock, which is in another thread, has counted so much."""
    async with asyncio.timeout(20):
        while {name: (await asyncio.to_thread(mock.stats))[name] for name in counts} != counts:
            await SystemClock().sleep(0.005)


async def send(http: httpx.AsyncClient, path: str) -> asyncio.StreamWriter:
    """A request on a connection of its own, to be left."""
    host, port = http.base_url.host, http.base_url.port
    assert port is not None
    _, writer = await asyncio.open_connection(host, port)
    body = json.dumps(BODIES[path]).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    return writer


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_leaves_while_the_model_runs_again_cancels_that_too(tmp_path: Path, path: str) -> None:
    with mock_llm(first_token="1s", tokens_per_second=10_000, output_tokens=4) as mock:
        async with serving(tmp_path, mock) as http:
            writer = await send(http, path)
            await until(mock, requests=1, in_flight=1)
            await asyncio.to_thread(mock.force, "hang")
            await stock(http, 2)  # what the model was shown is no longer so
            await until(mock, requests=2, answered=1, in_flight=1)
            writer.close()
            # The call itself would go on for half a minute, and nothing but its client ends it before.
            await until(mock, cancelled=1, in_flight=0)
            # Nothing runs for it any more, and it has left nothing that a next one would meet.
            await asyncio.to_thread(mock.relax)
            assert (await http.post(path, json=BODIES[path])).status_code == 200
            await until(mock, requests=3, answered=2, cancelled=1, in_flight=0)
            if path == "/pick":
                assert 'headrace_endpoint_running{endpoint="/pick"} 0' in (await http.get("/metrics")).text


async def test_a_closed_quota_is_told_at_once_and_the_fallback_answers(tmp_path: Path) -> None:
    with mock_llm(requests_per_minute=1, first_token="1ms", tokens_per_second=10_000, output_tokens=4) as mock:
        async with serving(tmp_path, mock) as http:
            first = await http.post("/v1/chat/completions", json=BODIES["/v1/chat/completions"])
            assert first.status_code == 200
            told = await http.post("/v1/chat/completions", json=BODIES["/v1/chat/completions"])
            assert (told.status_code, told.json()["error"]["code"]) == (429, "rate_limit_exceeded")
            assert 30 < int(told.headers["retry-after"]) <= 64
            fallen = await http.post("/pick", json=BODIES["/pick"])
            assert (fallen.status_code, fallen.json()) == (200, {"item_id": "sorry"})
            assert fallen.headers["x-headrace-fallback"] == "constant"
            # Neither was sent, and neither waited in the queue.
            assert mock.stats()["requests"] == 1
