"""Bytes to requests: what is accepted, and what is refused because two readers could disagree on where it ends.

Pure: no sockets, no time. httptools (llhttp) reads the grammar and is strict by itself: bare LF, folded headers, both
`Content-Length` and `Transfer-Encoding`, two lengths, and chunk sizes that are no hexadecimal number are errors there.
What it lets through and this refuses stands in `_judge` and docs/design/http-hot-path.md.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NoReturn

import httptools

from headrace.core.errors import BodyRefused
from headrace.http1.bodies import Bodies
from headrace.http1.headers import FRAMING, Field, Fields
from headrace.http1.heads import Heads, Shape
from headrace.http1.limits import SMALL, ServerLimits
from headrace.http1.request import Request

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"QUERY"})
"""Methods that reach a handler. CONNECT and TRACE are for proxies; the parser knows those of other protocols too."""

_JUDGED = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


@dataclass(frozen=True)
class Refusal:
    """Why a connection's bytes are not read on: the status for the client, and what is wrong.

    `target` and `headers` are those of the request, as far as they were read.
    """

    status: int
    detail: str
    target: bytes = b""
    headers: Fields = ()


class _Refused(Exception):
    """Raised inside the parser's callbacks to stop it."""


class Inbound:
    """Reads the requests of one connection.

    Attributes
    ----------
    requests
        Requests whose head is complete, in order; whoever answers one takes it from here.
    partial
        Whether the head of a request has begun and is not complete.
    refusal
        Set when the bytes after the last request are refused.
    ended
        Whether nothing more is read: refused, or the last request said so.
    """

    def __init__(self, limits: ServerLimits, bodies: Bodies | None = None, heads: Heads | None = None) -> None:
        self.requests: deque[Request] = deque()
        self.partial = False
        self.refusal: Refusal | None = None
        self.ended = False
        self._limits = limits
        self._bodies = bodies or Bodies(limits.max_bodies)
        self._heads = heads
        self._shape: Shape | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._open: Request | None = None
        self._missing = 0
        self._progress = False
        self._unseen = 0
        self._feeding = 0
        self._url = b""
        self._fields: list[Field] = []
        self._found: dict[bytes, bytes] = {}

    @property
    def receiving(self) -> Request | None:
        """The request whose body is not complete."""
        return self._open

    def feed(self, data: bytes) -> None:
        """Read bytes; the results are in `requests` and `refusal`."""
        if self.ended:
            return
        heads = self._heads
        if self._missing:
            self._count(data)
            return
        if heads is None or self._open is not None or self.partial or self.requests:
            self._parse(data)
            return
        shape, size, body, known = heads.find(data)
        if known is not None:
            request = Request.known(known, size, body)
            self.requests.append(request)
            self._unseen = 0
            if not request.complete:
                self._open, self._missing = request, size
            return
        self._parse(data)
        if shape is not None:
            self._learn(heads, shape, size, body)

    def end(self) -> None:
        """The other side sends no more."""
        if self._open is not None and self.refusal is None:
            self._refuse(400, "the request ended inside its body")

    def refusal_of(self, status: int, detail: str) -> Refusal:
        """A refusal of the request that is read now."""
        return Refusal(status, detail, self._url, self._fields)

    def _count(self, data: bytes) -> None:
        """More of the body of a request whose head was known. The parser has not seen that, so the body is counted."""
        request = self._open
        if request is None:
            return
        piece, rest = data[: self._missing], data[self._missing :]
        self._missing -= len(piece)
        request.push(piece)
        if not self._missing:
            self._open = None
            request.finish()
        if rest:
            self._parse(rest)

    def _learn(self, heads: Heads, shape: Shape, size: int, body: bytes) -> None:
        """The parser has read a head of this shape. It is learnt the second time."""
        if shape == self._shape and len(self.requests) == 1 and self.refusal is None:
            request = self.requests[0]
            plain = request.version == "1.1" and request.keep_alive and not request.expects
            if plain and request.length == size and request.received == len(body):
                heads.learn(shape, size, (request.method, request.target), request.headers, request.facts)
        self._shape = shape

    def _parse(self, data: bytes) -> None:
        self._progress = False
        self._feeding = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # After `Connection: close` nothing counts; the parser calls it an error.
            if not (self.ended and self._open is None):
                self._refuse(400, f"the request is not valid HTTP: {str(error) or 'unreadable'}")
            return
        except httptools.HttpParserUpgrade:
            # The request was judged in on_headers_complete: served as if it had not asked, and the last one.
            return
        # Headers, trailers and chunk extensions are seen only when they are complete, so their size is bounded here.
        self._unseen = 0 if self._progress else self._unseen + len(data)
        if self._unseen > self._limits.max_head:
            self._refuse(431, f"more than {self._limits.max_head} bytes of headers")

    # Called by the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        if self.ended:
            raise _Refused
        if len(self.requests) >= self._limits.max_pipelined:
            self.ended = True
            self.requests[-1].keep_alive = False
            raise _Refused
        self.partial = True
        self._url = b""
        self._fields = []
        self._found = {}

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url
        if len(self._url) > self._limits.max_target:
            self._stop(414, f"the target is longer than {self._limits.max_target} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer."""
        name = name.lower()
        value = value.strip(b" \t")
        if self._open is not None:
            self._trailer((name, value))
            return
        self._fields.append((name, value))
        if name in _JUDGED:
            if name in self._found:
                self._stop(400, f"two {name.decode()} headers")
            self._found[name] = value

    def on_headers_complete(self) -> None:
        """The head is complete: judge it."""
        self._progress = True
        self.partial = False
        # Together at most this; only when it is over the bound is the head's own size counted.
        if self._unseen + self._feeding > self._limits.max_head and self._size() > self._limits.max_head:
            self._stop(431, f"more than {self._limits.max_head} bytes of headers")
        if len(self._fields) > self._limits.max_header_count:
            self._stop(431, f"more than {self._limits.max_header_count} headers")
        self._open = self._judge()
        self.requests.append(self._open)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._progress = True
        request = self._open
        if request is None:
            raise _Refused
        # A length that was told is judged with the head, and the parser holds the client to it.
        if request.length is None and request.received + len(body) > self._limits.max_body:
            self._stop(413, f"the body is longer than {self._limits.max_body} bytes")
        request.push(body)
        if request.received > SMALL and not self._bodies.take(request, len(body)):
            self._stop(503, self._bodies.full)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._progress = True
        request = self._open
        if request is not None:
            self._open = None
            if not request.keep_alive:
                self.ended = True
            request.finish()

    # What it takes

    def _judge(self) -> Request:
        method = self._parser.get_method()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._stop(505, f"HTTP {version} is not served")
        if method not in METHODS:
            self._stop(501, f"the method {method.decode('latin-1')} is not served")
        found = self._found
        host = found.get(b"host")
        if host is None and version == "1.1":
            self._stop(400, "the host header is missing")
        keep = version == "1.1" and self._parser.should_keep_alive()
        length = self._length(found, version)
        if self._parser.should_upgrade():
            # The parser takes what follows for the other protocol, so a body would be read as requests.
            if length != 0:
                self._stop(400, "an upgrade with a body is not served")
            keep = False
        target = self._url
        if target[:1] != b"/" or b"#" in target:
            target = self._target(method, host)
        request = Request(method, target, self._fields, version=version, keep_alive=keep, length=length)
        expected = found.get(b"expect")
        if expected is not None and version == "1.1":
            if expected.lower() != b"100-continue":
                self._stop(417, "the only expectation that is met is 100-continue")
            request.expects = True
        return request

    def _length(self, found: dict[bytes, bytes], version: str) -> int | None:
        coding = found.get(b"transfer-encoding")
        if coding is not None:
            if version == "1.0":
                self._stop(400, "transfer-encoding does not exist in HTTP/1.0")
            if coding.lower() != b"chunked":
                self._stop(501, "the only transfer-encoding that is read is chunked")
            return None
        told = found.get(b"content-length", b"0")
        if not told.isdigit():
            self._stop(400, "the content-length is no number")
        length = int(told)
        if length > self._limits.max_body:
            self._stop(413, f"the body is longer than {self._limits.max_body} bytes")
        if length > SMALL and not self._bodies.fits(length):
            self._stop(503, self._bodies.full)
        return length

    def _target(self, method: bytes, host: bytes | None) -> bytes:
        target = self._url
        if b"#" in target:
            self._stop(400, "a target has no fragment")
        if target == b"*" and method == b"OPTIONS":
            return target
        scheme, found, rest = target.partition(b"://")
        if not found or scheme.lower() not in (b"http", b"https"):
            self._stop(400, "the target is neither a path nor a URL")
        end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        if rest[:end].lower() != (host or b"").lower():
            self._stop(400, "the target and the host header name different hosts")
        path = rest[end:]
        return path if path.startswith(b"/") else b"/" + path

    def _trailer(self, field: Field) -> None:
        request = self._open
        if request is None:
            raise _Refused
        request.trailers = [*request.trailers, field]
        if field[0] in FRAMING or field[0] in _JUDGED:
            self._stop(400, f"{field[0].decode('latin-1')} is no trailer")
        if len(request.trailers) > self._limits.max_header_count or self._fat(request.trailers):
            self._stop(431, "too many trailers")

    def _fat(self, fields: Fields) -> bool:
        return sum(len(name) + len(value) + 4 for name, value in fields) > self._limits.max_head

    def _size(self) -> int:
        return len(self._url) + 16 + sum(len(name) + len(value) + 4 for name, value in self._fields)

    def _stop(self, status: int, detail: str) -> NoReturn:
        self._refuse(status, detail)
        raise _Refused(detail)

    def _refuse(self, status: int, detail: str) -> None:
        if self.refusal is None:
            self.refusal = self.refusal_of(status, detail)
            self.ended = True
        if self._open is not None:
            request, self._open = self._open, None
            request.keep_alive = False
            request.fail(BodyRefused(self.refusal.detail, status=self.refusal.status))
