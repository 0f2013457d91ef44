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


def connected(handler: Handler) -> tuple[Connection, Wire]:
    wire = Wire()
    connection = Connection(Server(handler, ServerLimits()), asyncio.get_running_loop())
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
