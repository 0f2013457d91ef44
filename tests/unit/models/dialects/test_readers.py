"""Laws of the readers of streams: where the bytes are cut does not matter, and a part is never taken for the whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.models.call import Usage
from headrace.models.dialects import sse
from headrace.models.dialects.chat_as_messages import ChatOfMessages
from headrace.models.dialects.messages_as_chat import MessagesOfChat
from headrace.models.dialects.render import render_stream
from headrace.models.dialects.sse import Splitter, parse
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


PLAIN = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["", "x", "stop", "tool_use"])
)
NAMES = st.sampled_from(
    ["choices", "delta", "content", "tool_calls", "function", "arguments", "index", "finish_reason", "usage",
     "type", "message", "content_block", "error", "response", "id", "name", "text", "prompt_tokens",
     "output_tokens", "partial_json", "stop_reason"]
)  # fmt: skip


def nested(depth: int) -> st.SearchStrategy[Any]:
    """Documents of so many levels."""
    if not depth:
        return PLAIN
    inner = nested(depth - 1)
    return PLAIN | st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4)


TRANSLATING: dict[str, Callable[[], StreamReader]] = {
    "chat of messages": lambda: ChatOfMessages(created=1, usage=True),
    "messages of chat": MessagesOfChat,
}


SOURCES = {"chat of messages": Dialect.MESSAGES, "messages of chat": Dialect.CHAT}


@given(st.sampled_from([*READERS, *TRANSLATING]), st.lists(st.tuples(st.integers(0, 400), nested(2)), max_size=4))
def test_events_of_any_form_are_an_end_or_a_failure_and_never_an_exception(
    kind: Any, changes: list[tuple[int, Any]]
) -> None:
    """A good stream, in which some values are others."""
    reader = TRANSLATING[kind]() if kind in TRANSLATING else READERS[kind]()
    stream = Splitter().feed(b"".join(render_stream(SOURCES.get(kind, kind), ["some", "text"], usage=Usage(9, 4))))
    documents = [json.loads(data) for event in stream if (data := parse(event)[1]).startswith(b"{")]
    for number, value in changes:
        places = list(_places(documents))
        holder, name = places[number % len(places)]
        holder[name] = value
    for document in documents:
        reader.feed(b"data: " + json.dumps(document).encode() + b"\n\n")
    reader.finish(vouched=True)
    assert (reader.failed is not None) != reader.ended


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Wherever another value can stand: in which document or list, and where in it."""
    for name, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, name
        if isinstance(inner, dict | list):
            yield from _places(inner)


@pytest.mark.parametrize("kind", [*READERS, *TRANSLATING])
@pytest.mark.parametrize("text", [b'"\xff"', b"[" * 100_000 + b"]" * 100_000, b'"\\ud800"'])
def test_what_no_parser_can_read_breaks_the_stream(kind: Any, text: bytes) -> None:
    reader = TRANSLATING[kind]() if kind in TRANSLATING else READERS[kind]()
    reader.feed(b'data: {"type":"error","error":%b,"choices":[{"index":0,"delta":{"content":%b}}]}\n\n' % (text, text))
    reader.finish(vouched=True)
    assert reader.failed is not None


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


def test_a_choice_that_begins_after_another_has_finished_has_to_finish_too() -> None:
    def choice(index: int, finish: str = "null") -> bytes:
        return b'data: {"choices":[{"index":%d,"delta":{"content":"x"},"finish_reason":%s}]}\n\n' % (
            index,
            finish.encode(),
        )

    reader = ChatReader(keep_usage=True)
    reader.feed(choice(0) + choice(0, '"stop"') + choice(1))
    reader.finish(vouched=True)
    assert (reader.ended, reader.failed is not None) == (False, True)

    whole = ChatReader(keep_usage=True)
    whole.feed(choice(0) + choice(0, '"stop"') + choice(0) + choice(1) + choice(1, '"stop"'))
    whole.finish(vouched=True)
    assert (whole.ended, whole.failed) == (True, None)


class Heard(StreamReader):
    """Notes what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[bytes, bytes, bytes]] = []

    def _take(self, event: bytes, name: bytes, data: bytes) -> bytes:
        self.events.append((event, name, data))
        return event


PARTS = [
    b"event: a",
    b"event:b",
    b"data: 1",
    b"data: ",
    b"data:2",
    b": c",
    b"\n",
    b"\n\n",
    b"\r",
    b"\r\n",
    b"\xef\xbb\xbf",
]


@given(st.lists(st.sampled_from(PARTS), max_size=8))
def test_what_most_servers_write_is_read_as_all_else_is(parts: list[bytes]) -> None:
    piece = b"".join(parts)
    reader, events = Heard(), Splitter().feed(piece)
    assert reader.feed(piece) == b"".join(events)
    assert reader.events == [(event, *parse(event)) for event in events if parse(event)[1]]


CHUNKS = [
    b'{"choices":[{"index":0,"delta":{"content":""}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"x"}}]}',
    b'{"choices":[{"index":1,"delta":{"content":"x"},"finish_reason":null}],"usage":null}',
    b'{"choices":[{"index":0,"finish_reason":"stop"}]}',
    b'{"choices":[{"index":1},{"index":0,"finish_reason":"stop"}]}',
    b'{"choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":1}}',
    b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}',
    b'{"choices":[{"index":0}],"usage":{"prompt_tokens":"many"}}',
]


@given(st.lists(st.sampled_from(CHUNKS), max_size=12), st.booleans())
def test_a_chunk_like_the_one_before_is_read_as_any_other(chunks: list[bytes], vouched: bool) -> None:
    def read(*, forget: bool) -> Any:
        reader = ChatReader(keep_usage=False)
        given: list[bytes] = []
        for chunk in chunks:
            if forget:
                reader._known = None  # pyright: ignore[reportPrivateUsage]
            given.append(reader.feed(b"data: %b\n\n" % chunk))
        given.append(reader.finish(vouched=vouched))
        return given, reader.begun, reader.ended, str(reader.failed), reader.usage, reader.written

    assert read(forget=False) == read(forget=True)


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


@given(st.lists(st.sampled_from([b"x" * 70_000, b"x" * 9, b"\n", b"\r", b"\r\n", b"\n\n", b"data: 1"]), max_size=14))
def test_large_events_are_cut_as_small_ones_are(pieces: list[bytes]) -> None:
    """One that grows piece by piece is put together at its end only; what comes out is the same."""
    data = b"".join(pieces)
    at_once, by_piece = Splitter(), Splitter()
    whole = at_once.feed(data)
    events = [event for piece in pieces for event in by_piece.feed(piece)]
    assert b"".join(events) + by_piece.rest == data
    assert by_piece.pending == len(by_piece.rest)
    # A carriage return where a piece ends may be the half of a break: it then waits for what comes.
    if b"\r" not in data:
        assert (events, by_piece.rest) == (whole, at_once.rest)


class Counted(bytes):
    """A piece of a stream that tells `work` how many bytes are handled when it is put together with others."""

    work = 0

    def __radd__(self, before: bytes) -> Counted:
        Counted.work += len(before) + len(self)
        return Counted(bytes(before) + bytes(self))


class Searched:
    """A pattern that counts the bytes in which it is looked for."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern = pattern
        self.work = 0

    def search(self, data: bytes) -> re.Match[bytes] | None:
        self.work += len(data)
        return self.pattern.search(data)

    def finditer(self, data: bytes) -> Iterator[re.Match[bytes]]:
        self.work += len(data)
        return self.pattern.finditer(data)


@pytest.mark.parametrize("byte", [b"x", b"\r"])
def test_an_event_of_megabytes_costs_no_more_than_its_bytes(monkeypatch: pytest.MonkeyPatch, byte: bytes) -> None:
    """A picture in one event; its pieces are looked at once each, not all of them with every new one."""
    searched = Searched(sse._END)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(sse, "_END", searched)
    monkeypatch.setattr(Counted, "work", 0)
    reader, pieces, size = ChatReader(keep_usage=True), 250, 65_536
    for _ in range(pieces):
        reader.feed(Counted(byte + b"x" * (size - 1)))
    assert reader.failed is None
    whole = pieces * size
    # Each piece once, and the first ones, up to where an event counts as large, a few times more.
    assert whole / 2 < Counted.work < 1.5 * whole
    assert whole / 2 < searched.work < 1.5 * whole
