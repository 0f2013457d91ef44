from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from headrace.server.http import create_app
from headrace.server.settings import Settings
from headrace.testing.ports import CATALOG, MemoryPorts

ITEM = {"item_id": "i1", "restaurant_id": "r7", "price": 9.5, "stock": 3}


@pytest.fixture
def ports() -> MemoryPorts:
    ports = MemoryPorts()
    ports.rows["items"] = {("i1",): ITEM, ("a/b,c",): ITEM | {"item_id": "a/b,c"}}
    ports.rows["stock"] = {("s 1", "i,1"): {"shop": "s 1", "item": "i,1", "count": 3}}
    return ports


@pytest.fixture
def connect(ports: MemoryPorts):
    def make(**settings: object) -> httpx.AsyncClient:
        app = create_app(ports, ports, CATALOG, Settings(**settings), health=ports)  # type: ignore[arg-type]
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8787")

    return make


@pytest.fixture
async def client(connect) -> AsyncIterator[httpx.AsyncClient]:
    async with connect() as client:
        yield client
