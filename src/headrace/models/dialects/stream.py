"""Streams of events: where their content begins, whether they came to their end, and what they took.

A stream is whole when its end mark was seen:

| dialect   | content begins with                                 | end mark                                    |
|-----------|-----------------------------------------------------|---------------------------------------------|
| chat      | a delta with text, a tool call, reasoning, refusal  | `[DONE]`, or all finished (below)           |
| responses | an event `response.*.delta`, or an item that is done | `response.completed`, `response.incomplete` |
| messages  | a `content_block_delta`, or a tool's block          | `message_stop`                              |

Chat without `[DONE]` is whole when every choice has its `finish_reason` and HTTP itself vouches for the end.

All else is broken off: the end of the bytes without the mark, bytes that are no events, an error event. It is never
passed off as an end.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from headrace.models.call import Usage
from headrace.models.dialects.errors import read_error
from headrace.models.dialects.sse import Splitter, parse
from headrace.models.dialects.usage import Counts, read_counts, read_usage
from headrace.models.failure import Failure
from headrace.models.provider import Failed

_LARGEST = 16 * 1024 * 1024
"""Bytes of one event: an image in one piece is some megabytes."""

_FRAME = 400
"""Bytes of an event around its text: ids, names, the time; what is beyond is text, four bytes to a token."""


class StreamReader:
    """Reads the stream of one answer, and gives on what its client is to have. One class per dialect.

    Attributes
    ----------
    begun
        Content was seen.
    ended
        The end mark was seen.
    failed
        Why no more will come; what was given before is right.
    usage
        As far as it was told.
    written
        Tokens that have come, about: an event is one, and more where it is long.
    """

    __slots__ = ("_splitter", "begun", "ended", "failed", "usage", "written")

    def __init__(self) -> None:
        self.begun = False
        self.ended = False
        self.failed: Failed | None = None
        self.usage: Usage | None = None
        self.written = 0
        self._splitter = Splitter()

    def feed(self, piece: bytes) -> bytes:
        """What is to be passed on after this piece; check `failed` then."""
        if not piece or self.ended or self.failed is not None:
            return b""
        splitter = self._splitter
        # Nearly always a piece is one event: a line of data, perhaps after one with its name.
        if not splitter.pending:
            line, _, rest = piece.partition(b"\n")
            name = b""
            if rest != b"\n" and line.startswith(b"event: "):
                name = line[7:]
                line, _, rest = rest.partition(b"\n")
            if rest == b"\n" and line.startswith(b"data: ") and b"\r" not in piece:
                return self._read(piece, name, line[6:])
        passed: list[bytes] = []
        for event in splitter.feed(piece):
            given = self._read(event, *parse(event))
            if given:
                passed.append(given)
            if self.ended or self.failed is not None:
                break
        if splitter.pending > _LARGEST:
            self.failed = Failed(Failure.SERVER_ERROR, f"an event of the stream is longer than {_LARGEST} bytes")
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def finish(self, *, vouched: bool) -> bytes:
        """The bytes have ended, which is well after the end mark only; what is still to be passed on.

        Parameters
        ----------
        vouched
            Whether HTTP says that this is the end, and not just the connection.
        """
        rest = b""
        if self._splitter.rest.strip():
            # The last event without its blank line: servers that end at once after `[DONE]` do that.
            rest = self.feed(b"\n\n")
        if not self.ended and self.failed is None and not (vouched and self._closed()):
            self.failed = Failed(Failure.CONNECTION, "the stream ended without its end mark")
        elif self.failed is None:
            self.ended = True
        return rest

    def _read(self, event: bytes, name: bytes, data: bytes) -> bytes:
        """Read an event; what of it is passed on. Sets `failed` where it is none."""
        if not data:  # a comment
            return event
        self.written += 1
        if len(data) > _FRAME:
            self.written += (len(data) - _FRAME) // 4
        begun = self.begun
        try:
            return self._take(event, name, data)
        except Failed as failed:
            self.failed = failed
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.failed = Failed(Failure.SERVER_ERROR, f"an event of the stream is no JSON: {error}: {data[:100]!r}")
        # The boundary to whatever an upstream sends: what no translation has thought of breaks the stream.
        except Exception as error:
            what = f"an event of the stream is not as its dialect says ({type(error).__name__}): {data[:100]!r}"
            self.failed = Failed(Failure.MALFORMED, what)
        self.begun = begun  # what is wrong begins nothing: it can still be tried elsewhere
        return b""

    def _take(self, event: bytes, name: bytes, data: bytes) -> bytes:
        """Read an event; what of it is passed on. Raises what is wrong with it."""
        raise NotImplementedError(type(self).__name__)

    def _closed(self) -> bool:
        """Whether all was said although the end mark is missing."""
        return False


class _Delta(msgspec.Struct):
    content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    audio: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: Any = None


class _FirstChoice(_Choice):
    delta: _Delta | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Counts | None = None
    error: Any = None


class _FirstChunk(_Chunk):
    choices: list[_FirstChoice] | None = None  # type: ignore[assignment]


class _Uncounted(msgspec.Struct):
    choices: list[_FirstChoice] | None = None
    error: Any = None


_FIRST = msgspec.json.Decoder(_FirstChunk).decode
_CHUNK = msgspec.json.Decoder(_Chunk).decode
"""After the first content: what the deltas hold is of no concern any more."""
_UNCOUNTED = msgspec.json.Decoder(_Uncounted).decode


class ChatReader(StreamReader):
    """Chat completions.

    Parameters
    ----------
    keep_usage
        Whether the client asked for the chunk that has only `usage`; else it is not passed on.

    Examples
    --------
    >>> reader = ChatReader(keep_usage=False)
    >>> reader.feed(b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\\n\\n')
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\\n\\n'
    >>> reader.feed(b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\\n\\n'), reader.usage
    (b'', Usage(prompt_tokens=3, output_tokens=1))
    >>> reader.begun, reader.ended, reader.finish(vouched=True), str(reader.failed)
    (True, False, b'', 'the stream ended without its end mark')
    """

    __slots__ = ("_finished", "_keep_usage", "_known", "_open")
    _finished: set[int]
    """Choices that said why they ended."""

    def __init__(self, *, keep_usage: bool) -> None:
        super().__init__()
        self._keep_usage = keep_usage
        self._open: set[int] = set()
        self._finished = set()
        self._known: _Chunk | None = None

    def _take(self, event: bytes, name: bytes, data: bytes) -> bytes:
        if data == b"[DONE]":
            if not self.begun and not self._finished:
                raise Failed(Failure.SERVER_ERROR, "the stream ended without any content")
            self.ended = True
            return event
        try:
            chunk = (_CHUNK if self.begun else _FIRST)(data)
        except msgspec.ValidationError:
            # A strange `usage` must not break an answer that is good.
            found = _UNCOUNTED(data)
            chunk = _FirstChunk(found.choices, None, found.error)
        if chunk == self._known and not name:  # mostly only its text is new, and that is of no concern here
            return event
        if chunk.error or name == b"error":
            failure, message = read_error(chunk.error)
            raise Failed(failure, f"the stream says an error: {message:.200}", body=data, said=message)
        if chunk.usage is not None:
            self.usage = read_usage(chunk.usage)
            if not chunk.choices:
                return event if self._keep_usage else b""
        for choice in chunk.choices or ():
            if not self.begun:
                self.begun = _says(choice)
            if choice.finish_reason:
                self.begun = True
                self._finished.add(choice.index)
                self._open.discard(choice.index)
            elif choice.index not in self._finished:
                self._open.add(choice.index)
        self._known = chunk if chunk.usage is None else None
        return event

    def _closed(self) -> bool:
        return bool(self._finished) and not self._open


def _says(choice: _Choice) -> bool:
    """Whether there is content in it."""
    delta = choice.delta if isinstance(choice, _FirstChoice) else None
    return delta is not None and bool(
        delta.content
        or delta.tool_calls
        or delta.reasoning_content
        or delta.reasoning
        or delta.refusal
        or delta.function_call
        or delta.audio
    )


class _ResponseError(msgspec.Struct):
    error: Any = None
    usage: Any = None


class _ResponseEvent(msgspec.Struct):
    type: str = ""
    response: _ResponseError | None = None
    error: Any = None
    code: Any = None
    message: Any = None


_RESPONSE = msgspec.json.Decoder(_ResponseEvent)


class ResponsesReader(StreamReader):
    """OpenAI responses."""

    __slots__ = ()
    _ENDS: ClassVar[frozenset[str]] = frozenset({"response.completed", "response.incomplete"})

    def _take(self, event: bytes, name: bytes, data: bytes) -> bytes:
        if data == b"[DONE]":  # some servers add it, after the end mark
            return event
        found = _RESPONSE.decode(data)
        kind = found.type or name.decode("latin-1")
        if kind == "error" or kind == "response.failed":
            error = found.error or (found.response.error if found.response else None)
            failure, message = read_error(error or {"code": found.code, "message": found.message})
            raise Failed(failure, f"the stream says an error: {message:.200}", body=data, said=message)
        if kind.endswith(".delta") or kind == "response.output_item.done":
            self.begun = True
        elif kind in self._ENDS:
            self.begun = self.ended = True
            self.usage = read_usage(read_counts(found.response.usage)) if found.response else None
        return event


class _Message(msgspec.Struct):
    usage: Any = None


class _Block(msgspec.Struct):
    type: str = ""


class _MessageEvent(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    content_block: _Block | None = None
    usage: Any = None
    error: Any = None


_MESSAGE = msgspec.json.Decoder(_MessageEvent)
_COUNTED = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
)


class MessagesReader(StreamReader):
    """Anthropic messages."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        super().__init__()
        self._counts = Counts()

    def _take(self, event: bytes, name: bytes, data: bytes) -> bytes:
        found = _MESSAGE.decode(data)
        match found.type:
            case "content_block_delta":
                self.begun = True
            case "content_block_start":
                self.begun = self.begun or (found.content_block is not None and found.content_block.type == "tool_use")
            case "message_start":
                self._count(found.message.usage if found.message else None)
            case "message_delta":
                self.begun = True
                self._count(found.usage)
            case "message_stop":
                self.begun = self.ended = True
            case "error":
                failure, message = read_error(found.error)
                raise Failed(failure, f"the stream says an error: {message:.200}", body=data, said=message)
            case _:
                pass
        return event

    def _count(self, said: Any) -> None:
        """The counts of `message_delta` are totals; those that it does not name stand as `message_start` told them."""
        counts = read_counts(said)
        if counts is None:
            return
        for field in _COUNTED:
            value = getattr(counts, field)
            if value is not None:
                setattr(self._counts, field, value)
        self.usage = read_usage(self._counts)
