"""Heads of requests that came before: what is recognised is what the parser would have read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from headrace.http1.heads import Heads
from headrace.http1.inbound import Inbound
from headrace.http1.request import Request

sys.path.insert(0, str(Path(__file__).parent))
from http1_reading import LIMITS
from test_fuzz import message

FUZZ = int(os.environ.get("HEADRACE_FUZZ", "1"))
LENGTHS = [
    b"Content-Length: 5", b"content-length: 5", b"Content-Length: 2", b"Content-Length: 05", b"Content-Length: +5",
    b"Content-Length: 5 ", b"Content-Length:5", b"Content-Length: 5\r\nX-Length: 5",
    b"X-Length: 5\r\nContent-Length: 5", b"Content-Length: 5\r\nContent-Length: 2", b"X-Length: 5",
    b"X-Content-Length: 5", b"Content-Length: \xb2", b"Content-Length: ", b"Content-Length: 0",
]  # fmt: skip


def post(length: bytes = b"Content-Length: 5", body: bytes = b"abcde", more: bytes = b"") -> bytes:
    """A plain request."""
    return b"POST /a HTTP/1.1\r\nHost: a\r\n" + more + length + b"\r\nAccept: */*\r\n\r\n" + body


def read(pieces: list[bytes], heads: Heads | None) -> tuple[list[tuple[object, ...]], str, int]:
    """The requests, each taken before the next piece comes; why it went no further; and how many were recognised."""
    inbound, found, seen, known = Inbound(LIMITS, heads=heads), list[tuple[object, ...]](), list[Request](), 0
    for piece in pieces:
        inbound.feed(piece)
        while inbound.requests and inbound.requests[0].complete:
            one = inbound.requests.popleft()
            known += any(one.facts is before.facts for before in seen)
            seen.append(one)
            found.append(
                (one.method, one.target, tuple(one.headers), one.version, one.keep_alive, one.length, one.expects,
                 one.received, one.take(), tuple(one.trailers))
            )  # fmt: skip
    refused = f"{inbound.refusal.status} {inbound.refusal.detail}" if inbound.refusal else ""
    return found, refused, known


PLAIN = st.builds(
    post, st.sampled_from(LENGTHS), st.sampled_from([b"abcde", b"ab", b"", b"abcdeab"]),
    st.sampled_from([b"", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Transfer-Encoding: chunked\r\n"]),
)  # fmt: skip


@settings(max_examples=300 * FUZZ, deadline=None)
@given(st.lists(PLAIN | message(), min_size=1, max_size=3), st.data())
def test_what_is_recognised_is_what_the_parser_reads(messages: list[bytes], data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(messages), st.integers(1, 4)), min_size=1, max_size=5))
    pieces = [piece for piece, times in drawn for _ in range(times)]
    if data.draw(st.booleans()):
        pieces = [piece for whole in pieces for piece in cut(whole, data.draw(st.sampled_from([-1, 0, 0, 0, 0, 1])))]
    found, refused, known = read(pieces, Heads(LIMITS.max_body))
    event(f"recognised {known}")
    assert (found, refused) == read(pieces, None)[:2]


def cut(whole: bytes, by: int) -> list[bytes]:
    """A message in two pieces: what is before its body and the body, or cut at `by` bytes from there."""
    head, end, body = whole.partition(b"\r\n\r\n")
    place = len(head) + len(end) + by
    return [piece for piece in (whole[:place], whole[place:]) if piece] if end and body else [whole]


def test_a_head_is_known_when_it_comes_for_the_third_time_whatever_its_length() -> None:
    pieces = [post(), post(b"Content-Length: 2", b"ab"), post(b"Content-Length: 0", b""), post()]
    found, refused, known = read(pieces, Heads(LIMITS.max_body))
    assert (known, refused) == (2, "")
    assert [one[8] for one in found] == [b"abcde", b"ab", b"", b"abcde"]
    assert [dict(one[2])[b"content-length"] for one in found] == [b"5", b"2", b"0", b"5"]  # type: ignore[call-overload]


def test_the_body_of_a_known_head_may_come_after_it_in_pieces() -> None:
    inbound = Inbound(LIMITS, heads=Heads(LIMITS.max_body))
    found: list[Request] = []
    for pieces in ([post()], [post()[:-5], b"abcde"], [post()[:-5], b"ab", b"cde" + post()[:-5], b"abcd", b"e"]):
        for piece in pieces:
            inbound.feed(piece)
            while inbound.requests and inbound.requests[0].complete:
                found.append(inbound.requests.popleft())
    assert [(one.take(), tuple(one.headers) == tuple(found[0].headers)) for one in found] == [(b"abcde", True)] * 4
    assert found[1].facts is found[2].facts
    assert inbound.refusal is None


def test_a_known_head_whose_body_does_not_come_is_refused() -> None:
    inbound = Inbound(LIMITS, heads=Heads(LIMITS.max_body))
    for piece in (post(), post(), post()[:-5], b"abc"):
        inbound.feed(piece)
        if inbound.requests and inbound.requests[0].complete:
            inbound.requests.popleft()
    [request] = inbound.requests
    inbound.end()
    assert inbound.refusal is not None
    assert (inbound.refusal.status, request.complete, request.keep_alive) == (400, False, False)


@pytest.mark.parametrize("digits", [b"", b"05", b"+5", b"5 ", b"9" * 5000, b"\xb2"])
def test_a_length_that_is_not_plain_is_left_to_the_parser(digits: bytes) -> None:
    heads = Heads()
    assert heads.find(post(b"Content-Length: " + digits, b""))[0] is None


def test_a_request_without_a_body_is_known_too() -> None:
    get = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n"
    assert read([get] * 4, Heads(LIMITS.max_body))[2] == 2


@pytest.mark.parametrize(
    "piece",
    [
        post(more=b"Connection: close\r\n"),
        post(b"Transfer-Encoding: chunked", b"5\r\nabcde\r\n0\r\n\r\n"),
        post().replace(b"HTTP/1.1", b"HTTP/1.0"),
        post() + post(),
        post(b"X-Length: 5", b"abcde"),
        post(more=b"X-Length: 5\r\n"),
        post(b"Content-Length: 5000", b"a" * 5000).replace(b"Accept", b"X-" + b"a" * 4096),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(piece: bytes) -> None:
    assert read([piece] * 4, Heads(LIMITS.max_body))[2] == 0


@pytest.mark.parametrize("length", [10_001, 20_000])
def test_a_body_over_the_limit_is_refused_although_its_head_is_known(length: int) -> None:
    long = post(b"Content-Length: %d" % length, b"a" * length)
    assert read([post()] * 3 + [long], Heads(LIMITS.max_body))[1].startswith("413 ")


def test_no_more_heads_are_kept_than_a_bound() -> None:
    heads = Heads()
    for number in range(5000):
        shape, size, _, _ = heads.find(post(more=b"X: %d\r\n" % number))
        assert shape is not None
        heads.learn(shape, size, (), [(b"content-length", b"%d" % size)], {})

    def kept(number: int) -> bool:
        return heads.find(post(more=b"X: %d\r\n" % number))[3] is not None

    assert kept(4999)
    assert sum(kept(number) for number in range(5000)) <= 1024
