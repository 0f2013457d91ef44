"""What one connection may cost, on either side. docs/design/http-hot-path.md has the table and the reasons."""

from __future__ import annotations

from dataclasses import dataclass

SMALL = 64 * 1024
"""Bytes up to which a body is small: it neither counts nor is refused, its handler begins when it is there, and it is
recognised with its head, without a parser."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of a server's connections. Sizes are bytes, times are seconds.

    Attributes
    ----------
    max_head
        Request line and headers together; trailers have the same bound of their own. Over it: 431.
    max_header_count
        Header lines of a request, and of its trailers. Over it: 431.
    max_target
        The request target (path and query). Over it: 414.
    max_body
        The body of a request. Over it: 413, before a byte of the body is read where its length is told.
    max_bodies
        What the bodies of all requests take together, of those that are longer than 64 KiB. Over it: 503.
    max_buffer
        Unread bytes of a request's body at which the connection stops reading; also of requests sent ahead.
    max_pipelined
        Requests of one connection that are parsed ahead of the one that is answered; after them the connection ends.
    max_connections
        Connections open at once. Over it: 503, and the connection ends.
    head_timeout
        From the first byte of a request (or the connection's begin) to the end of its headers. Over it: 408.
    body_timeout, min_body_rate
        A body must be there `body_timeout` + size / `min_body_rate` after its head. Time in which this side does not
        read does not count. Over it: 408.
    idle_timeout
        How long a connection without a request is kept.
    write_timeout
        How long a client may read nothing of an answer that waits for it.
    linger_timeout
        How long a client is listened to after an answer that came before the end of its body, so that it can read it;
        and no longer than `max_body` bytes.
    half_close
        Whether a client that closes its sending side still gets an answer. The end of its bytes otherwise means that
        nobody waits: a client that is gone and one that only stopped sending look the same.
    """

    max_head: int = 64 * 1024
    max_header_count: int = 128
    max_target: int = 8 * 1024
    max_body: int = 16 * 1024 * 1024
    max_bodies: int = 256 * 1024 * 1024
    max_buffer: int = 256 * 1024
    max_pipelined: int = 64
    max_connections: int = 10_000
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    min_body_rate: float = 1024.0
    idle_timeout: float = 75.0
    write_timeout: float = 60.0
    linger_timeout: float = 2.0
    half_close: bool = False


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Bounds of a client's connections. Sizes are bytes, times are seconds.

    Attributes
    ----------
    max_connections
        Connections to one origin. There is no bound over all origins.
    max_waiting
        Requests that may wait for a connection to one origin; the next one fails at once.
    max_head, max_header_count
        Status line and headers of an answer; trailers have the same bound of their own.
    max_body
        What `Answer.read` collects; streams are not bounded.
    max_buffer
        Unread bytes of an answer at which the connection stops reading.
    max_interim
        Interim answers (1xx) before the answer itself.
    connect_timeout
        Name resolution, TCP and TLS together.
    idle_timeout
        How long a connection without a request is kept; below the usual 5 s of servers, so that races stay rare.
    """

    max_connections: int = 256
    max_waiting: int = 4096
    max_head: int = 64 * 1024
    max_header_count: int = 256
    max_body: int = 64 * 1024 * 1024
    max_buffer: int = 256 * 1024
    max_interim: int = 16
    connect_timeout: float = 5.0
    idle_timeout: float = 4.0
