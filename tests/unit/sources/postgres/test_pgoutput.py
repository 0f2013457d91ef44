"""The decoder: known bytes of every message, and what happens to bytes that are no message."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import SourceError
from headrace.sources.postgres import messages as m
from headrace.sources.postgres.pgoutput import Decoder
from headrace.sources.postgres.wire import POSTGRES_EPOCH

LSN, END = 0x16_B374D848, 0x16_B374D900
AT = 823_000_000_000_000
"""A time as the server counts it: microseconds since 2000."""
THEN = AT + POSTGRES_EPOCH


def text(value: bytes) -> bytes:
    return b"t" + struct.pack(">I", len(value)) + value


def row(*cells: bytes) -> bytes:
    return struct.pack(">H", len(cells)) + b"".join(cells)


NULL, TOAST = b"n", b"u"
COLUMNS = b"\1id\0" + struct.pack(">Ii", 20, -1) + b"\0name\0" + struct.pack(">Ii", 1043, 36)
RELATION = struct.pack(">I", 16385) + b"public\0items\0d\0\2" + COLUMNS
OID = struct.pack(">I", 16385)
XID = struct.pack(">I", 757)

# What is the same inside and outside of streamed blocks, and what carries the transaction's number inside.
PLAIN: list[tuple[bytes, Any]] = [
    (b"B" + struct.pack(">QqI", LSN, AT, 757), m.Begin(LSN, THEN, 757)),
    (b"C\0" + struct.pack(">QQq", LSN, END, AT), m.Commit(LSN, END, THEN)),
    (b"O" + struct.pack(">Q", LSN) + b"other\0", m.Origin(LSN, "other")),
    (b"c" + XID + b"\0" + struct.pack(">QQq", LSN, END, AT), m.StreamCommit(757, LSN, END, THEN)),
    (b"A" + XID + struct.pack(">I", 758), m.StreamAbort(757, 758)),
    (b"A" + XID + struct.pack(">IQq", 758, LSN, AT), m.StreamAbort(757, 758, LSN, THEN)),
    (b"b" + struct.pack(">QQqI", LSN, END, AT, 757) + b"g\0", m.BeginPrepare(LSN, END, THEN, 757, "g")),
    (b"P\0" + struct.pack(">QQqI", LSN, END, AT, 757) + b"g\0", m.Prepare(LSN, END, THEN, 757, "g")),
    (b"K\0" + struct.pack(">QQqI", LSN, END, AT, 757) + b"g\0", m.CommitPrepared(LSN, END, THEN, 757, "g")),
    (b"p\0" + struct.pack(">QQqI", LSN, END, AT, 757) + b"g\0", m.StreamPrepare(LSN, END, THEN, 757, "g")),
    (
        b"r\0" + struct.pack(">QQqqI", LSN, END, AT, AT + 1, 757) + b"g\0",
        m.RollbackPrepared(LSN, END, THEN, THEN + 1, 757, "g"),
    ),
]
STAMPED: list[tuple[bytes, bytes, Any]] = [
    (b"I", OID + b"N" + row(text(b"7"), NULL), m.Insert(16385, (b"7", None))),
    (b"I", OID + b"N" + row(text(b""), TOAST), m.Insert(16385, (b"", m.UNCHANGED), has_unchanged=True)),
    (b"U", OID + b"N" + row(text(b"7"), text(b"\xc3\xa9")), m.Update(16385, (b"7", b"\xc3\xa9"))),
    (b"U", OID + b"N" + row(text(b"7"), TOAST), m.Update(16385, (b"7", m.UNCHANGED), has_unchanged=True)),
    (
        b"U",
        OID + b"K" + row(text(b"6"), NULL) + b"N" + row(text(b"7"), NULL),
        m.Update(16385, (b"7", None), (b"6", None), "K"),
    ),
    (
        b"U",
        OID + b"O" + row(text(b"7"), text(b"big")) + b"N" + row(text(b"7"), TOAST),
        m.Update(16385, (b"7", m.UNCHANGED), (b"7", b"big"), "O", has_unchanged=True),
    ),
    (b"D", OID + b"K" + row(text(b"7"), NULL), m.Delete(16385, (b"7", None), "K")),
    (b"D", OID + b"O" + row(text(b"7"), text(b"a")), m.Delete(16385, (b"7", b"a"), "O")),
    (b"T", b"\0\0\0\2\3" + OID + OID, m.Truncate((16385, 16385), cascade=True, restart_identity=True)),
    (b"T", b"\0\0\0\1\1" + OID, m.Truncate((16385,), cascade=True, restart_identity=False)),
    (
        b"R",
        RELATION,
        m.Relation(
            16385,
            "public",
            "items",
            "d",
            (m.RelationColumn("id", True, 20, -1), m.RelationColumn("name", False, 1043, 36)),
        ),
    ),
    (b"R", OID + b"\0pg_class\0n\0\0", m.Relation(16385, "pg_catalog", "pg_class", "n", ())),
    (b"Y", OID + b"public\0mood\0", m.Type(16385, "public", "mood")),
    (
        b"M",
        b"\1" + struct.pack(">Q", LSN) + b"beat\0\0\0\0\3a\0b",
        m.LogicalMessage(True, LSN, "beat", b"a\0b"),
    ),
]


@pytest.mark.parametrize(("data", "expected"), PLAIN, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("in_block", [False, True])
def test_messages_that_are_the_same_everywhere(data: bytes, expected: object, in_block: bool) -> None:
    assert Decoder(in_block=in_block).decode(data) == expected


@pytest.mark.parametrize(("kind", "body", "expected"), STAMPED, ids=lambda value: type(value).__name__)
def test_messages_that_carry_their_transaction_in_a_block(kind: bytes, body: bytes, expected: Any) -> None:
    decoded = Decoder().decode(kind + body)
    assert decoded == expected
    assert type(decoded) is type(expected)
    assert Decoder(in_block=True).decode(kind + XID + body) == expected._replace(xid=757)
    assert Decoder().decode(b"12345" + kind + body, 5) == expected


def test_a_block_lasts_from_its_start_to_its_stop() -> None:
    decoder = Decoder()
    stream = [
        b"S" + XID + b"\1",
        b"I" + XID + OID + b"N" + row(text(b"1")),
        b"E",
        b"B" + struct.pack(">QqI", LSN, AT, 800),
        b"I" + OID + b"N" + row(text(b"2")),
        b"C\0" + struct.pack(">QQq", LSN, END, AT),
        b"S" + XID + b"\0",
        b"I" + struct.pack(">I", 758) + OID + b"N" + row(text(b"3")),
        b"E",
    ]
    found = [decoder.decode(data) for data in stream]
    assert found == [
        m.StreamStart(757, is_first=True),
        m.Insert(16385, (b"1",), xid=757),
        m.StreamStop(),
        m.Begin(LSN, THEN, 800),
        m.Insert(16385, (b"2",)),
        m.Commit(LSN, END, THEN),
        m.StreamStart(757, is_first=False),
        m.Insert(16385, (b"3",), xid=758),
        m.StreamStop(),
    ]
    assert not decoder.in_block


def test_null_unchanged_text_and_binary_can_be_told_apart() -> None:
    cells = row(NULL, TOAST, text(b""), b"b\0\0\0\2\0\xff")
    decoded = Decoder().decode(b"I" + OID + b"N" + cells)
    assert isinstance(decoded, m.Insert)
    null, toast, empty, binary = decoded.new
    assert null is None
    assert toast is m.UNCHANGED
    assert (empty, type(empty)) == (b"", bytes)
    assert (binary, type(binary)) == (b"\0\xff", m.Binary)
    assert decoded.has_unchanged


EVERYTHING = [data for data, _ in PLAIN] + [kind + body for kind, body, _ in STAMPED]


@pytest.mark.parametrize("data", EVERYTHING, ids=lambda data: data[:1].decode())
def test_every_beginning_of_a_message_is_refused(data: bytes) -> None:
    for end in range(len(data)):
        if data[:1] == b"A" and end == 9:
            continue  # an abort without its place and time is whole
        with pytest.raises(SourceError):
            Decoder().decode(data[:end])
    with pytest.raises(SourceError, match="longer than it says"):
        Decoder().decode(data + b"\0" if data[:1] != b"A" else data[:9] + b"\0" * 17)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60), st.booleans())
def test_random_bytes_give_a_message_or_a_clear_error(data: bytes, in_block: bool) -> None:
    with contextlib.suppress(SourceError):
        Decoder(in_block=in_block).decode(data)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(EVERYTHING), st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4), st.booleans()
)
def test_so_do_messages_with_a_few_wrong_bytes(data: bytes, wrong: list[tuple[int, int]], in_block: bool) -> None:
    broken = bytearray(data)
    for place, byte in wrong:
        broken[place % len(broken)] = byte
    with contextlib.suppress(SourceError):
        Decoder(in_block=in_block).decode(bytes(broken))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | st.just(m.UNCHANGED) | st.binary(max_size=300), max_size=20))
def test_rows_of_any_cells_come_back(cells: list[Any]) -> None:
    wire = [NULL if cell is None else TOAST if cell is m.UNCHANGED else text(cell) for cell in cells]
    decoded = Decoder().decode(b"U" + OID + b"N" + row(*wire))
    assert decoded == m.Update(16385, tuple(cells), has_unchanged=m.UNCHANGED in cells)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"I" + OID + b"K" + row(), "an insert brings 'K'"),
        (b"U" + OID + b"X" + row(), "an update brings 'X'"),
        (b"U" + OID + b"K" + row() + b"O" + row(), "an update brings 'O'"),
        (b"D" + OID + b"N" + row(), "a delete brings 'N'"),
        (b"I" + OID + b"N" + row(b"x"), "the cell kind 'x' is not known"),
        (b"Z", "the message kind 'Z' is not known"),
        (b"", "cut off: 0 bytes"),
        (b"R" + OID + b"\xff\0items\0d\0\0", "not UTF-8"),
    ],
)
def test_errors_name_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        Decoder().decode(data)
