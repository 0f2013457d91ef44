"""The envelope of a replication stream: what the server sends inside of CopyData, and what we answer.

The formats are those of "Streaming Replication Protocol" in PostgreSQL's manual. All times are ours: microseconds since
1970 (the server counts from 2000).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from headrace.core.clock import SECOND
from headrace.core.errors import SourceError
from headrace.sources.postgres.lsn import Lsn

POSTGRES_EPOCH = 946_684_800 * SECOND
"""2000-01-01T00:00:00Z: where the server's clock is 0."""

BODY = 25
"""Where the message begins in the bytes of an `XLogData`."""

_XLOG_DATA = struct.Struct(">QQq")
_KEEPALIVE = struct.Struct(">QqB")
_STATUS = struct.Struct(">cQQQqB")
_XLOG_KIND, _KEEPALIVE_KIND = ord("w"), ord("k")


class XLogData(NamedTuple):
    """A piece of the stream.

    Attributes
    ----------
    start
        Where it stands in the log; 0 for messages that have no place of their own.
    end
        The end of the server's log when it was sent.
    sent_at
        The server's clock when it was sent, microseconds since 1970.
    data
        The whole CopyData: the message in it begins at `BODY`, and is not copied.
    """

    start: Lsn
    end: Lsn
    sent_at: int
    data: bytes


class Keepalive(NamedTuple):
    """The server's sign of life.

    Attributes
    ----------
    end
        Everything up to here has been sent that is for us.
    sent_at
        The server's clock when it was sent, microseconds since 1970.
    reply
        The server wants a status update at once; without one it soon ends the connection.
    """

    end: Lsn
    sent_at: int
    reply: bool


def read_wire(data: bytes) -> XLogData | Keepalive:
    """What one CopyData holds.

    Raises
    ------
    SourceError
        It is cut off, or nothing that this protocol knows.
    """
    kind = data[0] if data else None
    if kind == _XLOG_KIND and len(data) >= BODY:
        start, end, sent_at = _XLOG_DATA.unpack_from(data, 1)
        return XLogData(start, end, sent_at + POSTGRES_EPOCH, data)
    if kind == _KEEPALIVE_KIND and len(data) == 1 + _KEEPALIVE.size:
        end, sent_at, reply = _KEEPALIVE.unpack_from(data, 1)
        return Keepalive(end, sent_at + POSTGRES_EPOCH, reply != 0)
    raise SourceError(
        f"a message of {len(data)} bytes that begins with {data[:8]!r} is no part of a replication stream",
        hint="is the address that of a PostgreSQL server, with no pooler in between?",
    )


def status_update(written: Lsn, flushed: Lsn, applied: Lsn, *, now: int, reply: bool = False) -> bytes:
    """The bytes of a standby status update, to be sent as CopyData.

    Parameters
    ----------
    written, flushed, applied
        Up to where the stream was received, is on disk and is visible here; the server forgets its log up to `flushed`.
    now
        Our clock, microseconds since 1970.
    reply
        Whether the server is to answer at once, with a keepalive.
    """
    return _STATUS.pack(b"r", written, flushed, applied, now - POSTGRES_EPOCH, reply)
