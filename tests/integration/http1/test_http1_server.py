"""The server over real sockets: with clients that others wrote, and with clients that mean harm."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.core.clock import SystemClock
from headrace.core.errors import BodyRefused
from headrace.http1.request import Request
from headrace.http1.response import Response

sys.path.insert(0, str(Path(__file__).parent))
from http1_raw import GET, Serve, origin, raw, statuses

TEXT = [(b"content-type", b"text/plain")]
CLOCK = SystemClock()


async def echo(request: Request) -> Response:
    """The method, the target and the body."""
    body = await request.read()
    return Response(200, TEXT, b"%b %b " % (request.method, request.target) + body)


def plain(request: Request) -> Response:
    """A plain function: nothing to wait for."""
    return Response(200, TEXT, request.target)


def streaming(*pieces: bytes, pause: float = 0.0, length: int | None = None, error: Exception | None = None) -> Any:
    """A handler that streams."""

    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece
                await CLOCK.sleep(pause)
            if error is not None:
                raise error

        return Response(200, TEXT, body(), length=length)

    return handler


async def curl(*arguments: str, stdin: bytes | None = None) -> tuple[int, bytes]:
    """curl's exit status and what it printed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("curl", "-sS", *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
    out, _ = await process.communicate(stdin or b"")
    return process.returncode or 0, out


# Clients that others wrote


@pytest.mark.needs("curl")
async def test_curl_sends_and_gets_bodies(serve: Serve) -> None:
    url = f"http://127.0.0.1:{(await serve(echo)).port}/x?y=1"
    assert await curl(url) == (0, b"GET /x?y=1 ")
    assert await curl(url, "-d", "abc") == (0, b"POST /x?y=1 abc")
    big = b"0123456789" * 200_000
    assert await curl(url, "-T", "-", stdin=big) == (0, b"PUT /x?y=1 " + big)
    assert await curl(url, "--http1.0") == (0, b"GET /x?y=1 ")
    assert await curl(url, "--http2") == (0, b"GET /x?y=1 ")  # offers an upgrade, which is not taken
    assert await curl(url, "-H", "Expect: 100-continue", "-d", "a" * 2000) == (0, b"POST /x?y=1 " + b"a" * 2000)
    status, head = await curl("-I", url)
    assert status == 0
    assert b"content-length: 12\r\n" in head


@pytest.mark.needs("curl")
async def test_curl_reads_streams_and_notices_their_breaks(serve: Serve) -> None:
    good = await serve(streaming(b"data: 1\n\n", b"data: 2\n\n", pause=0.01))
    assert await curl(f"http://127.0.0.1:{good.port}/") == (0, b"data: 1\n\ndata: 2\n\n")
    told: list[Exception] = []
    broken = await serve(
        streaming(b"data: 1\n\n", error=ValueError("broke")), failed=lambda error, request: told.append(error)
    )
    status, out = await curl(f"http://127.0.0.1:{broken.port}/")
    assert (status, out) == (18, b"data: 1\n\n")  # 18: partial file
    # HTTP/1.0 has nothing but the connection's end: it must be a reset.
    status, _ = await curl("--http1.0", f"http://127.0.0.1:{broken.port}/")
    assert status == 56  # 56: receive failure
    assert [str(error) for error in told] == ["broke", "broke"]


async def test_httpx_keeps_its_connection(serve: Serve) -> None:
    server = await serve(echo)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        for number in range(50):
            answer = await client.post(f"/{number}", content=b"x" * number)
            assert answer.text == f"POST /{number} " + "x" * number
        chunks = [chunk async for chunk in (await client.post("/s", content=_chunks())).aiter_bytes()]
        assert b"".join(chunks) == b"POST /s abcdef"
        assert server.open == 1


async def _chunks() -> AsyncIterator[bytes]:
    for piece in (b"abc", b"def"):
        yield piece
        await CLOCK.sleep(0.01)


async def test_ten_thousand_requests_leave_nothing_behind(serve: Serve, connect: Any) -> None:
    server = await serve(plain)
    client = connect()
    where = origin(server)

    async def ask(many: int) -> None:
        for _ in range(many):
            answer = await client.request(b"GET", where, b"/a")
            assert await answer.read() == b"/a"

    await asyncio.gather(*[ask(50) for _ in range(8)])
    gc.collect()
    before = len(gc.get_objects())
    await asyncio.gather(*[ask(1200) for _ in range(8)])
    gc.collect()
    assert len(gc.get_objects()) - before < 500
    assert server.served == 10_000
    assert server.open <= 8


# Order, framing, ends


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    async def handler(request: Request) -> Response:
        await CLOCK.sleep(0.03 if request.path == b"/0" else 0)
        return Response(200, TEXT, request.target)

    async with raw((await serve(handler)).port) as client:
        paths = [b"/%d" % number for number in range(10)]
        client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in paths[:5]))
        await CLOCK.sleep(0.01)
        client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in paths[5:9]))
        client.send(b"GET /9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        found = await client.rest()
    assert [line for line in found.replace(b"HTTP/1.1", b"\r\n").split(b"\r\n") if line in paths] == paths


async def test_a_request_sent_ahead_of_a_body_is_not_lost(serve: Serve) -> None:
    async with raw((await serve(echo)).port) as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
        await CLOCK.sleep(0.02)
        client.send(b"bc" + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        found = await client.rest()
    assert statuses(found) == [200, 200]
    assert b"POST /a abc" in found


async def test_the_rest_of_a_body_that_comes_while_the_request_before_is_served_is_not_lost(serve: Serve) -> None:
    async def handler(request: Request) -> Response:
        body = await request.read()
        await CLOCK.sleep(0.05)
        return Response(200, TEXT, body)

    async with raw((await serve(handler)).port) as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        client.send(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nConnection: close\r\n\r\nde")
        await CLOCK.sleep(0.02)
        client.send(b"fghi")
        found = await client.rest()
    assert statuses(found) == [200, 200]
    assert found.endswith(b"defghi")


async def test_good_requests_before_a_bad_one_are_answered(serve: Serve) -> None:
    async with raw((await serve(echo)).port) as client:
        client.send(GET + GET + b"nonsense\r\n\r\n" + GET)
        assert statuses(await client.rest()) == [200, 200, 400]


@pytest.mark.parametrize("status", [204, 304])
async def test_some_answers_have_no_body(serve: Serve, status: int) -> None:
    async with raw((await serve(lambda request: Response(status, [], b"abc"))).port) as client:
        client.send(GET + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        found = await client.rest()
    assert statuses(found) == [status, status]
    assert b"abc" not in found
    assert b"content-length" not in found


async def test_HEAD_has_the_length_of_GET_and_no_body(serve: Serve) -> None:
    async with raw((await serve(streaming(b"abc", length=3))).port) as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        found = await client.rest()
    assert found.count(b"content-length: 3\r\n") == 2
    assert found.endswith(b"\r\n\r\n")


async def test_each_piece_of_a_stream_is_sent_at_once(serve: Serve) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            await gate.wait()
            yield b""  # would end the body if it were written
            yield b"second"

        return Response(200, TEXT, body(), trailers=lambda: [(b"x-sum", b"1")])

    async with raw((await serve(handler)).port) as client:
        client.send(GET)
        assert (await client.until(b"\r\n\r\n5\r\nfirst\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        gate.set()
        assert await client.until(b"\r\n\r\n") == b"6\r\nsecond\r\n0\r\nx-sum: 1\r\n\r\n"


@pytest.mark.parametrize(("length", "pieces"), [(5, (b"abc",)), (2, (b"abc",))])
async def test_a_stream_that_breaks_its_promise_breaks_the_connection(
    serve: Serve, length: int, pieces: tuple[bytes, ...]
) -> None:
    told: list[Exception] = []
    server = await serve(streaming(*pieces, length=length), failed=lambda error, request: told.append(error))
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"http://127.0.0.1:{server.port}/")
    assert "bytes" in str(told[0])


async def test_a_handler_that_fails_is_answered_for(serve: Serve) -> None:
    told: list[Exception] = []

    async def handler(request: Request) -> Response:
        if request.path == b"/fields":
            return Response(200, [(b"x", b"a\r\nset-cookie: evil")], b"")
        if request.path == b"/none":
            return None  # type: ignore[return-value]
        raise ValueError("secret")

    server = await serve(handler, failed=lambda error, request: told.append(error))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        for path in ("/", "/fields", "/none"):
            answer = await client.get(path)
            assert answer.status_code == 500
            assert answer.headers["content-type"] == "application/problem+json"
            assert "secret" not in answer.text
            assert "set-cookie" not in answer.headers
        assert server.open == 1
    assert len(told) == 3


async def test_a_continue_is_sent_when_the_body_is_asked_for(serve: Serve) -> None:
    async def handler(request: Request) -> Response:
        return await echo(request) if request.path == b"/take" else Response(403, TEXT, b"no")

    port = (await serve(handler)).port
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with raw(port) as client:
        client.send(head % b"/take")
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        assert (await client.until(b"POST /take abc")).startswith(b"HTTP/1.1 200")
        client.send(head % b"/refuse")
        found = await client.rest()
        assert statuses(found) == [403]
        assert b"connection: close" in found


# Clients that mean harm, or are gone


async def test_a_client_that_is_gone_cancels_its_handler(serve: Serve) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Response:
        started.set()
        try:
            await CLOCK.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Response()

    server = await serve(handler)
    async with raw(server.port) as client:
        client.send(GET)
        await started.wait()
    begun = CLOCK.monotonic()
    async with asyncio.timeout(5):
        await cancelled.wait()
    assert CLOCK.monotonic() - begun < 0.1


async def test_a_client_that_is_gone_closes_the_stream(serve: Serve) -> None:
    closed = asyncio.Event()

    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"tick\n"
                    await CLOCK.sleep(0.01)
            finally:
                closed.set()

        return Response(200, TEXT, body())

    async with raw((await serve(handler)).port) as client:
        client.send(GET)
        await client.until(b"tick\n")
    async with asyncio.timeout(0.5):
        await closed.wait()


async def test_a_half_closed_client_is_served_where_that_was_chosen(serve: Serve) -> None:
    async def handler(request: Request) -> Response:
        await CLOCK.sleep(0.05)
        return Response(200, TEXT, b"late")

    for half_close, expected in [(True, [200]), (False, [])]:
        async with raw((await serve(handler, half_close=half_close)).port) as client:
            client.send(GET)
            await CLOCK.sleep(0.01)
            client.writer.write_eof()
            assert statuses(await client.rest()) == expected


async def test_an_upload_that_ends_early_is_no_request(serve: Serve) -> None:
    caught: list[BodyRefused] = []

    async def handler(request: Request) -> Response:
        try:
            await request.read()
        except BodyRefused as error:
            caught.append(error)
            raise
        return Response()

    for half_close in (True, False):
        async with raw((await serve(handler, half_close=half_close)).port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
            await CLOCK.sleep(0.01)
            client.writer.write_eof()
            assert statuses(await client.rest()) == ([400] if half_close else [])
    assert caught


async def test_slow_heads_are_cut_off(serve: Serve) -> None:
    async with raw((await serve(echo, head_timeout=0.2)).port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        begun = CLOCK.monotonic()

        async def drip() -> None:
            while True:
                client.send(b"X: a\r\n")
                await CLOCK.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert statuses(await client.rest()) == [408]
        dripping.cancel()
        assert CLOCK.monotonic() - begun < 1


async def test_slow_bodies_are_cut_off(serve: Serve) -> None:
    async with raw((await serve(echo, body_timeout=0.2, min_body_rate=1000)).port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n")

        async def drip() -> None:
            while True:
                client.send(b"a")
                await CLOCK.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert statuses(await client.until(b"\r\n\r\n", 2)) == [408]
        dripping.cancel()


async def test_a_silent_connection_is_closed(serve: Serve) -> None:
    port = (await serve(echo, head_timeout=0.2, idle_timeout=0.2)).port
    async with raw(port) as client:
        assert await client.rest(2) == b""
    async with raw(port) as client:
        client.send(GET)
        assert statuses(await client.rest(2)) == [200]


async def test_a_client_that_reads_nothing_holds_back_the_stream_and_is_cut_off(serve: Serve) -> None:
    sent = 0
    closed = asyncio.Event()

    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            try:
                while True:
                    sent += 65536
                    yield b"a" * 65536
            finally:
                closed.set()

        return Response(200, TEXT, body())

    server = await serve(handler, write_timeout=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(GET)
    async with asyncio.timeout(5):
        await closed.wait()
    assert sent < 32 * 1024 * 1024  # the kernel's buffers, not the stream's length
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(64 * 1024 * 1024)
    writer.close()


async def test_a_body_that_nobody_reads_holds_back_its_client(serve: Serve) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Response:
        await gate.wait()
        assert request.buffered < 2 * 1024 * 1024
        return Response(200, TEXT, b"%d" % len(await request.read()))

    async with raw((await serve(handler, max_buffer=65536, max_body=100_000_000)).port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        client.send(b"a" * 50_000_000)
        await CLOCK.sleep(0.2)
        gate.set()
        assert (await client.until(b"50000000")).startswith(b"HTTP/1.1 200")


async def test_too_large_a_body_is_refused_before_and_while_it_comes(serve: Serve) -> None:
    port = (await serve(echo, max_body=1000)).port
    async with raw(port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + b"a" * 500_000)
        assert statuses(await client.rest()) == [413]
    async with raw(port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(4):
            client.send(b"200\r\n" + b"a" * 512 + b"\r\n")
            await CLOCK.sleep(0.01)
        assert statuses(await client.rest()) == [413]


async def test_an_answer_before_the_end_of_the_body_can_be_read(serve: Serve) -> None:
    async with raw((await serve(plain)).port) as client:
        client.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
        await client.until(b"/early")
        client.send(b"a" * 3_000_000)
        await client.closed()


async def test_more_connections_than_it_takes_are_refused(serve: Serve) -> None:
    server = await serve(echo, max_connections=2)
    async with raw(server.port) as one, raw(server.port) as two, raw(server.port) as three:
        assert statuses(await three.rest()) == [503]
        for client in (one, two):
            client.send(GET)
            assert statuses(await client.until(b"GET / ")) == [200]


# Draining


async def test_draining_finishes_what_runs_and_closes_what_is_idle(serve: Serve) -> None:
    async def handler(request: Request) -> Response:
        if request.path == b"/slow":
            await CLOCK.sleep(0.2)
        return Response(200, TEXT, b"done")

    server = await serve(handler)
    port = server.port
    async with raw(port) as idle, raw(port) as busy:
        idle.send(GET)
        await idle.until(b"done")
        busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await CLOCK.sleep(0.05)
        draining = asyncio.create_task(server.drain(5))
        assert await idle.rest(1) == b""
        found = await busy.rest()
        assert statuses(found) == [200]
        assert b"connection: close" in found
        assert await draining
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_draining_breaks_off_what_takes_too_long(serve: Serve) -> None:
    server = await serve(streaming(*[b"tick"] * 1000, pause=0.01))
    async with raw(server.port) as client:
        client.send(GET)
        await client.until(b"tick")
        assert not await server.drain(0.1)
        rest = await client.rest()
    assert not rest.endswith(b"0\r\n\r\n")
    assert server.open == 0
