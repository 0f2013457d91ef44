"""Clients that speak Anthropic's messages, at an upstream that speaks OpenAI's chat.

| messages                                  | chat                                             |
|-------------------------------------------|--------------------------------------------------|
| `system`                                  | a `system` message                               |
| `text`, `image` (base64 or url)           | text, `image_url` (data or https)                |
| `tool_use`, `tool_result` with text       | `tool_calls`, a message of role `tool`           |
| `is_error` of a `tool_result`             | its text begins with "Error: "                   |
| `stop_sequences`, `metadata.user_id`      | `stop`, `user`                                   |
| `tools`, `tool_choice`                    | the same in its own form                         |
| `output_config.format`                    | `response_format`, strict                        |

Documents, pictures in results of tools, and tools and servers that run at the provider are refused. Thinking, effort
and `top_k` are left out (`lost` says which), and so is reasoning in the answer: Anthropic's clients want it signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from headrace.models.dialects import forms
from headrace.models.dialects.forms import Messages, check, member, shown
from headrace.models.dialects.reasons import STOP
from headrace.models.dialects.sse import write
from headrace.models.dialects.stream import ChatReader
from headrace.models.dialects.untranslatable import Untranslatable
from headrace.models.dialects.usage import messages_usage, read_counts, read_usage
from headrace.models.failure import Failure
from headrace.models.provider import Failed

_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(Any).decode
_Object = dict[str, Any]
_EMPTY: _Object = {}
_NONE: list[Any] = []
_ROLES = frozenset({"user", "assistant", "system"})
_CARRIED = frozenset(
    {
        "model", "messages", "system", "max_tokens", "temperature", "top_p", "stop_sequences", "stream", "metadata",
        "tools", "tool_choice", "output_config", "format", "headrace",
    }
)  # fmt: skip


def request(document: Mapping[str, Any], model: str | None = None, *, limit: str = "max_tokens") -> _Object:
    """The request as chat.

    Parameters
    ----------
    limit
        The upstream's name for `max_tokens`.

    Raises
    ------
    Untranslatable
        It asks for what there is not.
    Malformed
        It is not of the form of messages.

    Examples
    --------
    >>> request({"model": "m", "max_tokens": 5, "system": "Be brief.",
    ...          "messages": [{"role": "user", "content": "Hi"}]})["messages"]
    [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'Hi'}]
    """
    check(document, Messages)
    if document.get("mcp_servers"):
        raise Untranslatable("tools of mcp_servers, which OpenAI's chat does not have")
    messages: list[_Object] = []
    system = document.get("system")
    if system:
        messages.append({"role": "system", "content": system if isinstance(system, str) else _text(system)})
    for message in document.get("messages") or _NONE:
        role, content = message["role"], message.get("content")
        if role not in _ROLES:
            raise Untranslatable(f"a message of the role {shown(role)}")
        if isinstance(content, str):
            messages.append({"role": role, "content": content})
        elif role == "system":
            messages.append({"role": role, "content": _text(content or _NONE)})
        elif role == "assistant":
            messages.append(_assistant(content or _NONE))
        else:
            messages.extend(_user(content or _NONE))
    out: _Object = {"model": model or document.get("model"), "messages": messages}
    return {**out, **_options(document, limit)}


def lost(document: Mapping[str, Any]) -> list[str]:
    """The members that are left out although they say something.

    >>> lost({"messages": [], "max_tokens": 5, "top_k": 3, "output_config": {"effort": "low"}})
    ['top_k', 'output_config.effort']
    """
    names = forms.lost(document, _CARRIED)
    if (document.get("thinking") or _EMPTY).get("type") == "disabled":
        names = [name for name in names if name != "thinking"]
    inner: _Object = document.get("output_config") or _EMPTY
    return names + [f"output_config.{name}" for name in forms.lost(inner, _CARRIED)]


def _options(document: Mapping[str, Any], limit: str) -> _Object:
    out: _Object = {}
    for theirs, ours in (
        ("max_tokens", limit),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("stop_sequences", "stop"),
    ):
        if document.get(theirs) is not None:
            out[ours] = document[theirs]
    if document.get("stream"):
        out |= {"stream": True, "stream_options": {"include_usage": True}}
    user = (document.get("metadata") or _EMPTY).get("user_id")
    if user:
        out["user"] = user
    if document.get("tools"):
        out["tools"] = [_tool(tool) for tool in document["tools"]]
        out |= _choice(document.get("tool_choice") or _EMPTY)
    form = (document.get("output_config") or _EMPTY).get("format")
    if form:
        if form["type"] != "json_schema":
            raise Untranslatable(f"output_config.format of the type {shown(form['type'])}")
        named = {"name": "answer", "schema": member(form, "schema"), "strict": True}
        out["response_format"] = {"type": "json_schema", "json_schema": named}
    return out


def _tool(tool: _Object) -> _Object:
    if tool.get("type") not in (None, "custom"):
        raise Untranslatable(f"the tool {shown(tool['type'])}, which runs at the provider")
    function = {"name": member({"type": "custom", **tool}, "name"), "parameters": tool.get("input_schema")}
    function |= {"description": tool["description"]} if tool.get("description") else {}
    return {"type": "function", "function": function}


def _choice(choice: _Object) -> _Object:
    kind = choice.get("type")
    out: _Object = {}
    if kind == "tool":
        out["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind:
        out["tool_choice"] = "required" if kind == "any" else kind
    return {**out, "parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else out


def _assistant(blocks: Iterable[_Object]) -> _Object:
    texts: list[str] = []
    calls: list[_Object] = []
    for block in blocks:
        match block.get("type"):
            case "text":
                texts.append(member(block, "text"))
            case "tool_use":
                arguments = _ENCODE(block.get("input") or _EMPTY).decode()
                function = {"name": member(block, "name"), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            case "thinking" | "redacted_thinking":
                pass
            case kind:
                raise Untranslatable(f"content of the type {shown(kind)}")
    message: _Object = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    return {**message, "tool_calls": calls} if calls else message


def _user(blocks: Iterable[_Object]) -> Iterable[_Object]:
    """Results of tools first: they must follow the calls at once."""
    parts: list[_Object] = []
    for block in blocks:
        match block.get("type"):
            case "text":
                parts.append({"type": "text", "text": member(block, "text")})
            case "image":
                parts.append({"type": "image_url", "image_url": {"url": _url(member(block, "source"))}})
            case "tool_result":
                yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _result(block)}
            case kind:
                raise Untranslatable(f"content of the type {shown(kind)}")
    if parts:
        yield {"role": "user", "content": parts}


def _result(block: _Object) -> str:
    """What a tool gave. That it failed is a member in messages; in chat the model can only read it in the text."""
    content = block.get("content") or ""
    text = content if isinstance(content, str) else _text(content)
    if not block.get("is_error") or text.lstrip().lower().startswith("error"):
        return text
    return f"Error: {text}" if text else "Error"


def _url(source: _Object) -> str:
    if source.get("type") == "url":
        return member(source, "url")
    if source.get("type") == "base64":
        return f"data:{member(source, 'media_type')};base64,{member(source, 'data')}"
    raise Untranslatable(f"a picture from {shown(source.get('type'))}")


def _text(blocks: Iterable[_Object]) -> str:
    found = list(blocks)
    wrong = next((block.get("type") for block in found if block.get("type") != "text"), None)
    if wrong is not None:
        raise Untranslatable(f"content of the type {shown(wrong)} where chat has text only")
    return "\n".join(member(block, "text") for block in found)


# Answers -----------------------------------------------------------------------------------------------------------


def whole(body: bytes) -> bytes:
    """An answer of chat as one of messages.

    Raises
    ------
    Failed
        It is not of the form of chat, or the arguments of a tool call are no JSON.
    """
    document: _Object = _DECODE(body)
    choice: _Object = (document.get("choices") or [_EMPTY])[0]
    message: _Object = choice.get("message") or _EMPTY
    text = _said(message.get("content")) or message.get("refusal")
    content: list[_Object] = [{"type": "text", "text": text}] if text else []
    calls: list[_Object] = message.get("tool_calls") or _NONE
    for call in calls:
        name, function = _name(call), call["function"]
        try:
            given = _DECODE(function.get("arguments") or "{}")
        except msgspec.DecodeError as error:
            raise Failed(Failure.SERVER_ERROR, f"the arguments of a tool call are no JSON: {error}") from None
        content.append({"type": "tool_use", "id": call.get("id"), "name": name, "input": given})
    stop = STOP.get(choice.get("finish_reason") or "", "end_turn")
    return _ENCODE(
        {
            "id": document.get("id"),
            "type": "message",
            "role": "assistant",
            "model": document.get("model"),
            "content": content,
            "stop_reason": _reason(stop, calls=bool(calls)),
            "stop_sequence": None,
            "usage": messages_usage(read_usage(read_counts(document.get("usage")))),
        }
    )


class MessagesOfChat(ChatReader):
    """Reads a stream of chat, and gives it on as one of messages."""

    __slots__ = ("_block", "_call", "_calls", "_started", "_stop")

    def __init__(self) -> None:
        super().__init__(keep_usage=False)
        self._started = False
        self._block = -1
        self._call: int | None = None
        self._calls: set[int] = set()
        self._stop = "end_turn"

    def finish(self, *, vouched: bool) -> bytes:
        """As for chat; the end of messages is written where chat has no mark of its own."""
        marked = self.ended
        rest = super().finish(vouched=vouched)
        return rest + self._last() if self.ended and not marked and b"message_stop" not in rest else rest

    def _take(self, event: bytes, name: bytes, data: bytes) -> bytes:
        super()._take(event, name, data)
        if data == b"[DONE]":
            return self._last()
        document: _Object = _DECODE(data)
        out: list[bytes] = []
        if not self._started:
            self._started = True
            out.append(_start(document))
        for choice in document.get("choices") or _NONE:
            if choice.get("index", 0) == 0:
                self._choice(choice, out)
        return b"".join(out)

    def _choice(self, choice: _Object, out: list[bytes]) -> None:
        delta = choice.get("delta") or _EMPTY
        text = _said(delta.get("content")) or delta.get("refusal")
        if text:
            if self._block < 0 or self._call is not None:
                self._begin({"type": "text", "text": ""}, None, out)
            out.append(self._delta({"type": "text_delta", "text": text}))
        for call in delta.get("tool_calls") or _NONE:
            function, number = call.get("function") or _EMPTY, self._number(call)
            if number != self._call:
                if number in self._calls:
                    # A block of messages is over when the next one begins.
                    raise Failed(Failure.SERVER_ERROR, "parts of tool calls alternate, which messages cannot say")
                self._calls.add(number)
                block = {"type": "tool_use", "id": call.get("id"), "name": _name(call), "input": _EMPTY}
                self._begin(block, number, out)
            if part := function.get("arguments"):
                if not isinstance(part, str):
                    raise Failed(Failure.MALFORMED, f"arguments of a tool call that are no text: {part!r:.60}")
                out.append(self._delta({"type": "input_json_delta", "partial_json": part}))
        if choice.get("finish_reason"):
            self._stop = STOP.get(choice["finish_reason"], "end_turn")

    def _number(self, call: _Object) -> int:
        """Which of the calls it is a part of. Some servers number none: there, an id begins the next one."""
        number = call.get("index")
        if number is not None:
            return number
        return len(self._calls) if call.get("id") or self._call is None else self._call

    def _begin(self, block: _Object, call: int | None, out: list[bytes]) -> None:
        if self._block >= 0:
            out.append(_event({"type": "content_block_stop", "index": self._block}))
        self._block += 1
        self._call = call
        out.append(_event({"type": "content_block_start", "index": self._block, "content_block": block}))

    def _delta(self, delta: _Object) -> bytes:
        return _event({"type": "content_block_delta", "index": self._block, "delta": delta})

    def _last(self) -> bytes:
        closed = _event({"type": "content_block_stop", "index": self._block}) if self._block >= 0 else b""
        delta = {"stop_reason": _reason(self._stop, calls=bool(self._calls)), "stop_sequence": None}
        counted = {"type": "message_delta", "delta": delta, "usage": messages_usage(self.usage)}
        return closed + _event(counted) + _event({"type": "message_stop"})


def _said(content: Any) -> str:
    """The text of an answer. Some servers say it in parts, among them thinking, which is left out as elsewhere."""
    if isinstance(content, list):
        parts = cast("list[_Object]", content)
        return "".join(part["text"] for part in parts if part.get("type") == "text")
    if content is not None and not isinstance(content, str):
        raise Failed(Failure.MALFORMED, f"the content of the answer is neither text nor parts: {content!r:.60}")
    return content or ""


def _name(call: _Object) -> str:
    """Which function a tool call is of."""
    name = (call.get("function") or _EMPTY).get("name")
    if not isinstance(name, str) or not name:
        raise Failed(Failure.MALFORMED, f"a tool call of the answer names no function: {call!r:.100}")
    return name


def _reason(stop: str, *, calls: bool) -> str:
    """Why an answer ended: for its calls, where it has some. Chat says `stop` of those that `tool_choice` forced."""
    return "tool_use" if calls and stop == "end_turn" else stop


def _start(document: _Object) -> bytes:
    message = {"id": document.get("id"), "type": "message", "role": "assistant", "model": document.get("model")}
    rest = {"content": _NONE, "stop_reason": None, "stop_sequence": None, "usage": messages_usage(None)}
    return _event({"type": "message_start", "message": {**message, **rest}})


def _event(document: _Object) -> bytes:
    return write(_ENCODE(document), document["type"].encode())
