"""CSV: what the standard library reads of the whole file is what comes of the growing one."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.changes import BadBytes, Rows
from headrace.sources.bookmark import Bookmark
from headrace.sources.csv import Csv


def read_all(path: Path, reader: Csv, bookmark: Bookmark, *, final: bool) -> tuple[list[object], Bookmark]:
    """Everything that there is, as records and bad pieces in order."""
    fd = os.open(path, os.O_RDONLY)
    found: list[object] = []
    try:
        while not bookmark.done and (piece := reader.read(fd, bookmark, final=final)) is not None:
            bookmark = piece.bookmark
            for payload in piece.payloads:
                found += payload.records if isinstance(payload, Rows) else [payload]
    finally:
        os.close(fd)
    return found, bookmark


def read(data: bytes, *, final: bool = True, max_line: int = 1 << 20, encoding: str = "utf-8") -> list[object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_bytes(data)
        reader = Csv(max_line=max_line, encoding=encoding, delimiter=",")
        return read_all(path, reader, Bookmark(str(path), 1), final=final)[0]


def test_rows_are_mappings_of_text() -> None:
    assert read(b'id,name\n1,"a, b"\n2,\n') == [{"id": "1", "name": "a, b"}, {"id": "2", "name": ""}]


def test_a_quoted_line_break_belongs_to_its_value() -> None:
    assert read(b'id,name\r\n1,"a\r\nb"\r\n2,c\r\n') == [{"id": "1", "name": "a\r\nb"}, {"id": "2", "name": "c"}]


def test_another_number_of_columns_goes_to_quarantine_as_it_stands() -> None:
    found = read(b"id,name\n1,a\n2\n3,c,x\n4,d\n")
    assert found[0] == {"id": "1", "name": "a"}
    assert found[1:3] == [
        BadBytes(b"2", "the row has 1 columns, the header has 2"),
        BadBytes(b"3,c,x", "the row has 3 columns, the header has 2"),
    ]
    assert found[3] == {"id": "4", "name": "d"}


def test_bad_quotes_and_bad_bytes_cost_their_own_line_only() -> None:
    found = read(b'id,name\n1,"a"x\n2,\xff\n3,c\n')
    assert [bad.data for bad in found if isinstance(bad, BadBytes)] == [b'1,"a"x', b"2,\xff"]
    assert found[-1] == {"id": "3", "name": "c"}


def test_a_quote_that_is_never_closed_costs_its_own_line_only() -> None:
    found = read(b'id,name\n1,"a\n2,b\n3,c\n')
    assert [bad.data for bad in found if isinstance(bad, BadBytes)] == [b'1,"a']
    assert found[1:] == [{"id": "2", "name": "b"}, {"id": "3", "name": "c"}]


def test_while_following_an_open_quote_is_waited_for_but_not_for_ever() -> None:
    assert read(b'id,name\n0,z\n1,"a\n2,b\n', final=False) == [{"id": "0", "name": "z"}]
    found = read(b'id,name\n1,"a\n' + b"2,b\n" * 100, final=False, max_line=200)
    assert [bad.data for bad in found if isinstance(bad, BadBytes)] == [b'1,"a']
    assert found.count({"id": "2", "name": "b"}) == 100


def test_a_record_longer_than_a_block_is_read_whole() -> None:
    long = "x\n" * 60_000  # a field of 120,000 characters over 60,000 lines
    data = b"id,name\n" + b"".join(f'{i},"{long}"\n'.encode() for i in range(12))
    found = read(data, max_line=4 << 20)
    assert found == [{"id": str(i), "name": long} for i in range(12)]


def test_a_line_that_is_too_long_is_cut() -> None:
    found = read(b"id,name\n1," + b"x" * 500 + b"\n2,b\n", max_line=100)
    assert isinstance(found[0], BadBytes)
    assert "longer than 100 bytes" in found[0].message
    assert found[1:] == [{"id": "2", "name": "b"}]


def test_a_repeated_header_is_passed_over_and_a_mark_before_it_too() -> None:
    assert read(b"\xef\xbb\xbfid\n1\nid\n2\n") == [{"id": "1"}, {"id": "2"}]


@pytest.mark.parametrize("data", [b"id,id\n1,2\n", b'"id\n1\n2\n'])
def test_a_file_without_a_usable_header_is_left_out(data: bytes) -> None:
    (found,) = read(data)
    assert isinstance(found, BadBytes)
    assert found.message.endswith("the file is left out")


def test_latin_1() -> None:
    assert read("id,name\n1,é\n".encode("latin-1"), encoding="latin-1") == [{"id": "1", "name": "é"}]


TEXT = st.text(st.sampled_from('ab,"\n é;'), max_size=6)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, TEXT), max_size=12), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_a_growing_file_reads_as_the_whole_one(rows: list[tuple[str, str]], cuts: list[int]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("p", "q"), *rows])
    data = text.getvalue().encode()
    reader = Csv(max_line=1 << 20, encoding="utf-8", delimiter=",")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        bookmark = Bookmark(str(path), 1)
        found: list[object] = []
        for cut in [*sorted(min(c, len(data)) for c in cuts), len(data)]:
            path.write_bytes(data[:cut])
            more, bookmark = read_all(path, reader, bookmark, final=False)
            found += more
    assert found == [{"p": p, "q": q} for p, q in rows if (p, q) != ("p", "q")]
