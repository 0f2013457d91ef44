"""The client's pool, its uploads, and a relay made of a client behind a server."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.core.clock import SystemClock
from headrace.core.errors import ExchangeError, Misuse, PoolFull, TimedOut, Truncated, Unreachable
from headrace.http1.answer import Answer
from headrace.http1.origin import Origin
from headrace.http1.request import Request
from headrace.http1.response import Response

sys.path.insert(0, str(Path(__file__).parent))
from http1_raw import Raw, Serve, origin, scripted

CLOCK = SystemClock()
SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def echo(request: Request) -> Response:
    """The method and the body."""
    return Response(200, [(b"content-type", b"text/plain")], request.method + b" " + await request.read())


async def answering(connection: Raw) -> None:
    """A server as it should be."""
    while True:
        await connection.head()
        connection.send(SHORT)


async def until_truncated(answer: Answer) -> bytes:
    """What came before the break."""
    got = b""
    try:
        async for piece in answer:
            got += piece
    except Truncated:
        return got
    raise AssertionError("the answer ended well")


# The pool


async def test_connections_are_bounded_and_waited_for_in_order(serve: Serve, connect: Any) -> None:
    busy = most = 0

    async def handler(request: Request) -> Response:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await CLOCK.sleep(0.02)
        busy -= 1
        return Response(200, [], b"")

    server = await serve(handler)
    client = connect(max_connections=3)
    order: list[int] = []

    async def ask(number: int) -> None:
        await (await client.request(b"GET", origin(server), b"/", timeout=5)).read()
        order.append(number)

    await asyncio.gather(*[ask(number) for number in range(12)])
    assert most == 3
    assert [number // 3 for number in order] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert client.connections() == {str(origin(server)): (3, 3, 0)}


async def test_waiting_for_a_connection_has_a_deadline_and_a_bound(connect: Any) -> None:
    async def hanging(connection: Raw) -> None:
        await connection.head()
        await connection.closed()

    async with scripted(hanging) as (where, heads):
        client = connect(max_connections=1, max_waiting=1)
        held = asyncio.create_task(client.request(b"GET", where, b"/1"))
        await CLOCK.sleep(0.05)
        waits = asyncio.create_task(client.request(b"GET", where, b"/2", timeout=0.2))
        await CLOCK.sleep(0.05)
        with pytest.raises(PoolFull, match="1 requests wait"):
            await client.request(b"GET", where, b"/3", timeout=0.2)
        with pytest.raises(PoolFull, match="came free") as caught:
            await waits
        assert not caught.value.sent
        cancelled = asyncio.create_task(client.request(b"GET", where, b"/4"))
        await CLOCK.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        last = asyncio.create_task(client.request(b"GET", where, b"/5", first_byte=0.2))
        await CLOCK.sleep(0.05)
        held.cancel()
        with pytest.raises(TimedOut):
            await last
        assert [head.split()[1] for head in heads] == [b"/1", b"/5"]
        assert client.connections()[str(where)] == (0, 0, 0)


async def test_a_place_that_could_not_be_connected_goes_to_the_next(connect: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = Origin("http", "127.0.0.1", probe.getsockname()[1])
    client = connect(max_connections=1)
    asked = [client.request(b"GET", where, b"/", timeout=2) for _ in range(5)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in found] == [Unreachable] * 5
    assert client.connections()[str(where)] == (0, 0, 0)


async def test_a_request_that_is_sent_again_keeps_to_the_bound(connect: Any) -> None:
    open_now = most = made = 0

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most, made
        open_now, made = open_now + 1, made + 1
        most = max(most, open_now)
        first = made == 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await CLOCK.sleep(0.05)
                writer.write(SHORT)
                if first:
                    await reader.readuntil(b"\r\n\r\n")
                    break  # it takes the second request, and closes without a word
        except asyncio.IncompleteReadError:
            pass
        finally:
            open_now -= 1
            writer.close()

    async with await asyncio.start_server(connection, "127.0.0.1", 0) as server:
        place = Origin("http", "127.0.0.1", server.sockets[0].getsockname()[1])
        client = connect(max_connections=1)

        async def ask() -> bytes:
            return await (await client.request(b"GET", place, b"/", timeout=5)).read()

        assert await ask() == b"ok"
        # The first of them finds its connection closed; the place of that one is the second's by then.
        assert await asyncio.gather(ask(), ask()) == [b"ok", b"ok"]
        assert (most, made) == (1, 2)
        await client.aclose()


async def test_idle_connections_are_closed_after_a_while(serve: Serve, connect: Any) -> None:
    server = await serve(echo)
    client = connect(idle_timeout=0.2)
    await (await client.request(b"GET", origin(server), b"/")).read()
    assert server.open == 1
    await CLOCK.sleep(0.5)
    assert server.open == 0


# Uploads


async def test_an_answer_that_comes_before_the_end_of_an_upload_is_delivered(connect: Any) -> None:
    async def refusing(connection: Raw) -> None:
        await connection.head()
        connection.send(b"HTTP/1.1 413 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await connection.closed()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"a" * 1000
            await CLOCK.sleep(0.001)

    async with scripted(refusing) as (where, _):
        client = connect()
        answer = await client.request(b"POST", where, b"/", (), endless())
        assert (answer.status, await answer.read()) == (413, b"no")
        await answer.aclose()


async def test_an_upload_that_fails_is_not_taken_for_complete(serve: Serve, connect: Any) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ValueError("broke")

    told: list[Exception] = []
    server = await serve(echo, failed=lambda error, request: told.append(error))
    client = connect()
    with pytest.raises(ExchangeError, match="broke"):
        await client.request(b"POST", origin(server), b"/", (), failing())
    with pytest.raises(ExchangeError, match="longer than"):
        await client.request(b"POST", origin(server), b"/", (), failing(), length=2)


@pytest.mark.parametrize(("method", "target", "fields"), [
    (b"GET", b"/a b", ()), (b"GET", b"/\r\nx: 1", ()), (b"GET", b"a", ()), (b"GET", b"/a#b", ()), (b"G ET", b"/", ()),
    (b"CONNECT", b"/", ()), (b"GET", b"/", [(b"x", b"1\r\ny: 2")]), (b"GET", b"/", [(b"transfer-encoding", b"x")]),
])  # fmt: skip
async def test_what_is_no_request_is_not_sent(connect: Any, method: bytes, target: bytes, fields: Any) -> None:
    async with scripted(answering) as (where, heads):
        with pytest.raises(Misuse):
            await connect().request(method, where, target, fields)
        assert heads == []


# Relaying


async def test_a_relay_passes_bytes_breaks_and_cancellation_on(serve: Serve, connect: Any) -> None:
    cancelled = asyncio.Event()

    async def upstream(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            try:
                for number in range(3):
                    yield b"data: %d\n\n" % number
                    await CLOCK.sleep(0.01)
                if request.path == b"/break":
                    raise ValueError("broke")
                if request.path == b"/hang":
                    await CLOCK.sleep(30)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        return Response(200, [(b"content-type", b"text/event-stream")], body())

    behind = origin(await serve(upstream, failed=lambda error, request: None))
    inner = connect()

    async def relay(request: Request) -> Response:
        answer = await inner.request(request.method, behind, request.target)
        return Response(answer.status, [(b"content-type", answer.header(b"content-type") or b"")], answer)

    front = origin(await serve(relay, failed=lambda error, request: None))
    client = connect()
    whole = b"".join(b"data: %d\n\n" % number for number in range(3))
    assert await (await client.request(b"GET", front, b"/whole")).read() == whole

    assert await until_truncated(await client.request(b"GET", front, b"/break")) == whole

    async with await client.request(b"GET", front, b"/hang") as answer:
        assert await anext(answer) == b"data: 0\n\n"
    async with asyncio.timeout(0.1):
        await cancelled.wait()
