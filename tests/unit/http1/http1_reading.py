"""The same bytes read by our parser and by h11, as plain values that can be compared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from headrace.http1.inbound import Inbound
from headrace.http1.limits import ClientLimits, ServerLimits
from headrace.http1.link import Link

LIMITS = ServerLimits(max_head=4096, max_header_count=20, max_target=1024, max_body=10_000, max_pipelined=50)
CLIENT = ClientLimits(max_head=4096, max_header_count=20, max_interim=4)


@dataclass(frozen=True)
class Read:
    """One complete request."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True)
class Reading:
    """What a reader made of the bytes: complete requests, and why it went no further (empty: it would)."""

    requests: tuple[Read, ...]
    refused: str = ""
    partial: bool = False


def ours(pieces: Iterable[bytes], limits: ServerLimits = LIMITS) -> Reading:
    """Read by `Inbound`, which gets the pieces one after the other."""
    inbound = Inbound(limits)
    for piece in pieces:
        inbound.feed(piece)
    complete = tuple(
        Read(one.method, one.target, tuple(one.headers), one.take()) for one in inbound.requests if one.complete
    )
    refused = f"{inbound.refusal.status}: {inbound.refusal.detail}" if inbound.refusal else ""
    return Reading(complete, refused, partial=inbound.partial or inbound.receiving is not None)


def theirs(data: bytes) -> Reading:
    """Read by h11, in one piece."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMITS.max_head)
    connection.receive_data(data)
    found: list[Read] = []
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = tuple((bytes(name), bytes(value)) for name, value in head.headers)
                found.append(Read(bytes(head.method), bytes(head.target), headers, body))
                head = None
                connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return Reading(tuple(found))
                connection.start_next_cycle()
            else:  # NEED_DATA, PAUSED
                return Reading(tuple(found), partial=head is not None)
    except h11.RemoteProtocolError as error:
        return Reading(tuple(found), refused=str(error))


class Wire(asyncio.Transport):
    """A transport without a network: keeps what is written, and can be told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@dataclass(frozen=True)
class Answered:
    """What a client made of the bytes of an answer."""

    status: int
    body: bytes
    complete: bool
    error: str = ""


async def answered(pieces: Iterable[bytes], *, is_head: bool = False, ends: bool = True) -> Answered:
    """An answer read by `Link`: the pieces, then (`ends`) the end of the connection."""
    loop = asyncio.get_running_loop()
    link = Link(loop, CLIENT, released=lambda _: None, lost=lambda _: None)
    wire = Wire()
    link.connection_made(wire)
    inf = float("inf")
    asked = link.head(b"", is_head, True, inf, inf, inf)
    for piece in pieces:
        link.data_received(piece)
    if ends:
        link.eof_received()
        link.connection_lost(None)
    if not asked.done():
        return Answered(0, b"", complete=False)
    if (error := asked.exception()) is not None:
        return Answered(0, b"", complete=False, error=f"{type(error).__name__}: {error}")
    answer = asked.result()
    body = answer.take()
    error = answer._error  # pyright: ignore[reportPrivateUsage]
    return Answered(answer.status, body, complete=answer.complete, error=str(error or ""))


def answered_theirs(data: bytes, *, method: str = "GET") -> Answered:
    """The same read by h11's client."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=CLIENT.max_head)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return Answered(status, body, complete=True)
            elif not isinstance(event, h11.InformationalResponse):
                return Answered(status, body, complete=False, error=str(event))
    except h11.RemoteProtocolError as error:
        return Answered(status, body, complete=False, error=str(error))
