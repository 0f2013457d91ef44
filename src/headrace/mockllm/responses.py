"""`/v1/responses`, as OpenAI answers it: one output item, and events with sequence numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.mockllm.api import Event, Named, encode, get_model, openai_error, pieces
from headrace.mockllm.ask import Ask, BadAsk, Said, Tool, get_count, get_dict, get_list, text_of


class Responses:
    """The Responses API. Nothing is stored: `previous_response_id` is refused."""

    name = "responses"
    path = b"/v1/responses"
    anthropic = False

    def read(self, body: dict[str, Any]) -> Ask:
        ask = Ask(get_model(body), body=body, stream=body.get("stream") is True)
        if body.get("previous_response_id"):
            raise BadAsk(
                "This mock stores no responses.", param="previous_response_id", code="previous_response_not_found"
            )
        messages: list[tuple[str, str]] = []
        if isinstance(body.get("instructions"), str):
            messages.append(("system", body["instructions"]))
        if isinstance(body.get("input"), str):
            messages.append(("user", body["input"]))
        else:
            for item in get_list(body, "input"):
                is_result = item.get("type") == "function_call_output"
                role = "tool" if is_result else str(item.get("role", "assistant"))
                messages.append((role, text_of(item.get("output") if is_result else item.get("content"))))
        if body.get("input") is None:
            raise BadAsk("Missing required parameter: 'input'.", param="input")
        ask.set_messages(messages)
        ask.max_tokens = get_count(body, "max_output_tokens")
        form = get_dict(get_dict(body.get("text")).get("format"))
        if form.get("type") in ("json_schema", "json_object"):
            ask.schema = get_dict(form.get("schema"))
        for tool in get_list(body, "tools"):
            if tool.get("type") == "function":
                ask.tools.append(Tool(str(tool.get("name")), get_dict(tool.get("parameters"))))
        choice = body.get("tool_choice", "auto")
        ask.choice = choice if isinstance(choice, str) else str(get_dict(choice).get("name"))
        return ask

    def whole(self, ask: Ask, said: Said, named: Named) -> bytes:
        return encode(_response(ask, said, named, _items(said, named)))

    def events(self, ask: Ask, said: Said, named: Named, chunk: int) -> Iterator[Event]:
        number = -1

        def event(kind: str, parts: dict[str, Any], tokens: int = 0, *, ends: bool = False) -> Event:
            nonlocal number
            number += 1
            data = encode({"type": kind, "sequence_number": number} | parts)
            return Event(b"event: %b\ndata: %b\n\n" % (kind.encode(), data), tokens, ends)

        started = _response(ask, None, named, [])
        yield event("response.created", {"response": started})
        yield event("response.in_progress", {"response": started})
        items = _items(said, named)
        for index, item in enumerate(items):
            place: dict[str, Any] = {"item_id": item["id"], "output_index": index}
            if item["type"] == "function_call":
                opened = item | {"arguments": "", "status": "in_progress"}
                yield event("response.output_item.added", {"output_index": index, "item": opened})
                for piece, tokens in pieces(item["arguments"], chunk):
                    yield event("response.function_call_arguments.delta", place | {"delta": piece}, tokens)
                done = {"name": item["name"], "arguments": item["arguments"]}
                yield event("response.function_call_arguments.done", place | done)
            else:
                opened = item | {"content": list[Any](), "status": "in_progress"}
                yield event("response.output_item.added", {"output_index": index, "item": opened})
                place["content_index"] = 0
                yield event("response.content_part.added", place | {"part": _part("")})
                for piece, tokens in pieces(said.text, chunk):
                    yield event("response.output_text.delta", place | {"delta": piece, "logprobs": []}, tokens)
                yield event("response.output_text.done", place | {"text": said.text, "logprobs": []})
                yield event("response.content_part.done", place | {"part": _part(said.text)})
            yield event("response.output_item.done", {"output_index": index, "item": item})
        kind = "response.incomplete" if said.cut else "response.completed"
        yield event(kind, {"response": _response(ask, said, named, items)}, ends=True)

    def error(self, status: int, message: str, param: str | None, code: str | None) -> bytes:
        return openai_error(status, message, param, code)

    def error_event(self, message: str) -> bytes:
        data = encode({"type": "error", "code": "server_error", "message": message, "param": None,
                       "sequence_number": 0})  # fmt: skip
        return b"event: error\ndata: %b\n\n" % data


def _items(said: Said, named: Named) -> list[dict[str, Any]]:
    if said.calls:
        return [
            {"id": named.id(f"fc_{i}"), "type": "function_call", "status": "completed", "arguments": call.arguments,
             "call_id": named.id(f"call_{i}"), "name": call.name}
            for i, call in enumerate(said.calls)
        ]  # fmt: skip
    status = "incomplete" if said.cut else "completed"
    return [
        {
            "id": named.id("msg_"),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [_part(said.text)],
        }
    ]


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _response(ask: Ask, said: Said | None, named: Named, output: list[dict[str, Any]]) -> dict[str, Any]:
    """The response as it is now; nothing is said yet when `said` is None."""
    body = ask.body
    usage = None
    if said is not None:
        usage = {
            "input_tokens": ask.prompt_tokens, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said.tokens, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": ask.prompt_tokens + said.tokens,
        }  # fmt: skip
    status = "in_progress" if said is None else "incomplete" if said.cut else "completed"
    return {
        "id": named.id("resp_"), "object": "response", "created_at": named.created, "status": status,
        "background": False, "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": body.get("instructions"), "max_output_tokens": ask.max_tokens, "model": ask.model,
        "output": output, "parallel_tool_calls": body.get("parallel_tool_calls", True), "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "service_tier": "default", "store": False,
        "temperature": body.get("temperature", 1.0), "text": body.get("text", {"format": {"type": "text"}}),
        "tool_choice": body.get("tool_choice", "auto"), "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0), "truncation": "disabled", "usage": usage, "user": None,
        "metadata": body.get("metadata") or {},
    }  # fmt: skip
