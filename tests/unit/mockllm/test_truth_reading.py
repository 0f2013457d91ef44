"""The suite's own reading of bytes: framing in any pieces, and what streams say."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.mockllm.truth.cases import CASES, body_of
from headrace.mockllm.truth.exchange import Framing
from headrace.mockllm.truth.reading import read_stream, read_whole

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=1\r\nhello\r\nc\r\n and\r\n world\r\n0\r\nt: 1\r\n\r\nmore"
)
KNOWN = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 502 Bad\r\ncontent-length: 3\r\n\r\nabcmore"


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=12))
def test_chunks_are_read_however_they_come(cuts: list[int]) -> None:
    framing, body = Framing(), b""
    edges = [0, *sorted(cuts), len(CHUNKED)]
    for start, end in itertools.pairwise(edges):
        if not framing.complete:
            body += framing.feed(CHUNKED[start:end])
        else:
            framing.rest += CHUNKED[start:end]
    assert (body, framing.complete, framing.rest) == (b"hello and\r\n world", True, b"more")


@given(st.integers(0, len(KNOWN)))
def test_a_known_length_is_read_however_it_comes(cut: int) -> None:
    framing = Framing()
    body = framing.feed(KNOWN[:cut])
    if framing.complete:
        framing.rest += KNOWN[cut:]
    else:
        body += framing.feed(KNOWN[cut:])
    assert (framing.status, body, framing.complete, framing.rest) == (502, b"abc", True, b"more")


def test_an_unfinished_chunk_is_not_complete_and_what_came_is_kept() -> None:
    framing = Framing()
    assert framing.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel") == b"hel"
    assert not framing.complete
    assert framing.feed(b"lo") == b"lo"
    with pytest.raises(ValueError):
        Framing().feed(b"SSH-2.0\r\n\r\n")


@pytest.mark.parametrize(
    ("body", "finished", "failed", "after"),
    [
        (b'data: {"choices":[{"delta":{},"finish_reason":null}]}\n\n', 0, False, False),
        (b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n', 1, False, False),
        (b"data: [DONE]\r\n\r\n", 1, False, False),
        (b"data: [DONE]\n", 0, False, False),
        (b'event: response.completed\ndata: {"type":"response.completed"}\n\n', 1, False, False),
        (b'event: message_stop\ndata: {"type":"message_stop"}\n\n', 1, False, False),
        (b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n', 1, False, False),
        (b'data: {"error":{"message":"x"}}\n\n', 0, True, False),
        (b'event: error\ndata: {"message":"x"}\n\ndata: {}\n\n', 0, True, True),
        (b'data: {"type":"response.failed"}\n\n: ping\n\n', 0, True, False),
        (b"\x00\xff<html>\n\n", 0, False, False),
    ],
)
def test_what_a_stream_says(body: bytes, finished: int, failed: bool, after: bool) -> None:
    told = read_stream(body)
    assert (told.finished, told.failed, told.after_error) == (finished, failed, after)


def test_whole_answers_are_told_from_what_is_none() -> None:
    assert read_whole(b'{"choices":[{"message":{"content":"a"}}]}') == "a"
    assert read_whole(b'{"output":[{"content":[{"text":"b"}]}]}') == "b"
    assert read_whole(b'{"content":[{"type":"text","text":"c"}]}') == "c"
    assert read_whole(b'{"error":{"message":"d"}}') is None
    assert read_whole(b'{"choices":[{"mess') is None


def test_cases_have_names_and_bodies_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(body_of(case, "m", "p")["stream"] == case.stream for case in CASES)
