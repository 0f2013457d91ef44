"""HTTP/1.1 with bounds that Uvicorn does not set: header sizes, time to send them, and bodies nobody wants.

A client that opens a connection and sends its headers a byte a minute, or headers without end, would otherwise hold a
connection and memory for as long as it likes.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from headrace.core.problems import PREFIX
from headrace.server.settings import Settings


class _Overflow(Exception):
    """Raised inside the parser's callbacks to stop it."""


class BoundedProtocol(HttpToolsProtocol):
    """One client connection; `settings` is set by `bounded_protocol`."""

    settings: Settings
    _header_bytes = 0
    _partial = False
    _unread = 0
    _refusal: tuple[int, str] | None = None
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Almost always headers arrive in one piece: then no timer is set for them.
        if not self._partial:
            self._cancel_timer()
        elif self._header_timer is None:
            self._watch_headers()

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        self._partial = True
        self._unread = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._header_bytes += len(url)
        if self._header_bytes > self.settings.max_url + 1024:
            self._overflow(414, "the URL is too long")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self.settings.max_headers + self.settings.max_url:
            self._overflow(431, "the headers are too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._partial = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete:
            # The answer is out (413, 401, ...). Reading on for a while lets the client read it; for ever would not do.
            self._unread += len(body)
            if self._unread > self.settings.max_body:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or is over a bound, with a problem document, and close."""
        status, detail = self._refusal or (400, "the request is not valid HTTP")
        self._send_and_close(status, detail)

    def _watch_headers(self) -> None:
        self._header_timer = self.loop.call_later(self.settings.header_timeout, self._too_slow)

    def _cancel_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        self._header_timer = None
        if self.transport.is_closing():
            return
        if self._partial:
            self._send_and_close(408, "the request's headers did not arrive in time")
        else:
            self.transport.close()

    def _overflow(self, status: int, detail: str) -> None:
        self._refusal = (status, detail)
        raise _Overflow(detail)

    def _send_and_close(self, status: int, detail: str) -> None:
        document = {"type": PREFIX + "bad-request", "title": "The request is refused", "status": status}
        body = msgspec.json.encode(document | {"detail": detail})
        head = STATUS_LINE[status] + b"content-type: application/problem+json\r\n"
        length = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(head + length + body)
        self.transport.close()


def bounded_protocol(settings: Settings) -> type[Any]:
    """The protocol class for these settings."""
    return type("Bounded", (BoundedProtocol,), {"settings": settings})
