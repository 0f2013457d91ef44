"""What is said in one dialect means the same in the other."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.models.call import Usage
from headrace.models.dialects import chat_as_messages, messages_as_chat
from headrace.models.dialects.render import render_stream
from headrace.models.dialects.sse import Splitter, parse
from headrace.models.dialects.stream import ChatReader, MessagesReader
from headrace.models.dialects.untranslatable import Malformed, Untranslatable
from headrace.models.provider import Failed
from headrace.models.request import Dialect

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Weather here?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "w", "arguments": '{"city":"Rome"}'}},
                {"id": "t2", "type": "function", "function": {"name": "w", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "t2", "content": "rain"},
        {"role": "user", "content": "And now?"},
    ],
    "max_tokens": 50,
    "temperature": 1.5,
    "top_p": 0.9,
    "stop": "END",
    "user": "u1",
    "stream": True,
    "tools": [{"type": "function", "function": {"name": "w", "description": "d", "parameters": SCHEMA}}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
}
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 50,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Weather here?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "t1", "name": "w", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "t2", "name": "w", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]},
                {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "rain"}]},
                {"type": "text", "text": "And now?"},
            ],
        },
    ],
    "stop_sequences": ["END"],
    "temperature": 1,
    "top_p": 0.9,
    "metadata": {"user_id": "u1"},
    "stream": True,
    "tools": [{"name": "w", "input_schema": SCHEMA, "description": "d"}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
}


def test_a_request_of_chat_as_messages() -> None:
    assert chat_as_messages.request(CHAT) == MESSAGES
    assert chat_as_messages.request(CHAT, "other")["model"] == "other"


def test_a_request_of_messages_as_chat() -> None:
    found = messages_as_chat.request(MESSAGES)
    assert found.pop("stream_options") == {"include_usage": True}
    wanted = json.loads(json.dumps(CHAT))
    wanted["temperature"], wanted["stop"] = 1, ["END"]
    wanted["messages"][2]["tool_calls"][1]["function"]["arguments"] = "{}"
    wanted["messages"][5]["content"] = [{"type": "text", "text": "And now?"}]
    assert found == wanted


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_parameters_of_a_data_url_are_no_part_of_its_type() -> None:
    asked = {"messages": [{"role": "user", "content": [picture("data:image/png;charset=utf-8;base64,iVBO")]}]}
    [message] = chat_as_messages.request(asked)["messages"]
    assert message["content"][0]["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBO"}


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
        {"audio": {}},
        {"modalities": ["text", "audio"]},
        {"web_search_options": {}},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        {"messages": [{"role": "user", "content": [picture("data:image/svg+xml,%3Csvg/%3E")]}]},
        {"messages": [{"role": "user", "content": [picture("data:image/png;base64")]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"arguments": "{"}}]}]},
        {"tools": [{"type": "custom"}]},
        {"tools": [{"type": "function"}]},
    ],
)
def test_what_messages_cannot_say_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises((Untranslatable, Malformed)):
        chat_as_messages.request({"messages": [], **more})


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image"}]}]}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"mcp_servers": [{"type": "url", "url": "https://x.example", "name": "x"}]},
        {"output_config": {"format": {"type": "text"}}},
    ],
)
def test_what_chat_cannot_say_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(Untranslatable):
        messages_as_chat.request({"messages": [], **more})


def test_a_schema_for_the_answer_both_ways() -> None:
    wanted = {"name": "answer", "schema": SCHEMA, "strict": True}
    chat = {"response_format": {"type": "json_schema", "json_schema": wanted}}
    messages = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    asked: dict[str, Any] = {"model": "m", "messages": []}
    assert chat_as_messages.request({**asked, **chat})["output_config"] == messages["output_config"]
    assert messages_as_chat.request({**asked, **messages})["response_format"] == chat["response_format"]


def test_what_is_left_out_is_told() -> None:
    assert chat_as_messages.lost({**CHAT, "seed": 0, "logit_bias": {"5": 1}, "top_logprobs": None, "store": False}) == [
        "seed",
        "logit_bias",
        "temperature",
    ]
    assert messages_as_chat.lost({**MESSAGES, "thinking": {"type": "enabled", "budget_tokens": 99}}) == ["thinking"]
    assert messages_as_chat.lost({**MESSAGES, "thinking": {"type": "disabled"}}) == []


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything in a document."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        inner = enumerate(cast("list[Any]", value))
    return [way, *(place for key, one in inner for place in places(one, (*way, key)))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "function"]), inner),
    max_leaves=4,
)


@settings(max_examples=600, deadline=None)
@given(st.data(), st.sampled_from([(chat_as_messages, CHAT), (messages_as_chat, MESSAGES)]))
def test_what_is_of_another_form_is_told_and_never_raises_anything_else(data: st.DataObject, asked: Any) -> None:
    translation, document = asked[0], json.loads(json.dumps(asked[1]))
    for _ in range(data.draw(st.integers(1, 2))):
        *way, last = data.draw(st.sampled_from(places(document)[1:]))
        here = document
        for step in way:
            here = here[step]
        if data.draw(st.booleans()):
            here[last] = data.draw(JSON)
        elif isinstance(here, dict):
            del here[last]
    try:
        translation.request(document)
        translation.lost(document)
    except (Untranslatable, Malformed) as error:
        said = str(error)
        assert not re.search(r"object has no attribute|NoneType|KeyError|TypeError|\bb'", said), said


ANSWER_OF_MESSAGES: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "text", "text": "Look:"},
        {"type": "tool_use", "id": "t1", "name": "w", "input": {"city": "Rome"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 3,
    },
}
ANSWER_OF_CHAT: dict[str, Any] = {
    "id": "msg_1",
    "object": "chat.completion",
    "created": 7,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Look:",
                "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "w", "arguments": '{"city":"Rome"}'}}
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}


def test_answers_both_ways() -> None:
    assert json.loads(chat_as_messages.whole(json.dumps(ANSWER_OF_MESSAGES).encode(), 7)) == ANSWER_OF_CHAT
    assert json.loads(messages_as_chat.whole(json.dumps(ANSWER_OF_CHAT).encode())) == ANSWER_OF_MESSAGES


def test_a_tool_call_whose_arguments_are_no_json_is_no_answer() -> None:
    answer = json.dumps(ANSWER_OF_CHAT).replace('{\\"city', "{city")
    with pytest.raises(Failed, match="no JSON"):
        messages_as_chat.whole(answer.encode())


def events(stream: bytes) -> list[Any]:
    """The documents of a stream."""
    return [
        json.loads(data) if data.startswith(b"{") else data.decode() for _, data in map(parse, Splitter().feed(stream))
    ]


def test_a_stream_of_messages_as_chat() -> None:
    reader = chat_as_messages.ChatOfMessages(created=7, usage=True)
    source = b"".join(render_stream(Dialect.MESSAGES, ["Hel", "lo"], model="m", usage=Usage(10, 2, 4)))
    out = reader.feed(source)
    check = ChatReader(keep_usage=True)
    assert check.feed(out) == out
    assert (check.ended, check.usage, reader.ended) == (True, Usage(10, 2, 4), True)
    found = events(out)
    assert [event["choices"][0]["delta"] for event in found[:4]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert (found[3]["choices"][0]["finish_reason"], found[-1]) == ("stop", "[DONE]")
    assert (found[0]["id"], found[0]["model"], found[0]["created"]) == ("msg_1", "m", 7)


def test_a_stream_of_chat_as_messages() -> None:
    reader = messages_as_chat.MessagesOfChat()
    source = b"".join(render_stream(Dialect.CHAT, ["Hel", "lo"], model="m", usage=Usage(10, 2, 4)))
    out = reader.feed(source)
    check = MessagesReader()
    assert check.feed(out) == out
    assert (check.ended, check.usage, reader.ended) == (True, Usage(10, 2, 4), True)
    assert [event["type"] for event in events(out)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_streams_of_tool_calls_both_ways() -> None:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        document = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        return b"data: %b\n\n" % json.dumps(document).encode()

    def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, **more, "function": {"arguments": arguments, **more}}]}

    source = b"".join(
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "Look"}),
            chunk(call(0, "", id="t1", name="w")),
            chunk(call(0, '{"a":')),
            chunk(call(0, "1}")),
            chunk(call(1, "{}", id="t2", name="v")),
            chunk({}, "tool_calls"),
            b"data: [DONE]\n\n",
        ]
    )
    as_messages = messages_as_chat.MessagesOfChat().feed(source)
    found = events(as_messages)
    blocks = [event["content_block"]["type"] for event in found if event["type"] == "content_block_start"]
    assert blocks == ["text", "tool_use", "tool_use"]
    assert [event["index"] for event in found if event["type"] == "content_block_stop"] == [0, 1, 2]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"

    again = events(chat_as_messages.ChatOfMessages(created=7, usage=False).feed(as_messages))
    calls = [
        (one["index"], one.get("id"), one["function"].get("name"), one["function"]["arguments"])
        for event in again[:-1]
        for one in event["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert calls == [
        (0, "t1", "w", ""),
        (0, None, None, '{"a":'),
        (0, None, None, "1}"),
        (1, "t2", "v", ""),
        (1, None, None, "{}"),
    ]
    assert again[-2]["choices"][0]["finish_reason"] == "tool_calls"


def calls_of(*calls: dict[str, Any]) -> bytes:
    """A chunk of chat with parts of tool calls."""
    document = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]}
    return b"data: %b\n\n" % json.dumps(document).encode()


def test_calls_that_a_server_does_not_number_are_told_apart_by_their_ids() -> None:
    reader = messages_as_chat.MessagesOfChat()
    whole = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    found = events(reader.feed(calls_of(*whole) + calls_of({"function": {"arguments": " "}})))
    blocks = [event["content_block"]["id"] for event in found if event["type"] == "content_block_start"]
    deltas = [(event["index"], event["delta"]["partial_json"]) for event in found if "delta" in event]
    assert (blocks, deltas) == (["a", "b"], [(0, "{}"), (1, "{}"), (1, " ")])


def test_parts_of_calls_that_alternate_are_no_stream_of_messages() -> None:
    reader = messages_as_chat.MessagesOfChat()
    for number in (0, 1):
        reader.feed(calls_of({"index": number, "id": f"t{number}", "function": {"name": "f"}}))
    reader.feed(calls_of({"index": 0, "function": {"arguments": "{}"}}))
    assert reader.failed is not None
    assert "alternate" in reader.failed.message


def test_no_reason_to_stop_is_none_in_chat_either() -> None:
    reader = chat_as_messages.ChatOfMessages(created=7, usage=False)
    said = [{"stop_reason": None}, {"stop_reason": "max_tokens"}]
    source = b"".join(
        b"data: %b\n\n" % json.dumps({"type": "message_delta", "delta": one, "usage": {"output_tokens": 1}}).encode()
        for one in said
    )
    assert [event["choices"][0]["finish_reason"] for event in events(reader.feed(source))] == ["length"]


def test_a_broken_stream_stays_broken_in_translation() -> None:
    pieces = render_stream(Dialect.CHAT, ["Hel", "lo"])
    reader = messages_as_chat.MessagesOfChat()
    out = reader.feed(b"".join(pieces[:-1])) + reader.finish(vouched=True)
    assert (reader.ended, reader.failed is not None, b"message_stop" in out) == (False, True, False)


def test_a_stream_without_done_that_finished_gets_the_end_of_messages() -> None:
    pieces = render_stream(Dialect.CHAT, ["Hi"])
    reader = messages_as_chat.MessagesOfChat()
    out = reader.feed(b"".join(pieces).replace(b"data: [DONE]\n\n", b"")) + reader.finish(vouched=True)
    assert (reader.ended, reader.failed, events(out)[-1]) == (True, None, {"type": "message_stop"})
