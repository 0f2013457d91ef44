"""What is taken of a stream as it comes, without waiting: all that is good, then why there is no more."""

from __future__ import annotations

import pytest

from headrace.core.clock import SystemClock
from headrace.core.errors import Truncated
from headrace.http1.answer import Answer
from headrace.models.dialects.stream import ChatReader
from headrace.models.failure import Failure
from headrace.models.headers import NOTHING
from headrace.models.provider import Failed
from headrace.models.providers.incoming import IncomingStream

HI = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Upstream:
    """An answer fed by hand, and how often there was more of it."""

    def __init__(self) -> None:
        self.answer = Answer(200, [], delimited="chunked", reused=False, max_body=1000)
        self.stream = IncomingStream(self.answer, ChatReader(keep_usage=False), [], NOTHING)
        self.told = 0
        self.stream.when_more(self._more)

    def _more(self) -> None:
        self.told += 1

    def comes(self, piece: bytes) -> bytes:
        self.answer.push(piece)
        return self.stream.take()


async def test_events_are_given_whole_however_they_are_cut() -> None:
    upstream = Upstream()
    assert upstream.comes(HI[:20]) == b""
    assert upstream.comes(HI[20:] + STOP[:5]) == HI
    assert upstream.comes(STOP[5:] + DONE) == STOP + DONE
    assert upstream.stream.complete
    assert upstream.stream.take() == b""


async def test_what_is_good_is_given_before_what_is_wrong_is_raised() -> None:
    upstream = Upstream()
    assert upstream.comes(HI + b"data: {]\n\n" + HI) == HI
    assert upstream.told == 0
    await SystemClock().sleep(0)
    assert upstream.told == 1  # that no more will come is news, too
    with pytest.raises(Failed) as caught:
        upstream.stream.take()
    assert caught.value.failure is Failure.SERVER_ERROR
    assert not upstream.stream.complete


@pytest.mark.parametrize("ends", ["broken", "closed"])
async def test_an_end_without_its_mark_is_no_end(ends: str) -> None:
    upstream = Upstream()
    assert upstream.comes(HI) == HI
    if ends == "broken":
        upstream.answer.fail(Truncated("the connection ended"))
        await SystemClock().sleep(0)
        assert upstream.told == 1
    else:
        upstream.answer.finish()
    with pytest.raises(Failed) as caught:
        upstream.stream.take()
    assert caught.value.failure is Failure.CONNECTION


async def test_a_first_event_may_be_large() -> None:
    answer = Answer(200, [], delimited="chunked", reused=False, max_body=4_000_000)
    stream, large = (
        IncomingStream(answer, ChatReader(keep_usage=False), [], NOTHING),
        HI.replace(b"Hi", b"x" * 3_000_000),
    )
    answer.push(large)
    await stream.begin()
    assert stream.take() == large


async def test_what_came_with_the_first_content_is_told_of_at_once() -> None:
    upstream = Upstream()
    upstream.answer.push(HI)
    await upstream.stream.begin()
    upstream.stream.when_more(upstream._more)
    await SystemClock().sleep(0)
    assert (upstream.told, upstream.stream.take()) == (1, HI)


async def test_choices_are_counted_before_and_after_the_first_content() -> None:
    upstream = Upstream()
    two = b'data: {"choices":[{"index":1,"delta":{"content":"Ho"}}]}\n\n'
    assert upstream.comes(HI + two + STOP) == HI + two + STOP
    upstream.answer.finish()
    with pytest.raises(Failed, match="without its end mark"):  # the second choice is not finished
        upstream.stream.take()


async def test_an_error_that_came_with_a_piece_is_told_of_after_it() -> None:
    upstream = Upstream()
    upstream.answer.push(HI)
    upstream.answer.fail(Truncated("the connection ended"))
    assert upstream.stream.take() == HI
    await SystemClock().sleep(0)
    assert upstream.told > 0
    with pytest.raises(Failed):
        upstream.stream.take()
