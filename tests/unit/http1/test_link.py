"""What a client takes for an answer."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from headrace.core.errors import Interrupted, Truncated
from headrace.http1.link import Link

sys.path.insert(0, str(Path(__file__).parent))
from http1_reading import CLIENT, Answered, Wire, answered

OK = b"HTTP/1.1 200 OK\r\n"
INF = float("inf")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", Answered(200, b"abc", complete=True)),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\nX: 1\r\n\r\n",
         Answered(200, b"abc", complete=True)),
        (OK + b"\r\nabc", Answered(200, b"abc", complete=True)),
        (b"HTTP/1.1 204 X\r\nContent-Length: 3\r\n\r\n", Answered(204, b"", complete=True)),
        (b"HTTP/1.1 304 X\r\nContent-Length: 3\r\n\r\n", Answered(304, b"", complete=True)),
        (b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 103 X\r\nLink: a\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
         Answered(200, b"", complete=True)),
    ],
)  # fmt: skip
async def test_answers_are_complete_where_they_say_so(data: bytes, expected: Answered) -> None:
    assert await answered([data]) == expected
    assert await answered([data[at : at + 1] for at in range(len(data))]) == expected


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "Interrupted"),
        (OK, "Interrupted"),
        (b"HTTP/1.1 100 X\r\n\r\n", "Interrupted"),
        (OK + b"Content-Length: 3\r\n\r\nab", "ended after 2 bytes"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "ended after 3 bytes"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "ended after 3 bytes"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "not valid HTTP"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\nabc", "transfer-encoding"),
        (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "not valid HTTP"),
        (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "not valid HTTP"),
        (OK + b"X: " + b"a" * 5000 + b"\r\n\r\n", "bytes of headers"),
        (OK + b"X: a\r\n" * 21 + b"\r\n", "more than 20 headers"),
        (b"HTTP/1.1 100 X\r\n\r\n" * 5 + OK + b"\r\n", "interim status 100"),
        (b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "interim status 101"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not valid HTTP"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", "not valid HTTP"),
    ],
)
async def test_everything_else_is_an_error(data: bytes, error: str) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        found = await answered(pieces)
        assert not found.complete
        assert error in found.error


async def test_a_body_does_not_count_as_trailers_that_come_with_its_end() -> None:
    head, body = OK + b"Transfer-Encoding: chunked\r\n\r\n", b"a" * 9000
    end = b"0\r\nX: 1\r\nY: 2\r\nZ: "
    pieces = [head, b"%x\r\n%b\r\n%b" % (len(body), body, end), b"3\r\n\r\n"]
    assert await answered(pieces) == Answered(200, body, complete=True)


async def test_trailers_that_never_end_are_cut_off() -> None:
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    found = await answered([head, b"X: ", *[b"a" * 10] * 1000], ends=False)
    assert "headers" in found.error


async def test_what_follows_the_head_of_an_answer_to_HEAD_is_no_body() -> None:
    found = await answered([OK + b"Content-Length: 5\r\n\r\n"], is_head=True, ends=False)
    assert found == Answered(200, b"", complete=True)


class Linked:
    """A link over a transport without a network, and whether it went back to its pool."""

    def __init__(self) -> None:
        self.released = 0
        self.lost = 0
        self.wire = Wire()
        self.link = Link(asyncio.get_running_loop(), CLIENT, released=self._released, lost=self._lost)
        self.link.connection_made(self.wire)

    def _released(self, _link: Link) -> None:
        self.released += 1

    def _lost(self, _link: Link) -> None:
        self.lost += 1

    def ask(self, *, is_head: bool = False):
        return self.link.head(b"", is_head, True, INF, INF, INF)


async def test_a_connection_is_kept_only_when_nothing_is_left_of_the_answer() -> None:
    for data, kept in [
        (OK + b"Content-Length: 1\r\n\r\na", True),
        (OK + b"Content-Length: 1\r\n\r\nab", False),
        (OK + b"Content-Length: 1\r\n\r\na" + OK + b"Content-Length: 0\r\n\r\n", False),
        (OK + b"Content-Length: 1\r\nConnection: close\r\n\r\na", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", False),
        (b"HTTP/1.1 204 X\r\n\r\n", True),
        (b"HTTP/1.1 204 X\r\n\r\nabc", False),
    ]:
        linked = Linked()
        asked = linked.ask()
        linked.link.data_received(data)
        assert (await asked).complete, data
        assert (linked.released == 1, linked.wire.closed) == (kept, not kept), data


async def test_a_connection_is_kept_after_HEAD_unless_a_body_came() -> None:
    for data, kept in [(b"", True), (b"abcde", False)]:
        linked = Linked()
        asked = linked.ask(is_head=True)
        linked.link.data_received(OK + b"Content-Length: 5\r\n\r\n" + data)
        assert (await asked).status == 200
        assert (linked.released == 1) == kept
        if kept:
            again = linked.ask()
            linked.link.data_received(OK + b"Content-Length: 1\r\n\r\na")
            assert await (await again).read() == b"a"


async def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    linked = Linked()
    linked.link.data_received(OK + b"Content-Length: 1\r\n\r\na")
    assert linked.wire.closed


async def test_a_lost_connection_says_how_far_it_came() -> None:
    linked = Linked()
    asked = linked.ask()
    linked.link.connection_lost(ConnectionResetError("reset"))
    with pytest.raises(Interrupted, match="reset") as caught:
        await asked
    assert (caught.value.received, caught.value.reused, caught.value.sent) == (0, False, True)

    linked = Linked()
    first = linked.ask()
    linked.link.data_received(OK + b"Content-Length: 1\r\n\r\na")
    await first
    asked = linked.ask()
    linked.link.data_received(OK + b"Content-Length: 10\r\n\r\nabc")
    linked.link.connection_lost(None)
    answer = await asked
    assert await anext(answer) == b"abc"
    with pytest.raises(Truncated, match="after 3 bytes") as cut:
        await anext(answer)
    assert cut.value.reused
    assert cut.value.received > 3


async def test_a_body_that_nobody_reads_stops_the_reading() -> None:
    linked = Linked()
    asked = linked.ask()
    linked.link.data_received(OK + b"Content-Length: 1000000\r\n\r\n" + b"a" * 300_000)
    answer = await asked
    assert not linked.wire.reading
    assert len(await anext(answer)) == 300_000
    assert linked.wire.reading
    await answer.aclose()
    assert linked.wire.closed
