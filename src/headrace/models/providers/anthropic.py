"""Upstreams that speak Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import msgspec

from headrace.core.clock import SECOND, Clock
from headrace.http1.headers import Field
from headrace.models.dialects import chat_as_messages
from headrace.models.dialects.stream import MessagesReader
from headrace.models.dialects.whole import check_whole
from headrace.models.provider import Opening
from headrace.models.providers.address import HttpProvider, headers_of
from headrace.models.providers.body import asks_usage, set_fields, why_not
from headrace.models.providers.exchange import HttpCarrier, Route, said_in
from headrace.models.request import Dialect, ModelRequest

_CHECK = partial(check_whole, Dialect.MESSAGES)


class Anthropic(HttpProvider):
    """A server that speaks Anthropic's messages.

    Fields of messages are passed on byte for byte, but for `model`. Requests of chat are translated, both ways
    (`dialects/chat_as_messages.py` says how).

    Parameters
    ----------
    url
        The base address; `/v1` is meant where it has no path.
    model, name, headers, tier, requests_per_minute, tokens_per_minute, local
        As in `OpenAI`.
    key
        The name of the environment variable that holds the API key, sent as `x-api-key`.
    version
        Of the API, sent as `anthropic-version`.

    Examples
    --------
    >>> Anthropic(model="claude-x", key="ANTHROPIC_API_KEY")
    <Anthropic api.anthropic.com/claude-x: claude-x at https://api.anthropic.com/v1>
    """

    kind: ClassVar[str] = "anthropic"
    _path: ClassVar[str] = "/v1"

    def __init__(
        self,
        url: str = "https://api.anthropic.com",
        *,
        model: str | None = None,
        name: str | None = None,
        key: str | None = None,
        key_header: str = "x-api-key",
        headers: Mapping[str, str] | None = None,
        tier: int = 0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        local: bool = False,
        version: str = "2023-06-01",
    ) -> None:
        super().__init__(
            url,
            model=model,
            name=name,
            key=key,
            key_header=key_header,
            headers={"anthropic-version": version, **headers_of(headers)},
            tier=tier,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            local=local,
        )
        self._set = {} if model is None else {"model": model}

    async def open(self, opening: Opening) -> HttpCarrier:
        """Find the key."""
        headers: list[Field] = [(b"content-type", b"application/json"), *self._fields(opening.environment)]
        routes = {
            Dialect.MESSAGES: Route(self._target("/messages"), self._plain, _CHECK, lambda _: MessagesReader()),
            Dialect.CHAT: self._chat(opening.clock),
        }
        return HttpCarrier(self.name, opening.client, opening.clock, self.origin, headers, routes)

    def _plain(self, request: ModelRequest) -> bytes:
        return set_fields(request.body, self._set)

    def _chat(self, clock: Clock) -> Route:
        """Clients that speak chat."""

        def translate(body: bytes) -> bytes:
            return chat_as_messages.whole(body, clock.now() // SECOND)

        def reader(request: ModelRequest) -> chat_as_messages.ChatOfMessages:
            return chat_as_messages.ChatOfMessages(created=clock.now() // SECOND, usage=asks_usage(request))

        return Route(
            self._target("/messages"),
            lambda request: msgspec.json.encode(chat_as_messages.request(request.document, self.model)),
            _CHECK,
            reader,
            translate=translate,
            refusal=said_in(Dialect.CHAT),
            refuses=lambda request: why_not(chat_as_messages.request, request),
            lost=chat_as_messages.lost,
        )
