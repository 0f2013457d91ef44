"""What the bodies of all requests may take together: who is refused, who passes, and that all of it is given back."""

from __future__ import annotations

import asyncio

import pytest
from http1_raw import Serve

from headrace.core.clock import SystemClock
from headrace.http1 import Request, Response, Server
from headrace.http1.limits import SMALL

CLOCK = SystemClock()
ROOM = 1 << 20
HALF = ROOM // 2 + 1
HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n"


def post(size: int, path: bytes = b"/") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (path, size)


class Holding:
    """Reads the body and, if it is large, waits for `go`; at `/fail` it raises, at `/early` it reads nothing."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        if request.path == b"/early":
            return Response(200, (), b"early")
        body = await request.read()
        if request.path == b"/fail":
            raise ValueError("the handler fails")
        if len(body) > SMALL:
            await self.go.wait()
        return Response(200, (), b"%d" % len(body))


async def begin(server: Server, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for part in parts:
        writer.write(part)
    return reader, writer


async def status(reader: asyncio.StreamReader) -> int:
    """Of the next answer, which is read to the end of its connection or of its length."""
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        await reader.readexactly(length)
    return int(head.split()[1])


async def holds(server: Server, size: int) -> None:
    """Wait until so much is held."""
    async with asyncio.timeout(5):
        while server.bodies.held != size:
            await CLOCK.sleep(0.005)


@pytest.fixture
async def server(serve: Serve) -> Server:
    def quiet(_error: Exception, _request: Request) -> None:
        pass

    return await serve(Holding(), failed=quiet, max_bodies=ROOM, body_timeout=0.5, min_body_rate=1e9)


async def test_a_body_for_which_there_is_no_room_is_refused_and_a_small_one_is_not(server: Server) -> None:
    first, one = await begin(server, post(HALF), b"x" * HALF)
    await holds(server, HALF)
    second, two = await begin(server, post(HALF), b"x" * HALF)
    assert await status(second) == 503
    third, three = await begin(server, post(SMALL), b"x" * SMALL)
    assert await status(third) == 200
    assert (server.bodies.held, server.bodies.refused) == (HALF, 1)
    server.handler.go.set()  # type: ignore[attr-defined]
    assert await status(first) == 200
    await holds(server, 0)
    fourth, four = await begin(server, post(HALF), b"x" * HALF)
    assert await status(fourth) == 200
    await holds(server, 0)
    for writer in (one, two, three, four):
        writer.close()


async def test_chunks_are_refused_where_there_is_no_more_room(server: Server) -> None:
    first, one = await begin(server, post(HALF), b"x" * HALF)
    await holds(server, HALF)
    chunk = b"%x\r\n%b\r\n" % (HALF, b"x" * HALF)
    second, two = await begin(server, HEAD + b"transfer-encoding: chunked\r\n\r\n", chunk)
    assert await status(second) == 503
    await holds(server, HALF)
    server.handler.go.set()  # type: ignore[attr-defined]
    assert await status(first) == 200
    await holds(server, 0)
    one.close()
    two.close()


async def test_what_was_only_announced_takes_no_room(server: Server) -> None:
    opened = [await begin(server, post(ROOM)) for _ in range(5)]
    server.handler.go.set()  # type: ignore[attr-defined]
    reader, writer = await begin(server, post(HALF), b"x" * HALF)
    assert await status(reader) == 200
    for _, one in (*opened, (reader, writer)):
        one.close()


@pytest.mark.parametrize("path", [b"/fail", b"/early", b"/slow"])
async def test_all_of_it_is_given_back_on_every_way_out(server: Server, path: bytes) -> None:
    whole = path == b"/fail"
    reader, writer = await begin(server, post(HALF, path), b"x" * (HALF if whole else HALF - 1))
    assert await status(reader) == {b"/fail": 500, b"/early": 200, b"/slow": 408}[path]
    await holds(server, 0)
    writer.close()


@pytest.mark.parametrize("sent", [HALF, HALF - 1])
async def test_a_client_that_leaves_gives_back_what_it_sent(server: Server, sent: int) -> None:
    _, writer = await begin(server, post(HALF), b"x" * sent)
    await holds(server, sent)
    writer.transport.abort()
    await holds(server, 0)
    assert server.bodies.refused == 0


async def test_requests_that_wait_behind_another_give_back_too(server: Server) -> None:
    one = post(SMALL + 1) + b"x" * (SMALL + 1)
    _, writer = await begin(server, one * 3)
    async with asyncio.timeout(5):
        while server.bodies.held < SMALL + 1:
            await CLOCK.sleep(0.005)
    writer.transport.abort()
    await holds(server, 0)
