"""Relays to test the suite with: some that tell the truth, and liars that each break it in one way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

from headrace.core.clock import SystemClock
from headrace.core.errors import ExchangeError
from headrace.http1 import Client, Origin, Request, Response, Server, end_to_end, run
from headrace.mockllm.api import encode
from headrace.mockllm.truth.reading import read_stream, read_whole, without_usage

DONE = b"data: [DONE]\n\n"
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
BAD_GATEWAY = b'{"error":{"message":"the upstream gave no whole answer","type":"server_error"}}'


class Relay:
    """Passes requests on to one upstream. `lie` is "" for the honest one, else what it does wrong, or its way."""

    def __init__(self, upstream: str, lie: str = "") -> None:
        self.origin = Origin.parse(upstream)
        self.lie = lie
        self.client = Client()
        self.clock = SystemClock()
        self.server = Server(self.handle, failed=lambda error, request: None)
        self.kept: set[asyncio.Task[bytes]] = set()

    async def handle(self, request: Request) -> Response:
        body, target = await request.read(), request.target
        if self.lie == "asks for usage":
            body = body.replace(b"{", b'{"stream_options":{"include_usage":true},', 1)
        elif self.lie.startswith("translates"):
            target = b"/v1/chat/completions"
        try:
            answer = await self.client.request(
                b"POST", self.origin, target, end_to_end(request.headers), body, timeout=1.0
            )
        except ExchangeError:
            return Response(200 if self.lie == "hides refusals" else 502, [], BAD_GATEWAY)
        headers = end_to_end(answer.headers)
        if answer.status == 429 and self.lie == "tries again":
            await self.clock.sleep(0.6)
        if b'"stream":true' in body and answer.status == 200:
            return Response(200, headers, self.stream(answer))
        try:
            whole = await answer.read()
        except ExchangeError:
            return Response(502, [], BAD_GATEWAY)
        if answer.status == 200 and read_whole(whole) is None and self.lie != "passes garbage":
            return Response(502, [], BAD_GATEWAY)
        if self.lie.startswith("translates"):
            text = read_whole(whole) if self.lie == "translates" else "Something else."
            whole = encode({"type": "message", "content": [{"type": "text", "text": text}]})
        return Response(answer.status, headers, whole)

    async def stream(self, answer) -> AsyncIterator[bytes]:  # type: ignore[no-untyped-def]
        lie, came = self.lie, b""
        if lie == "asks for usage":
            async for piece in answer:  # the mock writes each event by itself
                yield without_usage(piece)
            return
        if lie == "buffers":
            yield await answer.read()
            return
        if lie == "never cancels":
            pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

            async def read_on() -> bytes:
                async for piece in answer:
                    pieces.put_nowait(piece)
                pieces.put_nowait(None)
                return b""

            self.kept.add(asyncio.ensure_future(read_on()))
            while (piece := await pieces.get()) is not None:
                yield piece
            return
        try:
            async for piece in answer:
                came += piece
                yield piece.replace(b" the", b" a") if lie == "changes text" else piece
            if read_stream(came).finished == 0 and not read_stream(came).failed and lie != "takes any end":
                raise ExchangeError("the upstream ended without an end mark")
        except ExchangeError:
            if lie == "marks the end":
                yield DONE
            elif lie == "says stop":
                yield STOP
            elif lie == "ends cleanly":
                return
            elif lie == "answers twice":
                yield b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
                raise
            else:
                raise
        if lie == "goes on after an error" and read_stream(came).failed:
            yield DONE


@contextmanager
def relay(upstream: str, lie: str = "") -> Generator[str]:
    """A relay in a thread of its own; its URL."""
    started: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def main() -> None:
        one = Relay(upstream, lie)
        await one.server.start()
        stop = asyncio.Event()
        started.append((f"http://127.0.0.1:{one.server.port}", asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        await one.server.drain(0)
        await one.client.aclose()
        await asyncio.gather(*one.kept, return_exceptions=True)

    thread = threading.Thread(target=run, args=(main(),))
    thread.start()
    ready.wait()
    url, loop, stop = started[0]
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
