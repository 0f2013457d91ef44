"""The official clients, unmodified, against the mock: what they parse is what the providers send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from headrace.testing import Mock, mock_llm

CONTEXT = """What can I eat?
<context view="recommend" age="0.4s">
[{"name": "Soup", "price": 9.50, "stock": 3}, {"name": "Rice", "price": 4.25, "stock": 0}]
</context>"""
SYSTEM = "answer-pick: min price\nanswer-with: {name} costs {price}"
LOOK_UP: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "limit": {"type": "integer", "minimum": 1}},
    "required": ["name", "limit"],
    "additionalProperties": False,
}


class Dish(BaseModel):
    name: str
    price: float
    note: str | None


class Menu(BaseModel):
    dishes: list[Dish]


MENU = Menu(dishes=[Dish(name="Soup", price=9.5, note=None), Dish(name="Rice", price=4.25, note=None)])


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    with mock_llm(output_tokens="12") as mock:
        yield mock


@pytest.fixture
def client(mock: Mock) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=mock.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(mock: Mock) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=mock.url, api_key="any", max_retries=0) as client:
        yield client


def asked(text: str, system: str = "") -> list[Any]:
    found: list[Any] = [{"role": "system", "content": system}] if system else []
    return [*found, {"role": "user", "content": text}]


def test_a_chat_quotes_the_context_exactly(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=asked(CONTEXT, SYSTEM))
    assert answer.choices[0].message.content == "Rice costs 4.25"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 5


def test_a_streamed_chat_says_the_same_and_counts(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="m", messages=asked(CONTEXT, SYSTEM), stream=True, stream_options={"include_usage": True}
        )
    )
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert texts == ["Rice", " costs", " 4", ".", "25"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_streams_bytes_are_those_of_the_provider(mock: Mock, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="m", messages=asked("hi"), stream=True, max_tokens=2)
    lines = [line for line in raw.http_response.iter_lines() if line]
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert [event["object"] for event in events] == ["chat.completion.chunk"] * 4
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, None, "length"]


def test_structured_output_is_filled_from_the_rows(client: openai.OpenAI) -> None:
    chat = client.chat.completions.parse(model="m", messages=asked(CONTEXT), response_format=Menu)
    assert chat.choices[0].message.parsed == MENU
    assert client.responses.parse(model="m", input=CONTEXT, text_format=Menu).output_parsed == MENU


def test_tools_are_called_whole_and_streamed(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "look_up", "parameters": LOOK_UP}}
    words: dict[str, Any] = {"model": "m", "messages": asked("Please look_up it.\n" + CONTEXT), "tools": [tool]}
    choice = client.chat.completions.create(**words).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"name": "Soup", "limit": 1}
    with client.chat.completions.stream(**words) as stream:
        final = stream.get_final_completion().choices[0].message
    assert final.tool_calls is not None
    assert json.loads(final.tool_calls[0].function.arguments) == {"name": "Soup", "limit": 1}
    result: Any = {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "done"}
    follow = [*words["messages"], choice.message, result]
    assert client.chat.completions.create(**(words | {"messages": follow})).choices[0].finish_reason == "stop"


def test_responses_stream_in_order(client: openai.OpenAI) -> None:
    with client.responses.stream(model="m", instructions=SYSTEM, input=CONTEXT) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "Rice costs 4.25"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    assert final.usage is not None
    assert final.usage.output_tokens == 5


def test_responses_call_tools(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "look_up", "parameters": LOOK_UP, "strict": True}
    with client.responses.stream(model="m", input="look_up", tools=[tool], tool_choice="required") as stream:
        call: Any = stream.get_final_response().output[0]
    assert (call.type, call.name, json.loads(call.arguments)) == (
        "function_call",
        "look_up",
        {"name": "text", "limit": 1},
    )


def test_an_answer_is_cut_where_the_request_says(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    assert (
        client.chat.completions.create(model="m", messages=asked("a"), max_tokens=3).choices[0].finish_reason
        == "length"
    )
    assert client.responses.create(model="m", input="a", max_output_tokens=3).status == "incomplete"
    assert claude.messages.create(model="m", messages=asked("a"), max_tokens=3).stop_reason == "max_tokens"


def test_embeddings_are_the_same_for_the_same_text(client: openai.OpenAI) -> None:
    found = client.embeddings.create(model="e", input=["soup", "rice", "soup"], dimensions=32)
    first, second, third = (one.embedding for one in found.data)
    assert len(first) == 32
    assert first == third != second
    floats = client.embeddings.create(model="e", input="soup", dimensions=32, encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(first, abs=1e-6)


def test_models_are_listed_by_both(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    assert [one.id for one in client.models.list()] == ["mock-model"]
    assert [one.id for one in claude.models.list()] == ["mock-model"]
    assert client.models.retrieve("mock-model").owned_by == "headrace"


def test_messages_whole_and_streamed(claude: anthropic.Anthropic) -> None:
    words: dict[str, Any] = {"model": "c", "max_tokens": 100, "system": SYSTEM, "messages": asked(CONTEXT)}
    whole = claude.messages.create(**words)
    assert whole.content[0].text == "Rice costs 4.25"
    assert (whole.stop_reason, whole.usage.output_tokens) == ("end_turn", 5)
    with claude.messages.stream(**words) as stream:
        assert "".join(stream.text_stream) == "Rice costs 4.25"
        assert stream.get_final_message().usage.output_tokens == 5
    counted = claude.messages.count_tokens(model="c", system=SYSTEM, messages=asked(CONTEXT))
    assert counted.input_tokens == whole.usage.input_tokens


def test_messages_call_tools(claude: anthropic.Anthropic) -> None:
    tool: Any = {"name": "look_up", "input_schema": LOOK_UP}
    words: dict[str, Any] = {"model": "c", "max_tokens": 100, "messages": asked("look_up"), "tools": [tool]}
    whole: Any = claude.messages.create(**words).content[0]
    with claude.messages.stream(**words) as stream:
        streamed: Any = stream.get_final_message().content[0]
    assert whole.input == streamed.input == {"name": "text", "limit": 1}
    assert whole.type == streamed.type == "tool_use"


@pytest.mark.parametrize(
    ("kind", "error"),
    [("429", openai.RateLimitError), ("500", openai.InternalServerError), ("503", openai.InternalServerError),
     ("reset", openai.APIConnectionError), ("reset-mid-stream", openai.APIConnectionError),
     ("cut", openai.APIConnectionError), ("truncate", openai.APIConnectionError)],
)  # fmt: skip
def test_openai_raises_for_what_a_header_asks_for(kind: str, error: type[Exception], client: openai.OpenAI) -> None:
    with pytest.raises(error):
        client.chat.completions.create(model="m", messages=asked("a"), extra_headers={"x-mock-fail": kind})


def test_a_stream_breaks_after_as_many_tokens_as_said(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="m", messages=asked("a"), stream=True, extra_headers={"x-mock-fail": "reset-mid-stream; after=4"}
    )
    texts: list[str] = []
    with pytest.raises(openai.APIConnectionError):  # noqa: PT012 - the pieces before it count
        for chunk in stream:
            texts += [chunk.choices[0].delta.content] if chunk.choices[0].delta.content else []
    assert len(texts) == 4


def test_an_error_event_is_raised_by_both(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    fail = {"x-mock-fail": "error-event"}
    with pytest.raises(openai.APIError, match="told to fail"):
        list(client.chat.completions.create(model="m", messages=asked("a"), stream=True, extra_headers=fail))
    with pytest.raises(anthropic.APIError):
        list(claude.messages.create(model="m", messages=asked("a"), max_tokens=99, stream=True, extra_headers=fail))


def test_overload_is_anthropics_own_status(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        claude.messages.create(model="m", messages=asked("a"), max_tokens=9, extra_headers={"x-mock-fail": "529"})
    assert raised.value.status_code == 529
    assert raised.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index]


def test_bad_requests_say_what_is_wrong(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    with pytest.raises(openai.BadRequestError, match="'n' must be 1"):
        client.chat.completions.create(model="m", messages=asked("a"), n=2)
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model="m", messages=[])
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        claude.messages.create(model="m", messages=[], max_tokens=1)
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "^zzz$"}}}
    with pytest.raises(openai.BadRequestError, match="pattern"):
        client.chat.completions.create(model="m", messages=asked("a"), response_format=form)
