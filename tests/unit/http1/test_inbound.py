"""What a server reads as a request, and what it refuses and why."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.http1.inbound import Inbound

sys.path.insert(0, str(Path(__file__).parent))
from http1_reading import LIMITS, ours

GET = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def head(*lines: bytes, first: bytes = b"POST / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join([first, host, *lines, b"", b""])


def test_a_request_has_all_its_parts() -> None:
    (request,) = ours([head(b"X-Two: \t b \t", b"Content-Length: 3", first=b"POST /p?q=1 HTTP/1.1") + b"abc"]).requests
    assert (request.method, request.target, request.body) == (b"POST", b"/p?q=1", b"abc")
    assert request.headers == ((b"host", b"a"), (b"x-two", b"b"), (b"content-length", b"3"))


def test_chunks_and_their_extensions_make_one_body_and_trailers_stay_apart() -> None:
    inbound = Inbound(LIMITS)
    inbound.feed(CHUNKED + b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n")
    (request,) = inbound.requests
    assert request.complete
    assert request.received == 5
    assert request.trailers == [(b"x-sum", b"1")]
    assert request.header(b"x-sum") is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [(b"http://a/x?y", b"/x?y"), (b"http://a", b"/"), (b"http://A?y", b"/?y"), (b"/x", b"/x")],
)
def test_an_absolute_target_is_its_path(target: bytes, expected: bytes) -> None:
    (request,) = ours([head(first=b"GET " + target + b" HTTP/1.1")]).requests
    assert request.target == expected


SMUGGLING = {
    "both lengths": head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "both lengths, turned": head(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "two equal lengths": head(b"Content-Length: 5", b"Content-Length: 5"),
    "two lengths": head(b"Content-Length: 5", b"Content-Length: 6"),
    "a list of lengths": head(b"Content-Length: 5, 5"),
    "a signed length": head(b"Content-Length: +5"),
    "a negative length": head(b"Content-Length: -5"),
    "an overflowing length": head(b"Content-Length: 18446744073709551621"),
    "an empty length": head(b"Content-Length:"),
    "white space before the colon": head(b"Content-Length : 5"),
    "a folded header": head(b"X: a", b" b"),
    "a folded transfer-encoding": head(b"Transfer-Encoding:", b" chunked"),
    "chunked is not last": head(b"Transfer-Encoding: chunked, identity"),
    "chunked twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "another coding": head(b"Transfer-Encoding: gzip, chunked"),
    "a hidden coding": head(b"Transfer-Encoding: \x0bchunked"),
    "a coding in HTTP/1.0": head(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"),
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "a bare line feed": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "a bare carriage return": head(b"X: a\rY: b"),
    "NUL in a value": head(b"X: a\0b"),
    "a line without a colon": head(b"nonsense"),
    "a nameless header": head(b": a"),
    "two hosts": head(b"Host: b"),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "another host in the target": head(first=b"GET http://b/ HTTP/1.1"),
    "a fragment": head(first=b"GET /a#b HTTP/1.1"),
    "a method of another protocol": head(first=b"SOURCE /a HTTP/1.1"),
    "a tunnel": head(first=b"CONNECT a:443 HTTP/1.1"),
    "another protocol": head(first=b"DESCRIBE * RTSP/1.0"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": head(first=b"GET / HTTP/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an upgrade with a body": head(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 5"),
    "an upgrade with chunks": head(b"Connection: upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked"),
    "an expectation nobody meets": head(b"Expect: coffee"),
}


@pytest.mark.parametrize("data", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_what_readers_could_disagree_on_is_refused(data: bytes) -> None:
    reading = ours([data + b"abcde" + GET])
    assert reading.requests == ()
    assert reading.refused[:3] in ("400", "417", "501", "505")


@pytest.mark.parametrize(
    "chunks",
    [
        b"5 \r\nabcde\r\n", b"0x5\r\nabcde\r\n", b"-5\r\nabcde\r\n", b"+5\r\nabcde\r\n", b"\r\nabcde\r\n",
        b"5\nabcde\n", b"5\r\nabcdeX\r\n", b"fffffffffffffffff\r\nabcde", b"5\r\nabcde0\r\n\r\n",
        b"0\r\nContent-Length: 3\r\n\r\n", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nHost: b\r\n\r\n",
        b"0\r\nX: 1\n\r\n",
    ],
)  # fmt: skip
def test_bad_chunks_and_framing_in_trailers_are_refused(chunks: bytes) -> None:
    reading = ours([CHUNKED + chunks + b"0\r\n\r\n" + GET])
    assert reading.requests == ()
    assert reading.refused.startswith("400")


OVER = {
    "target": (head(first=b"GET /" + b"a" * 2000 + b" HTTP/1.1"), "414"),
    "one header": (head(b"X: " + b"a" * 5000), "431"),
    "headers": (head(*[b"X: " + b"a" * 250] * 19), "431"),
    "header count": (head(*[b"X: a"] * 20), "431"),
    "length": (head(b"Content-Length: 10001"), "413"),
    "chunks": (CHUNKED + (b"800\r\n" + b"a" * 2048 + b"\r\n") * 5, "413"),
    "trailer count": (CHUNKED + b"0\r\n" + b"X: a\r\n" * 21 + b"\r\n", "431"),
    "trailers": (CHUNKED + b"0\r\n" + b"X: %b\r\n" % (b"a" * 500) * 10 + b"\r\n", "431"),
}


@pytest.mark.parametrize(("data", "status"), OVER.values(), ids=OVER.keys())
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_limits_hold_however_the_bytes_come(data: bytes, status: str, step: int) -> None:
    reading = ours(data[at : at + step] for at in range(0, len(data), step))
    assert reading.requests == ()
    assert reading.refused.startswith(status)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", CHUNKED + b"5;", CHUNKED + b"0\r\nX: "])
def test_what_never_ends_is_cut_off_although_the_parser_tells_nothing_of_it(start: bytes) -> None:
    inbound = Inbound(LIMITS)
    inbound.feed(start)
    for _ in range(1000):
        inbound.feed(b"a" * 10)
        if inbound.ended:
            break
    assert inbound.refusal is not None
    assert inbound.refusal.status == 431


def test_a_body_does_not_count_as_trailers_that_come_with_its_end() -> None:
    inbound = Inbound(LIMITS)
    inbound.feed(CHUNKED)
    inbound.feed(b"%x\r\n%b\r\n0\r\nX: 1\r\nY: 2\r\nZ: " % (9000, b"a" * 9000))
    inbound.feed(b"3\r\n\r\n")
    (request,) = inbound.requests
    assert (request.complete, request.received, len(request.trailers)) == (True, 9000, 3)


def test_requests_before_the_refused_one_stay() -> None:
    reading = ours([GET + GET + b"nonsense\r\n\r\n"])
    assert len(reading.requests) == 2
    assert reading.refused.startswith("400")


def test_nothing_is_read_after_the_last_request() -> None:
    reading = ours([head(b"Connection: close", first=b"GET / HTTP/1.1") + GET, GET])
    assert len(reading.requests) == 1
    assert reading.refused == ""


def test_an_upgrade_is_not_taken_and_ends_the_connection() -> None:
    inbound = Inbound(LIMITS)
    inbound.feed(head(b"Connection: upgrade", b"Upgrade: h2c", first=b"GET / HTTP/1.1") + GET)
    (request,) = inbound.requests
    assert not request.keep_alive
    assert inbound.ended


def test_requests_that_are_sent_ahead_are_bounded() -> None:
    inbound = Inbound(replace(LIMITS, max_pipelined=3))
    inbound.feed(GET * 5)
    assert [request.keep_alive for request in inbound.requests] == [True, True, False]
    assert inbound.ended


def test_the_end_inside_a_body_is_told() -> None:
    inbound = Inbound(LIMITS)
    inbound.feed(head(b"Content-Length: 5") + b"ab")
    inbound.end()
    assert inbound.refusal is not None
    assert not inbound.requests[0].complete
