"""The bridge between HTTP workers and the one engine process: pushes cross a Unix domain socket.

A frame is four bytes of length (big-endian) and a MessagePack array: `[number, method, arguments]` one way,
`[number, result, problem]` the other. Requests of one worker share a connection and are answered in any order, by
number. Errors cross as problem documents and are raised as the classes they were.

What a worker can promise when the engine goes away in the middle: nothing about that request. The error says so; a
client that sent an idempotency key may send the request again without doubling anything.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import struct
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from headrace.core.changes import Receipt
from headrace.core.errors import Backpressure, HeadraceError, Unavailable
from headrace.core.problems import from_problem, to_problem
from headrace.server.ports import Health, Writes

log = logging.getLogger("headrace.server.wire")

_HEAD = struct.Struct("!I")
MAX_FRAME = 17 * 1024 * 1024
"""Largest frame, bytes: the largest pushed body by default, and room for the rest."""
_MOST_HELD = 4 * MAX_FRAME
"""Bytes of requests that the engine holds per connection, and a worker has on the way, before it takes no more."""


class FrameTooLarge(HeadraceError):
    """A frame over the limit: the peer is not one of ours, or the limits differ."""


async def read_frame(reader: asyncio.StreamReader, limit: int = MAX_FRAME) -> list[Any] | None:
    """The next message, or None when the peer has closed the connection between two frames.

    Raises
    ------
    FrameTooLarge
        The frame announces more than `limit` bytes; nothing of it was read.
    asyncio.IncompleteReadError
        The peer went away in the middle of a frame.
    """
    try:
        head = await reader.readexactly(_HEAD.size)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    (length,) = _HEAD.unpack(head)
    if length > limit:
        raise FrameTooLarge(f"a frame of {length:,} bytes is over the limit of {limit:,}", hint="raise the limit")
    return msgspec.msgpack.decode(await reader.readexactly(length), type=list[Any])


def pack(message: list[Any], limit: int = MAX_FRAME) -> bytes:
    """The bytes of one frame. Raises `FrameTooLarge`."""
    data = msgspec.msgpack.encode(message)
    if len(data) > limit:
        raise FrameTooLarge(f"a frame of {len(data):,} bytes is over the limit of {limit:,}", hint="send less at once")
    return _HEAD.pack(len(data)) + data


@asynccontextmanager
async def serve_writes(
    writes: Writes, path: Path, *, health: Health | None = None, max_frame: int = MAX_FRAME
) -> AsyncGenerator[None]:
    """Serve `writes` on a Unix domain socket at `path` while the context is open; on exit, finish what was begun.

    The socket's folder must be private (mode 0700); the socket itself gets 0600.
    """
    serving = _Serving(writes, health, max_frame)
    path.unlink(missing_ok=True)  # noqa: ASYNC240 (local, once per process)
    server = await asyncio.start_unix_server(serving.connection, path)
    path.chmod(0o600)  # noqa: ASYNC240
    try:
        yield
    finally:
        server.close()
        await serving.finish()
        path.unlink(missing_ok=True)  # noqa: ASYNC240


class _Serving:
    """The engine's side."""

    def __init__(self, writes: Writes, health: Health | None, max_frame: int) -> None:
        self._writes = writes
        self._health = health
        self._max_frame = max_frame
        self._connections: set[asyncio.Task[None]] = set()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one worker until it goes away, and answer what it asked before."""
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        calls: set[asyncio.Task[None]] = set()
        try:
            await self._requests(reader, writer, calls)
        except (asyncio.IncompleteReadError, ConnectionError, FrameTooLarge, msgspec.DecodeError) as error:
            log.warning("a worker's connection broke: %s", error)
        except asyncio.CancelledError:
            pass  # `finish` ends the waiting for further requests, no more.
        finally:
            if calls:
                await asyncio.wait(calls)
            writer.close()
            self._connections.discard(task)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, calls: set[asyncio.Task[None]]
    ) -> None:
        held = _Held(_MOST_HELD)
        while (message := await read_frame(reader, self._max_frame)) is not None:
            number, method, arguments = message
            size = len(arguments.get("body", b""))
            held.add(size)
            call = asyncio.create_task(self._call(writer, number, method, arguments))
            calls.add(call)
            call.add_done_callback(lambda done, size=size: (calls.discard(done), held.add(-size)))
            # Not reading on is the backpressure: the worker's socket fills, and the worker refuses pushes itself.
            await held.room()

    async def _call(self, writer: asyncio.StreamWriter, number: int, method: str, arguments: dict[str, Any]) -> None:
        try:
            answer = [number, await self._dispatch(method, arguments), None]
        except HeadraceError as error:
            answer = [number, None, to_problem(error)]
        # The boundary of the engine process: one request's surprise must not end the others'.
        except Exception:
            log.exception("the engine failed in %r", method)
            answer = [number, None, to_problem(HeadraceError("the engine failed", hint="see the engine's log"))]
        with suppress(ConnectionError, RuntimeError):
            writer.write(pack(answer, self._max_frame))
            await writer.drain()

    async def _dispatch(self, method: str, arguments: dict[str, Any]) -> Any:
        match method:
            case "push":
                return await self._writes.push(**arguments)
            case "replay":
                return await self._writes.replay(**arguments)
            case "drop":
                return await self._writes.drop(**arguments)
            case "health":
                return {"ready": True} if self._health is None else await self._health.health()
            case _:
                raise HeadraceError(
                    f"the engine has no method {method!r}", hint="stop all processes of the old version"
                )

    async def finish(self) -> None:
        """Take no more requests, answer those begun, close the connections."""
        open_now = list(self._connections)
        for task in open_now:
            task.cancel()
        if open_now:
            await asyncio.wait(open_now)


class _Held:
    """Bytes of requests that are being worked on, bounded."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._free = asyncio.Event()
        self._free.set()

    def add(self, size: int) -> None:
        self._bytes += size
        if self._bytes < self._most:
            self._free.set()
        else:
            self._free.clear()

    async def room(self) -> None:
        await self._free.wait()


class RemoteWrites:
    """`Writes` and `Health` of an engine in another process; connects on the first call, and again when it must.

    Parameters
    ----------
    path
        The engine's socket.
    timeout
        Longest wait for an answer, seconds.
    """

    def __init__(self, path: Path, *, max_frame: int = MAX_FRAME, timeout: float = 60.0) -> None:
        self._path = path
        self._max_frame = max_frame
        self._timeout = timeout
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._held = 0
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()

    async def push(
        self, table: str, body: bytes, *, idempotency_key: str | None = None, origin: str = "push"
    ) -> Receipt:
        """See `Writes.push`; also raises `Unavailable`."""
        if self._held + len(body) > _MOST_HELD:
            raise Backpressure(
                "the engine is behind with what was pushed", retry_after=0.5, hint="send again after a moment"
            )
        self._held += len(body)
        try:
            given = {"table": table, "body": body, "idempotency_key": idempotency_key, "origin": origin}
            return msgspec.convert(await self._call("push", given), Receipt)
        finally:
            self._held -= len(body)

    async def replay(self, *, numbers: Sequence[int] | None = None, table: str | None = None) -> dict[str, int]:
        """See `Writes.replay`; also raises `Unavailable`."""
        return await self._call("replay", {"numbers": None if numbers is None else list(numbers), "table": table})

    async def drop(self, *, numbers: Sequence[int] | None = None, table: str | None = None) -> dict[str, int]:
        """See `Writes.drop`; also raises `Unavailable`."""
        return await self._call("drop", {"numbers": None if numbers is None else list(numbers), "table": table})

    async def health(self) -> dict[str, Any]:
        """See `Health.health`."""
        return await self._call("health", {})

    async def close(self) -> None:
        """Close the connection; calls that still wait raise `Unavailable`."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        writer = await self._connected()
        number = next(self._numbers)
        frame = pack([number, method, arguments], self._max_frame)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(self._timeout):
                writer.write(frame)
                await writer.drain()
                return await future
        except TimeoutError:
            raise _lost(f"the engine did not answer within {self._timeout:g} s") from None
        except ConnectionError as error:
            raise _lost(f"the connection to the engine broke: {error}") from error
        finally:
            self._waiting.pop(number, None)
            if future.done() and not future.cancelled():
                future.exception()  # Seen, when `drain` failed first: asyncio would complain about it later.

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is not None and not self._writer.is_closing():
                return self._writer
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise Unavailable(
                    f"the engine cannot be reached: {reason}",
                    hint="it may be starting again: nothing was applied, send the request again after a moment",
                ) from error
            self._writer = writer
            self._reading = asyncio.create_task(self._answers(reader, writer))
            return writer

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (message := await read_frame(reader, self._max_frame)) is not None:
                self._settle(*message)
        except (asyncio.IncompleteReadError, ConnectionError, FrameTooLarge, msgspec.DecodeError) as error:
            log.warning("the connection to the engine broke: %s", error)
        finally:
            writer.close()
            if self._writer is writer:
                self._writer = None
            waiting, self._waiting = self._waiting, {}
            for future in waiting.values():
                if not future.done():
                    future.set_exception(_lost("the engine went away before it answered"))

    def _settle(self, number: int, result: Any, problem: dict[str, Any] | None) -> None:
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        if problem is None:
            future.set_result(result)
        else:
            future.set_exception(from_problem(problem))


def _lost(message: str) -> Unavailable:
    return Unavailable(
        message,
        hint="whether the request was applied is not known: send it again with the same Idempotency-Key",
    )
