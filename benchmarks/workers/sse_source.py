"""A model that streams to everybody at a steady pace; every chunk holds the instant at which it was written.

sse_source.py <port> <chunks> <seconds between chunks>
"""

from __future__ import annotations

import asyncio
import sys
import time

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK = (
    '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"mock","choices":[{"index":0,'
    '"delta":{%s},"logprobs":null,"finish_reason":%s}]}'
)
_USAGE = (
    '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"mock","choices":[],'
    '"usage":{"prompt_tokens":40,"completion_tokens":%d,"total_tokens":%d}}'
)


def event(data: str) -> bytes:
    """One event as one chunk of the body."""
    body = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(body), body)


class Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, chunks: int, pause: float) -> None:
        self._chunks, self._pause = chunks, pause
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._buffer = b""
        if b"stream" not in rest:  # a probe
            self._write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        self._write(_HEAD + event(_CHUNK % ('"role":"assistant","content":""', "null")))
        self._send(asyncio.get_running_loop().time() + self._pause, 0)

    def _send(self, due: float, number: int) -> None:
        loop = asyncio.get_running_loop()
        if number == self._chunks:
            usage = _USAGE % (number, number + 40)
            self._write(event(_CHUNK % ("", '"stop"')) + event(usage) + event("[DONE]") + b"0\r\n\r\n")
            return
        self._write(event(_CHUNK % (f'"content":"@{time.monotonic():.6f} "', "null")))
        self._timer = loop.call_at(due + self._pause, self._send, due + self._pause, number + 1)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


async def main(port: int, chunks: int, pause: float) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(lambda: Stream(chunks, pause), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
