"""One request over a connection of its own, and every byte that came back: how the answer ended is read from the bytes.

Not with a client library, ours included: what such a library forgives is what is looked for here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError

End = Literal["complete", "broken", "open", "left"]

_AFTERWARDS = 0.1
"""Seconds in which nothing may come after a whole answer."""


@dataclass(slots=True)
class Exchange:
    """What came back.

    Attributes
    ----------
    status
        0 when no head came.
    body
        The body's bytes, without their framing.
    first, left
        Instants (microseconds since the epoch) of the body's first byte, and at which the client left; 0: not.
    end
        `complete` as its framing says, `broken` before that, `open` (nothing more came, and it was not the end), or
        `left` by the client.
    surplus
        Bytes after the end of the answer.
    """

    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    first: int = 0
    left: int = 0
    end: End = "open"
    surplus: bytes = b""


class Framing:
    """Reads the head and the framing of one HTTP/1.1 answer; raises ValueError where it is none.

    >>> framing = Framing()
    >>> framing.feed(b"HTTP/1.1 200 OK\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n2\\r\\nab\\r\\n0\\r\\n\\r\\n!")
    b'ab'
    >>> framing.status, framing.complete, framing.rest
    (200, True, b'!')
    """

    def __init__(self) -> None:
        self.status = 0
        self.complete = False
        self.until_close = False
        self.rest = b""
        self._chunked = False
        self._left = 0
        self._ending = False

    def feed(self, data: bytes) -> bytes:
        """Bytes came; returns what they hold of the body."""
        self.rest += data
        if not self.status and not self._head():
            return b""
        if self.until_close:
            taken, self.rest = self.rest, b""
            return taken
        return self._chunks() if self._chunked else self._known()

    def _head(self) -> bool:
        head, found, rest = self.rest.partition(b"\r\n\r\n")
        if not found:
            return False
        lines = head.split(b"\r\n")
        if not lines[0].startswith(b"HTTP/1.1 "):
            raise ValueError(f"no status line: {lines[0][:60]!r}")
        status = int(lines[0][9:12])
        self.rest = rest
        if status < 200:
            return self._head()
        self.status = status
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        self._chunked = b"chunked" in headers.get(b"transfer-encoding", b"").lower()
        length = headers.get(b"content-length")
        self.until_close = not self._chunked and length is None
        self._left = int(length or 0)
        self.complete = not self._chunked and length is not None and self._left == 0
        return True

    def _known(self) -> bytes:
        taken, self.rest = self.rest[: self._left], self.rest[self._left :]
        self._left -= len(taken)
        self.complete = self._left == 0
        return taken

    def _chunks(self) -> bytes:
        body = b""
        while not self.complete:
            if self._left:  # of a chunk, with the line break after it
                if len(self.rest) < self._left:
                    data = self.rest[: max(self._left - 2, 0)]
                    body, self.rest, self._left = body + data, self.rest[len(data) :], self._left - len(data)
                    break
                body, self.rest, self._left = body + self.rest[: self._left - 2], self.rest[self._left :], 0
                continue
            line, found, rest = self.rest.partition(b"\r\n")
            if not found:
                break
            self.rest = rest
            if self._ending:
                self.complete = not line
                continue
            size = int(line.partition(b";")[0], 16)
            self._ending, self._left = size == 0, size + 2 if size else 0
        return body


async def ask(
    base_url: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    clock: Clock,
    *,
    patience: float,
    leave: Callable[[bytes], bool] | None = None,
    leave_after: float | None = None,
) -> Exchange:
    """Send a request and collect its answer.

    Parameters
    ----------
    patience
        Seconds without a byte after which it is `open`.
    leave
        Asked after each piece of the body whether the client leaves.
    leave_after
        Seconds after which it leaves, whatever came.

    Raises
    ------
    HeadraceError
        There is no connection.
    """
    parts = urlsplit(base_url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    except OSError as error:
        raise HeadraceError(f"no connection to {base_url}: {error}", hint="is the gateway running?") from error
    found, framing = Exchange(), Framing()
    fields = {"host": parts.netloc, "content-type": "application/json", "content-length": str(len(body)), **headers}
    head = f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    try:
        writer.write(head.encode() + b"\r\n" + body)
        while not framing.complete:
            try:
                data = await asyncio.wait_for(reader.read(65536), leave_after or patience)
            except TimeoutError:
                if leave_after is not None:
                    found.end, found.left = "left", clock.now()
                return found
            except OSError:
                found.end = "broken"
                return found
            if not data:
                found.end = "complete" if framing.until_close else "broken"
                return found
            try:
                piece = framing.feed(data)
            except ValueError:  # what came is no HTTP
                found.end = "broken"
                return found
            found.status = framing.status
            if piece and not found.first:
                found.first = clock.now()
            found.body += piece
            if leave is not None and piece and leave(bytes(found.body)):
                found.end, found.left = "left", clock.now()
                return found
        found.end = "complete"
        found.surplus = framing.rest + await _afterwards(reader)
        return found
    finally:
        writer.transport.abort()


async def _afterwards(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(65536), _AFTERWARDS)
    except (TimeoutError, OSError):
        return b""
