"""The decoder of `pgoutput`, the logical replication plugin that every PostgreSQL server has: protocol versions 1 to 4.

Bytes in, objects of `messages` out; no input and output of its own. The formats follow "Logical Replication Message
Formats" of PostgreSQL's manual and `src/backend/replication/logical/proto.c`. Version 2 brings streamed blocks,
3 two-phase transactions, 4 parallel streaming; what they share has one format, so the decoder need not be told.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Literal

from headrace.core.errors import SourceError
from headrace.sources.postgres.messages import (
    UNCHANGED,
    Begin,
    BeginPrepare,
    Binary,
    Cell,
    Cells,
    Commit,
    CommitPrepared,
    Delete,
    Insert,
    LogicalMessage,
    Message,
    Origin,
    Prepare,
    Relation,
    RelationColumn,
    RollbackPrepared,
    StreamAbort,
    StreamCommit,
    StreamPrepare,
    StreamStart,
    StreamStop,
    Truncate,
    Type,
    Update,
)
from headrace.sources.postgres.wire import POSTGRES_EPOCH

_U16 = struct.Struct(">H").unpack_from
_U32 = struct.Struct(">I").unpack_from
_U32_BYTE = struct.Struct(">IB").unpack_from
_BYTE_U32 = struct.Struct(">BI").unpack_from
_U32_U32 = struct.Struct(">II").unpack_from
_U32_I32 = struct.Struct(">Ii").unpack_from
_ROW_HEAD = struct.Struct(">IBH").unpack_from
_U64 = struct.Struct(">Q").unpack_from
_BYTE_U64 = struct.Struct(">BQ").unpack_from
_U64_I64 = struct.Struct(">Qq").unpack_from
_U64_I64_U32 = struct.Struct(">QqI").unpack_from
_BYTE_U64_U64_I64 = struct.Struct(">BQQq").unpack_from
_U64_U64_I64_U32 = struct.Struct(">QQqI").unpack_from
_BYTE_U64_U64_I64_U32 = struct.Struct(">BQQqI").unpack_from
_U64_U64_I64_I64_U32 = struct.Struct(">QQqqI").unpack_from

_INSERT, _UPDATE, _DELETE = b"IUD"
_STREAM_START, _STREAM_STOP = b"SE"
_NEW, _KEY, _OLD = b"NKO"
_TEXT, _BINARY, _NULL, _TOAST = b"tbnu"
_HINT = "the stream cannot be read on; is the server a PostgreSQL of version 14 or later?"


class Decoder:
    """Decodes the messages of one stream, in order. It keeps nothing but whether it is in a streamed block.

    Attributes
    ----------
    in_block
        Between `StreamStart` and `StreamStop`, where messages carry their transaction's number. Set it to True to
        decode messages that were put aside in a block.

    Examples
    --------
    >>> Decoder().decode(b"I" + b"\\0\\0\\x40\\1" + b"N" + b"\\0\\2" + b"t\\0\\0\\0\\1" + b"7" + b"n")
    Insert(relation=16385, new=(b'7', None), has_unchanged=False, xid=0)
    """

    __slots__ = ("in_block",)

    def __init__(self, *, in_block: bool = False) -> None:
        self.in_block = in_block

    def decode(self, data: bytes, start: int = 0) -> Message:
        """The message that begins at `start` and takes all the rest of `data`.

        Raises
        ------
        SourceError
            The bytes are cut off, too many, or nothing that this protocol knows.
        """
        try:
            kind = data[start]
            at = start + 1
            if self.in_block and kind not in _WITHOUT_XID:
                (xid,) = _U32(data, at)
                at += 4
            else:
                xid = 0
            if kind == _INSERT:
                return _insert(data, at, xid)
            reader = _READERS.get(kind)
            if reader is None:
                raise SourceError(f"the message kind {chr(kind)!r} is not known", hint=_HINT)
            message, at = reader(data, at, xid)
        except (IndexError, struct.error) as error:
            raise SourceError(f"a message was cut off: {_excerpt(data, start)}", hint=_HINT) from error
        except UnicodeDecodeError as error:
            raise SourceError(f"a name is not UTF-8: {_excerpt(data, start)}", hint=_HINT) from error
        if at != len(data):
            raise _wrong_size(data, start)
        if kind == _STREAM_START:
            self.in_block = True
        elif kind == _STREAM_STOP:
            self.in_block = False
        return message


def _excerpt(data: bytes, start: int) -> str:
    return f"{len(data) - start} bytes that begin with {data[start : start + 24]!r}"


def _wrong_size(data: bytes, start: int) -> SourceError:
    return SourceError(f"a message is shorter or longer than it says: {_excerpt(data, start)}", hint=_HINT)


def _insert(data: bytes, at: int, xid: int) -> Insert:
    relation, tag, count = _ROW_HEAD(data, at)
    if tag != _NEW:
        raise SourceError(f"an insert brings {chr(tag)!r} and not a new row", hint=_HINT)
    cells, unchanged, end = _cells(data, at + 7, count)
    if end != len(data):
        raise _wrong_size(data, at)
    return Insert(relation, cells, unchanged, xid)


def _cells(data: bytes, at: int, count: int) -> tuple[Cells, bool, int]:
    """`count` cells from `at` on, whether one of them is `UNCHANGED`, and where they end.

    A size beyond the end gives a short cell and an end beyond the end, which the caller sees; so no cell is checked.
    """
    cells: list[Cell] = []
    unchanged = False
    for _ in range(count):
        kind = data[at]
        if kind == _TEXT:
            (size,) = _U32(data, at + 1)
            at += 5
            end = at + size
            cells.append(data[at:end])
            at = end
        elif kind == _NULL:
            cells.append(None)
            at += 1
        elif kind == _TOAST:
            cells.append(UNCHANGED)
            unchanged = True
            at += 1
        elif kind == _BINARY:
            (size,) = _U32(data, at + 1)
            at += 5
            cells.append(Binary(data[at : at + size]))
            at += size
        else:
            raise SourceError(f"the cell kind {chr(kind)!r} is not known", hint=_HINT)
    return tuple(cells), unchanged, at


def _tuple(data: bytes, at: int) -> tuple[Cells, bool, int]:
    return _cells(data, at + 2, _U16(data, at)[0])


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A text that ends with a zero byte, and what follows it."""
    end = data.find(0, at)
    if end < 0:
        raise IndexError
    return data[at:end].decode(), end + 1


def _namespace(data: bytes, at: int) -> tuple[str, int]:
    name, at = _text(data, at)
    return name or "pg_catalog", at  # which is sent as an empty text


def _update(data: bytes, at: int, xid: int) -> tuple[Update, int]:
    relation, tag = _U32_BYTE(data, at)
    at += 5
    old: Cells | None = None
    old_kind: Literal["K", "O", ""] = ""
    if tag in (_KEY, _OLD):
        old_kind = "K" if tag == _KEY else "O"
        old, _, at = _tuple(data, at)
        tag = data[at]
        at += 1
    if tag != _NEW:
        raise SourceError(f"an update brings {chr(tag)!r} and not a new row", hint=_HINT)
    new, unchanged, at = _tuple(data, at)
    return Update(relation, new, old, old_kind, unchanged, xid), at


def _delete(data: bytes, at: int, xid: int) -> tuple[Delete, int]:
    relation, tag = _U32_BYTE(data, at)
    if tag not in (_KEY, _OLD):
        raise SourceError(f"a delete brings {chr(tag)!r} and not an old row", hint=_HINT)
    old, _, at = _tuple(data, at + 5)
    return Delete(relation, old, "K" if tag == _KEY else "O", xid), at


def _truncate(data: bytes, at: int, xid: int) -> tuple[Truncate, int]:
    count, flags = _U32_BYTE(data, at)
    at += 5
    if count > (len(data) - at) // 4:
        raise IndexError
    relations = tuple(_U32(data, at + 4 * i)[0] for i in range(count))
    return Truncate(relations, bool(flags & 1), bool(flags & 2), xid), at + 4 * count


def _relation(data: bytes, at: int, xid: int) -> tuple[Relation, int]:
    (oid,) = _U32(data, at)
    namespace, at = _namespace(data, at + 4)
    name, at = _text(data, at)
    identity = chr(data[at])
    (count,) = _U16(data, at + 1)
    at += 3
    columns: list[RelationColumn] = []
    for _ in range(count):
        flags = data[at]
        column, at = _text(data, at + 1)
        kind, modifier = _U32_I32(data, at)
        at += 8
        columns.append(RelationColumn(column, bool(flags & 1), kind, modifier))
    return Relation(oid, namespace, name, identity, tuple(columns), xid), at


def _type(data: bytes, at: int, xid: int) -> tuple[Type, int]:
    (oid,) = _U32(data, at)
    namespace, at = _namespace(data, at + 4)
    name, at = _text(data, at)
    return Type(oid, namespace, name, xid), at


def _message(data: bytes, at: int, xid: int) -> tuple[LogicalMessage, int]:
    flags, lsn = _BYTE_U64(data, at)
    prefix, at = _text(data, at + 9)
    (size,) = _U32(data, at)
    at += 4
    return LogicalMessage(bool(flags & 1), lsn, prefix, data[at : at + size], xid), at + size


def _begin(data: bytes, at: int, _xid: int) -> tuple[Begin, int]:
    lsn, committed_at, xid = _U64_I64_U32(data, at)
    return Begin(lsn, committed_at + POSTGRES_EPOCH, xid), at + 20


def _commit(data: bytes, at: int, _xid: int) -> tuple[Commit, int]:
    _flags, lsn, end, committed_at = _BYTE_U64_U64_I64(data, at)
    return Commit(lsn, end, committed_at + POSTGRES_EPOCH), at + 25


def _origin(data: bytes, at: int, _xid: int) -> tuple[Origin, int]:
    (lsn,) = _U64(data, at)
    name, at = _text(data, at + 8)
    return Origin(lsn, name), at


def _stream_start(data: bytes, at: int, _xid: int) -> tuple[StreamStart, int]:
    xid, first = _U32_BYTE(data, at)
    return StreamStart(xid, first == 1), at + 5


def _stream_stop(_data: bytes, at: int, _xid: int) -> tuple[StreamStop, int]:
    return StreamStop(), at


def _stream_commit(data: bytes, at: int, _xid: int) -> tuple[StreamCommit, int]:
    (xid,) = _U32(data, at)
    commit, at = _commit(data, at + 4, 0)
    return StreamCommit(xid, *commit), at


def _stream_abort(data: bytes, at: int, _xid: int) -> tuple[StreamAbort, int]:
    xid, subxid = _U32_U32(data, at)
    at += 8
    if at == len(data):
        return StreamAbort(xid, subxid), at
    lsn, aborted_at = _U64_I64(data, at)
    return StreamAbort(xid, subxid, lsn, aborted_at + POSTGRES_EPOCH), at + 16


def _begin_prepare(data: bytes, at: int, _xid: int) -> tuple[BeginPrepare, int]:
    lsn, end, prepared_at, xid = _U64_U64_I64_U32(data, at)
    gid, at = _text(data, at + 28)
    return BeginPrepare(lsn, end, prepared_at + POSTGRES_EPOCH, xid, gid), at


def _decision(kind: Any) -> Callable[[bytes, int, int], tuple[Any, int]]:
    """The reader of Prepare, Commit Prepared and Stream Prepare, which have one format."""

    def read(data: bytes, at: int, _xid: int) -> tuple[Any, int]:
        _flags, lsn, end, time, xid = _BYTE_U64_U64_I64_U32(data, at)
        gid, at = _text(data, at + 29)
        return kind(lsn, end, time + POSTGRES_EPOCH, xid, gid), at

    return read


def _rollback_prepared(data: bytes, at: int, _xid: int) -> tuple[RollbackPrepared, int]:
    flags_end = at + 1
    prepared, rolled_back, prepared_at, rolled_back_at, xid = _U64_U64_I64_I64_U32(data, flags_end)
    gid, at = _text(data, flags_end + 36)
    times = prepared_at + POSTGRES_EPOCH, rolled_back_at + POSTGRES_EPOCH
    return RollbackPrepared(prepared, rolled_back, *times, xid, gid), at


_READERS: dict[int, Callable[[bytes, int, int], tuple[Message, int]]] = {
    _UPDATE: _update,
    _DELETE: _delete,
    ord("T"): _truncate,
    ord("R"): _relation,
    ord("Y"): _type,
    ord("M"): _message,
    ord("B"): _begin,
    ord("C"): _commit,
    ord("O"): _origin,
    _STREAM_START: _stream_start,
    _STREAM_STOP: _stream_stop,
    ord("c"): _stream_commit,
    ord("A"): _stream_abort,
    ord("b"): _begin_prepare,
    ord("P"): _decision(Prepare),
    ord("K"): _decision(CommitPrepared),
    ord("r"): _rollback_prepared,
    ord("p"): _decision(StreamPrepare),
}
_WITHOUT_XID = frozenset(_READERS) - set(b"UDTRYM")
"""Kinds that have the same format inside and outside of a streamed block. (Insert is not among the readers.)"""
