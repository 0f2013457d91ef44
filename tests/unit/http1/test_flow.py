"""Bodies that flow: each piece is written in the call that brings it, and nothing is lost at their ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from headrace.core.clock import SystemClock
from headrace.core.errors import Truncated
from headrace.http1.answer import Answer
from headrace.http1.outgoing import Stream
from headrace.http1.request import Request
from headrace.http1.response import Response

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Client:
    """Where the answer is written."""

    def __init__(self) -> None:
        self.blocked = False
        self.written: list[bytes] = []
        self._free = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def drained(self) -> None:
        await self._free.wait()
        self.blocked = False

    def take(self) -> None:
        """The client takes what was written."""
        self._free.set()


class Relayed:
    """An answer of a server that is passed on to a client."""

    def __init__(self) -> None:
        self.closed = 0
        self.answer = Answer(200, [], delimited="chunked", reused=False, max_body=1000, close=self._close)
        self.client = Client()
        request = Request(b"GET", b"/", [], version="1.1", keep_alive=True, length=0)
        self.stream = Stream(request, Response(200, [], self.answer))
        self.task = asyncio.get_running_loop().create_task(self.stream.run(self.client, b"", close=False))

    def _close(self) -> None:
        self.closed += 1

    def comes(self, *pieces: bytes, ends: bool = False) -> list[bytes]:
        """What is written within the call that brings these pieces."""
        before = len(self.client.written)
        for piece in pieces:
            self.answer.push(piece)
        if ends:
            self.answer.finish()
        self.answer.tell()
        return self.client.written[before:]


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await SystemClock().sleep(0)


@pytest.fixture
async def relayed() -> Relayed:
    one = Relayed()
    await turns()
    assert one.client.written == [HEAD]
    return one


async def test_a_piece_is_written_in_the_call_that_brings_it(relayed: Relayed) -> None:
    assert relayed.comes(b"one") == [b"3\r\none\r\n"]
    assert relayed.comes(b"two", b"three") == [b"8\r\ntwothree\r\n"]
    assert relayed.comes(b"four", ends=True) == [b"4\r\nfour\r\n" + END]
    await relayed.task


async def test_what_came_before_anybody_asked_is_there_with_the_head() -> None:
    one = Relayed()
    one.answer.push(b"early")
    await turns()
    assert one.client.written == [HEAD + b"5\r\nearly\r\n"]
    assert one.comes(ends=True) == [END]
    await one.task


async def test_a_client_that_takes_nothing_is_waited_for_and_misses_nothing(relayed: Relayed) -> None:
    relayed.client.blocked = True
    assert relayed.comes(b"one") == [b"3\r\none\r\n"]
    await turns()
    assert relayed.comes(b"two") == []
    assert relayed.answer.buffered == 3
    assert relayed.comes(b"three", ends=True) == []
    relayed.client.take()
    await relayed.task
    assert relayed.client.written[2:] == [b"8\r\ntwothree\r\n" + END]


async def test_a_body_that_breaks_gives_what_came_and_no_end(relayed: Relayed) -> None:
    relayed.answer.push(b"part")
    relayed.answer.fail(Truncated("the connection ended"))
    with pytest.raises(Truncated):
        await relayed.task
    assert relayed.client.written == [HEAD, b"4\r\npart\r\n"]


async def test_a_body_that_is_broken_before_its_head_is_out_can_still_be_refused() -> None:
    one = Relayed()
    one.answer.fail(Truncated("the connection ended"))
    with pytest.raises(Truncated):
        await one.task
    assert (one.client.written, one.stream.begun) == ([], False)


async def test_a_client_that_leaves_closes_the_answer(relayed: Relayed) -> None:
    relayed.task.cancel()
    assert relayed.comes(b"too late") == []
    await turns()
    assert (relayed.task.cancelled(), relayed.closed) == (True, 1)
    assert relayed.comes(b"later") == []


async def test_whatever_a_body_raises_is_raised_where_it_is_written_and_not_where_bytes_come() -> None:
    class Odd:
        complete = False
        told: Callable[[], None] | None = None

        def take(self) -> bytes:
            if self.told is not None:
                raise KeyError("odd")
            return b"first"

        def check(self) -> None: ...

        def when_more(self, told: Callable[[], None] | None) -> None:
            self.told = told

    odd, client = Odd(), Client()
    request = Request(b"GET", b"/", [], version="1.1", keep_alive=True, length=0)
    stream = Stream(request, Response(200, [], odd))
    task = asyncio.get_running_loop().create_task(stream.run(client, b"", close=False))
    await turns()
    assert odd.told is not None
    odd.told()
    with pytest.raises(KeyError):
        await task
    assert odd.told is None


async def test_what_is_wrong_is_raised_after_what_a_slow_client_had_not_taken(relayed: Relayed) -> None:
    relayed.client.blocked = True
    assert relayed.comes(b"one") == [b"3\r\none\r\n"]
    await turns()
    assert relayed.comes(b"two") == []
    relayed.answer.fail(Truncated("the connection ended"))
    relayed.client.take()
    with pytest.raises(Truncated):
        await relayed.task
    assert relayed.client.written == [HEAD, b"3\r\none\r\n", b"3\r\ntwo\r\n"]
