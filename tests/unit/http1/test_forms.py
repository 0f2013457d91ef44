"""Forms of answers: what is recognised is what the parser would have read."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from headrace.core.errors import ExchangeError
from headrace.http1.answer import Answer
from headrace.http1.forms import Forms
from headrace.http1.link import Link

sys.path.insert(0, str(Path(__file__).parent))
from http1_reading import CLIENT, Wire
from test_fuzz import answer
from test_heads import PLAIN

FUZZ = int(os.environ.get("HEADRACE_FUZZ", "1"))
INF = float("inf")
VALUE = st.sampled_from(
    [
        b"1",
        b"22",
        b"a b",
        b"a  b",
        b" a",
        b"a ",
        b"a\tb",
        b"",
        b"\xe4",
        b"Thu, 26 Nov 2026 13:01:38 GMT",
        b"5",
        b"(?:",
        b"%d",
    ]
)


def numbered(number: bytes, body: bytes = b"a", more: bytes = b"") -> bytes:
    """An answer with a number of its own."""
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 200 OK\r\nX-Number: " + number + b"\r\n" + more + length + b"Server: a\r\n\r\n" + body


def exchanges(pieces: list[bytes], forms: Forms | None) -> tuple[list[tuple[object, ...]], int]:
    """What one connection of a client makes of each piece, as the answer to a request of its own.

    And how many of them were recognised.
    """
    released: list[Link] = []
    link = Link(asyncio.get_running_loop(), CLIENT, released=released.append, lost=lambda _: None, forms=forms)
    link.connection_made(Wire())
    found: list[tuple[object, ...]] = []
    known = 0

    def told(outcome: Answer | ExchangeError) -> None:
        nonlocal known
        if isinstance(outcome, ExchangeError):
            found.append((type(outcome), str(outcome)))
            return
        known += bool(outcome.values)
        assert outcome.values == tuple(outcome.headers[place][1] for place in outcome.opens)
        found.append(
            (outcome.status, tuple(outcome.headers), outcome.delimited, outcome.complete, outcome.reused,
             outcome.received, outcome.take(), tuple(outcome.trailers), len(released))
        )  # fmt: skip

    for number, piece in enumerate(pieces):
        if len(released) < number or not link.usable:
            break
        link.ask(b"", 0.0, INF, told)
        link.data_received(piece)
    return found, known


async def recognised(pieces: list[bytes]) -> int:
    """How many of these answers were recognised, and that they say what the parser would have read."""
    found, known = exchanges(pieces, Forms())
    assert found == exchanges(pieces, None)[0]
    return known


@settings(max_examples=200 * FUZZ, deadline=None)
@given(st.lists(PLAIN | answer(), min_size=1, max_size=3), st.data())
async def test_what_comes_again_is_what_the_parser_reads(messages: list[bytes], data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(messages), st.integers(1, 4)), min_size=1, max_size=4))
    pieces = [piece.replace(b"POST /a HTTP/1.1", b"HTTP/1.1 200 OK") for piece, times in drawn for _ in range(times)]
    event(f"recognised {await recognised(pieces)}")


LINE = st.tuples(
    st.sampled_from([b"X-Number", b"Date", b"Connection", b"Transfer-Encoding", b"Content-Length", b"Set-Cookie"]),
    VALUE,
)


@settings(max_examples=400 * FUZZ, deadline=None)
@given(st.lists(st.lists(LINE, max_size=3), min_size=1, max_size=3), st.data())
async def test_what_differs_is_what_the_parser_reads(
    heads: list[list[tuple[bytes, bytes]]], data: st.DataObject
) -> None:
    """The same few names again and again, with values that are drawn anew for some of them."""
    pieces: list[bytes] = []
    for _ in range(data.draw(st.integers(1, 8))):
        lines = [
            name + b": " + (data.draw(VALUE) if data.draw(st.booleans()) else value)
            for name, value in data.draw(st.sampled_from(heads))
        ]
        body = data.draw(st.sampled_from([b"", b"a", b"abcde"]))
        length = data.draw(st.sampled_from([b"%d" % len(body)] * 5 + [b"7", b"01"]))
        lines.insert(data.draw(st.integers(0, len(lines))), b"Content-Length: " + length)
        pieces.append(b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", body]))
    event(f"recognised {await recognised(pieces)}")


async def test_answers_that_are_numbered_are_recognised_from_the_third_on() -> None:
    assert await recognised([numbered(b"%d" % number) for number in range(20)]) == 18


async def test_what_differs_later_is_learnt_when_it_does() -> None:
    def dated(number: int) -> bytes:
        return numbered(
            b"%d" % number, b"a" * (number % 7), b"Date: Thu, 26 Nov 2026 13:01:%02d GMT\r\n" % (number // 20)
        )

    # Of the first three one is parsed to see it, one to learn what differs, and one whenever something else does.
    assert await recognised([dated(number) for number in range(100)]) == 97


async def test_one_server_may_answer_in_several_forms() -> None:
    pieces = [numbered(b"%d" % number, more=b"X-More: a\r\n" * (number % 3)) for number in range(60)]
    assert await recognised(pieces) == 54


@pytest.mark.parametrize(
    "piece",
    [
        numbered(b"1", more=b"Connection: close\r\n"),
        numbered(b"1").replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        numbered(b"1", more=b"X: %b\r\n" % (b"a" * 4096)),
    ],
)  # fmt: skip
async def test_what_is_not_plain_is_left_to_the_parser(piece: bytes) -> None:
    assert await recognised([piece] * 4) == 0


@pytest.mark.parametrize("strange", [b"a  b", b"a\tb", b"\xe4", b"", b"a "])
async def test_a_value_that_is_not_plain_is_left_to_the_parser_alone(strange: bytes) -> None:
    assert await recognised([numbered(one) for one in (b"1", b"2", b"3", strange, b"4")]) == 2


@pytest.mark.parametrize("name", [b"Connection: ", b"Proxy-Connection: "])
async def test_how_a_connection_goes_on_is_never_left_open(name: bytes) -> None:
    def said(value: bytes) -> bytes:
        return numbered(b"1", more=name + value + b"\r\n")

    assert await recognised([said(b"keep-alive")] * 3 + [said(b"Keep-Alive")] * 3 + [said(b"close")]) == 2


async def test_a_link_whose_answers_are_never_alike_does_not_look_for_forms_any_more() -> None:
    def unlike(count: int) -> list[bytes]:
        return [numbered(b"1", more=b"X-%d: 1\r\n" % number) for number in range(count)]

    same = [numbered(b"1")]
    assert await recognised(unlike(10) + same * 5) == 3
    assert await recognised(unlike(40) + same * 5) == 0
    assert await recognised([one for number in unlike(40) for one in [number, *same * 3]]) > 100


def test_a_head_over_the_limit_is_left_to_the_parser() -> None:
    for limit, known in ((200, False), (4000, True)):
        forms = Forms(limit)
        for value in (b"1", b"2"):
            forms.learn(numbered(value).partition(b"\r\n\r\n")[0], 200, [
                (b"x-number", value), (b"content-length", b"1"), (b"server", b"a"),
            ])  # fmt: skip
        assert forms.find(numbered(b"3")) is not None
        assert (forms.find(numbered(b"3" * 500)) is not None) is known


def test_no_more_forms_are_kept_than_a_bound() -> None:
    forms = Forms()
    for number in range(100):
        for value in (b"1", b"2"):
            head = b"HTTP/1.1 200 OK\r\nX-%d: %b\r\nContent-Length: 0" % (number, value)
            forms.learn(head, 200, [(b"x-%d" % number, value), (b"content-length", b"0")])

    def kept(number: int) -> bool:
        return forms.find(b"HTTP/1.1 200 OK\r\nX-%d: 1\r\nContent-Length: 0\r\n\r\n" % number) is not None

    assert kept(99)
    assert sum(kept(number) for number in range(100)) <= 16


async def test_the_end_of_an_answer_that_comes_later_is_waited_for() -> None:
    released: list[Link] = []
    forms = Forms()
    link = Link(asyncio.get_running_loop(), CLIENT, released=released.append, lost=lambda _: None, forms=forms)
    link.connection_made(Wire())
    whole = numbered(b"1", b"abcde")
    for data in ([whole], [whole], [whole], [whole[:-2], whole[-2:]], [whole]):
        answers: list[Answer | ExchangeError] = []
        link.ask(b"", 0.0, INF, answers.append)
        for piece in data:
            link.data_received(piece)
        [found] = answers
        assert isinstance(found, Answer)
        assert (found.complete, found.take()) == (True, b"abcde")
    assert len(released) == 5
