"""Frames between a pool and its workers: eight bytes of length (big-endian), then MessagePack.

    pool -> worker   Charge, once; then Work, one at a time
    worker -> pool   Loaded or NotLoaded, once; then Done for each Work

Inputs and outputs inside are JSON, so that a body that came over HTTP passes through the pool unread.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, TypeVar

import msgspec

HEAD = struct.Struct("!Q")
LARGEST_VALUE = 64 * 1024 * 1024
"""Bytes of one input or output; more is a file, not a value."""

T = TypeVar("T")


class Charge(msgspec.Struct, array_like=True):
    """What a worker is told first.

    Attributes
    ----------
    module, file, function
        Where the model is loaded; `file` is empty when the module is only known by its name.
    path
        `sys.path` of the pool's process.
    batch
        Whether the model takes lists.
    memory
        Most bytes of memory; 0: no limit.
    """

    module: str
    file: str
    function: str
    path: list[str]
    batch: bool
    memory: int


class Loaded(msgspec.Struct, array_like=True, tag="loaded"):
    """The model is there."""


class NotLoaded(msgspec.Struct, array_like=True, tag="not_loaded"):
    """It is not: what was raised, `file:line` of the user's code, the traceback of that, and what to do."""

    message: str
    where: str = ""
    trace: str = ""
    hint: str = ""


class Work(msgspec.Struct, array_like=True):
    """A batch: inputs as JSON, and the seconds after which one that fails is not halved any more."""

    inputs: list[bytes]
    patience: float


class Done(msgspec.Struct, array_like=True, tag="done"):
    """The outcome of each input, in order: its fate (see `isolation.Fate`) and data; the first traceback, if any."""

    outcomes: list[tuple[int, bytes]]
    trace: str


Answer = Loaded | NotLoaded | Done


def pack(message: Any) -> bytes:
    """The bytes of one frame."""
    data = msgspec.msgpack.encode(message)
    return HEAD.pack(len(data)) + data


def receive(channel: socket.socket, kind: type[T]) -> T | None:
    """The next message on a blocking socket; None when the other side is gone."""
    head = _exactly(channel, HEAD.size)
    data = None if head is None else _exactly(channel, HEAD.unpack(head)[0])
    return None if data is None else msgspec.msgpack.decode(data, type=kind)


def _exactly(channel: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        count = channel.recv_into(view[got:])
        if count == 0:
            return None
        got += count
    return data
