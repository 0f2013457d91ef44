"""A text as the answer of a model, in each dialect: what fakes and fallbacks give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from headrace.models.call import Usage
from headrace.models.dialects.sse import write
from headrace.models.dialects.usage import chat_usage, messages_usage
from headrace.models.request import Dialect

_Object = dict[str, Any]
_ENCODE = msgspec.json.Encoder().encode


def render_whole(dialect: Dialect, text: str, *, model: str = "", usage: Usage | None = None, id: str = "1") -> bytes:
    """The answer that is no stream. For `Dialect.JSON`, the text is the document itself.

    >>> render_whole(Dialect.CHAT, "Hi", usage=Usage(5, 1)).decode()
    '{"id":"chatcmpl-1","object":"chat.completion","created":0,"model":"",...,"finish_reason":"stop"}],"usage":...}'
    >>> render_whole(Dialect.JSON, '{"a": 1}')
    b'{"a": 1}'
    """
    match dialect:
        case Dialect.CHAT:
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            head = {"id": f"chatcmpl-{id}", "object": "chat.completion", "created": 0, "model": model}
            return _ENCODE({**head, "choices": [choice], **_usage(dialect, usage)})
        case Dialect.RESPONSES:
            return _ENCODE(_response(text, model, usage, id))
        case Dialect.MESSAGES:
            return _ENCODE(_message(model, usage, id, content=[{"type": "text", "text": text}], stop="end_turn"))
        case Dialect.EMBEDDINGS | Dialect.JSON:
            return text.encode()


def render_stream(
    dialect: Dialect, pieces: Sequence[str], *, model: str = "", usage: Usage | None = None, id: str = "1"
) -> list[bytes]:
    """The events of a stream: the first ones without content, one for each piece, and those at the end.

    Returns a list whose first element is what comes before the content, and whose last is what comes after it.

    >>> [len(render_stream(dialect, ["a", "b"])) for dialect in (Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES)]
    [4, 4, 4]
    """
    match dialect:
        case Dialect.CHAT:
            return _chat(pieces, model, usage, id)
        case Dialect.RESPONSES:
            return _responses(pieces, model, usage, id)
        case _:
            return _messages(pieces, model, usage, id)


def _chat(pieces: Sequence[str], model: str, usage: Usage | None, id: str) -> list[bytes]:
    head = {"id": f"chatcmpl-{id}", "object": "chat.completion.chunk", "created": 0, "model": model}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return write(_ENCODE({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))

    counted = write(_ENCODE({**head, "choices": [], **_usage(Dialect.CHAT, usage)})) if usage is not None else b""
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": piece}) for piece in pieces),
        chunk({}, "stop") + counted + write(b"[DONE]"),
    ]


def _messages(pieces: Sequence[str], model: str, usage: Usage | None, id: str) -> list[bytes]:
    start = _message(model, None if usage is None else replace(usage, output_tokens=0), id, content=[], stop=None)
    output = usage.output_tokens if usage is not None else 0
    return [
        _event({"type": "message_start", "message": start})
        + _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *(
            _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
            for piece in pieces
        ),
        _event({"type": "content_block_stop", "index": 0})
        + _event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": output},
            }
        )
        + _event({"type": "message_stop"}),
    ]


def _responses(pieces: Sequence[str], model: str, usage: Usage | None, id: str) -> list[bytes]:
    done = _response("".join(pieces), model, usage, id)
    item = done["output"][0]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    begun: _Object = {**done, "status": "in_progress", "output": [], "usage": None}
    opened: _Object = {**item, "status": "in_progress", "content": []}
    empty: _Object = {"type": "output_text", "text": "", "annotations": []}
    first: list[_Object] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": opened},
        {"type": "response.content_part.added", **place, "part": empty},
    ]
    last: list[_Object] = [
        {"type": "response.output_text.done", **place, "text": "".join(pieces), "logprobs": []},
        {"type": "response.content_part.done", **place, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]
    deltas: list[_Object] = [
        {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in pieces
    ]
    events = [_event({**event, "sequence_number": number}) for number, event in enumerate([*first, *deltas, *last])]
    return [b"".join(events[:3]), *events[3 : 3 + len(pieces)], b"".join(events[3 + len(pieces) :])]


def _message(model: str, usage: Usage | None, id: str, *, content: list[Any], stop: str | None) -> dict[str, Any]:
    counts = _usage(Dialect.MESSAGES, usage or Usage(0, 0))
    head = {"id": f"msg_{id}", "type": "message", "role": "assistant", "model": model, "content": content}
    return {**head, "stop_reason": stop, "stop_sequence": None, **counts}


def _response(text: str, model: str, usage: Usage | None, id: str) -> dict[str, Any]:
    part: _Object = {"type": "output_text", "text": text, "annotations": []}
    item: _Object = {
        "id": f"msg_{id}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    return {
        "id": f"resp_{id}",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": model,
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **_usage(Dialect.RESPONSES, usage),
    }


def _usage(dialect: Dialect, usage: Usage | None) -> dict[str, Any]:
    """The field `usage`, in the dialect's words."""
    if usage is None:
        return {}
    if dialect is Dialect.CHAT:
        return {"usage": chat_usage(usage)}
    if dialect is Dialect.RESPONSES:
        return {
            "usage": {
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": {"cached_tokens": usage.cached_tokens},
                "output_tokens": usage.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.tokens,
            }
        }
    return {"usage": messages_usage(usage)}


def _event(document: dict[str, Any]) -> bytes:
    return write(_ENCODE(document), document["type"].encode())
