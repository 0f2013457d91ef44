"""Each test here runs twice: on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from headrace.http1.client import Client
from headrace.http1.limits import ClientLimits, ServerLimits
from headrace.http1.response import Handler
from headrace.http1.server import Server

sys.path.insert(0, str(Path(__file__).parent))
from http1_raw import Serve


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers for handlers; all of them are stopped at the end."""
    started: list[Server] = []

    async def start(handler: Handler, *, tls: Any = None, failed: Any = None, **limits: Any) -> Server:
        more = {"failed": failed} if failed is not None else {}
        server = Server(handler, ServerLimits(**limits), **more)
        await server.start(tls=tls)
        started.append(server)
        return server

    yield start
    for server in started:
        await server.drain(0.05)
        assert server.open == 0


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Client]]:
    """Make clients; all of them are closed at the end."""
    made: list[Client] = []

    def make(*, tls: Any = None, **limits: Any) -> Client:
        made.append(Client(ClientLimits(**limits), tls=tls))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()
