"""Which model answers: `headrace mock-llm`, run inside of the demo, or a real one that speaks OpenAI's HTTP."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError, ModelError
from headrace.mockllm.serving import MockServer
from headrace.models import OpenAI
from headrace.models.reply import Caller
from headrace.models.request import Dialect, ModelRequest, Terms

KEY = "OPENAI_API_KEY"
"""The environment variable of a real model's key. Servers of one's own need none, so it may be missing."""
DEFAULT_MODEL = "gpt-4.1-mini"
PATIENCE = 20.0
"""Seconds within which a model must have answered once before the city wakes up."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model answers the agents.

    Attributes
    ----------
    url
        The base URL of a real one; None: the mock.
    name
        The model there.
    """

    url: str | None = None
    name: str = DEFAULT_MODEL

    @property
    def places(self) -> int:
        """Questions that are being answered at a time.

        A real model takes a second or more for each; 32 is as many as it is asked at once. The mock takes no time: all
        that an answer costs is this process's own, and more at a time would only hold up each other and the rows.
        """
        return 8 if self.url is None else 32

    def __str__(self) -> str:
        return "mock-llm" if self.url is None else f"{self.name} at {self.url}"


@asynccontextmanager
async def open_model(choice: ModelChoice) -> AsyncGenerator[OpenAI]:
    """The upstream of the agents. The mock listens on a free port of the loopback, on this event loop.

    It answers at once, from the rows in the prompt: what the agents say is then what they read, and the figures show
    the context and not a model's mood.
    """
    if choice.url is not None:
        yield OpenAI(choice.url, model=choice.name, key=KEY if os.environ.get(KEY) else None)
        return
    mock = MockServer()
    await mock.start()
    try:
        yield OpenAI(f"http://127.0.0.1:{mock.port}/v1", model="mock-model")
    finally:
        await mock.stop(0)


async def greet(model: Caller, choice: ModelChoice, clock: Clock) -> None:
    """Ask once, before the run: a wrong address or key is told at the start, not by a minute of fallbacks.

    Raises
    ------
    HeadraceError
        It gives no answer.
    """
    document = {"messages": [{"role": "user", "content": "Say yes."}]}
    body = msgspec.json.encode(document)
    request = ModelRequest(Dialect.CHAT, body, document, stream=False, prompt_tokens=len(body) // 4)
    hint = f"check --openai-url and --openai-model; the key is taken from {KEY}"
    try:
        reply = await model.send(request, Terms("demo", clock.monotonic() + PATIENCE))
        answer = await reply.read()
    except ModelError as error:
        raise HeadraceError(f"{choice} gives no answer: {error.message}", hint=hint) from error
    if reply.status >= 400:
        said = answer[:200].decode(errors="replace")
        raise HeadraceError(f"{choice} answered {reply.status}: {said}", hint=hint)
