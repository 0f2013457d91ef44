from __future__ import annotations

import asyncio
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import Backpressure, IdempotencyConflict, Rejected, StoreFull, Unavailable, UnknownName
from headrace.server.wire import FrameTooLarge, RemoteWrites, pack, read_frame, serve_writes
from headrace.testing.ports import MemoryPorts

ITEM = b'{"item_id": "i1", "restaurant_id": "r7", "price": 1, "stock": 1}'


@pytest.fixture
def socket_path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("s") / "e.sock"


def _mode(path: Path) -> int | None:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


async def test_a_push_crosses(ports: MemoryPorts, socket_path: Path) -> None:
    async with serve_writes(ports, socket_path, health=ports):
        assert _mode(socket_path) == 0o600
        remote = RemoteWrites(socket_path)
        receipt = await remote.push("items", ITEM, idempotency_key="k")
        assert receipt.accepted == 1
        assert (await remote.push("items", ITEM, idempotency_key="k")).replayed
        assert (await remote.health())["gauges"]["queue_depth"] == 0
        assert await remote.drop(numbers=[1]) == {"dropped": 0}
        await remote.close()
    assert _mode(socket_path) is None


@pytest.mark.parametrize(
    "error",
    [
        Rejected("no", violations=[{"rule": "gt"}], hint="h"),
        Backpressure("full", retry_after=0.25, hint="h"),
        UnknownName("what", hint="h"),
        StoreFull("disk", hint="h"),
        IdempotencyConflict("key", hint="h"),
    ],
)
async def test_errors_arrive_as_they_were(ports: MemoryPorts, socket_path: Path, error: Exception) -> None:
    ports.failure = error
    async with serve_writes(ports, socket_path):
        remote = RemoteWrites(socket_path)
        with pytest.raises(type(error)) as caught:
            await remote.push("items", ITEM)
        assert vars(caught.value) == vars(error)
        await remote.close()


async def test_a_surprise_in_the_engine_tells_nothing(ports: MemoryPorts, socket_path: Path, caplog) -> None:
    ports.failure = RuntimeError("secret")
    async with serve_writes(ports, socket_path):
        remote = RemoteWrites(socket_path)
        with pytest.raises(Exception, match="the engine failed"):
            await remote.push("items", ITEM)
        ports.failure = None
        assert (await remote.push("items", ITEM)).accepted == 1
        await remote.close()
    assert "secret" in caplog.text


async def test_many_requests_share_a_connection(ports: MemoryPorts, socket_path: Path) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    plain = ports.push

    async def push(table: str, body: bytes, **how):
        if b"slow" in body:
            first.set()
            await second.wait()
        return await plain(table, body, **how)

    ports.push = push  # type: ignore[method-assign]
    async with serve_writes(ports, socket_path):
        remote = RemoteWrites(socket_path)
        slow = asyncio.create_task(remote.push("items", ITEM.replace(b"i1", b"slow")))
        await first.wait()
        assert (await remote.push("items", ITEM)).accepted == 1
        assert not slow.done()
        second.set()
        assert (await slow).accepted == 1
        await remote.close()


async def test_what_was_begun_is_answered_when_the_engine_stops(ports: MemoryPorts, socket_path: Path) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()
    plain = ports.push

    async def push(table: str, body: bytes, **how):
        begun.set()
        await finish.wait()
        return await plain(table, body, **how)

    ports.push = push  # type: ignore[method-assign]
    remote = RemoteWrites(socket_path)
    async with serve_writes(ports, socket_path):
        pending = asyncio.create_task(remote.push("items", ITEM))
        await begun.wait()
        asyncio.get_running_loop().call_soon(finish.set)
    assert (await pending).accepted == 1
    with pytest.raises(Unavailable):
        await remote.push("items", ITEM)
    await remote.close()


async def test_no_engine_is_unavailable_and_it_reconnects(ports: MemoryPorts, socket_path: Path) -> None:
    remote = RemoteWrites(socket_path)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await remote.push("items", ITEM)
    for _ in range(2):
        async with serve_writes(ports, socket_path):
            assert (await remote.push("items", ITEM)).accepted == 1
        await remote._reading  # The end of the connection has been seen.
    await remote.close()


async def test_an_engine_that_goes_away_leaves_the_outcome_open(socket_path: Path) -> None:
    async def hang_up(reader, writer) -> None:
        await read_frame(reader)
        writer.close()

    server = await asyncio.start_unix_server(hang_up, socket_path)
    remote = RemoteWrites(socket_path)
    with pytest.raises(Unavailable) as caught:
        await remote.push("items", ITEM)
    assert "Idempotency-Key" in caught.value.hint
    await remote.close()
    server.close()


async def test_a_silent_engine_is_given_up(socket_path: Path) -> None:
    gone = asyncio.Event()

    async def keep(reader, writer) -> None:
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_unix_server(keep, socket_path)
    remote = RemoteWrites(socket_path, timeout=0.05)
    with pytest.raises(Unavailable, match="did not answer"):
        await remote.push("items", ITEM)
    await remote.close()
    await gone.wait()
    server.close()


async def test_a_full_way_is_backpressure(socket_path: Path) -> None:
    remote = RemoteWrites(socket_path, max_frame=100)
    remote._held = 10**9
    with pytest.raises(Backpressure):
        await remote.push("items", ITEM)


async def test_an_announced_giant_is_not_read() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(struct.pack("!I", 2**31))
    with pytest.raises(FrameTooLarge):
        await read_frame(reader, 1000)
    with pytest.raises(FrameTooLarge):
        pack(["x" * 2000], 1000)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.text(), st.binary()), max_size=5))
def test_frames_come_back(message: list) -> None:
    async def read():
        reader = asyncio.StreamReader()
        reader.feed_data(pack(message))
        reader.feed_eof()
        return await read_frame(reader), await read_frame(reader)

    assert asyncio.run(read()) == (message, None)
