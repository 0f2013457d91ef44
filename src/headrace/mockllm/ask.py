"""What is asked for, whichever API asked: the prompt as text, and what the answer must be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from headrace.mockllm.tokens import count


class BadAsk(Exception):
    """The request cannot be answered; told to the client in its API's own form."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the answer may call."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool: its name, and its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(slots=True)
class Ask:
    """One request.

    Attributes
    ----------
    model
        The name that was asked for.
    system
        System and developer messages.
    prompt
        All messages, in order, the system's first.
    last
        The last message of the user.
    stream, usage
        Whether the answer is streamed, and whether its stream ends with an account of tokens.
    max_tokens
        Most tokens of the answer.
    schema
        The JSON schema that the answer must follow; `{}` for any JSON object.
    tools, choice
        What may be called; `auto`, `none`, `required`, or the name of the one that must be.
    after_tool
        Whether the conversation ends with a tool's result.
    body
        The whole request.
    """

    model: str
    system: str = ""
    prompt: str = ""
    last: str = ""
    stream: bool = False
    usage: bool = False
    max_tokens: int | None = None
    schema: dict[str, Any] | None = None
    tools: list[Tool] = field(default_factory=list[Tool])
    choice: str = "auto"
    after_tool: bool = False
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    prompt_tokens: int = 0

    def set_messages(self, messages: list[tuple[str, str]]) -> None:
        """Take messages as (role, text)."""
        system = [text for role, text in messages if role in ("system", "developer")]
        others = [text for role, text in messages if role not in ("system", "developer")]
        users = [text for role, text in messages if role == "user"]
        self.system = "\n".join(system)
        self.prompt = "\n".join([*system, *others])
        self.last = users[-1] if users else ""
        self.after_tool = bool(messages) and messages[-1][0] == "tool"
        # What a provider adds around each message, so that an empty one is not free.
        self.prompt_tokens = sum(count(text) for _, text in messages) + 3 * len(messages)


@dataclass(slots=True)
class Said:
    """The answer: text or calls, why it ended, and how long it is in tokens."""

    text: str
    calls: list[Call]
    tokens: int
    cut: bool = False


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or parts of which some are text.

    >>> text_of([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "b"}])
    'a\\nb'
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts: list[str] = []
    for part in cast("list[Any]", content):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            mapping = cast("dict[str, Any]", part)
            value = mapping.get("text", mapping.get("content", mapping.get("output")))
            texts.append(value if isinstance(value, str) else text_of(value))
    return "\n".join(text for text in texts if text)


def get_list(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects of a request; empty where it is left out.

    Raises
    ------
    BadAsk
        It is something else.
    """
    value: Any = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in cast("list[Any]", value)):
        raise BadAsk(f"'{name}' is not a list of objects.", param=name)
    return cast("list[dict[str, Any]]", value)


def get_count(body: dict[str, Any], *names: str) -> int | None:
    """The first of some numbers that is given.

    Raises
    ------
    BadAsk
        It is no whole number, or below 1.
    """
    for name in names:
        value = body.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadAsk(f"'{name}' is not a positive whole number.", param=name)
            return value
    return None


def get_dict(value: Any) -> dict[str, Any]:
    """A mapping, empty for all else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
