"""Upstreams on loopback that behave as they are told, and models over them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from random import Random
from typing import Any

from headrace.app import App
from headrace.core.clock import SystemClock
from headrace.core.events import Event, ModelCalled
from headrace.http1.client import Client
from headrace.http1.request import Request
from headrace.http1.response import Response
from headrace.http1.server import Server
from headrace.models.provider import Provider
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.models.routed import RoutedModel
from headrace.models.running import Models

USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
WHOLE = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}], "usage": USAGE})
JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream")]


def data(document: Any) -> bytes:
    """An event."""
    return b"data: %b\n\n" % json.dumps(document).encode()


def chunk(content: str | None = None, *, finish: str | None = None, role: bool = False) -> bytes:
    """A chunk of a stream of chat."""
    delta = ({"role": "assistant", "content": ""} if role else {}) | ({"content": content} if content else {})
    return data({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": None})


USAGE_CHUNK = data({"choices": [], "usage": USAGE})
DONE = b"data: [DONE]\n\n"


class Notes:
    """A recorder that keeps what it hears."""

    def __init__(self) -> None:
        self.calls: list[ModelCalled] = []

    def record(self, event: Event) -> None:
        if isinstance(event, ModelCalled):
            self.calls.append(event)


class Upstream:
    """A server that answers as `behave` says, and remembers what it was asked."""

    def __init__(self, behave: Callable[[Upstream, Request, Any], Awaitable[Response]]) -> None:
        self.server = Server(self._handle)
        self.asked: list[Any] = []
        self.targets: list[bytes] = []
        self.headers: list[Any] = []
        self.bodies: list[bytes] = []
        self.cancelled = asyncio.Event()
        self.clock = SystemClock()
        self._behave = behave

    async def _handle(self, request: Request) -> Response:
        body = await request.read()
        self.bodies.append(body)
        self.asked.append(json.loads(body))
        self.targets.append(request.target)
        self.headers.append(request.headers)
        try:
            return await self._behave(self, request, self.asked[-1])
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def stream(self, *steps: bytes | float | Exception) -> AsyncIterator[bytes]:
        """Events, pauses (seconds), and errors that break the connection."""
        try:
            for step in steps:
                if isinstance(step, bytes):
                    yield step
                elif isinstance(step, Exception):
                    raise step
                else:
                    await self.clock.sleep(step)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/v1"


def answers(status: int = 200, body: str | bytes = WHOLE, headers: Any = JSON, *, after: float = 0.0) -> Any:
    """Answers always the same."""

    async def behave(upstream: Upstream, request: Request, asked: Any) -> Response:
        if after:
            await upstream.clock.sleep(after)
        return Response(status, headers, body if isinstance(body, bytes) else body.encode())

    return behave


def streams(*steps: bytes | float | Exception) -> Any:
    """Answers always the same stream."""

    async def behave(upstream: Upstream, request: Request, asked: Any) -> Response:
        return Response(200, SSE, upstream.stream(*steps))

    return behave


@contextlib.asynccontextmanager
async def raw(behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server of bytes, for what no HTTP server says; gives its address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await behave(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    server.close()
    await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return await reader.readexactly(length)


def reset(writer: asyncio.StreamWriter) -> None:
    """End with a reset."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Running:
    """One app's models, running, and what is needed to ask them."""

    def __init__(self, models: Models, client: Client, notes: Notes) -> None:
        self.models = models
        self.client = client
        self.notes = notes
        self.clock = SystemClock()

    @property
    def llm(self) -> RoutedModel:
        return self.models["llm"]

    def terms(self, within: float = 10.0, **more: Any) -> Terms:
        return Terms("r1", self.clock.monotonic() + within, **more)

    async def ask(self, *, stream: bool = False, within: float = 10.0, **more: Any) -> Any:
        """Send a request of chat."""
        return await self.llm.send(asking(stream=stream, **more), self.terms(within))


def asking(
    *, stream: bool = False, dialect: Dialect = Dialect.CHAT, repeatable: bool = True, **more: Any
) -> ModelRequest:
    """A request."""
    document = {"model": "llm", "messages": [{"role": "user", "content": "Hi"}], **more}
    document |= {"stream": True} if stream else {}
    body = json.dumps(document).encode()
    return ModelRequest(dialect, body, document, stream, 0, repeatable=repeatable)


@contextlib.asynccontextmanager
async def running(
    *upstreams: Provider, environment: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[Running]:
    """A model "llm" with these upstreams."""
    app = App("test")
    app.model("llm", upstreams, **options)
    notes = Notes()
    async with (
        Client() as client,
        Models(
            app.models,
            client=client,
            clock=SystemClock(),
            random=Random(7),
            environment=environment or {},
            recorder=notes,
        ) as models,
    ):
        yield Running(models, client, notes)
