"""The same bytes to our parsers and to h11's, at random cuts.

The smuggling law: of the requests that we accept, h11 reads the same ones, in the same order, and no others in between.
What h11 accepts we accept too, with equal parts, or refuse for a reason that stands in REASONS (and in
docs/design/http-hot-path.md). `HEADRACE_FUZZ=50` looks fifty times as far.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from hypothesis import event, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from http1_reading import Answered, Read, answered, answered_theirs, ours, theirs

FUZZ = int(os.environ.get("HEADRACE_FUZZ", "1"))

REASONS = re.compile(
    r"413|414|431|501: the method|505|417: the only expectation"
    r"|400: the request is not valid HTTP: (Invalid method encountered|Invalid HTTP version|Expected HTTP/2"
    r"|Expected CRLF after version|Missing expected (CR|LF)|Invalid header (field|value) char|Invalid header token"
    r"|Unexpected whitespace after header value|Invalid char(acters)? in url|Unexpected (start )?char in url"
    r"|Invalid character in Content-Length|Duplicate Content-Length|Content-Length can't be|Transfer-Encoding can't be"
    r"|Invalid `Transfer-Encoding`|Invalid character in chunk|Expected LF after)"
    r"|400: (a target has no fragment|the target (is neither|and the host)|two \w+ headers"
    r"|transfer-encoding does not exist|\S+ is no trailer|an upgrade with a body)"
)
"""Why we may refuse what h11 accepts: it is lenient with bare LF, folded headers, both lengths, and leaves methods,
versions and targets to others."""

LENIENT = re.compile(r"no request line received|illegal request line")
"""Why h11 may refuse what we accept: an empty line before a request, and more than one space in its first line."""


def often(common: list[bytes], rare: list[bytes]) -> st.SearchStrategy[bytes]:
    """Mostly what is right."""
    return st.sampled_from(common * (12 * len(rare) // len(common) + 1) + rare)


LINE_END = often([b"\r\n"], [b"\n", b"\r", b"\r\r\n", b"\n\r\n"])
METHOD = often([b"GET", b"POST", b"PUT", b"HEAD"], [b"get", b"FOO", b"CONNECT", b"OPTIONS", b"PRI", b"SOURCE"])
TARGET = often(
    [b"/", b"/a?b=c"], [b"*", b"http://a/x", b"http://b/x", b"/a#f", b"a", b"", b"/\xc3", b"/" + b"a" * 1200]
)
VERSION = often([b"HTTP/1.1"], [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 ", b""])
SPACE = often([b" "], [b"  ", b"\t", b""])
FIELD = often(
    [b"X-A: 1", b"X-B:", b"X-C: \t a \t", b"Connection: keep-alive", b"Accept: */*"],
    [
        b"Host: b", b"Connection: close", b"Connection: upgrade", b"Upgrade: h2c", b"Expect: 100-continue",
        b"Expect: x", b"X: a\r\n b",
        b": a", b"X\0: a", b"X: a\0b", b"X: a\rb", b" X: a", b"X y: a", b"X: " + b"z" * 4000, b"none",
        b"Transfer_Encoding: chunked", b"X: \xff", b"Content-Length: 5", b"Transfer-Encoding: chunked",
    ],
)  # fmt: skip
LENGTH = often(
    [b"Content-Length: 5"],
    [
        b"Content-Length: 0", b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: 05",
        b"Content-Length: 5 ", b"Content-Length:5\x0b", b"Content-Length : 5", b"Content-Length: 0x5",
        b"Content-Length:", b"Content-Length: 99999999999999999999", b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    ],
)  # fmt: skip
CODING = often(
    [b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked"],
    [
        b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding:", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: x",
        b"Transfer-Encoding : chunked", b"Transfer-Encoding:\r\n chunked",
    ],
)  # fmt: skip
CHUNK = often(
    [b"5\r\nabcde\r\n", b"A\r\n0123456789\r\n", b"1\r\n\n\r\n"],
    [
        b"5;x=y\r\nabcde\r\n", b"05\r\nabcde\r\n", b"5 \r\nabcde\r\n", b"0x5\r\nabcde\r\n", b"-5\r\nabcde\r\n",
        b"5\nabcde\n", b"5\r\nabcdeX\r\n", b"ffffffffffffffff\r\n", b"5;\r\nabcde\r\n", b'5;a="\r\n"\r\nabcde\r\n',
        b"+5\r\nabcde\r\n", b"5\r\r\nabcde\r\n", b"5\r\nabcde", b"5_0\r\nabcde\r\n",
    ],
)  # fmt: skip
LAST = often([b"0\r\n"], [b"0;x\r\n", b"00\r\n", b"0\n", b"0 \r\n", b""])
TRAILERS = often(
    [b"\r\n"],
    [
        b"X-T: 1\r\n\r\n", b"Content-Length: 3\r\n\r\n", b"Host: q\r\n\r\n", b"\n", b"bad\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n", b"X: 1\n\r\n",
    ],
)  # fmt: skip


@st.composite
def body(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Framing fields, and the bytes that follow the head."""
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "length":
        return [draw(LENGTH)], draw(often([b"abcde"], [b"abc", b"abcdef", b""]))
    if kind == "chunked":
        return [draw(CODING)], b"".join([*draw(st.lists(CHUNK, max_size=3)), draw(LAST), draw(TRAILERS)])
    return [], b""


@st.composite
def message(draw: st.DrawFn) -> bytes:
    """One request, mostly a right one."""
    framing, rest = draw(body())
    fields = draw(st.permutations([b"Host: a", *framing, *draw(st.lists(FIELD, max_size=2))]))
    first = draw(METHOD) + draw(SPACE) + draw(TARGET) + draw(SPACE) + draw(VERSION)
    lines = b"".join(line + draw(LINE_END) for line in [first, *fields])
    return draw(often([b""], [b"\r\n", b"\n", b" "])) + lines + draw(LINE_END) + rest


@st.composite
def bytes_and_cuts(draw: st.DrawFn, messages: st.SearchStrategy[bytes], most: int = 3) -> tuple[bytes, list[bytes]]:
    """Some messages, perhaps with one byte wrong, and the same bytes cut into pieces."""
    data = b"".join(draw(st.lists(messages, min_size=1, max_size=most)))
    if data and draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw(st.sampled_from([b"", b"\0", b"\r", b"\n", b" ", b":", b"\xff"])) + data[at + 1 :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    if draw(st.integers(0, 9)) == 0:
        cuts = list(range(len(data)))
    return data, [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def comparable(read: Read) -> Read:
    """A target without scheme and host, since we serve the path of an absolute one; h11 writes codings small."""
    fields = tuple((name, value.lower() if name == b"transfer-encoding" else value) for name, value in read.headers)
    return Read(read.method, re.sub(rb"^(?i:https?)://[^/?]*", b"", read.target), fields, read.body)


@settings(max_examples=500 * FUZZ, deadline=None)
@given(bytes_and_cuts(message()))
def test_the_smuggling_law(given_bytes: tuple[bytes, list[bytes]]) -> None:
    data, pieces = given_bytes
    mine, other = ours(pieces), theirs(data)
    event(f"ours {len(mine.requests)}, h11's {len(other.requests)}")
    for number, request in enumerate(mine.requests):
        if number >= len(other.requests):
            assert LENIENT.match(other.refused), (data, mine, other)
            return
        assert comparable(request) == comparable(other.requests[number])
    if len(mine.requests) < len(other.requests):
        assert REASONS.match(mine.refused), (data, mine, other)


@settings(max_examples=150 * FUZZ, deadline=None)
@given(bytes_and_cuts(message()))
def test_cuts_change_nothing(given_bytes: tuple[bytes, list[bytes]]) -> None:
    data, pieces = given_bytes
    cut, whole = ours(pieces), ours([data])
    assert cut.requests == whole.requests
    # Which of two faults is told may depend on where the bytes were cut, that there is one may not.
    assert bool(cut.refused) == bool(whole.refused)


@settings(max_examples=300 * FUZZ, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_noise_is_never_a_request(pieces: list[bytes]) -> None:
    reading = ours(pieces)
    assert reading.requests == ()


STATUS = often(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found"],
    [
        b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.0 200 OK", b"HTTP/1.1 200",
        b"HTTP/1.1 101 X", b"HTTP/1.1 999 X", b"HTTP/1.1 099 X", b"HTTP/2.0 200 OK", b"ICY 200 OK", b"HTTP/1.1  200 OK",
    ],
)  # fmt: skip


@st.composite
def answer(draw: st.DrawFn) -> bytes:
    """Interim answers, then one answer, mostly a right one."""
    framing, rest = draw(body())
    fields = draw(st.permutations([*framing, *draw(st.lists(FIELD, max_size=2))]))
    lines = b"".join(line + draw(LINE_END) for line in [draw(STATUS), *fields])
    interim = draw(often([b""], [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]))
    return interim + lines + draw(LINE_END) + rest


@settings(max_examples=500 * FUZZ, deadline=None)
@given(bytes_and_cuts(answer(), most=1))
async def test_an_answer_is_complete_only_when_h11_finds_the_same(given_bytes: tuple[bytes, list[bytes]]) -> None:
    data, pieces = given_bytes
    mine, other = await answered(pieces), answered_theirs(data)
    event(f"ours {mine.complete}, h11's {other.complete}")
    if mine.complete:
        # The same, or refused there: h11 knows no white space but one space in a status line, and looks at codings even
        # where there can be no body.
        known = Answered(mine.status, mine.body, complete=True)
        refused = "illegal status line" in other.error or (
            mine.status in (204, 304) and "Only Transfer-Encoding" in other.error
        )
        assert other == known or refused, (mine, other)
    else:
        assert mine.error, "it ended, and was neither complete nor wrong"


@settings(max_examples=150 * FUZZ, deadline=None)
@given(bytes_and_cuts(answer(), most=1), st.data())
async def test_an_answer_that_lacks_its_end_is_never_complete(
    given_bytes: tuple[bytes, list[bytes]], data: st.DataObject
) -> None:
    whole = given_bytes[0]
    found = await answered([whole])
    cut = data.draw(st.integers(0, max(len(whole) - 1, 0)))
    short = await answered([whole[:cut]])
    if short.complete and short.body != found.body:
        # Only where nothing but the connection's end marks the body's.
        head = whole.partition(b"\r\n\r\n")[0].lower()
        assert b"\ncontent-length" not in head or b"100 continue" in head
        assert b"\ntransfer-encoding: chunked" not in head
