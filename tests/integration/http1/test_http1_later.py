"""Answers that are given by a call, and requests that are sent without a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from http1_raw import GET, Raw, Serve, origin, raw, scripted, statuses

from headrace.core.clock import SystemClock
from headrace.core.errors import ExchangeError, Interrupted, TimedOut, Truncated
from headrace.http1 import Answer, Client, Later, Request, Response
from headrace.http1.client import unheard

CLOCK = SystemClock()
TEXT = [(b"content-type", b"text/plain")]
SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEADERS = ((b"content-type", b"text/plain"),)


def path(target: bytes) -> bytes:
    """A request for it."""
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target


async def test_answers_are_given_later_at_once_or_as_streams_and_keep_their_order(serve: Serve) -> None:
    loop = asyncio.get_running_loop()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    def handler(request: Request) -> Later:
        later = Later(lambda: None)
        match request.path:
            case b"/at-once":
                later.give(Response(200, TEXT, b"at once"))
            case b"/stream":
                loop.call_later(0.02, later.give, Response(200, TEXT, pieces()))
            case b"/large":
                loop.call_later(0.02, later.give, Response(200, TEXT, b"l" * 1_000_000))
            case _:
                loop.call_later(0.02, later.give, Response(200, TEXT, b"later", lines=b"x-ours: 1\r\n"))
        return later

    server = await serve(handler)
    async with raw(server.port) as client:
        for target in (b"/later", b"/at-once", b"/large", b"/stream", b"/at-once"):
            client.send(path(target))
        assert (await client.until(b"later")).endswith(b"\r\n\r\nlater")
        assert (await client.until(b"at once")).startswith(b"HTTP/1.1 200 OK\r\n")
        await client.until(b"content-length: 1000000\r\n")
        assert (await client.until(b"\r\n\r\n")).endswith(b"\r\n\r\n")
        assert await client.reader.readexactly(1_000_000) == b"l" * 1_000_000
        assert (await client.until(b"0\r\n\r\n")).endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
        await client.until(b"at once")
    assert server.served == 5


async def test_lines_that_are_written_already_are_a_part_of_the_head(serve: Serve) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, TEXT, b"x", lines=b"x-ours: 1\r\nx-more: 2\r\n")

    async with raw((await serve(handler)).port) as client:
        client.send(GET)
        head = await client.until(b"\r\n\r\n")
        assert b"\r\ncontent-type: text/plain\r\nx-ours: 1\r\nx-more: 2\r\ncontent-length: 1\r\n" in head
        assert await client.reader.readexactly(1) == b"x"
        client.send(GET.replace(b"GET", b"HEAD"))
        assert b"\r\nx-ours: 1\r\n" in await client.until(b"\r\n\r\n")


async def test_a_client_that_has_gone_is_told_once_and_an_answer_after_that_is_dropped(serve: Serve) -> None:
    laters: list[Later] = []
    left = asyncio.Event()
    done: list[int] = []

    def handler(request: Request) -> Later:
        request.when_done(lambda request: done.append(request.answered))
        later = Later(left.set)
        laters.append(later)
        return later

    async with raw((await serve(handler)).port) as client:
        client.send(GET)
        while not laters:
            await CLOCK.sleep(0.01)
    async with asyncio.timeout(0.5):
        await left.wait()
    left.clear()
    laters[0].give(Response())
    await CLOCK.sleep(0.05)
    assert (done, left.is_set()) == ([0], False)


async def test_an_answer_that_was_given_is_left_by_nobody(serve: Serve) -> None:
    left: list[str] = []

    def handler(request: Request) -> Later:
        later = Later(lambda: left.append("left"))
        asyncio.get_running_loop().call_soon(later.give, Response(200, TEXT, b"ok"))
        return later

    async with raw((await serve(handler)).port) as client:
        client.send(GET)
        await client.until(b"ok")
    await CLOCK.sleep(0.05)
    assert left == []


async def test_a_server_that_ends_waits_for_answers_that_come_later_and_leaves_those_that_do_not(serve: Serve) -> None:
    left: list[bytes] = []

    def handler(request: Request) -> Later:
        later = Later(lambda: left.append(request.path))
        if request.path == b"/soon":
            asyncio.get_running_loop().call_later(0.1, later.give, Response(200, TEXT, b"soon"))
        return later

    server = await serve(handler)
    async with raw(server.port) as soon, raw(server.port) as never:
        soon.send(path(b"/soon"))
        never.send(path(b"/never"))
        await CLOCK.sleep(0.05)
        assert not await server.drain(0.3)
        found = await soon.rest()
        assert statuses(found) == [200]
        assert b"connection: close" in found
        await never.closed()
    assert left == [b"/never"]


async def test_an_answer_that_cannot_be_written_becomes_a_500(serve: Serve) -> None:
    def handler(request: Request) -> Later:
        later = Later(lambda: None)
        asyncio.get_running_loop().call_soon(later.give, Response(200, [(b"x", b"a\r\nb: c")]))
        return later

    async with raw((await serve(handler, failed=lambda error, request: None)).port) as client:
        client.send(GET)
        assert statuses(await client.until(b"\r\n\r\n")) == [500]


# Requests without a task


class Heard:
    """What was told, and when."""

    def __init__(self) -> None:
        self.outcomes: list[Answer | ExchangeError] = []
        self._came = asyncio.Event()

    def __call__(self, outcome: Answer | ExchangeError) -> None:
        self.outcomes.append(outcome)
        self._came.set()

    async def one(self) -> Any:
        """The first."""
        async with asyncio.timeout(5):
            await self._came.wait()
        return self.outcomes[0]


async def warm(client: Client, where: Any) -> None:
    """Have a connection that is idle."""
    assert await (await client.request(b"POST", where, b"/", HEADERS, b"x")).read() == b"ok"


async def answering(connection: Raw) -> None:
    """Answers the body of one byte, again and again."""
    while True:
        await connection.head()
        await connection.reader.readexactly(1)
        connection.send(SHORT)


async def test_a_post_goes_out_at_once_where_a_connection_is_idle(connect: Any) -> None:
    async with scripted(answering) as (where, heads):
        client, heard = connect(), Heard()
        assert client.post(where, b"/", HEADERS, b"x", heard, None) is None
        await warm(client, where)
        for _ in range(4):  # the head of the answer is known in the end
            heard = Heard()
            link = client.post(where, b"/", HEADERS, b"x", heard, 5.0)
            assert link is not None
            assert heard.outcomes == []
            assert client.post(where, b"/", HEADERS, b"x", heard, 5.0) is None  # it is not idle now
            answer = await heard.one()
            assert (answer.status, answer.ready, answer.take()) == (200, True, b"ok")
        assert len(heads) == 5


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Interrupted),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Truncated),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", ExchangeError),
        (None, TimedOut),
    ],
)
async def test_a_post_that_fails_says_how(connect: Any, answer: bytes | None, error: type[Exception]) -> None:
    async def once(connection: Raw) -> None:
        await connection.head()
        await connection.reader.readexactly(1)
        connection.send(SHORT)
        await connection.head()
        if answer is None:
            await CLOCK.sleep(5)
        await connection.push(answer or b"")
        connection.writer.close()

    async with scripted(once) as (where, _):
        client, heard = connect(), Heard()
        await warm(client, where)
        assert client.post(where, b"/", HEADERS, b"x", heard, 0.2) is not None
        told = await heard.one()
        if isinstance(told, Answer):
            with pytest.raises(error):
                await told.read()
        else:
            assert isinstance(told, error)
            assert unheard(told) == (answer == b"")


async def test_a_post_that_is_dropped_ends_at_the_other_side_and_tells_nothing(connect: Any) -> None:
    ended = asyncio.Event()

    async def once(connection: Raw) -> None:
        await connection.head()
        await connection.reader.readexactly(1)
        connection.send(SHORT)
        await connection.head()
        await connection.closed()
        ended.set()

    async with scripted(once) as (where, _):
        client, heard = connect(), Heard()
        await warm(client, where)
        link = client.post(where, b"/", HEADERS, b"x", heard, None)
        await CLOCK.sleep(0.05)
        link.drop()
        async with asyncio.timeout(0.5):
            await ended.wait()
        assert heard.outcomes == []


async def test_a_relay_without_tasks(serve: Serve, connect: Any) -> None:
    async def upstream(request: Request) -> Response:
        return Response(200, TEXT, b"said " + await request.read())

    behind, inner = origin(await serve(upstream)), connect()

    def relay(request: Request) -> Any:
        later = Later(lambda: None)

        def told(answer: Any) -> None:
            later.give(Response(answer.status, TEXT, answer.take()))

        async def first() -> Response:
            answer = await inner.request(b"POST", behind, b"/", HEADERS, await request.read())
            return Response(answer.status, TEXT, await answer.read())

        return later if inner.post(behind, b"/", HEADERS, request.take(), told, 5.0) else first()

    front, client = origin(await serve(relay)), connect()
    for number in range(20):
        answer = await client.request(b"POST", front, b"/", HEADERS, b"%d" % number)
        said = await answer.read()
        assert said == (b"said %d" % number if number else b"said "), number
