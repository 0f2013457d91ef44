from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.server.mcp import say_age
from headrace.testing.ports import MemoryPorts

mcp = pytest.importorskip("mcp")
import httpx2  # noqa: E402
from mcp.client.stdio import StdioServerParameters  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from served import serving  # noqa: E402

ITEM = {"item_id": "i1", "restaurant_id": "r7", "price": 9.5, "stock": 3}
STDIO = """
import asyncio
from headrace.server.mcp import run_stdio
from headrace.testing.ports import CATALOG, MemoryPorts
ports = MemoryPorts()
ports.rows["items"] = {("i1",): %r}
asyncio.run(run_stdio(ports, CATALOG))
"""


@pytest.fixture
def ports() -> MemoryPorts:
    ports = MemoryPorts()
    ports.rows["items"] = {("i1",): ITEM}
    return ports


@pytest.fixture
def url(ports: MemoryPorts) -> Iterator[str]:
    with serving(ports) as url:
        yield url


async def _walk(client: mcp.Client) -> None:
    listed = (await client.list_tools()).tools
    assert [tool.name for tool in listed] == ["menu"]
    assert listed[0].input_schema["properties"]["most"]["type"] == ["integer", "null"]
    assert listed[0].input_schema["required"] == ["restaurant_id"]
    assert "how old" in listed[0].description
    found = await client.call_tool("menu", {"restaurant_id": "r7", "most": 1})
    assert not found.is_error
    assert found.structured_content["rows"] == [ITEM]
    assert found.structured_content["status"] == "fresh"
    assert found.structured_content["age_ms"] >= 0
    assert "(fresh)" in found.content[0].text
    assert '"item_id":"i1"' in found.content[0].text
    wrong = await client.call_tool("menu", {"restaurant": "r7"})
    assert wrong.is_error
    assert "hint:" in wrong.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_views_are_tools_over_http(url: str, mode: str) -> None:
    async with mcp.Client(url + "/mcp", mode=mode) as client:
        await _walk(client)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_views_are_tools_over_stdio(mode: str) -> None:
    command = StdioServerParameters(command=sys.executable, args=["-c", STDIO % ITEM], env=dict(os.environ))
    async with mcp.Client(command, mode=mode) as client:
        await _walk(client)


async def test_a_stale_answer_says_so_to_the_model(url: str, ports: MemoryPorts) -> None:
    ports.frontier = ports.clock.now() - 61_000_000
    async with mcp.Client(url + "/mcp") as client:
        found = await client.call_tool("menu", {"restaurant_id": "r7"})
    assert "1m1" in found.content[0].text
    assert "STALE" in found.content[0].text
    assert found.structured_content["status"] == "stale"


async def test_a_surprise_is_a_tool_error_without_internals(url: str, ports: MemoryPorts, caplog) -> None:
    ports.failure = RuntimeError("secret")
    async with mcp.Client(url + "/mcp") as client:
        found = await client.call_tool("menu", {"restaurant_id": "r7"})
    assert found.is_error
    assert "secret" not in found.content[0].text
    assert "secret" in caplog.text


async def test_a_key_is_needed_when_keys_are_set(ports: MemoryPorts) -> None:
    with serving(ports, api_keys=("a-long-enough-key",)) as url:
        with pytest.raises(Exception):  # noqa: B017 (the SDK wraps it in groups of its own)
            async with mcp.Client(url + "/mcp") as client:
                await client.list_tools()
        async with (
            httpx2.AsyncClient(headers={"Authorization": "Bearer a-long-enough-key"}) as http,
            mcp.Client(streamable_http_client(url + "/mcp", http_client=http)) as client,
        ):
            await _walk(client)


async def test_a_foreign_host_or_page_is_refused(url: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with httpx2.AsyncClient() as http:
        rebound = await http.post(url + "/mcp", json=body, headers={"Host": "evil.example"})
        page = await http.post(url + "/mcp", json=body, headers={"Origin": "https://evil.example"})
    assert (rebound.status_code, page.status_code) == (421, 403)


async def test_ages_in_words() -> None:
    ports = MemoryPorts()
    value = await ports.read("menu", {"restaurant_id": "r7"})
    assert say_age(value).startswith("0 rows of 'menu'")
    from dataclasses import replace

    assert "UNKNOWN" in say_age(replace(value, as_of=None))
