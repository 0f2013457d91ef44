"""A gateway in memory: a model that answers as it is told, a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from headrace.core.clock import SimulatedClock
from headrace.http1.request import Request
from headrace.http1.response import Later, Response
from headrace.models.call import Usage
from headrace.models.periods import Budgets
from headrace.models.request import ModelRequest, Terms
from headrace.server.gateway import Gateway, Offer
from headrace.server.gateway.keyring import Keyring
from headrace.server.gateway.keys import digest_of
from headrace.testing.ports import MemoryPorts

SECRET = "hr-secret"
JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream")]
CHAT = {"model": "llm", "messages": [{"role": "user", "content": "Hi"}]}


class Answered:
    """A reply of these pieces; an exception among them is raised in its place, "hang" waits for ever."""

    def __init__(self, *pieces: Any, headers: Any = JSON, usage: Usage | None = None, cost: Decimal | None = None):
        self.status = 200
        self.headers = headers
        self.upstream = "one"
        self.model = "gpt-x"
        self.attempts = 1
        self.queued = 0.001
        self.first_byte = 0.002
        self.usage = usage
        self.cost = cost
        self.closed = False
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self])

    def __aiter__(self) -> Answered:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        if piece == "hang":
            await asyncio.Event().wait()
        return piece

    async def aclose(self) -> None:
        self.closed = True


class Model:
    """A caller that answers what `answer` gives, and remembers what it was asked."""

    name = "llm"

    def __init__(self) -> None:
        self.asked: list[tuple[ModelRequest, Terms]] = []
        self.answer: Callable[[ModelRequest], Any] = lambda _request: Answered(b'{"id":"1"}', usage=Usage(10, 5))

    async def send(self, request: ModelRequest, terms: Terms) -> Any:
        self.asked.append((request, terms))
        answer = self.answer(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        return answer


class World:
    """The gateway and all around it."""

    def __init__(self, tmp: Path) -> None:
        self.clock = SimulatedClock()
        self.model = Model()
        self.ports = MemoryPorts()
        self.budgets = Budgets()
        self.file = tmp / "keys.yaml"
        self.keyring = Keyring(self.file)
        self.api_keys: tuple[str, ...] = ()
        self.priced = True
        self._gateway: Gateway | None = None

    def keys(self, **members: Any) -> None:
        """One key, `SECRET`, with these limits."""
        key = {"id": "k1", "name": "shop", "sha256": digest_of(SECRET.encode())} | members
        self.file.write_text(json.dumps({"keys": [key]}))
        self.keyring.look()

    @property
    def gateway(self) -> Gateway:
        if self._gateway is None:
            self._gateway = Gateway(
                [Offer("llm", self.model, deadline=30.0, priced=self.priced)],
                self.ports,
                keyring=self.keyring,
                budgets=self.budgets,
                api_keys=self.api_keys,
                clock=self.clock,
                random=Random(1),
                max_reads=3,
            )
        return self._gateway

    async def ask(
        self,
        body: Any = CHAT,
        path: str = "/v1/chat/completions",
        *,
        method: str = "POST",
        key: str | None = None,
        facts: dict[Any, Any] | None = None,
        before_body: Callable[[], None] | None = None,
        **headers: str,
    ) -> Response:
        """What a request is answered; names of headers with `_` for `-`. `facts`: those of requests with one head.

        `before_body` is called when the request is being served, and its body has not come.
        """
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        if key is not None:
            fields.append((b"authorization", b"Bearer " + key.encode()))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(method.encode(), path.encode(), fields, version="1.1", keep_alive=True, length=len(data))
        if facts is not None:
            request.facts = facts
        handler = self.gateway.find(request)
        assert handler is not None
        early = handler(request) if before_body is not None else None
        if before_body is not None:
            before_body()
        request.push(data)
        request.finish()
        answer = handler(request) if early is None else early
        if isinstance(answer, Later):
            given: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            answer.when_given(given.set_result)
            return answer.response or await given
        return answer if isinstance(answer, Response) else await answer


def told(response: Response) -> dict[str, str]:
    """The headers of an answer."""
    lines = (line.partition(b": ") for line in response.lines.split(b"\r\n") if line)
    fields = [*response.headers, *((name, value) for name, _, value in lines)]
    return {name.decode(): value.decode() for name, value in fields}


def document(response: Response) -> Any:
    """The body of an answer that is JSON."""
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def kit() -> Any:
    """What tests need by name; test modules import nothing from here."""

    class Kit:
        SECRET, SSE, CHAT = SECRET, SSE, CHAT
        Answered, told, document = Answered, staticmethod(told), staticmethod(document)

    return Kit
