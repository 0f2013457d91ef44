"""Laws of the readers of streams: where the bytes are cut does not matter, and a part is never taken for the whole."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.models.call import Usage
from headrace.models.dialects.render import render_stream
from headrace.models.dialects.stream import ChatReader, MessagesReader, ResponsesReader, StreamReader
from headrace.models.request import Dialect

READERS: dict[Dialect, Callable[[], StreamReader]] = {
    Dialect.CHAT: lambda: ChatReader(keep_usage=True),
    Dialect.RESPONSES: ResponsesReader,
    Dialect.MESSAGES: MessagesReader,
}
TEXTS = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(at)]


@given(st.sampled_from(list(READERS)), TEXTS, st.lists(st.integers(0, 10_000), max_size=20), st.booleans())
def test_where_the_bytes_are_cut_does_not_matter(
    dialect: Dialect, texts: list[str], places: list[int], returns: bool
) -> None:
    data = b"".join(render_stream(dialect, texts, usage=Usage(9, 4)))
    data = data.replace(b"\n", b"\r\n") if returns else data
    reader = READERS[dialect]()
    given = b"".join(reader.feed(piece) for piece in cut(data, places)) + reader.finish(vouched=False)
    assert given == data
    assert (reader.begun, reader.ended, reader.failed) == (True, True, None)
    assert reader.usage is not None
    assert (reader.usage.prompt_tokens, reader.usage.output_tokens) == (9, 4)


@given(st.sampled_from(list(READERS)), TEXTS, st.integers(0, 10_000))
def test_a_part_is_never_taken_for_the_whole(dialect: Dialect, texts: list[str], place: int) -> None:
    data = b"".join(render_stream(dialect, texts, usage=Usage(9, 4)))
    part = data[: place % len(data)].rstrip(b"\n")
    reader = READERS[dialect]()
    given = reader.feed(part) + reader.finish(vouched=False)
    if part == data.rstrip(b"\n"):
        assert reader.ended
        return
    assert (reader.ended, reader.failed is not None) == (False, True)
    assert data.startswith(given.rstrip(b"\n"))


@given(st.sampled_from(list(READERS)), st.binary(max_size=200))
def test_any_bytes_are_an_end_or_a_failure_and_never_an_exception(dialect: Dialect, data: bytes) -> None:
    reader = READERS[dialect]()
    reader.feed(data)
    reader.finish(vouched=True)
    assert (reader.failed is not None) != reader.ended


def test_chat_is_whole_without_done_only_when_every_choice_has_finished_and_http_vouches() -> None:
    def reader_of(*finished: int) -> ChatReader:
        reader = ChatReader(keep_usage=True)
        for index in (0, 1):
            reader.feed(b'data: {"choices":[{"index":%d,"delta":{"content":"x"}}]}\n\n' % index)
        for index in finished:
            reader.feed(b'data: {"choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]}\n\n' % index)
        return reader

    for finished, vouched, ended in [((0, 1), True, True), ((0, 1), False, False), ((0,), True, False)]:
        reader = reader_of(*finished)
        reader.finish(vouched=vouched)
        assert reader.ended is ended


@pytest.mark.parametrize(
    ("delta", "begun"),
    [
        (b'{"role":"assistant","content":""}', False),
        (b'{"content":null}', False),
        (b'{"content":"x"}', True),
        (b'{"tool_calls":[{"index":0}]}', True),
        (b'{"reasoning_content":"hm"}', True),
        (b'{"refusal":"no"}', True),
    ],
)
def test_content_begins_with_the_first_thing_that_is_said(delta: bytes, begun: bool) -> None:
    reader = ChatReader(keep_usage=True)
    reader.feed(b": comment\n\n")
    reader.feed(b'data: {"choices":[{"index":0,"delta":%b}]}\n\n' % delta)
    assert reader.begun is begun


def test_a_stream_of_strange_usage_is_still_an_answer() -> None:
    reader = ChatReader(keep_usage=True)
    reader.feed(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":"many"}}\n\n')
    reader.feed(b"data: [DONE]\n\n")
    assert (reader.ended, reader.failed, reader.usage) == (True, None, None)
