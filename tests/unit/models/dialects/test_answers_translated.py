"""Answers unlike most, in translation: calls without arguments, forced calls, content in parts, malformed ones."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from headrace.models.dialects import chat_as_messages, messages_as_chat
from headrace.models.dialects.sse import Splitter, parse
from headrace.models.dialects.whole import check_whole
from headrace.models.failure import Failure
from headrace.models.provider import Failed
from headrace.models.providers.exchange import translated
from headrace.models.request import Dialect


def events(stream: bytes) -> list[Any]:
    """The documents of a stream."""
    return [json.loads(data) for _, data in map(parse, Splitter().feed(stream)) if data.startswith(b"{")]


def stream(*documents: dict[str, Any], end: bytes = b"") -> bytes:
    """A stream of these documents."""
    return b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in documents) + end


# Messages as chat ----------------------------------------------------------------------------------------------------


def begun(index: int, kind: str = "tool_use", **more: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, "id": "t", **more}}


def part(index: int, text: str) -> dict[str, Any]:
    delta = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def over(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


@pytest.mark.parametrize(
    ("documents", "arguments"),
    [
        ([begun(0, name="w", input={}), over(0)], ["{}"]),
        ([begun(0, name="w", input={}), part(0, ""), over(0)], ["{}"]),
        ([begun(0, name="w", input={}), part(0, ""), part(0, '{"a"'), part(0, ":1}"), over(0)], ['{"a":1}']),
        ([begun(0, name="w", input={"a": 1}), over(0)], ['{"a":1}']),
        (
            [
                begun(0, name="w"),
                part(0, ""),
                over(0),
                begun(1, name="v"),
                part(1, '{"b":2}'),
                over(1),
                begun(2, name="u"),
                over(2),
            ],
            ["{}", '{"b":2}', "{}"],
        ),
        ([begun(0, "server_tool_use"), part(0, '{"q":1}'), over(0), begun(1, name="w"), over(1)], ["{}"]),
        ([begun(0, name="w"), over(0), begun(1, "server_tool_use"), part(1, '{"q":1}'), over(1)], ["{}"]),
    ],
)
def test_arguments_of_calls_in_a_stream_are_always_json(documents: list[Any], arguments: list[str]) -> None:
    reader = chat_as_messages.ChatOfMessages(created=7, usage=False)
    found: dict[int, list[str]] = {}
    for event in events(reader.feed(stream(*documents))):
        for call in event["choices"][0]["delta"]["tool_calls"]:
            found.setdefault(call["index"], []).append(call["function"]["arguments"])
    assert reader.failed is None
    assert ["".join(parts) for _, parts in sorted(found.items())] == arguments
    assert all(all(parts[1:]) for parts in found.values()), "no part is empty but the first, which has the name"


@pytest.mark.parametrize("given", [{"input": {}}, {"input": None}, {}])
def test_a_call_without_arguments_in_a_whole_answer_has_an_empty_object(given: dict[str, Any]) -> None:
    answer = {"content": [{"type": "tool_use", "id": "t", "name": "w", **given}], "stop_reason": "tool_use"}
    [choice] = json.loads(chat_as_messages.whole(json.dumps(answer).encode(), 7))["choices"]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "w", "arguments": "{}"}


@pytest.mark.parametrize("named", [{}, {"name": None}, {"name": ""}, {"name": 5}])
def test_a_call_of_messages_that_names_no_function_is_no_answer(named: dict[str, Any]) -> None:
    answer = {"content": [{"type": "tool_use", "id": "t", "input": {}, **named}], "stop_reason": "tool_use"}
    with pytest.raises(Failed, match="names no function") as caught:
        chat_as_messages.whole(json.dumps(answer).encode(), 7)
    reader = chat_as_messages.ChatOfMessages(created=7, usage=False)
    reader.feed(stream(begun(0, **named)))
    assert reader.failed is not None
    assert (caught.value.failure, reader.failed.failure) == (Failure.MALFORMED, Failure.MALFORMED)


# Chat as messages ----------------------------------------------------------------------------------------------------


def whole(message: dict[str, Any], finish: str | None = "stop") -> dict[str, Any]:
    """What a whole answer of chat becomes."""
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    return json.loads(messages_as_chat.whole(json.dumps(answer).encode()))


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


CALL = {"index": 0, "id": "t", "type": "function", "function": {"name": "w", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("calls", "finish", "stop"),
    [
        ([CALL], "stop", "tool_use"),
        ([CALL], "tool_calls", "tool_use"),
        ([CALL], None, "tool_use"),
        ([CALL], "length", "max_tokens"),
        ([CALL], "content_filter", "refusal"),
        ([], "stop", "end_turn"),
    ],
)
@pytest.mark.parametrize("marked", [True, False])
def test_an_answer_with_a_call_ends_for_it(calls: list[Any], finish: str | None, stop: str, marked: bool) -> None:
    assert whole({"content": "Hi", "tool_calls": calls}, finish)["stop_reason"] == stop
    reader = messages_as_chat.MessagesOfChat()
    documents = [chunk({"content": "Hi"}), chunk({"tool_calls": calls}), chunk({}, finish)]
    out = reader.feed(stream(*documents, end=b"data: [DONE]\n\n" if marked else b"")) + reader.finish(vouched=True)
    if marked or finish:
        assert events(out)[-2]["delta"]["stop_reason"] == stop


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
PARTS: list[tuple[Any, str]] = [
    ([{"type": "text", "text": "Hel"}, THINKING, {"type": "text", "text": "lo"}], "Hello"),
    ([THINKING, {"type": "reference", "reference_ids": [1]}], ""),
    ([{"type": "text", "text": ""}], ""),
    ([], ""),
    ("Hello", "Hello"),
    (None, ""),
]


@pytest.mark.parametrize(("content", "text"), PARTS)
def test_content_in_parts_is_its_text(content: Any, text: str) -> None:
    assert whole({"content": content})["content"] == ([{"type": "text", "text": text}] if text else [])
    reader = messages_as_chat.MessagesOfChat()
    found = events(reader.feed(stream(chunk({"content": content}), chunk({"content": "!"}), chunk({}, "stop"))))
    assert reader.failed is None
    said = [event["delta"]["text"] for event in found if event["type"] == "content_block_delta"]
    assert said == ([text, "!"] if text else ["!"])


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"tool_calls": [{"id": "t", "type": "function"}]}, "names no function: {'id': 't'"),
        ({"tool_calls": [{"index": 0, "id": "t", "function": {"arguments": "{}"}}]}, "names no function"),
        ({"content": 5}, "neither text nor parts: 5"),
        ({"content": {"text": "Hi"}}, "neither text nor parts: {'text': 'Hi'}"),
        ({"content": [{"type": "text"}]}, "not as its dialect says (KeyError"),
        ({"content": ["Hi"]}, "not as its dialect says (AttributeError"),
        ({"tool_calls": [5]}, "not as its dialect says (AttributeError"),
    ],
)
def test_what_is_no_answer_of_chat_is_told(message: dict[str, Any], said: str) -> None:
    answer = {"choices": [{"message": message}]}
    with pytest.raises(Failed, match=re.escape(said)) as caught:
        translated(messages_as_chat.whole, json.dumps(answer).encode())
    reader = messages_as_chat.MessagesOfChat()
    reader.feed(stream(chunk(message)))
    assert reader.failed is not None
    assert said in reader.failed.message
    assert (caught.value.failure, reader.failed.failure) == (Failure.MALFORMED, Failure.MALFORMED)


def test_parts_of_arguments_that_are_no_text_break_a_stream() -> None:
    reader = messages_as_chat.MessagesOfChat()
    call = {"index": 0, "id": "t", "function": {"name": "w", "arguments": {"a": 1}}}
    said = events(reader.feed(stream(chunk({"tool_calls": [call]}))))
    assert reader.failed is not None
    assert (reader.failed.failure, "no text: {'a': 1}" in reader.failed.message) == (Failure.MALFORMED, True)
    assert not [event for event in said if event["type"] == "content_block_delta"]


@pytest.mark.parametrize("content", ["Hi", 5, [5], [{"type": "text"}], [{"type": "text", "text": 5}], {"type": "text"}])
def test_what_is_no_answer_of_messages_is_told(content: Any) -> None:
    answer = json.dumps({"content": content}).encode()
    with pytest.raises(Failed, match="not as its dialect says") as caught:
        translated(lambda body: chat_as_messages.whole(body, 7), answer)
    assert caught.value.failure is Failure.MALFORMED


# Results of tools ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"content": "no such city", "is_error": True}, "Error: no such city"),
        ({"content": [{"type": "text", "text": "no such city"}], "is_error": True}, "Error: no such city"),
        ({"content": "Error 404: not there", "is_error": True}, "Error 404: not there"),
        ({"is_error": True}, "Error"),
        ({"content": "sunny", "is_error": False}, "sunny"),
        ({"content": "sunny"}, "sunny"),
    ],
)
def test_that_a_tool_failed_is_said_in_the_text(result: dict[str, Any], text: str) -> None:
    content = [{"type": "tool_result", "tool_use_id": "t", **result}]
    asked = messages_as_chat.request({"messages": [{"role": "user", "content": content}]})
    assert asked["messages"] == [{"role": "tool", "tool_call_id": "t", "content": text}]


@pytest.mark.parametrize("apart", [False, True])
def test_what_is_malformed_begins_nothing_however_its_bytes_are_cut(apart: bool) -> None:
    reader = messages_as_chat.MessagesOfChat()
    first, second = stream(chunk({"role": "assistant"})), stream(chunk({"tool_calls": [{"index": 0, "id": "t"}]}))
    for part in (first, second) if apart else (first + second,):
        reader.feed(part)
    assert reader.failed is not None
    assert not reader.begun, "so it is tried elsewhere"


def test_an_answer_without_a_choice_is_none() -> None:
    with pytest.raises(Failed, match="has no 'choices'"):
        check_whole(Dialect.CHAT, b'{"choices": []}')
    assert check_whole(Dialect.MESSAGES, b'{"content": []}') is None
