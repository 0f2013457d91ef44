"""A small HTTP/1.1 client for load: raw requests over a fixed set of kept-alive connections.

An ordinary client library costs more than the servers that are measured here. Two shapes of load:

- `attack`, open loop: requests are due at fixed instants, whether or not earlier ones were answered, so a slow server
  is not spared (no coordinated omission). A request waits for one of the connections; its time counts from when it
  was due.
- `hammer`, closed loop: each connection sends its next request when the last one was answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def get(path: str) -> bytes:
    """A GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post(path: str, body: bytes, *, kind: str = "application/json", headers: str = "") -> bytes:
    """A POST request; `headers` are further lines, each with its CRLF."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{headers}\r\n".encode() + body


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: seconds on the monotonic clock; `status` 0 is a time-out or a lost connection."""

    due: float
    ended: float
    status: int
    size: int = 0

    @property
    def seconds(self) -> float:
        """From when it was due until it was answered (or given up)."""
        return self.ended - self.due


class Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request under way."""

    def __init__(self, done: Callable[[Connection, int, int], None]) -> None:
        self._done = done
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._expected = -1
        self._status = 0
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: bytes) -> None:
        """Send a request; `done(self, status, size)` is called once."""
        assert self._transport is not None
        self._buffer = b""
        self._expected = -1
        self._transport.write(request)

    def abort(self) -> None:
        """Give up: the connection cannot be used again."""
        self._done = _ignore
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._expected < 0 and not self._read_head():
            return
        if len(self._buffer) >= self._expected:
            self.body = self._buffer[self._expected - self._length :]
            self._done(self, self._status, self._length)

    def connection_lost(self, error: Exception | None) -> None:
        self._done(self, 0, 0)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._buffer[:end].lower()
        self._status = int(head[9:12])
        at = head.find(b"content-length:")
        if at < 0:
            raise RuntimeError(f"an answer without Content-Length: {head!r}")
        self._length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        self._expected = end + 4 + self._length
        return True


def _ignore(connection: Connection, status: int, size: int) -> None:
    """The answer comes too late for anyone."""


class Attack:
    """An open-loop run: see the module."""

    def __init__(self, port: int, requests: Sequence[bytes], *, rate: float, connections: int, timeout: float) -> None:
        self._port = port
        self._requests = requests
        self._rate = rate
        self._width = connections
        self._timeout = timeout
        self._idle: deque[Connection] = deque()
        self._backlog: deque[int] = deque()
        self._busy: dict[Connection, int] = {}
        self._due: list[float] = []
        self._shots: dict[int, Shot] = {}
        self._reconnecting: set[asyncio.Task[None]] = set()
        self._finished = asyncio.Event()

    async def run(self, stamp: Callable[[int, bytes], bytes] | None = None) -> list[Shot]:
        """Send everything and wait for the last answer; `stamp(i, request)` may write the time into a request."""
        for _ in range(self._width):
            await self._connect()
        start = time.monotonic() + 0.05
        loop = asyncio.get_running_loop()
        for number in range(len(self._requests)):
            due = start + number / self._rate
            wait = due - time.monotonic()
            if wait > 0.0005:
                await asyncio.sleep(wait)
            self._due.append(due)
            loop.call_at(loop.time() + self._timeout - (time.monotonic() - due), self._expire, number)
            if stamp is not None:
                self._requests[number] = stamp(number, self._requests[number])  # type: ignore[index]
            self._backlog.append(number)
            self._feed()
        await self._finished.wait()
        for connection in list(self._idle):
            connection.abort()
        return [self._shots[number] for number in range(len(self._requests))]

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._done), "127.0.0.1", self._port)
        self._idle.append(connection)
        self._feed()

    def _feed(self) -> None:
        while self._backlog and self._idle:
            number = self._backlog.popleft()
            if number in self._shots:
                continue
            connection = self._idle.popleft()
            self._busy[connection] = number
            connection.send(self._requests[number])

    def _done(self, connection: Connection, status: int, size: int) -> None:
        number = self._busy.pop(connection, None)
        if number is not None:
            self._settle(number, status, size)
        if status:
            self._idle.append(connection)
            self._feed()
            return
        if connection in self._idle:
            self._idle.remove(connection)
        self._reconnect()

    def _expire(self, number: int) -> None:
        if number in self._shots:
            return
        self._settle(number, 0, 0)
        stuck = next((c for c, n in self._busy.items() if n == number), None)
        if stuck is not None:
            del self._busy[stuck]
            stuck.abort()
            self._reconnect()

    def _reconnect(self) -> None:
        task = asyncio.ensure_future(self._connect())
        self._reconnecting.add(task)
        task.add_done_callback(self._reconnecting.discard)

    def _settle(self, number: int, status: int, size: int) -> None:
        self._shots[number] = Shot(self._due[number], time.monotonic(), status, size)
        if len(self._shots) == len(self._requests):
            self._finished.set()


async def hammer(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> list[Shot]:
    """Closed loop for `seconds`; the requests are sent in turn, again and again."""
    shots: list[Shot] = []
    loop = asyncio.get_running_loop()
    began: dict[Connection, float] = {}
    until = time.monotonic() + seconds
    position = 0

    def fire(connection: Connection) -> None:
        nonlocal position
        position += 1
        began[connection] = time.monotonic()
        connection.send(requests[position % len(requests)])

    def done(connection: Connection, status: int, size: int) -> None:
        now = time.monotonic()
        shots.append(Shot(began[connection], now, status, size))
        if status and now < until:
            fire(connection)

    opened = [
        (await loop.create_connection(lambda: Connection(done), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    for connection in opened:
        fire(connection)
    await asyncio.sleep(seconds + 0.5)
    for connection in opened:
        connection.abort()
    return shots
