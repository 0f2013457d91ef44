"""A client of bytes: says what it is told to say, and shows what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from headrace.http1.origin import Origin
from headrace.http1.server import Server

Serve = Callable[..., Awaitable[Server]]
"""Starts a server for a handler."""

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Raw:
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heads: list[bytes] | None = None
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.heads = [] if heads is None else heads

    def send(self, data: bytes) -> None:
        """Write bytes."""
        self.writer.write(data)

    async def push(self, data: bytes) -> None:
        """Write bytes, and end quietly when nobody is there any more."""
        if self.writer.transport.is_closing():
            raise ConnectionResetError("gone")
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self, timeout: float = 10) -> bytes:
        """All bytes until the other side ends."""
        async with asyncio.timeout(timeout):
            return await self.reader.read()

    async def until(self, mark: bytes, timeout: float = 10) -> bytes:
        """All bytes up to and with `mark`."""
        async with asyncio.timeout(timeout):
            return await self.reader.readuntil(mark)

    async def head(self) -> bytes:
        """The head of the next request."""
        self.heads.append(await self.until(b"\r\n\r\n"))
        return self.heads[-1]

    def reset(self) -> None:
        """End with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self, timeout: float = 10) -> None:
        """Wait for the end, whatever comes before it."""
        with contextlib.suppress(ConnectionError):
            await self.rest(timeout)


@contextlib.asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    """Connect, and close at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def statuses(data: bytes) -> list[int]:
    """The statuses of all answers in the bytes."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


def origin(server: Server) -> Origin:
    """Where a server is."""
    return Origin("http", "127.0.0.1", server.port)


@contextlib.asynccontextmanager
async def scripted(*scripts: Callable[[Raw], Awaitable[None]]) -> AsyncIterator[tuple[Origin, list[bytes]]]:
    """A server that does what the scripts say: the first for the first connection, the last for all that follow.

    Gives where it is, and the heads of requests that `Raw.head` read.
    """
    heads: list[bytes] = []
    made = 0
    running: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal made
        script = scripts[min(made, len(scripts) - 1)]
        made += 1
        connection = Raw(reader, writer, heads)
        task = asyncio.current_task()
        if task is not None:
            running.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(connection)
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield Origin("http", "127.0.0.1", server.sockets[0].getsockname()[1]), heads
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
