"""What a body asks for: the few fields that the gateway needs, read in one pass; the rest is passed on as it came."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from headrace.core.shape import misfit
from headrace.models.request import Dialect
from headrace.server.gateway.complaint import Complaint

_HALF = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
"""The escape of a high surrogate that no low one follows: the parser calls such a body truncated."""


class Lazy(Mapping[str, Any]):
    """The whole document of a body, parsed when somebody looks into it: most requests are passed on unread.

    `model` is known before: every upstream asks for it.
    """

    __slots__ = ("_body", "_found", "_model")

    def __init__(self, body: bytes, model: str) -> None:
        self._body = body
        self._model = model
        self._found: dict[str, Any] | None = None

    def _document(self) -> dict[str, Any]:
        if self._found is None:
            try:
                self._found = msgspec.json.decode(self._body, type=dict[str, Any])
            except (msgspec.DecodeError, RecursionError) as error:
                # A number without end, say: what `read` had no reason to look at.
                raise _unreadable(self._body, error, "is not JSON that can be read") from None
        return self._found

    def __getitem__(self, key: str) -> Any:
        if key == "model":
            return self._model
        return self._document()[key]

    def get(self, key: str, default: Any = None) -> Any:
        """As `Mapping.get`, without an exception where nothing is."""
        return self._model if key == "model" else self._document().get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._document())

    def __len__(self) -> int:
        return len(self._document())


ABSENT = Raw(b"null")
"""A member that is not there is as one that is null. (msgspec takes `Raw | None` for null only.)"""


class _Body(Struct):
    """What all dialects have. `headrace`: the JSON of that member, or `ABSENT`."""

    model: str
    stream: bool | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    headrace: Raw = ABSENT

    def answers(self) -> int:
        """How many answers it wants."""
        return 1

    def session(self) -> str:
        """What its calls have in common; empty: nothing."""
        return self.prompt_cache_key or self.user or ""


class _Tool(Struct):
    type: str | None = None


class _Chat(_Body, kw_only=True):
    messages: Raw
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    store: bool | None = None
    tools: list[_Tool] | None = None

    def output(self) -> int | None:
        _listed(self.messages)
        many, most = self.n, _bounded("max_completion_tokens", self.max_completion_tokens)
        if many is not None and not 1 <= many <= _MANY:
            raise Complaint(400, f"n: {many} is not between 1 and {_MANY}", code="invalid_value", param="n")
        older = _bounded("max_tokens", self.max_tokens)
        if older is not None and (most is None or older > most):
            most = older  # some servers know only this name
        return most if most is None or many is None else most * many

    def answers(self) -> int:
        return self.n or 1

    def repeatable(self) -> bool:
        return not self.store and (self.tools is None or _harmless(self.tools))


class _Responses(_Body, kw_only=True):
    input: Raw = ABSENT
    max_output_tokens: int | None = None
    store: bool | None = None
    background: bool | None = None
    tools: list[_Tool] | None = None

    def output(self) -> int | None:
        if begin(self.input) not in (b'"', b"[", b"n"):
            raise Complaint(400, "input: expected text or a list", code="invalid_type", param="input")
        return _bounded("max_output_tokens", self.max_output_tokens)

    def repeatable(self) -> bool:
        return self.store is False and not self.background and (self.tools is None or _harmless(self.tools))


class _Embeddings(_Body, kw_only=True):
    input: Raw

    def output(self) -> int | None:
        return 0

    def repeatable(self) -> bool:
        return True


class _Metadata(Struct):
    user_id: str | None = None


class _Messages(_Body, kw_only=True):
    messages: Raw
    max_tokens: int
    metadata: _Metadata | None = None
    tools: list[_Tool] | None = None
    mcp_servers: Raw = ABSENT

    def output(self) -> int | None:
        _listed(self.messages)
        return _bounded("max_tokens", self.max_tokens)

    def session(self) -> str:
        return (self.metadata.user_id if self.metadata is not None else None) or super().session()

    def repeatable(self) -> bool:
        return begin(self.mcp_servers) == b"n" and (self.tools is None or _harmless(self.tools))


Asked = _Chat | _Responses | _Embeddings | _Messages
"""What a body asks for.

`output`: the most tokens that all its answers may have together; None where it does not say. Raises `Complaint`.
`answers`: how many these are. `session`: what its calls have in common; empty: nothing. `repeatable`: whether it may
run twice.
"""
_DECODERS: dict[Dialect, msgspec.json.Decoder[Any]] = {
    Dialect.CHAT: msgspec.json.Decoder(_Chat),
    Dialect.RESPONSES: msgspec.json.Decoder(_Responses),
    Dialect.EMBEDDINGS: msgspec.json.Decoder(_Embeddings),
    Dialect.MESSAGES: msgspec.json.Decoder(_Messages),
}
_HARMLESS = frozenset({None, "function", "custom"})
"""Types of tools that run at the client; all others run at the provider, and may have effects there."""
_MANY = 128
"""Most answers to one request, as at OpenAI: the tokens that they may take are a product with it."""
_MOST_TOKENS = 100_000_000


def read(dialect: Dialect, body: bytes) -> Asked:
    """What `body` asks for.

    Raises
    ------
    Complaint
        It is no JSON, or a field that is needed is missing or of another type; `param` names it.

    Examples
    --------
    >>> read(Dialect.CHAT, b'{"model": "llm", "messages": [], "max_tokens": 5, "n": 2}').output()
    10
    """
    try:
        if not body.isascii():
            body.decode()  # what is not looked at is not checked by the parser, and upstreams choke on it
        return _DECODERS[dialect].decode(body)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(body, error, "is not JSON") from None


def begin(raw: Raw) -> bytes:
    """The first byte of a JSON value, which tells its kind."""
    return bytes(memoryview(raw)[:1])


def _unreadable(body: bytes, error: Exception, what: str) -> Complaint:
    why = f"{what}: {error}"
    if not body:
        why = "is empty: send a JSON object"
    elif isinstance(error, RecursionError):
        why = f"{what}: it is nested too deeply"
    elif "surrogate" in str(error) or _HALF.search(body):
        why = f"{what}: an escape such as \\ud800 stands without the other half of its pair, and is no character"
    return Complaint(400, f"the body {why}", code="invalid_json")


def _wrong(text: str) -> Complaint:
    path, what, missing = misfit(text)
    message = f"{path or 'the body'}: {what}"
    return Complaint(400, message, code="missing_field" if missing else "invalid_type", param=path or None)


def _listed(messages: Raw) -> None:
    if begin(messages) != b"[":
        raise Complaint(400, "messages: expected a list of messages", code="invalid_type", param="messages")


def _bounded(name: str, value: int | None) -> int | None:
    if value is not None and not 0 < value <= _MOST_TOKENS:
        raise Complaint(400, f"{name}: {value} is not a number of tokens", code="invalid_value", param=name)
    return value


def _harmless(tools: list[_Tool]) -> bool:
    return all(tool.type in _HARMLESS for tool in tools)
