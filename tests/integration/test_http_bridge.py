"""ASGI applications and plain handlers on the server of `headrace serve`, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request as AsgiRequest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.responses import Response as AsgiResponse
from starlette.routing import Route

from headrace.core.errors import BadParameter, HeadraceError
from headrace.core.events import Problem
from headrace.http1 import Handler, Request, Response
from headrace.server.http import create_app
from headrace.server.listening import address, bind, serve
from headrace.server.settings import Settings
from headrace.testing.ports import CATALOG, MemoryPorts

ITEM = {"item_id": "i1", "restaurant_id": "r7", "price": 9.5, "stock": 3}
HEAD = b"GET / HTTP/1.1\r\nhost: localhost\r\n"


@asynccontextmanager
async def served(app: Any, **settings: Any) -> AsyncIterator[str]:
    """The URL of a server over an ASGI application; drains on exit."""
    chosen = Settings(port=0, **settings)
    with bind(chosen) as listening:
        ready, stop = asyncio.Event(), asyncio.Event()
        direct = getattr(app, "direct", None)
        serving = asyncio.create_task(serve(app, chosen, listening, stop, direct=direct, ready=ready.set))
        began = asyncio.create_task(ready.wait())
        await asyncio.wait({serving, began}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if ready.is_set():
                yield address(listening)
        finally:
            began.cancel()
            stop.set()
            await serving


def app_of(*routes: tuple[str, Callable[[AsgiRequest], Awaitable[AsgiResponse]]]) -> Starlette:
    methods = ["GET", "HEAD", "POST"]
    return Starlette(routes=[Route(path, endpoint, methods=methods) for path, endpoint in routes])


async def read_until_end(url: str, data: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0.01)


async def test_the_scope_says_what_was_asked() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await Starlette()(scope, receive, send)
            return
        seen.update(scope)
        await send({"type": "http.response.start", "status": 204, "headers": [(b"X-Case", b"kept")]})
        await send({"type": "http.response.body"})

    async with served(app) as url:
        answer = await read_until_end(url, b"GET /a%2Fb%20c?x=%31&y HTTP/1.0\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\n\r\n")
        port = int(url.rpartition(":")[2])
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"x-case: kept\r\n" in answer
    assert b"content-length" not in answer
    assert (seen["method"], seen["path"], seen["raw_path"]) == ("GET", "/a/b c", b"/a%2Fb%20c")
    assert (seen["query_string"], seen["http_version"], seen["scheme"]) == (b"x=%31&y", "1.0", "http")
    assert seen["headers"] == [(b"host", b"h"), (b"x-a", b"1"), (b"x-a", b"2")]
    assert seen["client"][0] == "127.0.0.1"
    assert (seen["server"], seen["root_path"]) == (("127.0.0.1", port), "")


async def test_bodies_stream_both_ways() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await Starlette()(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async def upload() -> AsyncIterator[bytes]:
        for number in range(200):
            yield b"%03d" % number * 1000

    async with served(echo) as url, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(url, content=upload())
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.content == b"".join([piece async for piece in upload()])
        assert (await client.post(url, content=b"")).content == b""


async def test_each_piece_goes_out_when_it_is_sent() -> None:
    go = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        yield "data: 1\n\n"
        await go.wait()
        yield "data: 2\n\n"

    async def stream(_request: AsgiRequest) -> AsgiResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    async with (
        served(app_of(("/", stream))) as url,
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("GET", url) as answer,
    ):
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b"data: 1\n\n"
        go.set()
        assert await anext(pieces) == b"data: 2\n\n"
        assert [piece async for piece in pieces] == []


async def test_a_slow_client_slows_the_application_down() -> None:
    made = 0

    async def much() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(1000):
            made += 1
            yield b"x" * 100_000

    async def stream(_request: AsgiRequest) -> AsgiResponse:
        return StreamingResponse(much())

    async with served(app_of(("/", stream)), drain_timeout=0.1) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(connection, HEAD + b"\r\n")
            await eventually(lambda: made > 5)
            await asyncio.sleep(0.3)
            before = made
            await asyncio.sleep(0.3)
            assert made == before < 500


async def test_a_client_that_leaves_is_told_to_the_application() -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await Starlette()(scope, receive, send)
            return
        assert (await receive())["type"] == "http.request"
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
        told.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200}) if scope["path"] == "/" else None
        await send({"type": "http.response.body", "body": b"too late"})
        told.append("ended well")

    async with served(app) as url:
        for path in ("/", "/stream"):
            told.clear()
            host, port = url.removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n" % path.encode())
            await asyncio.sleep(0.1)
            writer.close()
            await eventually(lambda: told == ["http.disconnect", "ended well"])


async def test_head_and_answers_without_a_body() -> None:
    async def whole(_request: AsgiRequest) -> AsgiResponse:
        return PlainTextResponse("four")

    async def stream(_request: AsgiRequest) -> AsgiResponse:
        return StreamingResponse(iter([b"ab", b"cd"]), headers={"content-length": "4"})

    async def same(_request: AsgiRequest) -> AsgiResponse:
        return AsgiResponse(status_code=304, headers={"etag": '"1"'})

    routes = (("/whole", whole), ("/stream", stream), ("/same", same))
    async with served(app_of(*routes)) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for path in ("/whole", "/stream"):
            answer = await client.head(path)
            assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "4", b"")
            answer = await client.get(path)
            assert answer.headers["content-length"] == "4"
            assert len(answer.content) == 4
        answer = await client.get("/same")
        assert (answer.status_code, answer.headers["etag"], answer.content) == (304, '"1"', b"")
        # All of it went over one connection, so none of the answers had a byte too many.
        assert (await client.get("/whole")).text == "four"


async def test_an_application_that_breaks_off_is_not_taken_for_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("no more")

    async def stream(_request: AsgiRequest) -> AsgiResponse:
        return StreamingResponse(breaking())

    async def none(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await Starlette()(scope, receive, send)

    caplog.set_level(logging.CRITICAL, "headrace.http1")
    async with served(app_of(("/", stream))) as url:
        answer = await read_until_end(url, HEAD + b"\r\n")
        assert answer.endswith(b"4\r\nhalf\r\n")
    async with served(none) as url:
        answer = await read_until_end(url, HEAD + b"connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"application/problem+json" in answer


async def test_what_runs_is_finished_before_the_end(caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []

    async def after() -> None:
        await asyncio.sleep(0.2)
        order.append("after the answer")

    async def slow(_request: AsgiRequest) -> AsgiResponse:
        await asyncio.sleep(0.2)
        return JSONResponse("done", background=BackgroundTask(after))

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        order.append("begun")
        yield
        order.append("ended")

    app = Starlette(routes=[Route("/", slow)], lifespan=life)
    async with served(app) as url:
        asked = asyncio.create_task(read_until_end(url, HEAD + b"\r\n"))
        await asyncio.sleep(0.05)
    assert (await asked).endswith(b'"done"')
    assert order == ["begun", "after the answer", "ended"]

    async def endless(_request: AsgiRequest) -> AsgiResponse:
        await asyncio.Event().wait()
        return AsgiResponse()

    async with served(app_of(("/", endless)), drain_timeout=0.1) as url:
        asked = asyncio.create_task(read_until_end(url, HEAD + b"\r\n"))
        await asyncio.sleep(0.05)
    assert await asked == b""
    assert "broken off" in caplog.text


async def test_an_application_that_cannot_start_is_not_served() -> None:
    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        raise ValueError("no database")
        yield

    with pytest.raises(HeadraceError, match="no database"):
        async with served(Starlette(lifespan=life)):
            raise AssertionError("it is served")


class Plain:
    """Serves `/plain/...` without ASGI."""

    lasts = False

    def __init__(self, *, checks_keys: bool = False) -> None:
        self.checks_keys = checks_keys
        self.begun = 0
        self.ended: list[int] = []
        self.go = asyncio.Event()

    def problems(self) -> list[Problem]:
        return [Problem("plain:lamp", "lamp_dark", "the lamp is dark", "light it")]

    def find(self, request: Request) -> Handler | None:
        return self._answer if request.path.startswith(b"/plain/") else None

    def refused(self, request: Request, problem: Any) -> Response | None:
        return Response(problem.status, (), b"plainly no") if request.path == b"/plain/own" else None

    def openapi(self) -> dict[str, Any]:
        return {"/plain/{what}": {"get": {"responses": {"200": {"description": "plain"}}}}}

    def metrics(self) -> Iterable[str]:
        return ["# TYPE plain_total counter", f"plain_total {len(self.ended)}"]

    def _answer(self, request: Request) -> Response | Awaitable[Response]:
        self.begun += 1
        request.when_done(lambda done: self.ended.append(done.answered))
        if request.path.endswith(b"/now"):
            return Response(200, (), b"now")
        return self._later(request)

    async def _later(self, request: Request) -> Response:
        if request.path.endswith(b"/bad"):
            raise BadParameter("that is bad", hint="do not")
        if request.path.endswith(b"/body"):
            return Response(200, (), await request.read())
        if request.path.endswith(b"/stream"):
            return Response(200, (), self._pieces())
        raise RuntimeError("unforeseen")

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield b"a"
        await self.go.wait()
        yield b"b"


@pytest.fixture
def ports() -> MemoryPorts:
    ports = MemoryPorts()
    ports.rows["items"] = {("i1",): ITEM}
    return ports


async def test_handlers_answer_beside_the_application(ports: MemoryPorts) -> None:
    plain = Plain()
    settings = {"max_concurrency": 1, "max_body": 1000}
    front = create_app(ports, ports, CATALOG, Settings(**settings), handlers=[plain])
    async with served(front, **settings) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/plain/now")).content == b"now"
        assert (await client.post("/plain/body", content=b"x" * 1000)).content == b"x" * 1000
        assert (await client.post("/plain/body", content=b"x" * 1001)).status_code == 413
        bad = await client.get("/plain/bad")
        assert (bad.status_code, bad.json()["hint"]) == (400, "do not")
        failed = await client.get("/plain/other")
        assert failed.status_code == 500
        assert "request" in failed.json()
        assert (await client.get("/plain/now", headers={"origin": "http://evil.example"})).status_code == 403
        assert "/plain/{what}" in (await client.get("/openapi.json")).json()["paths"]
        assert (await client.get("/context/menu?restaurant_id=r7")).json()["rows"] == [ITEM]
        # A stream counts as in flight until its end.
        async with client.stream("GET", "/plain/stream") as answer:
            pieces = answer.aiter_raw()
            assert await anext(pieces) == b"a"
            assert (await client.get("/plain/now")).status_code == 503
            assert (await client.get("/freshness")).status_code == 503
            assert (await client.get("/healthz")).status_code == 200
            plain.go.set()
            assert [piece async for piece in pieces] == [b"b"]
        metrics = (await client.get("/metrics")).text
        assert f"plain_total {len(plain.ended)}" in metrics
        found = (await client.get("/freshness")).json()["problems"]
        assert [(one["subject"], one["hint"], one["since"]) for one in found] == [("plain:lamp", "light it", None)]
        assert "headrace_problems 1" in metrics
        assert (await client.get("/readyz")).status_code == 200
        assert 'headrace_requests_total{route="/context/{view}",status="200"} 1' in metrics
    assert plain.ended.count(500) == 1


async def test_handlers_are_kept_by_the_keys_unless_they_check_their_own(ports: MemoryPorts) -> None:
    settings = {"api_keys": ("k" * 16,)}
    for own, status in ((False, 401), (True, 200)):
        front = create_app(ports, ports, CATALOG, Settings(**settings), handlers=[Plain(checks_keys=own)])
        async with served(front, **settings) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/plain/now")).status_code == status
            assert (await client.get("/plain/now", headers={"x-api-key": "k" * 16})).status_code == 200
            assert (await client.get("/context/menu?restaurant_id=r7")).status_code == 401


async def test_a_request_whose_client_left_is_over(ports: MemoryPorts) -> None:
    plain = Plain()
    front = create_app(ports, ports, CATALOG, handlers=[plain])
    async with served(front) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /plain/body HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n")
        await eventually(lambda: plain.begun == 1)  # a body that is late is not waited for
        writer.close()
        await eventually(lambda: plain.ended == [0])
