"""What is asked of a model: a body in one of the dialects that models speak, and what the policies need to know."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from headrace.models.call import Priority
from headrace.models.estimate import prompt_bytes


class Dialect(enum.StrEnum):
    """The form of a request and of its answer."""

    CHAT = "chat"
    """OpenAI chat completions: `POST /v1/chat/completions`."""
    RESPONSES = "responses"
    """OpenAI responses: `POST /v1/responses`."""
    EMBEDDINGS = "embeddings"
    """OpenAI embeddings: `POST /v1/embeddings`."""
    MESSAGES = "messages"
    """Anthropic messages: `POST /v1/messages`."""
    JSON = "json"
    """Any JSON in, any JSON out: model servers of one's own, and models in worker processes."""

    @property
    def beta(self) -> bytes:
        """The header that names features in beta, in lower case."""
        return b"anthropic-beta" if self is Dialect.MESSAGES else b"openai-beta"


class ModelRequest(Struct, frozen=True):
    """One request to a model, before it is known which upstream answers it.

    Attributes
    ----------
    dialect
        Of the body, and of the answer that is wanted.
    body
        JSON as the client sent it: where upstream and client speak the same dialect its fields are passed on as they
        are, but for those that a provider sets (`model`).
    document
        The same, parsed.
    stream
        Whether the answer is wanted as a stream of server-sent events.
    prompt_tokens
        Tokens of the prompt, estimated; 0: the model is to estimate them.
    max_output_tokens
        The most that all answers may have together, if the request says so.
    answers
        How many it wants.
    repeatable
        Whether it may run twice: no tools with effects on the provider's side, nothing stored.
    prompt_bytes
        What `size` says, where that is known.
    beta
        The features in beta that it wants, as the header says that its dialect has for them (`Dialect.beta`).
    """

    dialect: Dialect
    body: bytes
    document: Mapping[str, Any]
    stream: bool
    prompt_tokens: int
    max_output_tokens: int | None = None
    repeatable: bool = True
    answers: int = 1
    beta: bytes = b""
    prompt_bytes: int = 0

    def size(self) -> int:
        """Bytes that make tokens: of pictures, sound and files, which are many bytes, few."""
        return self.prompt_bytes or prompt_bytes(self.body, self.document)


class Terms(Struct, frozen=True):
    """On whose account and until when a request runs.

    Attributes
    ----------
    id
        Unique among the requests in progress.
    deadline
        The instant (seconds of the monotonic clock) after which nobody waits.
    last
        The same of a stream whose first content has come, where that is later; 0: it is not.
    tenant, session, key, priority
        As in `models.call.Call`.
    priced
        Whether upstreams without a price are passed over: a budget pays, and could not be held.
    """

    id: str
    deadline: float
    tenant: str = ""
    session: str = ""
    key: str = ""
    priority: Priority = Priority.NORMAL
    priced: bool = False
    last: float = 0.0
