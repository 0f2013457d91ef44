"""Read sets as text that a client can hold and send back.

A token holds the rows that were read, as they were stored, so that it can be checked in any process and after a
restart. It comes from outside when it comes back: what it names is checked against the catalog before it is used.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.context.readset import Read, ReadSet
from headrace.core.errors import BadParameter
from headrace.server.catalog import Catalog

_MOST = 4 * 1024 * 1024
"""Largest decoded token, bytes: a short text must not unfold into a lot of memory."""
_MOST_TOGETHER = 2 * _MOST
"""The same for all tokens of one request."""
_HIDDEN = frozenset({"_now"})
"""Bindings that no client gives."""


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    """A `Read` as it lies in a token."""

    name: str
    bindings: dict[str, Any]
    inputs: tuple[str, ...]
    txn: int
    content: tuple[tuple[Any, ...], ...]
    width: int


def encode_readset(readset: ReadSet) -> str:
    """A token that tells what was read; opaque to clients."""
    packed = [_Packed(r.name, dict(r.bindings), r.inputs, r.txn, r.content, r.width) for r in readset.reads]
    return base64.urlsafe_b64encode(zlib.compress(msgspec.msgpack.encode(packed), 1)).decode()


def decode_readsets(tokens: Sequence[str], catalog: Catalog) -> ReadSet:
    """The read sets of all tokens of a request, added up. Raises `BadParameter` when one is none of this app."""
    room = _MOST_TOGETHER
    reads: list[Read] = []
    for token in tokens:
        data = _unzipped(token, min(room, _MOST))
        room -= len(data)
        try:
            packed = msgspec.msgpack.decode(data, type=list[_Packed])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _not_one() from error
        reads += [_checked(read, catalog) for read in packed]
    return ReadSet(tuple(reads))


def _unzipped(token: str, most: int) -> bytes:
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.urlsafe_b64decode(token), max(most, 1))  # 0 would mean "without limit"
    except (binascii.Error, zlib.error, ValueError) as error:
        raise _not_one() from error
    if unzip.unconsumed_tail:
        raise BadParameter("the read-set tokens are too large", hint="split the read set")
    return data


def _checked(read: _Packed, catalog: Catalog) -> Read:
    """The read, if everything in it is of this app."""
    if read.name in catalog.views:
        names = {column.name for column in catalog.views[read.name].params}
    elif read.name in catalog.tables:
        names = set(catalog.tables[read.name].key)
    else:
        raise _not_one()
    known = read.bindings.keys() - _HIDDEN == names and all(name in catalog.tables for name in read.inputs)
    if not known or not all(_scalar(value) for value in read.bindings.values()):
        raise _not_one()
    whole = all(0 <= read.width < len(row) and all(map(_scalar, row)) for row in read.content)
    if not whole or type(read.bindings.get("_now", 0)) is not int:
        raise _not_one()
    return Read(read.name, read.bindings, read.inputs, read.txn, read.content, read.width)


def _scalar(value: Any) -> bool:
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return value is None or isinstance(value, str | float | bytes)


def _not_one() -> BadParameter:
    return BadParameter("that is not a read-set token of this app", hint="send it back exactly as an answer gave it")
