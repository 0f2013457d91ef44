"""Text forms that hold other values: writers of them, after PostgreSQL's rules, are read back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.sources.postgres.arrays import (
    Range,
    leaves,
    read_array,
    read_hstore,
    read_multirange,
    read_range,
    rebuilt,
)

TEXTS = st.text(
    st.sampled_from('aNUL {}"\\,;=>()[]\n\u00e9') | st.characters(codec="utf-8", exclude_characters="\0"), max_size=6
)


def quoted(value: str | None, delimiter: str) -> str:
    """As `array_out` writes an element."""
    if value is None:
        return "NULL"
    if value and value.upper() != "NULL" and not re.search(rf'[{{}}"\\{delimiter}\s]', value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def array_text(tree: Any, delimiter: str = ",") -> str:
    if isinstance(tree, list):
        return "{" + delimiter.join(array_text(item, delimiter) for item in tree) + "}"
    return quoted(tree, delimiter)


LEAVES = st.none() | TEXTS
ARRAYS = st.lists(LEAVES, max_size=5) | st.integers(1, 3).flatmap(
    lambda n: st.lists(st.lists(LEAVES, min_size=n, max_size=n), min_size=1, max_size=3)
)


def decoded(tree: Any) -> Any:
    return [decoded(item) for item in tree] if isinstance(tree, list) else tree if tree is None else tree.decode()


@settings(max_examples=300, deadline=None)
@given(ARRAYS, st.sampled_from(",;"), st.sampled_from(["", "[0:1]=", "[-3:-1][2:2]="]))
def test_arrays_come_back_from_their_text(tree: list[Any], delimiter: str, bounds: str) -> None:
    found = read_array((bounds + array_text(tree, delimiter)).encode(), delimiter.encode())
    assert decoded(found) == tree
    assert rebuilt(found, iter(list(leaves(found)))) == found


@pytest.mark.parametrize(
    "text",
    [b"", b"1", b"{", b"}", b"{1", b"{1}}", b"{{1}", b"{1,}", b"{,1}", b"{1,,2}", b'{"a}', b"{1}{2}", b"{1}x",
     b'{"a"b}', b"[0:1]", b"[x]={1}", b"{" * 40 + b"}" * 40, b'{1,"2",}', b'{,"2"}', b'{"1""2"}', b'"a"', b"{{1}{2}}"],
)  # fmt: skip
def test_what_is_no_array(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_array(text)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('{}",\\aN[]:=1')).map(str.encode) | st.binary(max_size=20))
def test_random_text_is_an_array_or_a_value_error(text: bytes) -> None:
    for read in (read_array, read_range, read_multirange, read_hstore):
        try:
            read(text)
        except ValueError:
            continue


def bound_text(value: str | None) -> str:
    """As `range_bound_escape` writes a bound."""
    if value is None:
        return ""
    if value and not re.search(r'["\\()\[\],\s]', value):
        return value
    return '"' + re.sub(r'(["\\])', r"\1\1", value) + '"'


BOUNDS = st.none() | TEXTS.filter(bool)
RANGES = st.builds(Range, BOUNDS, BOUNDS, st.booleans(), st.booleans(), st.just(False))


def range_text(found: Range) -> str:
    lower, upper, lower_inc, upper_inc, _ = found
    return f"{'[' if lower_inc else '('}{bound_text(lower)},{bound_text(upper)}{']' if upper_inc else ')'}"  # type: ignore[arg-type]  # pyright: ignore


def encoded(found: Range) -> Range:
    lower, upper = (side if side is None else str(side).encode() for side in found[:2])
    return found._replace(lower=lower, upper=upper)


@settings(max_examples=300, deadline=None)
@given(st.lists(RANGES, max_size=3))
def test_ranges_come_back_from_their_text(ranges: list[Range]) -> None:
    assert read_multirange(("{" + ",".join(map(range_text, ranges)) + "}").encode()) == list(map(encoded, ranges))
    for found in ranges:
        assert read_range(range_text(found).encode()) == encoded(found)


def test_the_empty_range() -> None:
    assert read_range(b"empty") == Range(None, None, False, False, empty=True)
    assert read_multirange(b"{}") == []


@pytest.mark.parametrize("text", [b"", b"[1,2", b"[1;2]", b"[1,2,3]", b"{[1,2)}"])
def test_what_is_no_range(text: bytes) -> None:
    with pytest.raises(ValueError, match="no range"):
        read_range(text)


@pytest.mark.parametrize("text", [b"", b"{", b"[1,2)", b"{[1,2)[3,4)}", b"{1}"])
def test_what_is_no_multirange(text: bytes) -> None:
    with pytest.raises(ValueError, match="no multirange"):
        read_multirange(text)


@settings(deadline=None)
@given(st.dictionaries(TEXTS, st.none() | TEXTS, max_size=4))
def test_hstores_come_back_from_their_text(pairs: dict[str, str | None]) -> None:
    def quote(value: str | None) -> str:
        return "NULL" if value is None else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'

    text = ", ".join(f"{quote(key)}=>{quote(value)}" for key, value in pairs.items())
    assert read_hstore(text.encode()) == pairs
