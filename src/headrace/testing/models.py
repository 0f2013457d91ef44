"""ScriptedModel: a model that says what it is told to say; for tests of everything that calls models."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from headrace.core.clock import Clock, SystemClock
from headrace.core.errors import ModelRefused, StreamBroken
from headrace.models.call import Usage
from headrace.models.dialects.render import render_stream, render_whole
from headrace.models.request import ModelRequest, Terms

_USAGE, _COST = Usage(10, 5), Decimal(0)


@dataclass(frozen=True, slots=True)
class Says:
    """An answer.

    Attributes
    ----------
    text
        What it says, given in the dialect of the request; bytes are the body as they are.
    pieces
        How a stream says it; one piece for each word of the text if not given.
    delay
        Seconds before the answer begins.
    between
        Seconds between two pieces of a stream.
    usage, cost
        What it takes.
    breaks_after
        After so many pieces of a stream it breaks off; None: it does not.
    status
        Of the answer.
    """

    text: str | bytes = ""
    pieces: Sequence[str] | None = None
    delay: float = 0.0
    between: float = 0.0
    usage: Usage | None = _USAGE
    cost: Decimal | None = _COST
    breaks_after: int | None = None
    status: int = 200

    def body(self, request: ModelRequest, model: str) -> list[bytes]:
        """The pieces of the body."""
        if isinstance(self.text, bytes):
            return [self.text]
        if not request.stream:
            return [render_whole(request.dialect, self.text, model=model, usage=self.usage)]
        words = [word + " " for word in self.text.split(" ")]
        words[-1] = words[-1][:-1]
        return render_stream(request.dialect, self.pieces or words, model=model, usage=self.usage)


@dataclass(frozen=True, slots=True)
class Refuses:
    """No answer: `ModelRefused` with these attributes is raised after `delay` seconds."""

    reason: str = "failed"
    failure: str = "server_error"
    retry_after: float | None = None
    status: int = 500
    body: bytes = b""
    delay: float = 0.0


Step = str | bytes | Says | Refuses | Exception
"""What one call gets: a text, a body, an answer, a refusal, or an error that is raised."""


class ScriptedModel:
    """A `Caller` that plays a script.

    Parameters
    ----------
    script
        A step for each call, in their order, the last one for all that follow; or a function that finds the step.
    name
        Of the model.
    clock
        Of its delays; deadlines are kept by it.

    Attributes
    ----------
    requests, terms
        What it was asked, and on which terms.
    open
        Answers that were neither read to their end nor closed.
    cancelled
        Calls and answers that were given up before their end.

    Examples
    --------
    >>> import asyncio
    >>> from headrace.models.request import Dialect
    >>> async def ask(model):
    ...     request = ModelRequest(Dialect.JSON, b'{}', {}, False, 1)
    ...     return await (await model.send(request, Terms("1", float("inf")))).read()
    >>> asyncio.run(ask(ScriptedModel(['{"score": 0.5}'])))
    b'{"score": 0.5}'
    """

    def __init__(
        self,
        script: Sequence[Step] | Callable[[ModelRequest], Step],
        *,
        name: str = "scripted",
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.requests: list[ModelRequest] = []
        self.terms: list[Terms] = []
        self.open = 0
        self.cancelled = 0
        self.clock = clock or SystemClock()
        self._script = script
        self._calls = itertools.count()

    async def send(self, request: ModelRequest, terms: Terms) -> ScriptedReply:
        """The next step."""
        self.requests.append(request)
        self.terms.append(terms)
        step = self._step(next(self._calls), request)
        if isinstance(step, Exception):
            raise step
        if not isinstance(step, Says | Refuses):
            step = Says(step)
        began = self.clock.monotonic()
        await self._wait(step.delay, terms)
        if isinstance(step, Refuses):
            raise ModelRefused(
                f"the model {self.name!r} gave no answer: it is told not to",
                reason=step.reason,
                failure=step.failure,
                retry_after=step.retry_after,
                status=step.status,
                body=step.body,
            )
        return ScriptedReply(self, request, step, self.clock.monotonic() - began)

    def _step(self, number: int, request: ModelRequest) -> Step:
        if callable(self._script):
            return self._script(request)
        return self._script[min(number, len(self._script) - 1)]

    async def _wait(self, seconds: float, terms: Terms) -> None:
        left = terms.deadline - self.clock.monotonic()
        try:
            if min(seconds, left) > 0:
                await self.clock.sleep(min(seconds, left))
        except BaseException:
            self.cancelled += 1
            raise
        if seconds > left:
            raise ModelRefused(f"the model {self.name!r} gave no answer: its deadline passed", reason="deadline")


class ScriptedReply:
    """A `Reply` from a script."""

    def __init__(self, model: ScriptedModel, request: ModelRequest, says: Says, first_byte: float) -> None:
        kind = b"text/event-stream" if request.stream else b"application/json"
        self.status = says.status
        self.headers: Sequence[tuple[bytes, bytes]] = [(b"content-type", kind)]
        self.upstream = self.model = model.name
        self.attempts = 1
        self.queued = 0.0
        self.first_byte = first_byte
        self.usage: Usage | None = None
        self.cost: Decimal | None = None
        self._model = model
        self._says = says
        self._pieces = says.body(request, model.name)
        self._given = 0
        self._closed = False
        model.open += 1
        if not request.stream:
            self._complete()

    async def read(self) -> bytes:
        """The whole body, or what is left of it."""
        return b"".join([piece async for piece in self])

    def __aiter__(self) -> ScriptedReply:
        return self

    async def __anext__(self) -> bytes:
        """The next piece."""
        says, given = self._says, self._given
        if given == says.breaks_after:
            self._close()
            received = sum(len(piece) for piece in self._pieces[:given])
            raise StreamBroken("the answer broke off, as it is told", failure="connection", received=received)
        if given == len(self._pieces):
            raise StopAsyncIteration
        if given and says.between:
            try:
                await self._model.clock.sleep(says.between)
            except BaseException:
                await self.aclose()
                raise
        self._given += 1
        if self._given == len(self._pieces):
            self._complete()
        return self._pieces[given]

    async def aclose(self) -> None:
        """Let go."""
        if not self._closed:
            self._model.cancelled += 1
            self._close()

    def _complete(self) -> None:
        if self._says.breaks_after is None:
            self.usage, self.cost = self._says.usage, self._says.cost
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._model.open -= 1
