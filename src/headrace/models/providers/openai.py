"""Upstreams that speak OpenAI's HTTP: OpenAI itself, vLLM, Ollama, and most others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import msgspec

from headrace.http1.headers import Field
from headrace.models.dialects import messages_as_chat
from headrace.models.dialects.stream import ChatReader, ResponsesReader
from headrace.models.dialects.whole import check_whole
from headrace.models.provider import Opening
from headrace.models.providers.address import HttpProvider
from headrace.models.providers.body import asks_usage, set_fields, stream_options, why_not
from headrace.models.providers.exchange import HttpCarrier, Route, said_in
from headrace.models.request import Dialect, ModelRequest


class OpenAI(HttpProvider):
    """A server that speaks OpenAI's HTTP: chat completions, responses, embeddings, each as a stream too.

    Fields are passed on byte for byte, but for `model`, and `stream_options.include_usage` of streams of chat.
    Requests of Anthropic's messages are translated, both ways (`dialects/messages_as_chat.py` says how).

    Parameters
    ----------
    url
        The base address, as for OpenAI's own clients: `https://api.openai.com/v1`, without `/chat/completions`. Where
        it has no path, `/v1` is meant. A query is sent with every request.
    model
        The model there; None: the name of the declared model.
    name
        Unique among the upstreams of a model; made of the address and the model if not given.
    key
        The name of the environment variable that holds the API key.
    key_header
        Where the key goes: `authorization` (as a bearer), or a header that is the key, such as `api-key`.
    headers
        Sent with every request.
    tier, requests_per_minute, tokens_per_minute
        As in `Provider`.
    local
        A server of one's own (vLLM, Ollama), which queues, rather than a hosted API, which refuses.
    stream_usage
        Whether streams of chat are asked for their usage. Without it, their cost is not known. A chunk of usage that
        the client did not ask for is not passed on.

    Examples
    --------
    >>> OpenAI("http://127.0.0.1:8000", model="small", local=True)
    <OpenAI 127.0.0.1:8000/small: small at http://127.0.0.1:8000/v1>
    """

    kind: ClassVar[str] = "openai"
    _path: ClassVar[str] = "/v1"

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        name: str | None = None,
        key: str | None = None,
        key_header: str = "authorization",
        headers: Mapping[str, str] | None = None,
        tier: int = 0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        local: bool = False,
        stream_usage: bool = True,
    ) -> None:
        super().__init__(
            url,
            model=model,
            name=name,
            key=key,
            key_header=key_header,
            headers=headers,
            tier=tier,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            local=local,
        )
        self.stream_usage = stream_usage
        self._set = {} if model is None else {"model": model}

    async def open(self, opening: Opening) -> HttpCarrier:
        """Find the key."""
        headers: list[Field] = [(b"content-type", b"application/json"), *self._fields(opening.environment)]
        routes = {
            Dialect.CHAT: Route(
                self._target("/chat/completions"), self._chat, partial(check_whole, Dialect.CHAT), self._chat_reader
            ),
            Dialect.RESPONSES: Route(
                self._target("/responses"),
                self._plain,
                partial(check_whole, Dialect.RESPONSES),
                lambda _: ResponsesReader(),
            ),
            Dialect.EMBEDDINGS: Route(
                self._target("/embeddings"), self._plain, partial(check_whole, Dialect.EMBEDDINGS), None
            ),
            Dialect.MESSAGES: self._messages(),
        }
        return HttpCarrier(self.name, opening.client, opening.clock, self.origin, headers, routes)

    def _messages(self) -> Route:
        """Clients that speak messages."""
        # OpenAI's own newer models refuse the old name, and many other servers do not know the new one.
        limit = "max_completion_tokens" if self.origin.host == "api.openai.com" else "max_tokens"

        def encode(request: ModelRequest) -> bytes:
            return msgspec.json.encode(messages_as_chat.request(request.document, self.model, limit=limit))

        return Route(
            self._target("/chat/completions"),
            encode,
            partial(check_whole, Dialect.CHAT),
            lambda _: messages_as_chat.MessagesOfChat(),
            translate=messages_as_chat.whole,
            refusal=said_in(Dialect.MESSAGES),
            refuses=lambda request: why_not(messages_as_chat.request, request),
            lost=messages_as_chat.lost,
        )

    def _plain(self, request: ModelRequest) -> bytes:
        return set_fields(request.body, self._set)

    def _chat(self, request: ModelRequest) -> bytes:
        if not (request.stream and self.stream_usage) or asks_usage(request):
            return set_fields(request.body, self._set)
        options = {**stream_options(request), "include_usage": True}
        return set_fields(request.body, {**self._set, "stream_options": options})

    def _chat_reader(self, request: ModelRequest) -> ChatReader:
        return ChatReader(keep_usage=asks_usage(request) or not self.stream_usage)
