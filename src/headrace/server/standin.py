"""What answers in development while the app file is broken: 503 for every request, with what is wrong and where."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import msgspec

from headrace.core.errors import HeadraceError
from headrace.core.problems import PREFIX, to_problem
from headrace.server.problem import MEDIA_TYPE

_HEAD = 64 * 1024
"""Bytes of a request's head, at most."""

_PATIENCE = 5.0
"""Seconds that a client has to send its head, and to go away after the answer."""

_UNREAD = 16 << 20
"""Bytes of a body that nobody wants, read so that the client comes to read its answer."""


class StandIn:
    """Answers on a listening socket of which another process has a copy; `show` and `hide` may be called repeatedly."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._server: asyncio.Server | None = None
        self._answer = b""

    async def show(self, error: HeadraceError) -> None:
        """Answer with `error` from now on."""
        self._answer = _answer(error)
        if self._server is None:
            self._server = await asyncio.start_server(self._connection, sock=self._listening.dup(), limit=_HEAD)

    async def hide(self) -> None:
        """Take no more connections: they wait for whoever serves next."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_PATIENCE):
                asked = await reader.readuntil(b"\r\n\r\n")
                head, _, body = self._answer.partition(b"\r\n\r\n")
                writer.write(head + b"\r\n\r\n" + (b"" if asked.startswith(b"HEAD ") else body))
                writer.write_eof()
                unread = 0
                while unread < _UNREAD and (piece := await reader.read(_HEAD)):
                    unread += len(piece)
        writer.close()


def _answer(error: HeadraceError) -> bytes:
    document = to_problem(error) | {"type": PREFIX + "app-broken", "title": "The app cannot be served", "status": 503}
    body = msgspec.json.encode(document)
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        "retry-after: 1\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
