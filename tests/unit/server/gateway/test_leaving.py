"""Clients that leave before anything of their request was begun."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any, cast

import pytest

from headrace.core.clock import SystemClock
from headrace.http1.connection import Connection
from headrace.http1.response import Handler
from headrace.http1.server import Server
from headrace.server.http import create_app
from headrace.server.settings import Settings
from headrace.testing.ports import CATALOG


class Wire(asyncio.Transport):
    """A transport without a network, which keeps what is written."""

    written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


async def turn() -> None:
    """Let everything that is ready run."""
    await SystemClock().sleep(0)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_in_the_turn_in_which_its_request_came_holds_nothing(
    world: Any, kit: Any, stream: bool
) -> None:
    world.keys(tpm=1000, budget={"day": "1"})
    settings = Settings(max_concurrency=1)
    app = create_app(world.ports, world.ports, CATALOG, settings, handlers=[world.gateway])
    server = Server(cast("Handler", app.direct))
    body = json.dumps(kit.CHAT | {"max_tokens": 900, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {kit.SECRET}\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    def connect() -> tuple[Connection, Wire]:
        connection, wire = Connection(server, asyncio.get_running_loop()), Wire()
        connection.connection_made(wire)
        connection.data_received(request)
        connection.serve()  # as at the end of the turn
        return connection, wire

    for _ in range(3):  # each would take nearly all tokens, and the whole room
        connect()[0].connection_lost(ConnectionResetError())
        await turn()
    assert world.model.asked == []
    assert world.budgets.lefts(world.clock.now() / 1e6, "k1") == {"day": Decimal(1)}
    world.model.answer = lambda _: kit.Answered(b"{}", headers=kit.SSE)
    connection, wire = connect()
    for _ in range(3):
        await turn()
    assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
    connection.connection_lost(None)
    await turn()
