"""The text format of COPY: a plain writer of it, cut anywhere, is read back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import SourceError
from headrace.sources.postgres.copy import CopyText

ESCAPES = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
CELLS = st.none() | st.text(
    st.sampled_from("aN0x\\\b\f\n\r\t\v.\u00e9\U0001f600") | st.characters(codec="utf-8", exclude_characters="\0"),
    max_size=8,
)


def written(cell: str | None) -> bytes:
    return b"\\N" if cell is None else "".join(ESCAPES.get(letter, letter) for letter in cell).encode()


@st.composite
def tables(draw: st.DrawFn) -> list[list[str | None]]:
    width = draw(st.integers(1, 4))
    return draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8))


@settings(deadline=None)
@given(tables(), st.lists(st.integers(0, 200), max_size=6))
def test_what_was_written_is_read_with_borders_anywhere(table: list[list[str | None]], cuts: list[int]) -> None:
    data = b"".join(b"\t".join(map(written, row)) + b"\n" for row in table)
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    copy = CopyText(len(table[0]))
    found: list[list[str | None]] = []
    for start, end in itertools.pairwise(borders):
        copy.feed(data[start:end])
        columns = copy.take()
        found += [
            [None if cell is None else bytes(cell).decode() for cell in row] for row in zip(*columns, strict=True)
        ]  # type: ignore[arg-type]  # pyright: ignore
    copy.close()
    assert found == table


def test_escapes_that_the_server_does_not_write_are_read_too() -> None:
    copy = CopyText(1)
    copy.feed(rb"\101\x42\x4\q\8" + b"\n" + rb"\000" + b"\n")
    assert copy.take() == [[b"AB\x04q8", rb"\000"]]  # a zero byte is in no text, so it stays as it was written


def test_an_escaped_backslash_before_an_n_is_not_null() -> None:
    copy = CopyText(1)
    copy.feed(b"\\N\n\\\\N\nN\n")
    assert copy.take() == [[None, b"\\N", b"N"]]


def test_memory_views_are_taken_too() -> None:
    copy = CopyText(2)
    copy.feed(memoryview(b"1\t"))
    assert copy.take() == [[], []]
    copy.feed(memoryview(b"2\n"))
    assert copy.take() == [[b"1"], [b"2"]]


@pytest.mark.parametrize("data", [b"1\n", b"1\t2\t3\n", b"1\t2\n3\n4\t5\t6\n", b"1\t2\n3\t4\t5\n6\n", b"\n"])
def test_another_number_of_columns_is_a_clear_error(data: bytes) -> None:
    copy = CopyText(2)
    copy.feed(data)
    with pytest.raises(SourceError, match="columns and not 2"):
        copy.take()


def test_a_zero_byte_is_a_clear_error() -> None:
    copy = CopyText(1)
    copy.feed(b"a\0b\n")
    with pytest.raises(SourceError, match="zero byte"):
        copy.take()


def test_half_a_row_at_the_end_is_a_clear_error() -> None:
    copy = CopyText(1)
    copy.feed(b"1\n2")
    assert copy.take() == [[b"1"]]
    with pytest.raises(SourceError, match="in the middle of a row: b'2'"):
        copy.close()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.integers(1, 3))
def test_random_bytes_give_columns_of_one_length_or_a_clear_error(data: bytes, width: int) -> None:
    copy = CopyText(width)
    copy.feed(data)
    try:
        columns = copy.take()
        copy.close()
    except SourceError:
        return
    assert {len(column) for column in columns} == {data.count(b"\n")}
