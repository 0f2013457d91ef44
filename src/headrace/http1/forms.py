"""Heads of answers that came before, but for the values of some fields: recognised by a pattern, and not parsed.

A server answers with the same lines in the same order, and some of them tell something new each time: a length, the
time, the number of the request, what is left of a limit. Which ones is learnt from those that came: a line that
differed once may tell anything from then on, as long as that is plain. All other bytes have to be the same.

All else goes to the parser: what comes in pieces or with more after it, what is chunked, and a head that comes for the
first or the second time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from headrace.http1.headers import HOP_BY_HOP, Field, Fields
from headrace.http1.limits import SMALL

_LONGEST = 4096
"""Bytes of a head that is learnt."""
_MOST = 16
"""Forms that are kept; beyond it all are forgotten, and learnt again."""
_LENGTH = b"content-length"
_PLAIN = rb"([!-~]++(?: [!-~]++)*+)"
"""A value that is surely read just so: visible ASCII, with single spaces in between."""


class Form(Struct, frozen=True, eq=False):
    """What heads say that differ only in some values.

    Attributes
    ----------
    match
        Finds such a head at the begin of some bytes, and these values.
    status
        Of the answer.
    fields
        Of one such head.
    opens
        The places among them whose values differ.
    length
        The place of the body's length among these values.
    facts
        For whoever reads such answers: what follows from the rest of the head.
    """

    match: Callable[[bytes], re.Match[bytes] | None]
    status: int
    fields: tuple[Field, ...]
    opens: tuple[int, ...]
    length: int
    facts: dict[Any, Any]

    def filled(self, values: Sequence[bytes]) -> Fields:
        """The fields of a head with these values."""
        fields = list(self.fields)
        for place, value in zip(self.opens, values, strict=True):
            fields[place] = (fields[place][0], value)
        return fields


class _Seen(Struct):
    """The lines of a head that came, the places of the fields that have differed since, and what it led to."""

    lines: list[bytes]
    opens: set[int]
    form: Form | None = None


class Forms:
    """The forms of one server's answers.

    Parameters
    ----------
    max_head
        Longest head (bytes) that is recognised.

    Examples
    --------
    >>> forms, head = Forms(), b"HTTP/1.1 200 OK\\r\\nX-Number: %d\\r\\nContent-Length: 2"
    >>> for number in (1, 2):
    ...     forms.learn(head % number, 200, [(b"x-number", b"%d" % number), (b"content-length", b"2")])
    >>> form, values, body = forms.find(head % 3 + b"\\r\\n\\r\\n{}")
    >>> form.status, values, body
    (200, (b'3', b'2'), b'{}')
    """

    def __init__(self, max_head: int = _LONGEST) -> None:
        self._max_head = max_head
        self._seen: dict[tuple[bytes, ...], _Seen] = {}
        self._forms: list[Form] = []

    def find(self, data: bytes) -> tuple[Form, tuple[bytes, ...], bytes] | None:
        """The form of an answer, its values, its body; None unless `data` is all of an answer whose form is known."""
        for form in self._forms:
            found = form.match(data)
            if found is not None:
                end = found.end()
                values, body = found.groups(), data[end:]
                if values[form.length] == b"%d" % len(body) and len(data) <= SMALL and end <= self._max_head:
                    return form, values, body
                break
        return None

    def learn(self, head: bytes, status: int, fields: Fields) -> None:
        """The parser has read this head, which tells a length, and nothing was wrong with it."""
        first, *lines = head.split(b"\r\n")
        if len(head) > _LONGEST or len(lines) != len(fields):
            return
        # Heads of one kind have the same names in the same order, and say the same of how the connection goes on.
        kind = (first, *(_fixed(line, name) for line, (name, _) in zip(lines, fields, strict=True)))
        seen = self._seen.get(kind)
        if seen is None:
            if len(self._seen) >= _MOST:
                self._seen, self._forms = {}, []
            self._seen[kind] = _Seen(lines, {[name for name, _ in fields].index(_LENGTH)})
            return
        opens = seen.opens | {place for place, line in enumerate(lines) if line != seen.lines[place]}
        if seen.form is not None and opens == seen.opens:
            return  # it tells something that is not plain
        seen.opens = opens
        seen.form = _form(first, lines, sorted(opens), status, fields)
        self._forms = [one.form for one in self._seen.values() if one.form is not None]


def _fixed(line: bytes, name: bytes) -> bytes:
    """What of a line is the same in all heads of its kind."""
    return line if name in HOP_BY_HOP and name != _LENGTH else line[: len(name)]


def _form(first: bytes, lines: Sequence[bytes], opens: Sequence[int], status: int, fields: Fields) -> Form | None:
    """The form of a head that leaves the values at these places open; None where one of them is written strangely."""
    pattern = [re.escape(line) for line in (first, *lines)]
    for place in opens:
        name, value = fields[place]
        line = lines[place]
        if line[len(name) :] != b": " + value:
            return None
        pattern[place + 1] = re.escape(line[: len(name)] + b": ") + _PLAIN
    match = re.compile(b"\r\n".join([*pattern, b"\r\n"])).match
    length = [fields[place][0] for place in opens].index(_LENGTH)
    return Form(match, status, tuple(fields), tuple(opens), length, {})
