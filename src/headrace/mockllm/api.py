"""What the server knows of an API: how to read its requests and write its answers, whole, as events, and as errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from headrace.mockllm.ask import Ask, BadAsk, Said
from headrace.mockllm.tokens import split

encode = msgspec.json.encode


class Event(NamedTuple):
    """One piece of a stream, as it is sent.

    Attributes
    ----------
    data
        Its bytes.
    tokens
        Tokens of the answer that it carries.
    ends
        Whether it is the mark without which the stream is not whole.
    """

    data: bytes
    tokens: int = 0
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """What an answer is called: a number that is the same in all its identifiers, and when it was made (seconds)."""

    number: int
    created: int

    def id(self, prefix: str) -> str:
        """An identifier of this answer."""
        return f"{prefix}{self.number:024x}"


class Api(Protocol):
    """One endpoint of a provider."""

    name: str
    path: bytes
    anthropic: bool

    def read(self, body: dict[str, Any]) -> Ask:
        """What a request asks for; raises `BadAsk`."""
        ...

    def whole(self, ask: Ask, said: Said, named: Named) -> bytes:
        """The answer in one piece."""
        ...

    def events(self, ask: Ask, said: Said, named: Named, chunk: int) -> Iterator[Event]:
        """The answer as a stream, `chunk` tokens an event."""
        ...

    def error(self, status: int, message: str, param: str | None, code: str | None) -> bytes:
        """The body of a refusal."""
        ...

    def error_event(self, message: str) -> bytes:
        """What a stream says when it fails."""
        ...


def get_model(body: dict[str, Any]) -> str:
    """The model of a request; raises `BadAsk`."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadAsk("you must provide a model parameter", param="model")
    return model


def pieces(text: str, chunk: int) -> Iterator[tuple[str, int]]:
    """A text in pieces of `chunk` tokens, with the tokens of each.

    >>> list(pieces("It costs 12", 2))
    [('It costs', 2), (' 12', 1)]
    """
    tokens = split(text)
    for start in range(0, len(tokens), chunk):
        part = tokens[start : start + chunk]
        yield "".join(part), len(part)


def openai_error(status: int, message: str, param: str | None, code: str | None) -> bytes:
    """An error as OpenAI writes it."""
    kinds = {401: "invalid_request_error", 404: "invalid_request_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return encode({"error": {"message": message, "type": kind, "param": param, "code": code}})
