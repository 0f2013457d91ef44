"""Text forms that hold other values: arrays, ranges, multiranges, hstore.

The forms are those of "Array Input and Output Syntax" and "Range Types, Input/Output" in PostgreSQL's manual. All
readers take bytes and leave the values inside as bytes, so that those of a whole column are converted at once. What
cannot be read raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

Tree = list[Any]
"""Nested lists; the leaves are bytes or None."""

_BOUNDS = re.compile(rb"(?:\[[+-]?\d+:[+-]?\d+\])+=")
_TOKENS = {
    mark: re.compile(rb'([{}])|"((?:[^"\\]|\\.)*)"|([^{}"\\%b]+)|(%b)' % (mark, mark), re.DOTALL)
    for mark in (b",", b";")
}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_DEEPEST = 32
"""PostgreSQL has arrays of six dimensions at most."""

_BEGIN, _VALUE, _MARK = "begin", "value", "mark"
"""What came last in an array: an opening brace, a value or a closing brace, a delimiter."""

_BOUND = rb'((?:"(?:[^"\\]|\\.|"")*"|[^"\\,()\[\]]|\\.)*)'
_RANGE = re.compile(rb"([\[(])%b,%b([\])])" % (_BOUND, _BOUND), re.DOTALL)
_PIECE = re.compile(rb'"((?:[^"\\]|\\.|"")*)"|\\(.)|([^"\\]+)', re.DOTALL)
_DOUBLED = re.compile(rb'\\(.)|""', re.DOTALL)
_PAIR = re.compile(rb'"((?:[^"\\]|\\.)*)"=>(?:"((?:[^"\\]|\\.)*)"|NULL)(?:, |\Z)', re.DOTALL)


class Range(NamedTuple):
    """A range; a bound that is None is infinite."""

    lower: bytes | None
    upper: bytes | None
    lower_inc: bool
    upper_inc: bool
    empty: bool = False


def read_array(text: bytes, delimiter: bytes = b",") -> Tree:
    r"""The values of an array of any dimension, as nested lists; bounds other than 1 are dropped.

    >>> read_array(rb'{1,NULL,"a \"b\"",{}}')
    [b'1', None, b'a "b"', []]
    >>> read_array(b"[0:1][2:2]={{1},{2}}")
    [[b'1'], [b'2']]
    """
    if text.startswith(b"["):
        bounds = _BOUNDS.match(text)
        text = text[bounds.end() :] if bounds else b""
    if not text.startswith(b"{"):
        raise ValueError("an array begins with a brace")
    if b'"' not in text and b"\\" not in text and text.find(b"{", 1) < 0 and text.find(b"}") == len(text) - 1:
        cells = text[1:-1].split(delimiter) if len(text) > 2 else []
        if b"" in cells:
            raise ValueError("an array has an empty place")
        return [None if cell == b"NULL" else cell for cell in cells]
    return _nested(text, delimiter)


def _nested(text: bytes, delimiter: bytes) -> Tree:
    top: Tree = []
    open_: list[Tree] = [top]
    last = _BEGIN
    at = 0
    token = _TOKENS.get(delimiter, _TOKENS[b","]).match
    while at < len(text):
        found = token(text, at)
        if found is None:
            raise ValueError("an array holds what cannot be there")
        at = found.end()
        brace, quoted, plain, mark = found.groups()
        if brace == b"}" or mark:
            if last is _MARK or (mark and last is _BEGIN):
                raise ValueError("an array has an empty place")
            last = _MARK if mark else _VALUE
            if brace:
                open_.pop()
        elif last is _VALUE:
            raise ValueError("an array lacks a delimiter")
        elif brace:
            inner: Tree = []
            open_[-1].append(inner)
            open_.append(inner)
            last = _BEGIN
        else:
            open_[-1].append(_unquoted(quoted) if plain is None else None if plain == b"NULL" else plain)
            last = _VALUE
        if not 0 < len(open_) <= _DEEPEST or (len(open_) == 1 and at < len(text)):
            raise ValueError("an array has braces that do not match")
    if len(open_) != 1:
        raise ValueError("an array has no end")
    return top[0]


def _unquoted(text: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", text) if b"\\" in text else text


def leaves(tree: Tree) -> Iterator[bytes | None]:
    """The values of an array, in order."""
    for item in tree:
        if isinstance(item, list):
            yield from leaves(item)  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield item


def rebuilt(tree: Tree, values: Iterator[Any]) -> Tree:
    """A tree of the same form, with these values for its leaves."""
    return [rebuilt(item, values) if isinstance(item, list) else next(values) for item in tree]  # pyright: ignore[reportUnknownArgumentType]


def read_range(text: bytes) -> Range:
    """The bounds of a range.

    >>> read_range(b"[3,7)")
    Range(lower=b'3', upper=b'7', lower_inc=True, upper_inc=False, empty=False)
    """
    if text == b"empty":
        return Range(None, None, lower_inc=False, upper_inc=False, empty=True)
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError("no range")
    return _range(found)


def _range(found: re.Match[bytes]) -> Range:
    first, lower, upper, last = found.groups()
    return Range(_bound(lower), _bound(upper), first == b"[", last == b"]")


def _bound(text: bytes) -> bytes | None:
    if not text:
        return None
    if b'"' not in text and b"\\" not in text:
        return text
    return b"".join(
        escaped if escaped is not None else plain if plain is not None else _DOUBLED.sub(_one_of_two, quoted)
        for quoted, escaped, plain in (piece.groups() for piece in _PIECE.finditer(text))
    )


def _one_of_two(found: re.Match[bytes]) -> bytes:
    return found[1] if found[1] is not None else b'"'


def read_multirange(text: bytes) -> list[Range]:
    """The ranges of a multirange, in order.

    >>> [found.lower for found in read_multirange(b"{[1,3),[5,8)}")]
    [b'1', b'5']
    """
    if not (text.startswith(b"{") and text.endswith(b"}") and len(text) > 1):
        raise ValueError("no multirange")
    found: list[Range] = []
    at, end = 1, len(text) - 1
    while at < end:
        one = _RANGE.match(text, at, end)
        if one is None or (one.end() < end and text[one.end()] != ord(",")):
            raise ValueError("no multirange")
        found.append(_range(one))
        at = one.end() + 1
    return found


def read_hstore(text: bytes) -> dict[str, str | None]:
    r"""The pairs of an hstore.

    >>> read_hstore(rb'"a"=>"1", "b \"c\""=>NULL')
    {'a': '1', 'b "c"': None}
    """
    found: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise ValueError("no hstore")
        key, value = pair.groups()
        found[_unquoted(key).decode()] = None if value is None else _unquoted(value).decode()
        at = pair.end()
    return found
