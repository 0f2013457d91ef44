"""Clients that speak OpenAI's chat, at an upstream that speaks Anthropic's messages.

| chat                                   | messages                                              |
|----------------------------------------|-------------------------------------------------------|
| `system` and `developer` messages      | `system`                                              |
| text, `image_url` (data or https)      | `text`, `image` (base64 or url)                       |
| `tool_calls`, messages of role `tool`  | `tool_use`, `tool_result`                             |
| `max_completion_tokens`, `max_tokens`  | `max_tokens`, which must be there: 4,096 if not given |
| `stop`, `temperature`, `top_p`         | `stop_sequences`, the same (at most 1), the same      |
| `user`, `safety_identifier`            | `metadata.user_id`                                    |
| `tools`, `tool_choice`                 | the same in its own form                              |
| `response_format` with a strict schema | `output_config.format`                                |

What would change the answer and has no counterpart (`n`, `logprobs`, JSON without a schema, audio, a search of the web)
is refused. Hints without one (`seed`, penalties, `reasoning_effort`) are left out; `lost` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from headrace.models.dialects import forms
from headrace.models.dialects.forms import Chat, check, member, shown
from headrace.models.dialects.reasons import FINISH
from headrace.models.dialects.sse import write
from headrace.models.dialects.stream import MessagesReader
from headrace.models.dialects.untranslatable import Malformed, Untranslatable
from headrace.models.dialects.usage import chat_usage, read_counts, read_usage
from headrace.models.failure import Failure
from headrace.models.provider import Failed

_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(Any).decode
_USUAL_MAX = 4096
_Object = dict[str, Any]
_EMPTY: _Object = {}
_NONE: list[Any] = []
_CARRIED = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "stop", "temperature", "top_p", "user",
        "safety_identifier", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
        "response_format", "n", "modalities", "headrace",
    }
)  # fmt: skip


def request(document: Mapping[str, Any], model: str | None = None) -> _Object:
    """The request as messages.

    Raises
    ------
    Untranslatable
        It asks for what there is not.
    Malformed
        It is not of the form of chat.

    Examples
    --------
    >>> request({"model": "m", "messages": [{"role": "system", "content": "Be brief."},
    ...          {"role": "user", "content": "Hi"}], "max_tokens": 5})
    {'model': 'm', 'max_tokens': 5, 'system': [...], 'messages': [{'role': 'user', 'content': [...]}]}
    """
    check(document, Chat)
    _refuse(document)
    system: list[_Object] = []
    messages: list[_Object] = []
    for message in document.get("messages") or _NONE:
        role = message.get("role")
        if role in ("system", "developer"):
            system.extend(_parts(message.get("content")))
        elif role == "assistant":
            _add(messages, "assistant", [*_parts(message.get("content")), *_uses(message.get("tool_calls") or _NONE)])
        elif role == "tool":
            result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
            _add(messages, "user", [{**result, "content": list(_parts(message.get("content")))}])
        elif role == "user":
            _add(messages, "user", _parts(message.get("content")))
        else:
            raise Untranslatable(f"a message of the role {shown(role)}")
    out: _Object = {
        "model": model or document.get("model"),
        "max_tokens": document.get("max_completion_tokens") or document.get("max_tokens") or _USUAL_MAX,
    }
    if system:
        out["system"] = system
    out["messages"] = messages
    return {**out, **_options(document)}


def lost(document: Mapping[str, Any]) -> list[str]:
    """The members that are left out, or not carried as they are, although they say something.

    >>> lost({"messages": [], "seed": 7, "temperature": 1.5, "stream": True})
    ['seed', 'temperature']
    """
    names = forms.lost(document, _CARRIED)
    return [*names, "temperature"] if (document.get("temperature") or 0) > 1 else names


def _refuse(document: Mapping[str, Any]) -> None:
    wanted = {
        "several answers (n)": document.get("n") not in (None, 1),
        "logprobs": bool(document.get("logprobs")),
        "audio": document.get("audio") is not None or "audio" in (document.get("modalities") or _NONE),
        "functions in their old form (use tools)": bool(document.get("functions")),
        "a search of the web (web_search_options)": document.get("web_search_options") is not None,
    }
    for what, asked in wanted.items():
        if asked:
            raise Untranslatable(f"{what}, which Anthropic's messages do not have")


def _options(document: Mapping[str, Any]) -> _Object:
    out: _Object = {}
    stop = document.get("stop")
    if stop:
        out["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if document.get("temperature") is not None:
        out["temperature"] = min(document["temperature"], 1)
    if document.get("top_p") is not None:
        out["top_p"] = document["top_p"]
    user = document.get("user") or document.get("safety_identifier")
    if user:
        out["metadata"] = {"user_id": user}
    if document.get("stream"):
        out["stream"] = True
    if document.get("tools"):
        out["tools"] = [_tool(tool) for tool in document["tools"]]
        choice = _choice(document)
        if choice:
            out["tool_choice"] = choice
    wanted: _Object = document.get("response_format") or _EMPTY
    if wanted and wanted["type"] != "text":
        out["output_config"] = {"format": _format(wanted)}
    return out


def _format(wanted: _Object) -> _Object:
    if wanted["type"] != "json_schema":
        raise Untranslatable(f"response_format {shown(wanted['type'])}, but for a json_schema")
    form = member(wanted, "json_schema")
    if form.get("schema") is None:
        raise Malformed("response_format.json_schema has no 'schema'")
    if not form.get("strict"):  # Anthropic keeps to each schema, and refuses most that were not made for that
        raise Untranslatable("a response_format whose schema is not strict")
    return {"type": "json_schema", "schema": form["schema"]}


def _tool(tool: _Object) -> _Object:
    if tool.get("type") != "function":
        raise Untranslatable(f"a tool of the type {shown(tool.get('type'))}")
    function = member(tool, "function")
    out = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    return {**out, "description": function["description"]} if function.get("description") else out


def _choice(document: Mapping[str, Any]) -> _Object:
    asked: Any = document.get("tool_choice")
    choice: _Object
    if isinstance(asked, dict):
        choice = {"type": "tool", "name": member(cast("_Object", asked), "function")["name"]}
    else:
        choice = {"type": "any" if asked == "required" else asked} if asked else {}
    if document.get("parallel_tool_calls") is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return choice


def _add(messages: list[_Object], role: str, parts: Iterable[_Object]) -> None:
    """Neighbours of one role become one message: results of tools must all be in the message after their calls."""
    found = list(parts)
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"].extend(found)
    elif found:
        messages.append({"role": role, "content": found})


def _parts(content: Any) -> Iterable[_Object]:
    if isinstance(content, str):
        if content:  # an empty text is refused
            yield {"type": "text", "text": content}
        return
    for part in content or _NONE:
        kind = part.get("type")
        if kind in ("text", "refusal"):
            yield {"type": "text", "text": member(part, kind)}
        elif kind == "image_url":
            yield {"type": "image", "source": _source(member(part, kind)["url"])}
        else:
            raise Untranslatable(f"content of the type {shown(kind)}")


def _source(url: str) -> _Object:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, comma, data = url.removeprefix("data:").partition(",")
    kind, *parameters = head.split(";")
    if not comma or "base64" not in parameters:
        raise Untranslatable(f"a picture in a data: URL that is no base64 ({head:.40})")
    return {"type": "base64", "media_type": kind, "data": data}


def _uses(calls: Iterable[_Object]) -> Iterable[_Object]:
    for call in calls:
        function = call["function"]
        try:
            given = _DECODE(function.get("arguments") or "{}")
        except msgspec.DecodeError as error:
            raise Malformed(f"the arguments of a tool call are no JSON: {error}") from None
        yield {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given}


# Answers -----------------------------------------------------------------------------------------------------------


def whole(body: bytes, created: int) -> bytes:
    """An answer of messages as one of chat. `created`: seconds since the epoch."""
    document: _Object = _DECODE(body)
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[_Object] = []
    for block in document.get("content") or _NONE:
        match block.get("type"):
            case "text":
                texts.append(block["text"])
            case "thinking":
                thoughts.append(block.get("thinking", ""))
            case "tool_use":
                arguments = _ENCODE(block.get("input") or _EMPTY).decode()
                function = {"name": _named(block), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            case _:
                pass  # a tool of the provider's own, of which chat knows nothing
    message: _Object = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    message |= {"reasoning_content": "".join(thoughts)} if thoughts else {}
    message |= {"tool_calls": calls} if calls else {}
    finish = FINISH.get(document.get("stop_reason") or "", "stop")
    return _ENCODE(
        {
            "id": document.get("id"),
            "object": "chat.completion",
            "created": created,
            "model": document.get("model"),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": chat_usage(read_usage(read_counts(document.get("usage")))),
        }
    )


def _named(tool: _Object) -> str:
    """Which function a `tool_use` is of."""
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise Failed(Failure.MALFORMED, f"a tool_use of the answer names no function: {tool!r:.100}")
    return name


class ChatOfMessages(MessagesReader):
    """Reads a stream of messages, and gives it on as one of chat.

    Parameters
    ----------
    created
        Seconds since the epoch.
    usage
        Whether the client asked for a chunk of usage.
    """

    __slots__ = ("_asked", "_calls", "_head", "_tools", "_unsaid")
    _tools: dict[object, int]
    """Blocks that are tool calls and not over: which call each is."""
    _unsaid: dict[object, _Object]
    """Those of them without any part of their arguments so far: the input with which they began."""

    def __init__(self, *, created: int, usage: bool) -> None:
        super().__init__()
        self._asked = usage
        self._calls = 0
        self._tools = {}
        self._unsaid = {}
        self._head: _Object = {"id": "", "object": "chat.completion.chunk", "created": created, "model": ""}

    def _take(self, event: bytes, name: bytes, data: bytes) -> bytes:
        super()._take(event, name, data)
        document: _Object = _DECODE(data)
        match document.get("type"):
            case "message_start":
                message = document.get("message") or _EMPTY
                self._head |= {"id": message.get("id"), "model": message.get("model")}
                return self._chunk({"role": "assistant", "content": ""})
            case "content_block_start" if document["content_block"].get("type") == "tool_use":
                return self._begin(document.get("index"), document["content_block"])
            case "content_block_delta":
                return self._delta(document.get("index"), document.get("delta") or _EMPTY)
            case "content_block_stop":
                return self._stop(document.get("index"))
            case "message_delta":
                reason = (document.get("delta") or _EMPTY).get("stop_reason")
                return self._chunk(_EMPTY, FINISH.get(reason, "stop")) if reason else b""
            case "message_stop":
                counted = write(_ENCODE({**self._head, "choices": _NONE, "usage": chat_usage(self.usage)}))
                return (counted if self._asked else b"") + write(b"[DONE]")
            case _:
                return b""

    def _begin(self, block: object, tool: _Object) -> bytes:
        number = self._tools[block] = self._calls
        self._calls += 1
        self._unsaid[block] = tool.get("input") or _EMPTY
        function = {"name": _named(tool), "arguments": ""}
        call = {"index": number, "id": tool.get("id"), "type": "function", "function": function}
        return self._chunk({"tool_calls": [call]})

    def _delta(self, block: object, delta: _Object) -> bytes:
        match delta.get("type"):
            case "text_delta":
                return self._chunk({"content": delta["text"]})
            case "thinking_delta":
                return self._chunk({"reasoning_content": delta["thinking"]})
            case "input_json_delta" if delta["partial_json"] and block in self._tools:
                self._unsaid.pop(block, None)
                return self._arguments(block, delta["partial_json"])
            case _:
                return b""

    def _stop(self, block: object) -> bytes:
        """The end of a block. Messages say nothing more of a call without arguments; in chat they must be JSON."""
        given = self._unsaid.pop(block, None)
        said = b"" if given is None else self._arguments(block, _ENCODE(given).decode())
        self._tools.pop(block, None)
        return said

    def _arguments(self, block: object, part: str) -> bytes:
        return self._chunk({"tool_calls": [{"index": self._tools[block], "function": {"arguments": part}}]})

    def _chunk(self, delta: _Object, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return write(_ENCODE({**self._head, "choices": [choice]}))
