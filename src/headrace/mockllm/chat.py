"""`/v1/chat/completions`, as OpenAI answers it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.mockllm.api import Event, Named, encode, get_model, openai_error, pieces
from headrace.mockllm.ask import Ask, BadAsk, Said, Tool, get_count, get_dict, get_list, text_of

FINGERPRINT = "fp_headrace_mock"


class Chat:
    """Chat completions."""

    name = "chat"
    path = b"/v1/chat/completions"
    anthropic = False

    def read(self, body: dict[str, Any]) -> Ask:
        ask = Ask(get_model(body), body=body, stream=body.get("stream") is True)
        messages = get_list(body, "messages")
        if not messages:
            raise BadAsk("Missing required parameter: 'messages'.", param="messages")
        ask.set_messages([(str(message.get("role")), text_of(message.get("content"))) for message in messages])
        if get_count(body, "n") not in (None, 1):
            raise BadAsk("This mock answers with one choice: 'n' must be 1.", param="n")
        ask.max_tokens = get_count(body, "max_completion_tokens", "max_tokens")
        ask.usage = ask.stream and get_dict(body.get("stream_options")).get("include_usage") is True
        form = get_dict(body.get("response_format"))
        if form.get("type") == "json_schema":
            ask.schema = get_dict(get_dict(form.get("json_schema")).get("schema"))
        elif form.get("type") == "json_object":
            ask.schema = {}
        for tool in get_list(body, "tools"):
            function = get_dict(tool.get("function"))
            ask.tools.append(Tool(str(function.get("name")), get_dict(function.get("parameters"))))
        choice = body.get("tool_choice", "auto")
        ask.choice = choice if isinstance(choice, str) else str(get_dict(get_dict(choice).get("function")).get("name"))
        return ask

    def whole(self, ask: Ask, said: Said, named: Named) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant", "content": None if said.calls else said.text, "refusal": None, "annotations": [],
        }  # fmt: skip
        if said.calls:
            message["tool_calls"] = [_call(said, named, i) for i in range(len(said.calls))]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}
        return encode(_base(ask, named, "chat.completion") | {"choices": [choice], "usage": usage(ask, said)})

    def events(self, ask: Ask, said: Said, named: Named, chunk: int) -> Iterator[Event]:
        base = _base(ask, named, "chat.completion.chunk")
        last: dict[str, Any] = {"usage": None} if ask.usage else {}

        def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return b"data: %b\n\n" % encode(base | {"choices": [choice]} | last)

        if said.calls:
            for i, call in enumerate(said.calls):
                opening = _call(said, named, i) | {"index": i, "function": {"name": call.name, "arguments": ""}}
                role = {"role": "assistant", "content": None, "refusal": None} if i == 0 else {}
                yield Event(event(role | {"tool_calls": [opening]}))
                for piece, tokens in pieces(call.arguments, chunk):
                    part = {"index": i, "function": {"arguments": piece}}
                    yield Event(event({"tool_calls": [part]}), tokens)
        else:
            yield Event(event({"role": "assistant", "content": "", "refusal": None}))
            # Only the text differs between these events: the rest is encoded once.
            before, after = event({"content": "\0"}).split(rb'"\u0000"')
            for piece, tokens in pieces(said.text, chunk):
                yield Event(b"%b%b%b" % (before, encode(piece), after), tokens)
        yield Event(event({}, _finish(said)))
        if ask.usage:
            yield Event(b"data: %b\n\n" % encode(base | {"choices": [], "usage": usage(ask, said)}))
        yield Event(b"data: [DONE]\n\n", ends=True)

    def error(self, status: int, message: str, param: str | None, code: str | None) -> bytes:
        return openai_error(status, message, param, code)

    def error_event(self, message: str) -> bytes:
        return b"data: %b\n\n" % openai_error(500, message, None, None)


def usage(ask: Ask, said: Said) -> dict[str, Any]:
    """The account of a chat completion."""
    return {
        "prompt_tokens": ask.prompt_tokens, "completion_tokens": said.tokens,
        "total_tokens": ask.prompt_tokens + said.tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                      "rejected_prediction_tokens": 0},
    }  # fmt: skip


def _base(ask: Ask, named: Named, kind: str) -> dict[str, Any]:
    return {
        "id": named.id("chatcmpl-"), "object": kind, "created": named.created, "model": ask.model,
        "service_tier": "default", "system_fingerprint": FINGERPRINT,
    }  # fmt: skip


def _call(said: Said, named: Named, index: int) -> dict[str, Any]:
    call = said.calls[index]
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": named.id(f"call_{index}"), "type": "function", "function": function}


def _finish(said: Said) -> str:
    return "tool_calls" if said.calls else "length" if said.cut else "stop"
