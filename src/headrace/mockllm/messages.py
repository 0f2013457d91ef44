"""`/v1/messages`, as Anthropic answers it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headrace.mockllm.api import Event, Named, encode, get_model, pieces
from headrace.mockllm.ask import Ask, BadAsk, Said, Tool, get_count, get_dict, get_list, text_of

_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 503: "api_error", 529: "overloaded_error",
}  # fmt: skip


class Messages:
    """Anthropic's messages."""

    name = "messages"
    path = b"/v1/messages"
    anthropic = True

    def read(self, body: dict[str, Any]) -> Ask:
        ask = self.count(body)
        ask.stream = body.get("stream") is True
        ask.max_tokens = get_count(body, "max_tokens")
        if ask.max_tokens is None:
            raise BadAsk("max_tokens: Field required", param="max_tokens")
        form = get_dict(get_dict(body.get("output_config")).get("format")) or get_dict(body.get("output_format"))
        if form.get("type") == "json_schema":
            ask.schema = get_dict(form.get("schema"))
        choice = get_dict(body.get("tool_choice"))
        kind = str(choice.get("type", "auto"))
        ask.choice = {"any": "required", "tool": str(choice.get("name"))}.get(kind, kind)
        return ask

    def count(self, body: dict[str, Any]) -> Ask:
        """A request of which only the prompt counts."""
        ask = Ask(get_model(body), body=body)
        given = get_list(body, "messages")
        if not given:
            raise BadAsk("messages: Field required", param="messages")
        messages = [("system", text_of(body["system"]))] if body.get("system") else []
        messages += [(_role(message), text_of(message.get("content"))) for message in given]
        ask.set_messages(messages)
        for tool in get_list(body, "tools"):
            if "input_schema" in tool:
                ask.tools.append(Tool(str(tool.get("name")), get_dict(tool.get("input_schema"))))
        return ask

    def whole(self, ask: Ask, said: Said, named: Named) -> bytes:
        if said.calls:
            content: list[dict[str, Any]] = [
                _tool(said, named, i) | {"input": msgspec.json.decode(call.arguments)}
                for i, call in enumerate(said.calls)
            ]
        else:
            content = [{"type": "text", "text": said.text}]
        usage = _usage(ask, said.tokens)
        return encode(
            _message(ask, named)
            | {"content": content, "stop_reason": _reason(said), "stop_sequence": None, "usage": usage}
        )

    def events(self, ask: Ask, said: Said, named: Named, chunk: int) -> Iterator[Event]:
        start: dict[str, Any] = _message(ask, named) | {
            "content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(ask, 1),
        }  # fmt: skip
        yield _event("message_start", message=start)
        for index in range(max(len(said.calls), 1)):
            if said.calls:
                empty: dict[str, Any] = {}
                block, kind, field = _tool(said, named, index) | {"input": empty}, "input_json_delta", "partial_json"
                text = said.calls[index].arguments
            else:
                block, kind, field, text = {"type": "text", "text": ""}, "text_delta", "text", said.text
            yield _event("content_block_start", index=index, content_block=block)
            if index == 0:
                yield _event("ping")
            for piece, tokens in pieces(text, chunk):
                yield _event("content_block_delta", tokens, index=index, delta={"type": kind, field: piece})
            yield _event("content_block_stop", index=index)
        delta = {"stop_reason": _reason(said), "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage={"output_tokens": said.tokens})
        yield _event("message_stop", ends=True)

    def error(self, status: int, message: str, param: str | None, code: str | None) -> bytes:
        kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": None})

    def error_event(self, message: str) -> bytes:
        data = encode({"type": "error", "error": {"type": "overloaded_error", "message": message}})
        return b"event: error\ndata: %b\n\n" % data


def _event(event_kind: str, tokens: int = 0, *, ends: bool = False, **parts: Any) -> Event:
    data = encode({"type": event_kind} | parts)
    return Event(b"event: %b\ndata: %b\n\n" % (event_kind.encode(), data), tokens, ends)


def _role(message: dict[str, Any]) -> str:
    """A user's message that only holds results of tools is theirs, not the user's."""
    content = message.get("content")
    if message.get("role") == "user" and any(part.get("type") == "tool_result" for part in _parts(content)):
        return "tool"
    return str(message.get("role"))


def _parts(content: Any) -> list[dict[str, Any]]:
    return get_list({"content": content}, "content") if isinstance(content, list) else []


def _message(ask: Ask, named: Named) -> dict[str, Any]:
    return {"id": named.id("msg_"), "type": "message", "role": "assistant", "model": ask.model}


def _tool(said: Said, named: Named, index: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": named.id(f"toolu_{index}"), "name": said.calls[index].name}


def _usage(ask: Ask, output: int) -> dict[str, Any]:
    return {
        "input_tokens": ask.prompt_tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "output_tokens": output, "service_tier": "standard",
    }  # fmt: skip


def _reason(said: Said) -> str:
    return "tool_use" if said.calls else "max_tokens" if said.cut else "end_turn"
