"""One connection without a network, where what happens within one turn of the loop can be chosen."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from headrace.http1.limits import ServerLimits
from headrace.http1.request import Request
from headrace.http1.response import Handler, Response
from headrace.http1.server import Server

sys.path.insert(0, str(Path(__file__).parent))
from http1_reading import Wire

from headrace.http1.connection import Connection

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LEAVING = {
    "reset": lambda connection: connection.connection_lost(ConnectionResetError()),
    "end": lambda connection: connection.eof_received(),
    "abort": lambda connection: connection.abort(),
}


def connected(handler: Handler, limits: ServerLimits | None = None) -> tuple[Connection, Wire]:
    wire = Wire()
    connection = Connection(Server(handler, limits or ServerLimits()), asyncio.get_running_loop())
    connection.connection_made(wire)
    return connection, wire


async def turns() -> None:
    """Let everything that is ready run."""
    for _ in range(3):
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, None)
        await done


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.filterwarnings("error")  # a coroutine that is never awaited warns
async def test_a_handler_is_not_begun_for_a_client_that_leaves_in_the_turn_in_which_its_request_came(how: str) -> None:
    begun: list[Request] = []

    async def handler(request: Request) -> Response:
        begun.append(request)
        return Response(204)

    connection, wire = connected(handler)
    connection.data_received(GET)
    LEAVING[how](connection)
    await turns()
    del connection
    gc.collect()
    assert (begun, wire.written) == ([], b"")


class Holding:
    """An answer that is to be awaited, and holds something until it is, or is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __await__(self) -> Generator[Any, None, Response]:
        yield from asyncio.get_running_loop().create_future()
        return Response(204)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("how", LEAVING)
async def test_what_is_to_be_awaited_is_closed_once_where_it_never_is(how: str) -> None:
    holding, begun = Holding(), Holding()
    connection, _ = connected(lambda request: holding)
    connection.data_received(GET)
    connection.serve()  # as at the end of the turn
    LEAVING[how](connection)
    connection.connection_lost(None)
    assert holding.closed == 1
    connection, _ = connected(lambda request: begun)
    connection.data_received(GET)
    await turns()
    LEAVING[how](connection)
    connection.connection_lost(None)
    await turns()
    assert begun.closed == 0


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
BODIES = {"after the head": [b"body"], "in pieces": [b"b", b"od", b"y"]}


def plain(seen: list[tuple[bool, bytes]]) -> Handler:
    """A handler that notes whether the body was there, and what of it."""

    def handler(request: Request) -> Response:
        seen.append((request.complete, request.take()))
        return Response(204)

    return handler


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_handler_begins_when_a_short_body_is_there(body: list[bytes]) -> None:
    seen: list[tuple[bool, bytes]] = []
    connection, wire = connected(plain(seen))
    for number in range(1, 6):  # the head is not known at first, then it is
        for piece in (POST, *body):
            assert len(seen) == number - 1
            connection.data_received(piece)
        await turns()
        assert wire.written.count(b"HTTP/1.1 204") == number
    assert seen == [(True, b"body")] * 5


async def test_a_handler_begins_without_a_body_that_is_late() -> None:
    seen: list[bytes] = []

    async def handler(request: Request) -> Response:
        seen.append(await request.read())
        return Response(204)

    connection, wire = connected(handler)
    for _ in range(4):
        now = asyncio.get_running_loop().time()
        connection.data_received(POST)
        await turns()
        assert now < connection.deadline < now + 1
        connection.expire()
        assert connection.deadline > now + 1  # the clock of bodies
        connection.data_received(b"bo")
        await turns()
        connection.data_received(b"dy")
        await turns()
    assert seen == [b"body"] * 4
    assert wire.written.count(b"HTTP/1.1 204") == 4


async def test_an_answer_that_needs_no_body_is_given_where_that_is_late() -> None:
    seen: list[tuple[bool, bytes]] = []
    connection, wire = connected(plain(seen))
    connection.data_received(POST)
    connection.expire()
    await turns()
    assert seen == [(False, b"")]
    assert wire.written.startswith(b"HTTP/1.1 204")
    assert b"connection: close" in wire.written


async def test_a_body_that_is_awaited_before_it_is_sent_or_is_long_begins_at_once() -> None:
    for more in (b"Expect: 100-continue\r\n", b"Content-Length: 100000\r\n", b"Transfer-Encoding: chunked\r\n"):
        seen: list[tuple[bool, bytes]] = []
        connection, _ = connected(plain(seen))
        length = b"" if b"100000" in more or b"chunked" in more else b"Content-Length: 4\r\n"
        connection.data_received(b"POST / HTTP/1.1\r\nHost: a\r\n" + length + more + b"\r\n")
        assert seen == [(False, b"")]


@pytest.mark.parametrize("how", LEAVING)
async def test_a_handler_never_begins_for_a_client_that_leaves_before_its_body_is_there(how: str) -> None:
    seen: list[tuple[bool, bytes]] = []
    connection, wire = connected(plain(seen))
    connection.data_received(POST)
    connection.data_received(b"bo")
    LEAVING[how](connection)
    connection.connection_lost(None)
    await turns()
    assert (seen, wire.written) == ([], b"")


async def test_pipelined_requests_whose_bodies_come_late_are_answered_in_order() -> None:
    seen: list[tuple[bool, bytes]] = []
    connection, wire = connected(plain(seen))
    connection.data_received(POST + b"one!" + POST + b"tw")
    connection.data_received(b"o!" + POST)
    connection.data_received(b"thre" + POST + b"four")
    await turns()
    assert seen == [(True, b"one!"), (True, b"two!"), (True, b"thre"), (True, b"four")]
    assert wire.written.count(b"HTTP/1.1 204") == 4


async def test_a_short_body_is_not_waited_for_while_nothing_is_read() -> None:
    """Else nobody would read on: neither the handler, which has not begun, nor a clock, which stands still."""
    seen: list[bytes] = []

    async def handler(request: Request) -> Response:
        seen.append(await request.read())
        return Response(204)

    connection, wire = connected(handler, ServerLimits(max_buffer=3000))
    connection.data_received(GET)
    held = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3500\r\n\r\n" + bytes(3500) + POST + b"b"
    connection.data_received(held)  # while the first is served
    for _ in range(3):
        await turns()
    assert wire.reading
    connection.data_received(b"ody")
    for _ in range(3):
        await turns()
    assert seen == [b"", bytes(3500), b"body"]
    assert wire.written.count(b"HTTP/1.1 204") == 3


async def test_pipelined_requests_of_a_client_that_ends_in_the_same_turn_are_answered() -> None:
    connection, wire = connected(plain([]))
    connection.data_received(GET * 5)
    connection.eof_received()
    assert wire.written.count(b"HTTP/1.1 204") == 5


@pytest.mark.parametrize("how", ["at once", "late"])
async def test_whoever_is_told_of_a_failure_and_fails_too_costs_no_more_than_this_connection(how: str) -> None:
    def failed(error: Exception, request: Request) -> None:
        raise error

    def handler(request: Request) -> Response:
        raise ValueError(request.target)

    wire, other = Wire(), Wire()
    server = Server(handler, ServerLimits(idle_timeout=0.01, head_timeout=0.01), failed=failed)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    await server.start("127.0.0.1", 0)
    try:
        connection, second = (Connection(server, asyncio.get_running_loop()) for _ in range(2))
        connection.connection_made(wire)
        connection.data_received(GET if how == "at once" else POST)
        second.connection_made(other)
        second.data_received(b"GET")
        await asyncio.wait_for(_closed(wire, other), 5)
    finally:
        for one in (connection, second):
            one.connection_lost(None)
        await server.drain(0)


async def _closed(*wires: Wire) -> None:
    while not all(wire.closed for wire in wires):
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
