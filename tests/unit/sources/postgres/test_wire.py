"""The envelope of the stream and its answers, byte by byte."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import SourceError
from headrace.sources.postgres.wire import BODY, POSTGRES_EPOCH, Keepalive, XLogData, read_wire, status_update


def test_the_epoch_is_the_year_2000() -> None:
    assert POSTGRES_EPOCH == 946_684_800_000_000


def test_a_piece_of_the_stream() -> None:
    data = b"w" + struct.pack(">QQq", 5, 9, -1) + b"body"
    found = read_wire(data)
    assert found == XLogData(5, 9, POSTGRES_EPOCH - 1, data)
    assert isinstance(found, XLogData)
    assert found.data[BODY:] == b"body"


@pytest.mark.parametrize(("byte", "reply"), [(b"\0", False), (b"\1", True)])
def test_a_sign_of_life(byte: bytes, reply: bool) -> None:
    assert read_wire(b"k" + struct.pack(">Qq", 9, 3) + byte) == Keepalive(9, POSTGRES_EPOCH + 3, reply)


@given(
    st.binary(max_size=30)
    | st.binary(max_size=30).map(lambda rest: b"w" + rest)
    | st.binary(max_size=30).map(lambda rest: b"k" + rest)
)
def test_other_bytes_are_a_clear_error(data: bytes) -> None:
    with contextlib.suppress(SourceError):
        assert isinstance(read_wire(data), XLogData | Keepalive)


def test_a_message_that_is_cut_off() -> None:
    for end in range(BODY):
        with pytest.raises(SourceError):
            read_wire((b"w" + bytes(24))[:end])


@pytest.mark.parametrize("reply", [False, True])
def test_the_status_update(reply: bool) -> None:
    sent = status_update(3, 2, 1, now=POSTGRES_EPOCH + 7, reply=reply)
    assert sent == b"r" + struct.pack(">QQQqB", 3, 2, 1, 7, reply)
    assert len(sent) == 34
