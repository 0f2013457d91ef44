"""Header fields as they are written: nothing in them can end a line or a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import Misuse
from headrace.http1 import headers


@pytest.mark.parametrize("value", [b"a\r\nx: b", b"a\nb", b"a\rb", b"a\0b", b"\r\n"])
def test_a_value_cannot_end_its_line(value: bytes) -> None:
    with pytest.raises(Misuse):
        headers.write(b"HTTP/1.1 200 OK\r\n", [(b"x", value)], b"")


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\n", b"a\0", b"\xff", b" a"])
def test_a_name_is_a_token(name: bytes) -> None:
    with pytest.raises(Misuse, match="no header name"):
        headers.write(b"HTTP/1.1 200 OK\r\n", [(name, b"a")], b"")


@pytest.mark.parametrize("name", [*headers.FRAMING, b"Content-Length", b"TRANSFER-ENCODING"])
def test_framing_is_not_for_handlers(name: bytes) -> None:
    with pytest.raises(Misuse, match="written by the connection"):
        headers.write(b"HTTP/1.1 200 OK\r\n", [(name, b"1")], b"")


@given(st.lists(st.tuples(st.from_regex(rb"x-[a-z]{1,9}", fullmatch=True), st.binary(max_size=20)), max_size=5))
def test_written_fields_are_one_line_each_or_refused(fields: list[tuple[bytes, bytes]]) -> None:
    bad = any(set(value) & set(b"\r\n\0") for _, value in fields)
    try:
        written = headers.write(b"HTTP/1.1 200 OK\r\n", fields, b"")
    except Misuse:
        assert bad
    else:
        assert not bad
        assert written.split(b"\r\n")[1:-2] == [b"%b: %b" % field for field in fields]


def test_fields_of_one_connection_are_not_passed_on() -> None:
    fields = [(name, b"1") for name in sorted(headers.HOP_BY_HOP - {b"connection"})]
    fields += [(b"connection", b"x-a"), (b"connection", b"X-B, close"), (b"x-a", b"1"), (b"x-b", b"1"), (b"x-c", b"1")]
    assert headers.end_to_end(fields) == [(b"x-c", b"1")]
    twice = [(b"connection", b"keep-alive"), (b"connection", b"x-a"), (b"x-a", b"1")]
    assert headers.end_to_end(twice) == []


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, 1000])
def test_only_final_statuses_are_answers(status: int) -> None:
    with pytest.raises(Misuse, match="no final status"):
        _ = headers.STATUS_LINES[status]


def test_a_status_without_a_known_phrase_has_none() -> None:
    assert headers.STATUS_LINES[299] == b"HTTP/1.1 299 \r\n"
