"""Read sets as text that a client can hold and send back.

A token holds the rows that were read, as they were stored, so that it can be checked in any process and after a
restart. It comes from outside when it comes back: what it names is checked against the catalog before it is used.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import msgspec

from headrace.context.readset import Read, ReadSet
from headrace.core.errors import BadParameter
from headrace.core.schema import Row
from headrace.server.catalog import Catalog

_MOST = 4 * 1024 * 1024
"""Largest decoded token, bytes: a short text must not unfold into a lot of memory."""
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


def decode_readset(token: str, catalog: Catalog) -> ReadSet:
    """The read set of a token. Raises `BadParameter` when it is not one, or not one of this app."""
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.urlsafe_b64decode(token), _MOST)
        if unzip.unconsumed_tail:
            raise BadParameter("the read-set token is too large", hint="split the read set")
        reads = msgspec.msgpack.decode(data, type=list[_Packed])
    except (binascii.Error, zlib.error, msgspec.MsgspecError, ValueError) as error:
        raise _not_one() from error
    return ReadSet(tuple(_checked(read, catalog) for read in reads))


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
    rows: tuple[Row, ...] = read.content
    return Read(read.name, read.bindings, read.inputs, read.txn, rows, read.width)


def _scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bytes)


def _not_one() -> BadParameter:
    return BadParameter("that is not a read-set token of this app", hint="send it back exactly as an answer gave it")
