"""Read sets as text that a client can hold and send back."""

from __future__ import annotations

import base64
import binascii
import zlib

import msgspec

from headrace.context.readset import ReadSet
from headrace.core.errors import BadParameter

_MOST = 1024 * 1024
"""Largest decoded token, bytes: a short text must not unfold into a lot of memory."""


def encode_readset(readset: ReadSet) -> str:
    """A token that tells which versions were read; opaque to clients."""
    return base64.urlsafe_b64encode(zlib.compress(msgspec.msgpack.encode(readset), 1)).decode()


def decode_readset(token: str) -> ReadSet:
    """The read set of a token. Raises `BadParameter` when it is not one."""
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.urlsafe_b64decode(token), _MOST)
        if unzip.unconsumed_tail:
            raise BadParameter("the read-set token is too large", hint="split the read set")
        return msgspec.msgpack.decode(data, type=ReadSet)
    except (binascii.Error, zlib.error, msgspec.MsgspecError, ValueError) as error:
        raise BadParameter("that is not a read-set token", hint="send it back exactly as an answer gave it") from error
