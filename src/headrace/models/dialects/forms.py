"""The form of requests that are to be translated: checked once, so that translations need not doubt it.

Only what is translated is looked at. Dialects grow, so members that are not known here are no mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from headrace.core.shape import misfit
from headrace.models.dialects.untranslatable import Malformed

_Number = int | float
_Object = dict[str, Any]


# Chat ----------------------------------------------------------------------------------------------------------------


class _Url(Struct):
    url: str


class _ChatPart(Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Url | None = None


class _Called(Struct):
    name: str | None = None
    arguments: str | None = None


class _ChatCall(Struct):
    function: _Called
    id: str | None = None


class _ChatMessage(Struct):
    role: str
    content: str | list[_ChatPart] | None = None
    tool_calls: list[_ChatCall] | None = None
    tool_call_id: str | None = None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: _Object | None = None


class _ChatTool(Struct):
    type: str
    function: _Function | None = None


class _Named(Struct):
    name: str


class _ChatChoice(Struct):
    type: str | None = None
    function: _Named | None = None


class _ChatSchema(Struct):
    schema: _Object | None = None
    strict: bool | None = None


class _ChatFormat(Struct):
    type: str
    json_schema: _ChatSchema | None = None


class Chat(Struct):
    """A request of OpenAI's chat."""

    messages: list[_ChatMessage]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    temperature: _Number | None = None
    top_p: _Number | None = None
    user: str | None = None
    safety_identifier: str | None = None
    stream: bool | None = None
    tools: list[_ChatTool] | None = None
    tool_choice: str | _ChatChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[str] | None = None
    response_format: _ChatFormat | None = None


# Messages ------------------------------------------------------------------------------------------------------------


class _Source(Struct):
    type: str | None = None
    url: str | None = None
    media_type: str | None = None
    data: str | None = None


class _Block(Struct):
    type: str
    text: str | None = None
    source: _Source | None = None
    id: str | None = None
    name: str | None = None
    tool_use_id: str | None = None
    is_error: bool | None = None
    content: str | list[_Block] | None = None


class _Message(Struct):
    role: str
    content: str | list[_Block] | None = None


class _Tool(Struct):
    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: _Object | None = None


class _Choice(Struct):
    type: str | None = None
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Metadata(Struct):
    user_id: str | None = None


class _Thinking(Struct):
    type: str | None = None


class _Format(Struct):
    type: str
    schema: _Object | None = None


class _Config(Struct):
    format: _Format | None = None


class Messages(Struct):
    """A request of Anthropic's messages."""

    messages: list[_Message]
    system: str | list[_Block] | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: _Number | None = None
    top_p: _Number | None = None
    stream: bool | None = None
    metadata: _Metadata | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Config | None = None


def check(document: Mapping[str, Any], form: type[Struct]) -> None:
    """Look at the form of a request.

    Raises
    ------
    Malformed
        A member is missing or of another type: which, and what it is.

    Examples
    --------
    >>> check({"messages": [{"role": "user", "content": 5}]}, Chat)
    Traceback (most recent call last):
    ...
    headrace.models.dialects.untranslatable.Malformed: messages[0].content: Expected `str | array | null`, got `int`
    """
    try:
        msgspec.convert(dict(document), form)
    except msgspec.ValidationError as error:
        path, what, _ = misfit(str(error))
        raise Malformed(f"{path}: {what}" if path else what) from None


def member(part: Mapping[str, Any], name: str) -> Any:
    """What a part of its type has to have. Raises `Malformed`."""
    value = part.get(name)
    if value is None:
        raise Malformed(f"a part of the type {shown(part.get('type'))} has no {name!r}")
    return value


def shown(value: object) -> str:
    """A word of a client, for a message."""
    return f"{value!r:.40}" if isinstance(value, str) else "without a name"


def lost(document: Mapping[str, Any], carried: frozenset[str]) -> list[str]:
    """The members that a translation leaves out although they say something.

    >>> lost({"seed": 0, "n": 1, "store": False, "frequency_penalty": 0, "prediction": {}}, frozenset({"n"}))
    ['seed']
    """
    return [name for name, value in document.items() if name not in carried and _says(name, value)]


def _says(name: str, value: object) -> bool:
    if name.endswith("_penalty"):
        return bool(value)
    return value is not None and value is not False and value not in ("", [], {})
