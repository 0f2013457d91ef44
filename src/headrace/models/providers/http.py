"""Upstreams that take any JSON and answer any JSON: model servers of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from headrace.http1.headers import Field
from headrace.models.call import Usage
from headrace.models.failure import Failure
from headrace.models.provider import Failed, Opening
from headrace.models.providers.address import HttpProvider
from headrace.models.providers.exchange import HttpCarrier, Route
from headrace.models.request import Dialect, ModelRequest

_DOCUMENT = msgspec.json.Decoder(Any)


class Http(HttpProvider):
    """A server that answers a JSON document with another: a model behind Flask, KServe, Triton, BentoML, ...

    The body is posted to the address as it is, and so comes the answer. There are no streams.

    Parameters
    ----------
    url
        The whole address, with its path.
    model
        The model's name, for prices; not sent.
    name, key, key_header, headers, tier, requests_per_minute, tokens_per_minute
        As in `OpenAI`.
    local
        A server of one's own, which queues, rather than a hosted API, which refuses: so by default.
    usage
        Finds in the answer what it took: a `Usage`, or tokens of the prompt and of the answer. Without it, nothing is
        counted.
    error
        Says whether an answer with a status of success is an error after all: a message, or None when it is none.

    Examples
    --------
    >>> Http("http://127.0.0.1:9000/predict", name="fraud", usage=lambda answer: (answer["tokens"], 0))
    <Http fraud: http://127.0.0.1:9000/predict>
    """

    kind: ClassVar[str] = "http"

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
        local: bool = True,
        usage: Callable[[Any], Usage | tuple[int, int] | None] | None = None,
        error: Callable[[Any], str | None] | None = None,
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
        self._usage = usage
        self._error = error

    async def open(self, opening: Opening) -> HttpCarrier:
        """Find the key."""
        headers: list[Field] = [(b"content-type", b"application/json"), *self._fields(opening.environment)]
        routes = {Dialect.JSON: Route(self._target(""), _body, self._check, None)}
        return HttpCarrier(self.name, opening.client, opening.clock, self.origin, headers, routes)

    def _target(self, path: str) -> bytes:
        return super()._target(path if self._base else "/")

    def _check(self, body: bytes) -> Usage | None:
        try:
            document = _DOCUMENT.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            message = f"the answer is no JSON: {error}: {body[:100]!r}"
            raise Failed(Failure.SERVER_ERROR, message, body=body) from None
        said = self._error(document) if self._error is not None else None
        if said is not None:
            raise Failed(Failure.SERVER_ERROR, f"the answer is an error: {said:.200}", body=body)
        found = self._usage(document) if self._usage is not None else None
        return found if found is None or isinstance(found, Usage) else Usage(*found)


def _body(request: ModelRequest) -> bytes:
    return request.body
