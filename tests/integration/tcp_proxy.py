"""A TCP proxy that can fall silent, or cut every connection, for tests of what a network does."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Proxy:
    """Listens on a free loopback port and passes everything on to `port`.

    Attributes
    ----------
    silent
        Connections stay, and nothing is passed on: what a firewall does that forgets.
    """

    def __init__(self, port: int) -> None:
        self.silent = False
        self.port = 0
        self._to = port
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)

    def cut(self) -> None:
        """Reset every connection, and refuse new ones until `mend`."""
        self._refusing = True
        self._loop.call_soon_threadsafe(self._abort)

    def mend(self) -> None:
        """Everything passes again; connections that fell silent are reset, as by a firewall that forgot them."""
        self.silent = self._refusing = False
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        self._gone.set()
        self._gone = asyncio.Event()
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._done, self._gone = asyncio.Event(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._done.wait()
            self._abort()
            while self._writers:  # noqa: ASYNC110 (each removes itself)
                await asyncio.sleep(0.01)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._refusing:
                return
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self._to)
                self._writers.add(back)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass(reader, back))
                    group.create_task(self._pass(there, writer))
                self._writers.discard(back)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.silent:
                    await self._gone.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
